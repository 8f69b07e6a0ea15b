/*
 * sparse_model.h: what a sparse index may answer, for one name.
 *
 * An index forgets names that are no hooks when their chapter turns sparse, and may find them
 * again, also older versions of them.  So the model knows all versions of a name and where they can
 * be.  Certain answers are those of the newest version as long as the volume index leads to it: in
 * the whole window for hooks, in the dense part of it for other names.
 */
#ifndef UDS_SPARSE_MODEL_H
#define UDS_SPARSE_MODEL_H

#include "../../src/engine/request.h"

#define SPARSE_VERSIONS 12 /* of a name; when there are more, the oldest ones are forgotten */

typedef struct sparse_version
{
	uds_metadata metadata;
	bool is_tombstone;
	uint64_t low;  /* its chapter is not below */
	uint64_t high; /* nor above */
} sparse_version;

typedef struct sparse_name
{
	uint32_t count;
	bool has_forgotten; /* versions that may still be found */
	sparse_version versions[SPARSE_VERSIONS];
} sparse_name;

/* When a request was executed: the newest chapter of its zone before it was sent, and after. */
typedef struct sparse_moment
{
	uint64_t before;
	uint64_t after;
	uint32_t chapters; /* of the window for names of its kind: hooks or others */
	uint32_t window;   /* chapters of the whole window */
} sparse_moment;

typedef struct sparse_tally
{
	uint64_t wanted;   /* answers that had to be found */
	uint64_t unwanted; /* that had to be a miss */
	uint64_t sparse;   /* found in a sparse chapter */
	uint64_t lucky;    /* of these, those that the volume index did not lead to */
} sparse_tally;

/*
 * Compare the answer to a request with what is known, and learn from it.  Requests for one name
 * come in the order of their execution; each has metadata of uds_generate_metadata with a counter
 * of its name, whether it stores them or not.  NULL, or what is wrong.
 */
const char *sparse_model_check(sparse_name *name, const uds_request *request,
                               const sparse_moment *moment, sparse_tally *tally);

#endif
