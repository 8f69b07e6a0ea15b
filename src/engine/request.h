/*
 * request.h: a request and its result.
 */
#ifndef UDS_REQUEST_H
#define UDS_REQUEST_H

#include "record.h"

/* Values are fixed: queue messages carry them. */
typedef enum uds_operation
{
	UDS_POST = 0,
	UDS_UPDATE = 1,
	UDS_QUERY = 2,
	UDS_PEEK = 3,
	UDS_DELETE = 4,
	UDS_UNDO = 5 /* reserved */
} uds_operation;

#define UDS_OPERATION_COUNT 5 /* those that are executed */

/* Where a record was found, before the request moved it.  Values are fixed, as above. */
typedef enum uds_region
{
	UDS_REGION_NONE = 0,
	UDS_REGION_OPEN = 1,
	UDS_REGION_DENSE = 2,
	UDS_REGION_SPARSE = 3
} uds_region;

#define UDS_BATCH_MAX 1024 /* requests of one uds_zone_execute */

typedef struct uds_request uds_request;

struct uds_request
{
	/* in */
	uds_name name;
	uds_metadata metadata; /* to be stored: POST, UPDATE */
	uint8_t operation;     /* uds_operation */

	/* out, when the request is answered */
	uint8_t status; /* uds_status: OK, OVERFLOW (DELETE), ERR_READ_ONLY, ERR_STATE, ERR_ARGUMENT */
	uint8_t found;
	uint8_t region;              /* uds_region */
	uds_metadata found_metadata; /* defined when found */

	/* the host's own */
	uint32_t tag;
	void *owner;

	/* private to the engine while it has the request */
	uint32_t stage;
	uint32_t page_slot;
	uint32_t record_page;
	uint32_t is_repeated; /* the search of sparse chapters, since there were others meanwhile */
	uint64_t chapter;
	uint64_t missed;        /* chapter of the volume index's entry that does not hold the name */
	uint64_t ticket;        /* of the loads of sparse chapters that it has waited for */
	uint64_t version;       /* of the view that its search of sparse chapters began with */
	uds_request *next;      /* in the list it is parked in, or in the list of finished ones */
	uds_request *next_hash; /* in the table of parked requests */
	uds_request *next_same; /* requests for the same name that wait for this one */
	uds_request *last_same;
};

#endif
