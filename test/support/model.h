/*
 * model.h: what a dense index must answer: a plain map with a window.
 *
 * The model follows the decision table of the design for one zone exactly, chapter numbers
 * included.  Names are the counter names 0 .. name_count - 1.
 */
#ifndef UDS_MODEL_H
#define UDS_MODEL_H

#include "../../src/engine/geometry.h"
#include "../../src/engine/request.h"

typedef struct model_entry
{
	uint64_t chapter; /* UDS_NO_CHAPTER: not there */
	uds_metadata metadata;
	bool is_tombstone;
} model_entry;

typedef struct model
{
	uint32_t name_count;
	uint32_t records_per_chapter;
	uint32_t chapters;
	uint64_t newest;
	uint32_t fill;
	model_entry *entries;
} model;

void model_init(model *model, uint32_t name_count, const uds_geometry *geometry);
void model_destroy(model *model);
/* Copy of the state, into a model of the same sizes. */
void model_copy(model *to, const model *from);

/*
 * Execute: *found, *region and *metadata are what the index must answer.
 */
void model_execute(model *model, uint32_t name, uds_operation operation,
                   const uds_metadata *metadata, bool *found, uds_region *region,
                   uds_metadata *found_metadata);

/*
 * What a crash leaves: nothing newer than the last sealed chapter.  A name whose newest version is
 * lost may have an older one; the model cannot tell, and the caller keeps its own history.
 */
uint64_t model_oldest(const model *model);

#endif
