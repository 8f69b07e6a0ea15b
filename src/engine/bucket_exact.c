/*
 * bucket_exact.c: the exact entries of a zone of buckets.
 *
 * A name is searched in PROBES lines from the home line of its bucket on.  A line counts the
 * entries that passed it because it was full, so a search ends at the first line that nobody
 * passed, and a removal leaves no trace.
 */
#include "bucket_exact.h"

#define PROBES 8

_Static_assert(PROBES <= UDS_BUCKET_EXACT_LINES_MIN, "no line is probed twice");
_Static_assert((PROBES - 1) * UDS_BUCKET_EXACT_LINE_ENTRIES <= UINT8_MAX, "passed fits");

void
uds_bucket_exact_init(uds_bucket_exact *exact, uds_bucket_exact_line *lines, uint64_t line_count,
                      uint64_t bucket_count)
{
	memset(exact, 0, sizeof(*exact));
	exact->lines = lines;
	exact->line_count = line_count;
	exact->bucket_count = bucket_count;
}

static uint64_t
home_line(const uds_bucket_exact *exact, uint64_t bucket)
{
	uint64_t hash = (bucket + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return hash * exact->line_count >> 32;
}

static uint64_t
name_line(const uds_bucket_exact *exact, const uds_name *name)
{
	return home_line(exact, uds_bucket_exact_bucket(name, exact->bucket_count));
}

static uint64_t
next_line(const uds_bucket_exact *exact, uint64_t line)
{
	return line + 1 == exact->line_count ? 0 : line + 1;
}

const void *
uds_bucket_exact_home(const uds_bucket_exact *exact, uint64_t bucket)
{
	return exact->lines + home_line(exact, bucket);
}

uint64_t
uds_bucket_exact_find(const uds_bucket_exact *exact, const uds_name *name, uint64_t oldest,
                      uint64_t *chapter)
{
	uint64_t line = name_line(exact, name);

	for (uint32_t probe = 0; probe < PROBES; probe++)
	{
		const uds_bucket_exact_line *at = exact->lines + line;

		for (uint32_t i = 0; i < UDS_BUCKET_EXACT_LINE_ENTRIES; i++)
		{
			if ((at->occupied >> i & 1) != 0 && at->chapters[i] >= oldest &&
			    uds_name_equals(&at->names[i], name))
			{
				*chapter = at->chapters[i];
				return line * UDS_BUCKET_EXACT_LINE_ENTRIES + i;
			}
		}
		if (at->passed == 0)
			break;
		line = next_line(exact, line);
	}
	return UDS_BUCKET_EXACT_NONE;
}

uint64_t
uds_bucket_exact_free_slot(const uds_bucket_exact *exact, const uds_name *name)
{
	uint64_t line = name_line(exact, name);

	for (uint32_t probe = 0; probe < PROBES; probe++)
	{
		for (uint32_t i = 0; i < UDS_BUCKET_EXACT_LINE_ENTRIES; i++)
		{
			if ((exact->lines[line].occupied >> i & 1) == 0)
				return line * UDS_BUCKET_EXACT_LINE_ENTRIES + i;
		}
		line = next_line(exact, line);
	}
	return UDS_BUCKET_EXACT_NONE;
}

uint64_t
uds_bucket_exact_expired_slot(const uds_bucket_exact *exact, const uds_name *name, uint64_t oldest)
{
	uint64_t line = name_line(exact, name);

	for (uint32_t probe = 0; probe < PROBES; probe++)
	{
		const uds_bucket_exact_line *at = exact->lines + line;

		for (uint32_t i = 0; i < UDS_BUCKET_EXACT_LINE_ENTRIES; i++)
		{
			if ((at->occupied >> i & 1) != 0 && at->chapters[i] < oldest)
				return line * UDS_BUCKET_EXACT_LINE_ENTRIES + i;
		}
		line = next_line(exact, line);
	}
	return UDS_BUCKET_EXACT_NONE;
}

/* Add change to the counters of the lines that the entry of a slot passed. */
static void
count_passed(uds_bucket_exact *exact, uint64_t slot, int change)
{
	uint64_t end = slot / UDS_BUCKET_EXACT_LINE_ENTRIES;
	uint64_t line = name_line(exact, uds_bucket_exact_name(exact, slot));

	for (; line != end; line = next_line(exact, line))
		exact->lines[line].passed = (uint8_t) (exact->lines[line].passed + change);
}

void
uds_bucket_exact_insert(uds_bucket_exact *exact, uint64_t slot, const uds_name *name,
                        uint64_t chapter)
{
	uds_bucket_exact_line *line = exact->lines + slot / UDS_BUCKET_EXACT_LINE_ENTRIES;
	uint32_t i = slot % UDS_BUCKET_EXACT_LINE_ENTRIES;

	UDS_ASSERT((line->occupied >> i & 1) == 0);
	line->names[i] = *name;
	line->chapters[i] = chapter;
	line->occupied |= (uint8_t) (1u << i);
	count_passed(exact, slot, 1);
	exact->used++;
}

void
uds_bucket_exact_remove(uds_bucket_exact *exact, uint64_t slot)
{
	uds_bucket_exact_line *line = exact->lines + slot / UDS_BUCKET_EXACT_LINE_ENTRIES;

	UDS_ASSERT(uds_bucket_exact_is_used(exact, slot));
	count_passed(exact, slot, -1);
	line->occupied &= (uint8_t) ~(1u << slot % UDS_BUCKET_EXACT_LINE_ENTRIES);
	exact->used--;
}

bool
uds_bucket_exact_has(const uds_bucket_exact *exact, uint64_t bucket)
{
	uint64_t line = home_line(exact, bucket);

	for (uint32_t probe = 0; probe < PROBES; probe++)
	{
		const uds_bucket_exact_line *at = exact->lines + line;

		for (uint32_t i = 0; i < UDS_BUCKET_EXACT_LINE_ENTRIES; i++)
		{
			if ((at->occupied >> i & 1) != 0 &&
			    uds_bucket_exact_bucket(&at->names[i], exact->bucket_count) == bucket)
				return true;
		}
		if (at->passed == 0)
			break;
		line = next_line(exact, line);
	}
	return false;
}

uds_status
uds_bucket_exact_check(const uds_bucket_exact *exact)
{
	uint64_t used = 0;

	for (uint64_t line = 0; line < exact->line_count; line++)
	{
		uint64_t passed = 0;
		uint64_t at = line;

		if (exact->lines[line].occupied >> UDS_BUCKET_EXACT_LINE_ENTRIES != 0)
			return UDS_ERR_CORRUPT;
		used += (uint64_t) __builtin_popcount(exact->lines[line].occupied);
		for (uint64_t distance = 1; distance < PROBES; distance++)
		{
			at = next_line(exact, at);
			for (uint32_t i = 0; i < UDS_BUCKET_EXACT_LINE_ENTRIES; i++)
			{
				uint64_t home = name_line(exact, &exact->lines[at].names[i]);
				uint64_t way = at >= home ? at - home : at + exact->line_count - home;

				passed += (exact->lines[at].occupied >> i & 1) != 0 && way >= distance;
			}
		}
		if (passed != exact->lines[line].passed)
			return UDS_ERR_CORRUPT;
	}
	return used == exact->used ? UDS_OK : UDS_ERR_CORRUPT;
}
