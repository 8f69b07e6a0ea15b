/*
 * module.c: start of the library.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "directory.h"
#include "settings.h"
#include "shared.h"
#include "worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	/* Loaded later there is no shared memory: each function says so when it is called. */
	if (!process_shared_preload_libraries_in_progress)
		return;

	udspg_settings_define();
	udspg_directory_install();
	udspg_shared_install();
	if (IsPostmasterEnvironment && !IsBinaryUpgrade)
		udspg_worker_register_all();
}
