/*
 * triage.c: decides which sparse chapters are cached, before requests reach their zones.
 *
 * A hook that the volume index knows in a sparse chapter says that the names posted with it may be
 * there, too; but those are in other zones.  So sessions show the hooks of a batch to the triage
 * worker before they send the batch: it asks for the chapters, and from then on a request that
 * would find nothing waits until they are loaded.
 *
 * It is a guest of the index (block.h).  Hooks are looked up under the mutex of their zone, which
 * changes them under the same mutex.
 */
#include "triage.h"

struct uds_triage
{
	uds_index *index;
	uds_port *port;
};

size_t
uds_triage_size(void)
{
	return sizeof(uds_triage);
}

uds_status
uds_triage_attach(void *memory, uds_index *index, uds_port *port, uds_triage **result,
                  uds_error *error)
{
	static const char *const reason = "the triage worker died inside the index";
	uds_triage *triage = memory;

	memset(triage, 0, sizeof(*triage));
	triage->index = index;
	triage->port = port;
	*result = triage;
	if (atomic_load(&index->guests[UDS_GUEST_TRIAGE].is_inside) == 0)
		return UDS_OK;
	/* In this order: the writer waits until it has left. */
	uds_block_report_death(index, port, reason);
	uds_block_leave(index, port, UDS_GUEST_TRIAGE);
	return uds_error_set(error, UDS_ERR_INTERNAL, 0, "%s", reason);
}

/* The chapter that the volume index names for a hook: UDS_OK, UDS_NOT_FOUND, UDS_ERR_INTERNAL. */
static uds_status
find_chapter(uds_index *index, const uds_name *name, uint64_t *chapter)
{
	uds_zone *zone = &index->zones[uds_index_zone_of(index, name)];
	uds_index_entry entry;
	uds_status status;

	uds_port_mutex_lock(&zone->hook_mutex);
	status = uds_volume_index_get(&index->volume_index, name, &entry);
	uds_port_mutex_unlock(&zone->hook_mutex);
	if (status != UDS_OK)
		return UDS_ERR_INTERNAL;
	*chapter = entry.chapter;
	return entry.kind == UDS_ENTRY_NONE ? UDS_NOT_FOUND : UDS_OK;
}

uds_status
uds_triage_ask(uds_index *index, uds_port *port, const uds_name *name)
{
	const uds_zone *zone = &index->zones[uds_index_zone_of(index, name)];
	uint64_t newest = atomic_load_explicit(&zone->newest, memory_order_acquire);
	uint64_t chapter;
	uds_status status = find_chapter(index, name, &chapter);

	if (status == UDS_OK && uds_block_is_sparse(index, newest, chapter) &&
	    uds_sparse_cache_request(index->sparse_cache,
	                             chapter,
	                             uds_geometry_oldest(&index->geometry, newest)) == UDS_DUPLICATE)
		uds_page_cache_wake_reader(index->page_cache, port);
	return status == UDS_NOT_FOUND ? UDS_OK : status;
}

uds_status
uds_triage_execute(uds_triage *triage, const uds_name *names, uint32_t count)
{
	uds_index *index = triage->index;
	uds_status status = UDS_OK;

	if (count > UDS_BATCH_MAX)
		return UDS_ERR_ARGUMENT;
	if (!uds_block_enter(index, triage->port, UDS_GUEST_TRIAGE))
		return UDS_PENDING;
	/* Other names are their zones' alone. */
	for (uint32_t i = 0; i < count; i++)
	{
		if (uds_volume_index_is_hook(&index->volume_index, &names[i]))
			uds_volume_index_prefetch(&index->volume_index, &names[i]);
	}
	for (uint32_t i = 0; i < count && status == UDS_OK; i++)
	{
		if (uds_volume_index_is_hook(&index->volume_index, &names[i]))
			status = uds_triage_ask(index, triage->port, &names[i]);
	}
	uds_block_leave(index, triage->port, UDS_GUEST_TRIAGE);
	if (status == UDS_ERR_INTERNAL)
		uds_block_fail(index, triage->port, "the volume index makes no sense to the triage worker");
	return status;
}

void
uds_triage_detach(uds_triage *triage)
{
	(void) triage;
}
