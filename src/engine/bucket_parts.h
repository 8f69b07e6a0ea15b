/*
 * bucket_parts.h: saving an index of buckets and loading it again.
 */
#ifndef UDS_BUCKET_PARTS_H
#define UDS_BUCKET_PARTS_H

#include "index_buckets.h"

/* As uds_index_buckets_save and uds_index_buckets_load. */
UDS_MUST_CHECK uds_status uds_bucket_parts_save(const uds_index_buckets *index,
                                                uint32_t zone_number, uds_stream *stream);
UDS_MUST_CHECK uds_status uds_bucket_parts_load(uds_index_buckets *index, uds_stream *stream);

#endif
