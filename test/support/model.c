/*
 * model.c: see model.h.
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

void
model_init(model *model, uint32_t name_count, const uds_geometry *geometry)
{
	memset(model, 0, sizeof(*model));
	model->name_count = name_count;
	model->records_per_chapter = geometry->records_per_chapter;
	model->chapters = geometry->parameters.chapters;
	model->entries = calloc(name_count, sizeof(model_entry));
	for (uint32_t i = 0; i < name_count; i++)
		model->entries[i].chapter = UDS_NO_CHAPTER;
}

void
model_destroy(model *model)
{
	free(model->entries);
}

void
model_copy(model *to, const model *from)
{
	model_entry *entries = to->entries;

	memcpy(entries, from->entries, from->name_count * sizeof(model_entry));
	*to = *from;
	to->entries = entries;
}

uint64_t
model_oldest(const model *model)
{
	return model->newest >= model->chapters ? model->newest - model->chapters + 1 : 0;
}

/* Put a record into the open chapter; a name that is there already keeps its slot. */
static void
store(model *model, model_entry *entry, const uds_metadata *metadata, bool is_tombstone)
{
	bool is_open = entry->chapter == model->newest;

	entry->chapter = model->newest;
	entry->metadata = *metadata;
	entry->is_tombstone = is_tombstone;
	if (!is_open && ++model->fill == model->records_per_chapter)
	{
		model->newest++;
		model->fill = 0;
	}
}

void
model_execute(model *model, uint32_t name, uds_operation operation, const uds_metadata *metadata,
              bool *found, uds_region *region, uds_metadata *found_metadata)
{
	static const uds_metadata none = { { 0 } };
	model_entry *entry = &model->entries[name];
	bool is_there = entry->chapter != UDS_NO_CHAPTER && entry->chapter >= model_oldest(model);
	bool is_open = is_there && entry->chapter == model->newest;

	*found = is_there && !entry->is_tombstone;
	*region = !*found ? UDS_REGION_NONE : is_open ? UDS_REGION_OPEN : UDS_REGION_DENSE;
	if (*found)
		*found_metadata = entry->metadata;
	switch (operation)
	{
		case UDS_PEEK:
		case UDS_UNDO:
			break;
		case UDS_QUERY:
			if (*found && !is_open)
				store(model, entry, &entry->metadata, false);
			break;
		case UDS_POST:
			if (!*found)
				store(model, entry, metadata, false);
			else if (!is_open)
				store(model, entry, &entry->metadata, false);
			break;
		case UDS_UPDATE:
			store(model, entry, metadata, false);
			break;
		case UDS_DELETE:
			if (*found)
				store(model, entry, &none, true);
			break;
	}
}
