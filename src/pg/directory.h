/*
 * directory.h: where the files of the index are.
 *
 * It is what uds.directory says when the server starts, and, after a move, another one until the
 * server stops: also after a crash of a process, which makes shared memory anew.
 */
#ifndef UDSPG_DIRECTORY_H
#define UDSPG_DIRECTORY_H

#include "postgres.h"

/* Begin with the setting.  From _PG_init only, by the postmaster. */
extern void udspg_directory_install(void);

/* Its name, relative to the data directory or absolute.  Any process, any time. */
extern void udspg_directory_get(char name[MAXPGPATH]);

/* It is another one from now on, for all processes.  Caller: the chapter writer. */
extern void udspg_directory_set(const char *name);

#endif
