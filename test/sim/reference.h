/*
 * reference.h: what an index may answer, with crashes.
 *
 * For each name the reference keeps its versions in the order they were stored, from the newest one
 * that is known to be durable on.  Each version lies in one chapter of a known range.  After a crash
 * any of them may be what the index has; the first answer tells which, and the later ones are gone
 * for good.  Otherwise the last one is the only right answer, as long as its chapter is within the
 * reach of the name: the window, or for a name of a sparse index that is no hook, its dense part.
 *
 * Beyond its reach such a name may be found or not: in a sparse chapter, with any version that was
 * stored and is still in the window, older and deleted ones included.  Versions that were replaced
 * are kept for that.
 *
 * The reference calls neither the engine nor its port, so nothing else happens in between.
 */
#ifndef UDS_SIM_REFERENCE_H
#define UDS_SIM_REFERENCE_H

#include "../../src/engine/request.h"

#define REFERENCE_ABSENT 0 /* version of a name that was never stored, or was deleted */

typedef struct reference_version
{
	uint64_t version;
	uint64_t sequence; /* order of all stores of a run */
	uint64_t low;      /* chapter it lies in, at least and at most */
	uint64_t high;
	bool is_doubtful; /* perhaps it was never stored, or is lost: it proves nothing */
} reference_version;

typedef struct reference_name
{
	uds_name name;
	reference_version *versions; /* [0] is durable */
	uint32_t count;
	uint32_t capacity;
	bool is_certain; /* the last version is the one that the index has */
	bool is_hook;
	reference_version *replaced; /* by those above; may be found in sparse chapters */
	uint32_t replaced_count;
	uint32_t replaced_capacity;
} reference_name;

typedef struct reference
{
	reference_name *names;
	uint32_t name_count;
	uint32_t chapters; /* in the window */
	uint32_t dense;    /* of these, the newest, where each name is indexed; all in a dense index */
	uint32_t slack;    /* chapters by which a recovery may have moved a record */
	uint64_t sequence; /* of the last store */
	uint64_t durable_below; /* chapters below it are sealed and synced */
	bool is_relaxed;        /* data was lost in a way that the index may answer for: only that
							 * metadata belongs to its name is checked */
} reference;

/* A request and its answer, and what is known of when it was executed. */
typedef struct reference_answer
{
	uint32_t name;
	uds_operation operation;
	uint64_t version; /* of its metadata: POST, UPDATE */
	uds_status status;
	bool found;
	uds_region region;
	uds_metadata metadata;  /* when found */
	uint64_t newest_before; /* open chapter of the zone when it was given to the engine, ... */
	uint64_t newest_after;  /* ... and when it came back */
	bool may_be_read_only;  /* hits may not have moved */
} reference_answer;

/* dense = chapters for a dense index; names and which of them are hooks are set by the caller. */
void reference_init(reference *reference, uint32_t name_count, uint32_t chapters, uint32_t dense);
void reference_destroy(reference *reference);

uds_metadata reference_metadata(uint32_t name, uint64_t version);

/* Check an answer and take over what it did; NULL, or what is wrong with it (a static text). */
const char *reference_check(reference *reference, const reference_answer *answer);

/* Everything stored up to sequence is durable. */
void reference_saved(reference *reference, uint64_t sequence);

/*
 * After reference_crashed: a request that was being executed then.  It may have done its work, or
 * not.
 */
void reference_interrupted(reference *reference, uint32_t name, uds_operation operation,
                           uint64_t version, uint64_t newest_before, uint64_t newest_after);

/* The index has crashed; durable_below is as of then. */
void reference_crashed(reference *reference);

/*
 * The volume may be, or may become one of a chapter fewer: the window holds one or two chapters less,
 * or all of them.
 */
void reference_reduced(reference *reference);

/* The index is going to be emptied. */
void reference_begin_reset(reference *reference);
/* It has been; sequence is that of the reference after the beginning. */
void reference_end_reset(reference *reference, uint64_t sequence);

#endif
