/*
 * reference.c: see reference.h.
 */
#include "reference.h"

#include <stdlib.h>

void
reference_init(reference *reference, uint32_t name_count, uint32_t chapters, uint32_t dense)
{
	memset(reference, 0, sizeof(*reference));
	reference->name_count = name_count;
	reference->chapters = chapters;
	reference->dense = dense;
	reference->names = calloc(name_count, sizeof(reference_name));
	for (uint32_t i = 0; i < name_count; i++)
	{
		reference_name *name = &reference->names[i];

		name->capacity = 2;
		name->versions = calloc(name->capacity, sizeof(reference_version));
		name->count = 1;
		name->is_certain = true;
	}
}

void
reference_destroy(reference *reference)
{
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		free(reference->names[i].versions);
		free(reference->names[i].replaced);
	}
	free(reference->names);
}

uds_metadata
reference_metadata(uint32_t name, uint64_t version)
{
	uint64_t value[2] = { version, ~(uint64_t) name };
	uds_metadata metadata;

	memcpy(metadata.bytes, value, sizeof(value));
	return metadata;
}

/* First of so many chapters, when newest is the last. */
static uint64_t
first_of(uint32_t chapters, uint64_t newest)
{
	return newest >= chapters ? newest - chapters + 1 : 0;
}

/* May a name be found beyond the chapters in which it is indexed? */
static bool
is_sampled(const reference *reference, const reference_name *name)
{
	return reference->dense < reference->chapters && !name->is_hook;
}

/* First chapter in which a name is indexed when newest is open. */
static uint64_t
reach_of(const reference *reference, const reference_name *name, uint64_t newest)
{
	return first_of(is_sampled(reference, name) ? reference->dense : reference->chapters, newest);
}

/* Keep a version that is no longer the newest, while it may be in the window. */
static void
keep_replaced(reference_name *name, const reference_version *version)
{
	if (version->version == REFERENCE_ABSENT)
		return;
	if (name->replaced_count == name->replaced_capacity)
	{
		name->replaced_capacity = name->replaced_capacity * 2 + 2;
		name->replaced =
			realloc(name->replaced, name->replaced_capacity * sizeof(reference_version));
	}
	name->replaced[name->replaced_count++] = *version;
}

/* Forget replaced versions that have left the window, also if it moves back after a crash. */
static void
prune_replaced(const reference *reference, reference_name *name, uint64_t newest)
{
	uint64_t oldest = first_of(reference->chapters, UDS_MIN(newest, reference->durable_below));
	uint32_t kept = 0;

	for (uint32_t i = 0; i < name->replaced_count; i++)
	{
		if (name->replaced[i].high + reference->slack >= oldest)
			name->replaced[kept++] = name->replaced[i];
	}
	name->replaced_count = kept;
}

/* Take the first versions of a name out of the list. */
static void
replace_first(const reference *reference, reference_name *name, uint32_t count)
{
	for (uint32_t i = 0; i < count && is_sampled(reference, name); i++)
		keep_replaced(name, &name->versions[i]);
	name->count -= count;
	memmove(name->versions, name->versions + count, name->count * sizeof(reference_version));
}

/* Forget versions before the last one that is durable; which one that is, an answer has to tell. */
static void
forget_superseded(reference *reference, reference_name *name)
{
	uint32_t durable = name->count - 1;

	if (!name->is_certain)
		return;
	while (durable > 0 && (name->versions[durable].is_doubtful ||
	                       name->versions[durable].high >= reference->durable_below))
		durable--;
	replace_first(reference, name, durable);
}

static void
add_version(reference *reference, reference_name *name, uint64_t version, uint64_t low,
            uint64_t high)
{
	if (name->count == name->capacity)
	{
		name->capacity *= 2;
		name->versions = realloc(name->versions, name->capacity * sizeof(reference_version));
	}
	name->versions[name->count++] = (reference_version){
		.version = version,
		.sequence = ++reference->sequence,
		.low = low,
		.high = high,
	};
}

