/*
 * sparse_model.c: what a sparse index may answer, for one name.
 */
#include "sparse_model.h"

#include <string.h>

static void
add_version(sparse_name *name, const uds_metadata *metadata, bool is_tombstone,
            const sparse_moment *moment)
{
	if (name->count == SPARSE_VERSIONS)
	{
		name->has_forgotten = true;
		name->count--;
		memmove(name->versions, name->versions + 1, name->count * sizeof(name->versions[0]));
	}
	name->versions[name->count++] = (sparse_version){ .metadata = *metadata,
		                                              .is_tombstone = is_tombstone,
		                                              .low = moment->before,
		                                              .high = moment->after };
}

/* May a version with this metadata be in the window? */
static bool
is_possible(const sparse_name *name, const uds_metadata *metadata, const sparse_moment *moment)
{
	for (uint32_t i = 0; i < name->count; i++)
	{
		const sparse_version *version = &name->versions[i];

		if (!version->is_tombstone && version->high + moment->window > moment->before &&
		    memcmp(&version->metadata, metadata, sizeof(*metadata)) == 0)
			return true;
	}
	return name->has_forgotten;
}

static const char *
judge(const sparse_name *name, const uds_request *request, const sparse_moment *moment,
      sparse_tally *tally)
{
	const sparse_version *newest = name->count > 0 ? &name->versions[name->count - 1] : NULL;
	bool is_certain = newest != NULL && newest->low + moment->chapters > moment->after;

	if (request->status != UDS_OK)
		return "failed";
	if (is_certain && newest->is_tombstone)
	{
		tally->unwanted++;
		return request->found ? "found, but deleted" : NULL;
	}
	if (is_certain)
	{
		tally->wanted++;
		if (!request->found)
			return "not found";
		if (memcmp(&request->found_metadata, &newest->metadata, sizeof(newest->metadata)) != 0)
			return "found an older version";
		return NULL;
	}
	if (!request->found)
	{
		tally->unwanted += newest == NULL;
		return NULL;
	}
	if (memcmp(&request->found_metadata, &request->metadata, sizeof(uint64_t)) != 0)
		return "found the metadata of another name";
	if (!is_possible(name, &request->found_metadata, moment))
		return "found what it never had, or what has expired";
	tally->lucky += request->region == UDS_REGION_SPARSE;
	return NULL;
}

const char *
sparse_model_check(sparse_name *name, const uds_request *request, const sparse_moment *moment,
                   sparse_tally *tally)
{
	static const uds_metadata no_metadata = { { 0 } };
	const char *problem = judge(name, request, moment, tally);

	tally->sparse += request->found && request->region == UDS_REGION_SPARSE;
	switch ((uds_operation) request->operation)
	{
		case UDS_POST:
			add_version(name,
			            request->found ? &request->found_metadata : &request->metadata,
			            false,
			            moment);
			break;
		case UDS_UPDATE:
			add_version(name, &request->metadata, false, moment);
			break;
		case UDS_QUERY:
			if (request->found)
				add_version(name, &request->found_metadata, false, moment);
			break;
		case UDS_DELETE:
			if (request->found)
				add_version(name, &no_metadata, true, moment);
			break;
		case UDS_PEEK:
		case UDS_UNDO:
			break;
	}
	return problem;
}
