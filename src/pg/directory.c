/*
 * directory.c: see directory.h.
 *
 * The name lies in a piece of memory that the postmaster shares with all its children, and which,
 * other than main shared memory, outlives their crashes.  The writer fills the place that nobody
 * reads and then publishes it, so one that is killed meanwhile leaves the former name.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "port/atomics.h"

#include "directory.h"
#include "settings.h"

typedef struct udspg_directory_cell
{
	pg_atomic_uint32 sets;    /* atomic: the name is in names[sets % 2]; write barrier before */
	char names[2][MAXPGPATH]; /* atomic: published by sets */
} udspg_directory_cell;

static udspg_directory_cell *cell;

void
udspg_directory_install(void)
{
	void *memory =
		mmap(NULL, sizeof(*cell), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		ereport(FATAL,
		        errcode(ERRCODE_OUT_OF_MEMORY),
		        errmsg("could not map memory for the directory of uds: %m"));
	cell = memory;
	pg_atomic_init_u32(&cell->sets, 0);
	strlcpy(cell->names[0], udspg_directory, MAXPGPATH);
	canonicalize_path(cell->names[0]);
}

void
udspg_directory_get(char name[MAXPGPATH])
{
	uint32 sets;

	/* Two moves during one look would spoil what it reads. */
	do
	{
		sets = pg_atomic_read_u32(&cell->sets);
		pg_read_barrier();
		memcpy(name, cell->names[sets % 2], MAXPGPATH);
		pg_read_barrier();
	} while (pg_atomic_read_u32(&cell->sets) != sets);
}

void
udspg_directory_set(const char *name)
{
	uint32 sets = pg_atomic_read_u32(&cell->sets) + 1;

	strlcpy(cell->names[sets % 2], name, MAXPGPATH);
	pg_write_barrier();
	pg_atomic_write_u32(&cell->sets, sets);
}