/* The same; the index has it now. */
static void
store_version(reference *reference, reference_name *name, uint64_t version, uint64_t low,
              uint64_t high)
{
	add_version(reference, name, version, low, high);
	name->is_certain = true;
}

/* The index has the version in a place of the list. */
static reference_version *
settle_on(reference_name *name, uint32_t place)
{
	name->count = place + 1;
	name->is_certain = true;
	return &name->versions[place];
}

static uint32_t
first_candidate(const reference_name *name)
{
	return name->is_certain ? name->count - 1 : 0;
}

/* A record was found where the index leads to: which version is it, and may it be found? */
static const char *
check_found(reference *reference, reference_name *name, const reference_answer *answer)
{
	uint64_t first = answer->region == UDS_REGION_DENSE
	                     ? first_of(reference->dense, answer->newest_before)
	                     : reach_of(reference, name, answer->newest_before);
	uint64_t value[2];
	uint64_t low = UINT64_MAX;
	uint32_t place = name->count;
	reference_version *version;

	memcpy(value, answer->metadata.bytes, sizeof(value));
	for (uint32_t i = first_candidate(name); i < name->count; i++)
	{
		if (name->versions[i].version != value[0])
			continue;
		low = UDS_MIN(low, name->versions[i].low);
		place = i;
	}
	if (place == name->count)
		return name->versions[name->count - 1].version == REFERENCE_ABSENT && name->is_certain
		           ? "found, but it is deleted or was never stored"
		           : "metadata of a version that the index cannot have";
	version = settle_on(name, place);
	version->is_doubtful = false;
	version->low = UDS_MAX(low, first - UDS_MIN(first, reference->slack));
	if (version->high + reference->slack < first)
		return answer->region == UDS_REGION_DENSE && reference->dense < reference->chapters
		           ? "found in a dense chapter, but its chapter is sparse"
		           : "found, but its chapter has left the window";
	version->high = UDS_MAX(version->high, version->low);
	if (answer->region == UDS_REGION_DENSE)
		return NULL;
	if (answer->region == UDS_REGION_SPARSE)
	{
		if (version->low + reference->dense > answer->newest_after)
			return "found in a sparse chapter, but its chapter is dense";
		version->high = UDS_MIN(version->high, answer->newest_after - reference->dense);
		return NULL;
	}
	if (answer->region != UDS_REGION_OPEN)
		return "found in no region";
	if (version->high + reference->slack < answer->newest_before)
		return "found in the open chapter, but it was stored before";
	version->low = UDS_MAX(version->low, answer->newest_before);
	version->high = UDS_MAX(UDS_MIN(version->high, answer->newest_after), version->low);
	return NULL;
}

/*
 * Does a version explain that the index does not lead to a record of its name?  It is beyond the
 * reach, or a deletion when these count.
 */
static bool
is_reason(const reference_version *version, uint64_t reach, bool deletions_count)
{
	return version->low < reach || (deletions_count && version->version == REFERENCE_ABSENT);
}

/*
 * Keep the candidates that are reasons: what the index has is one of them, but which?  Others before
 * the last reason may have been replaced by it, those behind it are gone.
 */
static void
drop_disproved(reference_name *name, uint64_t reach, bool deletions_count, uint32_t last)
{
	uint32_t kept = first_candidate(name);

	for (uint32_t i = kept; i <= last; i++)
	{
		if (!is_reason(&name->versions[i], reach, deletions_count))
		{
			keep_replaced(name, &name->versions[i]);
			continue;
		}
		name->versions[kept] = name->versions[i];
		name->versions[kept].is_doubtful = kept > 0;
		kept++;
	}
	name->count = kept;
}

/*
 * The index does not lead to a record of the name: some version must be a reason for that.  False:
 * none is.
 */
