/*
 * sim_disk.h: directories of files on a simulated disk.
 *
 * A file has the contents that readers see and those that are on the medium; between them lie the
 * writes and truncations that were not synced.  The directory likewise.  A loss of power makes the
 * medium's state the only one, after any part of what was not synced has reached it: a sequence of
 * writes, any of them, single sectors of 512 bytes or a part of a sector, in any order.
 */
#ifndef UDS_SIM_DISK_H
#define UDS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generate.h"

#define SIM_SECTOR_BYTES    512
#define SIM_FILE_NAME_BYTES 32

typedef struct sim_disk sim_disk;
typedef struct sim_inode sim_inode;

/* What losses of power and failed syncs have done, to see that a search meets everything. */
typedef struct sim_losses
{
	uint64_t lost_writes;    /* nothing of them was left */
	uint64_t torn_writes;    /* some of their sectors were left */
	uint64_t torn_sectors;   /* a part of one was left */
	uint64_t reordered;      /* files with several writes that arrived in another order */
	uint64_t lost_renames;   /* and other changes of the directory */
	uint64_t reverted_syncs; /* failed ones after which readers see what was there before */
} sim_losses;

/* random decides what is lost; it stays the caller's. */
sim_disk *sim_disk_create(uds_random *random);
void sim_disk_destroy(sim_disk *disk);

/*
 * ---- directories: all calls change what is seen, only sync what is durable -----------------
 *
 * The name of a file begins with that of its directory and a slash.
 */

/* The file of that name, or NULL. */
sim_inode *sim_disk_find(sim_disk *disk, const char *name);
/* Make an empty file under a name that is free. */
sim_inode *sim_disk_create_file(sim_disk *disk, const char *name);
/* false: there is no such file. */
bool sim_disk_rename(sim_disk *disk, const char *from, const char *to);
bool sim_disk_remove(sim_disk *disk, const char *name);
/* directory: with the slash */
void sim_disk_sync_directory(sim_disk *disk, const char *directory);
/* Files in a directory, but for one of this plain name (may be NULL). */
uint32_t sim_disk_count_files(const sim_disk *disk, const char *directory, const char *but);

/* ---- files ----------------------------------------------------------------------------------- */

uint64_t sim_inode_size(const sim_inode *inode);
/* Bytes read: less than asked for at the end of the file. */
size_t sim_inode_read(const sim_inode *inode, void *buffer, size_t bytes, uint64_t offset);
void sim_inode_write(sim_inode *inode, const void *data, size_t bytes, uint64_t offset);
void sim_inode_truncate(sim_inode *inode, uint64_t bytes);
/* Everything that was written is on the medium now. */
void sim_inode_sync(sim_inode *inode);
/*
 * A sync that fails: each sector that was not synced is on the medium or never gets there, whatever
 * is synced later; readers see what is lost or what was written.
 */
void sim_disk_fail_sync(sim_disk *disk, sim_inode *inode);

/* ---- loss of power ----------------------------------------------------------------------------- */

void sim_disk_lose_power(sim_disk *disk);

const sim_losses *sim_disk_losses(const sim_disk *disk);

#endif
