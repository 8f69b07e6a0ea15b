/*
 * result_row.h: one row of a result, filled from left to right.
 *
 * Views have dozens of columns; a cursor keeps the code in their order, and the end is checked
 * against the declared type.
 */
#ifndef UDSPG_RESULT_ROW_H
#define UDSPG_RESULT_ROW_H

#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define UDSPG_RESULT_COLUMNS_MAX 48

typedef struct udspg_result_row
{
	Datum values[UDSPG_RESULT_COLUMNS_MAX];
	bool nulls[UDSPG_RESULT_COLUMNS_MAX];
	int count;
} udspg_result_row;

static inline void
udspg_result_row_put(udspg_result_row *row, Datum value, bool is_null)
{
	if (row->count >= UDSPG_RESULT_COLUMNS_MAX)
		elog(ERROR, "too many columns in a result");
	row->values[row->count] = value;
	row->nulls[row->count] = is_null;
	row->count++;
}

/* NULL for NULL and for an empty text. */
static inline void
udspg_result_row_put_text(udspg_result_row *row, const char *text)
{
	if (text == NULL || text[0] == '\0')
		udspg_result_row_put(row, (Datum) 0, true);
	else
		udspg_result_row_put(row, CStringGetTextDatum(text), false);
}

static inline void
udspg_result_row_put_count(udspg_result_row *row, uint64 count, bool is_known)
{
	udspg_result_row_put(row, Int64GetDatum((int64) count), !is_known);
}

/* NULL for 0. */
static inline void
udspg_result_row_put_time(udspg_result_row *row, TimestampTz time)
{
	udspg_result_row_put(row, TimestampTzGetDatum(time), time == 0);
}

/* Has the row the columns of the declared type? */
static inline void
udspg_result_row_check(const udspg_result_row *row, TupleDesc descriptor)
{
	if (row->count != descriptor->natts)
		elog(
			ERROR,
			"result has %d columns, its type has %d: the extension is of another version than its library",
			row->count,
			descriptor->natts);
}

#endif