static bool
check_unindexed(const reference *reference, reference_name *name, uint64_t newest,
                bool deletions_count)
{
	uint64_t reach = reach_of(reference, name, newest);
	uint32_t first = first_candidate(name);
	uint32_t reasons = 0;
	uint32_t place = 0;

	for (uint32_t i = first; i < name->count; i++)
	{
		if (!is_reason(&name->versions[i], reach, deletions_count))
			continue;
		place = i;
		reasons++;
	}
	if (reasons == 0)
		return false;
	if (reasons > 1 && is_sampled(reference, name))
	{
		drop_disproved(name, reach, deletions_count, place);
		return true;
	}
	/* From here on all reasons come to the same. */
	(void) settle_on(name, place);
	for (uint32_t i = first + 1; reasons > 1 && i <= place; i++)
		name->versions[i].is_doubtful = true;
	if (name->versions[place].version != REFERENCE_ABSENT)
		name->versions[place].high = UDS_MIN(name->versions[place].high, reach - 1);
	return true;
}

/* May a version be found in a sparse chapter? */
static bool
may_be_sparse(const reference *reference, const reference_version *version, uint64_t newest_before,
              uint64_t newest_after)
{
	return version->version != REFERENCE_ABSENT &&
	       version->low + reference->dense <= newest_after &&
	       version->high + reference->slack >= first_of(reference->chapters, newest_before);
}

/* May a name be found in a sparse chapter with this version? */
static bool
find_sparse(const reference *reference, const reference_name *name, uint64_t version,
            uint64_t newest_before, uint64_t newest_after)
{
	for (uint32_t i = 0; i < name->count; i++)
	{
		if (name->versions[i].version == version &&
		    may_be_sparse(reference, &name->versions[i], newest_before, newest_after))
			return true;
	}
	for (uint32_t i = 0; i < name->replaced_count; i++)
	{
		if (name->replaced[i].version == version &&
		    may_be_sparse(reference, &name->replaced[i], newest_before, newest_after))
			return true;
	}
	return false;
}

/* A record of a name that is no hook was found in a chapter of the sparse cache. */
static const char *
check_found_sparse(const reference *reference, reference_name *name, const reference_answer *answer)
{
	uint64_t value[2];

	memcpy(value, answer->metadata.bytes, sizeof(value));
	if (!check_unindexed(reference, name, answer->newest_after, false))
		return "found in a sparse chapter, but its newest version is in a dense one";
	if (find_sparse(reference, name, value[0], answer->newest_before, answer->newest_after))
		return NULL;
	return "found in a sparse chapter, with a version that none can have";
}

/* What a request that was executed has stored; from here on the last version is certain. */
static void
apply(reference *reference, reference_name *name, const reference_answer *answer)
{
	uint64_t before = answer->newest_before;
	uint64_t after = answer->newest_after;
	uint64_t stay_low = name->versions[name->count - 1].low;
	uint64_t found[2] = { 0 };

	if (answer->found)
		memcpy(found, answer->metadata.bytes, sizeof(found));
	/* What was found in the sparse cache and stays there is not indexed. */
	if (answer->region == UDS_REGION_SPARSE && is_sampled(reference, name))
		stay_low = 0;
	switch (answer->operation)
	{
		case UDS_PEEK:
		case UDS_UNDO:
			return;
		case UDS_POST:
		case UDS_QUERY:
			if (answer->found && answer->region != UDS_REGION_OPEN)
			{
				store_version(reference,
				              name,
				              found[0],
				              answer->may_be_read_only ? stay_low : before,
				              after);
				/* An older version that has not moved supersedes nothing. */
				if (answer->may_be_read_only && answer->region == UDS_REGION_SPARSE)
					name->versions[name->count - 1].is_doubtful = true;
			}
			else if (!answer->found && answer->operation == UDS_POST)
				store_version(reference, name, answer->version, before, after);
			return;
		case UDS_UPDATE:
			store_version(reference, name, answer->version, before, after);
			return;
		case UDS_DELETE:
			if (answer->found)
				store_version(reference, name, REFERENCE_ABSENT, before, after);
			return;
	}
}

/* Is the metadata of what was found the name's own? */
static bool
is_own_metadata(const reference_answer *answer)
{
	uint64_t value[2];

	memcpy(value, answer->metadata.bytes, sizeof(value));
	return value[1] == ~(uint64_t) answer->name && value[0] != REFERENCE_ABSENT;
}

