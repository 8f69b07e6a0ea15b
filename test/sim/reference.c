/*
 * reference.c: see reference.h.
 */
#include "reference.h"

#include <stdlib.h>

void
reference_init(reference *reference, uint32_t name_count, uint32_t chapters)
{
	memset(reference, 0, sizeof(*reference));
	reference->name_count = name_count;
	reference->chapters = chapters;
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
		free(reference->names[i].versions);
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

/* First chapter of the window when newest is open. */
static uint64_t
oldest_of(const reference *reference, uint64_t newest)
{
	return newest >= reference->chapters ? newest - reference->chapters + 1 : 0;
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
	name->count -= durable;
	memmove(name->versions, name->versions + durable, name->count * sizeof(reference_version));
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

/* A record was found: which version is it, and may it be found? */
static const char *
check_found(reference *reference, reference_name *name, const reference_answer *answer)
{
	uint64_t oldest = oldest_of(reference, answer->newest_before);
	uint64_t value[2];
	uint64_t low = UINT64_MAX;
	uint32_t place = name->count;
	reference_version *version;

	memcpy(value, answer->metadata.bytes, sizeof(value));
	if (value[1] != ~(uint64_t) answer->name || value[0] == REFERENCE_ABSENT)
		return "metadata of another name";
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
	version->low = UDS_MAX(low, oldest - UDS_MIN(oldest, reference->slack));
	if (version->high + reference->slack < oldest)
		return "found, but its chapter has left the window";
	version->high = UDS_MAX(version->high, version->low);
	if (answer->region != UDS_REGION_OPEN)
		return answer->region == UDS_REGION_DENSE ? NULL : "found in no region";
	if (version->high + reference->slack < answer->newest_before)
		return "found in the open chapter, but it was stored before";
	version->low = UDS_MAX(version->low, answer->newest_before);
	version->high = UDS_MAX(UDS_MIN(version->high, answer->newest_after), version->low);
	return NULL;
}

/* No record was found: may that be? */
static const char *
check_not_found(reference *reference, reference_name *name, const reference_answer *answer)
{
	uint64_t oldest = oldest_of(reference, answer->newest_after);
	uint32_t first = first_candidate(name);
	uint32_t reasons = 0;
	uint32_t place = 0;

	for (uint32_t i = first; i < name->count; i++)
	{
		if (name->versions[i].version != REFERENCE_ABSENT && name->versions[i].low >= oldest)
			continue;
		place = i;
		reasons++;
	}
	if (reasons == 0)
		return "not found, but it is in the window";
	(void) settle_on(name, place);
	/* One version is deleted or has left the window, but which? */
	for (uint32_t i = first + 1; reasons > 1 && i <= place; i++)
		name->versions[i].is_doubtful = true;
	if (name->versions[place].version != REFERENCE_ABSENT)
		name->versions[place].high = UDS_MIN(name->versions[place].high, oldest - 1);
	return NULL;
}

/* What a request that was executed has stored. */
static void
apply(reference *reference, reference_name *name, const reference_answer *answer)
{
	uint64_t before = answer->newest_before;
	uint64_t after = answer->newest_after;
	reference_version current = name->versions[name->count - 1];

	switch (answer->operation)
	{
		case UDS_PEEK:
		case UDS_UNDO:
			return;
		case UDS_POST:
		case UDS_QUERY:
			if (answer->found && answer->region != UDS_REGION_OPEN)
				add_version(reference,
				            name,
				            current.version,
				            answer->may_be_read_only ? current.low : before,
				            after);
			else if (!answer->found && answer->operation == UDS_POST)
				add_version(reference, name, answer->version, before, after);
			return;
		case UDS_UPDATE:
			add_version(reference, name, answer->version, before, after);
			return;
		case UDS_DELETE:
			if (answer->found)
				add_version(reference, name, REFERENCE_ABSENT, before, after);
			return;
	}
}

static const char *
check_relaxed(const reference_answer *answer)
{
	uint64_t value[2];

	if (!answer->found)
		return NULL;
	memcpy(value, answer->metadata.bytes, sizeof(value));
	return value[1] == ~(uint64_t) answer->name ? NULL : "metadata of another name";
}

const char *
reference_check(reference *reference, const reference_answer *answer)
{
	reference_name *name = &reference->names[answer->name];
	const char *problem;

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
	if (reference->is_relaxed)
		return check_relaxed(answer);
	if (answer->found)
		problem = check_found(reference, name, answer);
	else
		problem = check_not_found(reference, name, answer);
	if (problem != NULL)
		return problem;
	apply(reference, name, answer);
	forget_superseded(reference, name);
	return NULL;
}

/* Forget versions before the last one that was stored up to sequence. */
static void
forget_before(reference_name *name, uint64_t sequence)
{
	uint32_t first = name->count - 1;

	while (first > 0 &&
	       (name->versions[first].is_doubtful || name->versions[first].sequence > sequence))
		first--;
	name->count -= first;
	memmove(name->versions, name->versions + first, name->count * sizeof(reference_version));
}

void
reference_saved(reference *reference, uint64_t sequence)
{
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		/* What is saved of a name that has not answered yet is not known. */
		if (reference->names[i].is_certain)
			forget_before(&reference->names[i], sequence);
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
	/* Or it has moved what was there. */
	for (uint32_t i = 0; i < name->count; i++)
		name->versions[i].high = UDS_MAX(name->versions[i].high, newest_after);
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
reference_end_reset(reference *reference, uint64_t sequence)
{
	for (uint32_t i = 0; i < reference->name_count; i++)
	{
		reference_name *name = &reference->names[i];

		forget_before(name, sequence);
		if (name->count == 1)
			name->is_certain = true;
	}
}
