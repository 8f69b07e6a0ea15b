/*
 * report.h: from the engine's statuses to PostgreSQL's errors.
 */
#ifndef UDSPG_REPORT_H
#define UDSPG_REPORT_H

#include "postgres.h"

#include "../engine/index.h"

/*
 * Report status, and what *error (may be NULL) tells about it, at elevel.  Does not return when
 * elevel is ERROR or higher.
 */
extern void udspg_report(int elevel, uds_status status, const uds_error *error);

/*
 * Throw the ERROR of an index that cannot execute requests: "uds is offline", with the reason as
 * detail and the hint that belongs to it.
 */
extern void udspg_report_state(uds_state state) pg_attribute_noreturn();

#endif