const char *
reference_check(reference *reference, const reference_answer *answer)
{
	reference_name *name = &reference->names[answer->name];
	const char *problem = NULL;

	if (answer->status == UDS_ERR_READ_ONLY)
		return answer->may_be_read_only && answer->operation != UDS_PEEK &&
		               answer->operation != UDS_QUERY
		           ? NULL
		           : "refused as read only";
	if (answer->status == UDS_OVERFLOW)
	{
		reference->is_relaxed = true;
		return answer->operation == UDS_DELETE ? NULL : "overflow";
	}
	if (answer->status != UDS_OK)
		return "an error status";
	if (answer->found && !is_own_metadata(answer))
		return "metadata of another name";
	if (reference->is_relaxed)
		return NULL;
	if (answer->found && answer->region == UDS_REGION_SPARSE && is_sampled(reference, name))
		problem = check_found_sparse(reference, name, answer);
	else if (answer->found)
		problem = check_found(reference, name, answer);
	else if (!check_unindexed(reference, name, answer->newest_after, true))
		problem = "not found, but it is in the window";
	if (problem != NULL)
		return problem;
	apply(reference, name, answer);
	forget_superseded(reference, name);
	prune_replaced(reference, name, answer->newest_before);
	return NULL;
}

/* Forget versions before the last one that was stored up to sequence. */
static void
forget_before(const reference *reference, reference_name *name, uint64_t sequence)
{
	uint32_t first = name->count - 1;

	while (first > 0 &&
	       (name->versions[first].is_doubtful || name->versions[first].sequence > sequence))
		first--;
	replace_first(reference, name, first);
}

void
reference_saved(reference *reference, uint64_t sequence)
{
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		/* What is saved of a name that has not answered yet is not known. */
		if (reference->names[i].is_certain)
			forget_before(reference, &reference->names[i], sequence);
	}
}

void
reference_interrupted(reference *reference, uint32_t number, uds_operation operation,
                      uint64_t version, uint64_t newest_before, uint64_t newest_after)
{
	reference_name *name = &reference->names[number];

	if (operation == UDS_PEEK)
		return;
	if (operation != UDS_QUERY)
	{
		add_version(reference,
		            name,
		            operation == UDS_DELETE ? REFERENCE_ABSENT : version,
		            newest_before,
		            newest_after);
		name->versions[name->count - 1].is_doubtful = true;
		name->is_certain = false;
	}
	if (operation != UDS_QUERY && operation != UDS_POST)
		return;
	/* Or it has moved what was there, or an older version from a sparse chapter. */
	for (uint32_t i = 0; i < name->count; i++)
		name->versions[i].high = UDS_MAX(name->versions[i].high, newest_after);
	for (uint32_t i = 0; i < name->replaced_count; i++)
	{
		if (!may_be_sparse(reference, &name->replaced[i], newest_before, newest_after))
			continue;
		add_version(reference, name, name->replaced[i].version, newest_before, newest_after);
		name->versions[name->count - 1].is_doubtful = true;
		name->is_certain = false;
	}
}

void
reference_crashed(reference *reference)
{
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		reference_name *name = &reference->names[i];

		forget_superseded(reference, name);
		name->is_certain = name->count == 1;
	}
}

void
reference_begin_reset(reference *reference)
{
	reference->durable_below = 0;
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		add_version(reference, &reference->names[i], REFERENCE_ABSENT, 0, UINT64_MAX);
		reference->names[i].is_certain = false;
	}
}

void
reference_reduced(reference *reference)
{
	bool is_sparse = reference->dense < reference->chapters;

	reference->chapters -= 2;
	reference->dense = is_sparse ? reference->dense - 1 : reference->chapters;
	reference->slack += 3;
}

void
reference_end_reset(reference *reference, uint64_t sequence)
{
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		reference_name *name = &reference->names[i];

		forget_before(reference, name, sequence);
		/* What was stored since is not sparse yet. */
		name->replaced_count = 0;
		if (name->count == 1)
			name->is_certain = true;
	}
}
