/*
 * bucket_side.c: the side table of a zone of buckets.
 *
 * An entry is searched in PROBES lines from its home line on.  A line counts the entries that
 * passed it because it was full, so a search ends at the first line that nobody passed, and a
 * removal leaves no trace.  The word of an entry, from bit 0 up:
 *
 *   address 18 · group 7 · distance from the home line 5 · 1 · chapter mod 2^33
 *
 * The home line is (bucket + address scaled to the number of lines) mod lines.  So a slot, its
 * distance and its address give back bucket mod lines, and the group is bucket / lines: the word
 * stays small whatever the number of buckets is.  A word of zero is a free slot.
 *
 * Chapters are read back relative to the newest one.  The sweep comes round long before 2^33
 * chapters have passed: set_window sweeps a line a chapter.
 */
#include "bucket_side.h"

#include "bucket.h"

#define PROBES         24
#define GROUP_SHIFT    18
#define GROUP_BITS     7
#define DISTANCE_SHIFT 25
#define DISTANCE_MASK  31
#define USED           (UINT64_C(1) << 30)
#define CHAPTER_SHIFT  31
#define CHAPTER_MASK   ((UINT64_C(1) << 33) - 1)
#define KEY_MASK       ((UINT64_C(1) << CHAPTER_SHIFT) - 1)

_Static_assert(PROBES <= UDS_BUCKET_SIDE_LINES_MIN, "no line is probed twice");
_Static_assert(PROBES - 1 <= DISTANCE_MASK, "distances fit");

void
uds_bucket_side_init(uds_bucket_side *side, uds_bucket_side_line *lines, uint64_t line_count)
{
	memset(side, 0, sizeof(*side));
	side->lines = lines;
	side->line_count = line_count;
	side->limit = uds_bucket_side_slots(side) / 5 * 4;
}

/* Share of an address in the number of its home line. */
static uint64_t
address_line(const uds_bucket_side *side, uint32_t address)
{
	return address * side->line_count >> UDS_BUCKET_ADDRESS_BITS;
}

/* Home line, and the key part of the word for distance 0. */
static uint64_t
home_line(const uds_bucket_side *side, uint64_t bucket, uint32_t address, uint64_t *key)
{
	uint64_t group = bucket / side->line_count;
	uint64_t line = bucket - group * side->line_count + address_line(side, address);

	UDS_ASSERT(group >> GROUP_BITS == 0);
	*key = address | group << GROUP_SHIFT | USED;
	return line >= side->line_count ? line - side->line_count : line;
}

static uint64_t
next_line(const uds_bucket_side *side, uint64_t line)
{
	return line + 1 == side->line_count ? 0 : line + 1;
}

static uint64_t
word_chapter(uint64_t word, uint64_t newest)
{
	return newest - ((newest - (word >> CHAPTER_SHIFT)) & CHAPTER_MASK);
}

/* A word of a chapter that left the window, or one that makes no sense. */
static bool
is_expired(uint64_t word, uint64_t oldest, uint64_t newest)
{
	uint64_t chapter = word_chapter(word, newest);

	return chapter < oldest || chapter > newest;
}

const void *
uds_bucket_side_home(const uds_bucket_side *side, uint64_t bucket, uint32_t address)
{
	uint64_t key;

	return side->lines + home_line(side, bucket, address, &key);
}

uint64_t
uds_bucket_side_find(const uds_bucket_side *side, uint64_t bucket, uint32_t address,
                     uint64_t oldest, uint64_t newest, uint64_t *chapter)
{
	uint64_t key;
	uint64_t line = home_line(side, bucket, address, &key);

	for (uint32_t probe = 0; probe < PROBES; probe++)
	{
		const uds_bucket_side_line *at = side->lines + line;

		for (uint32_t i = 0; i < UDS_BUCKET_SIDE_LINE_ENTRIES; i++)
		{
			if ((at->entries[i] & KEY_MASK) == key && !is_expired(at->entries[i], oldest, newest))
			{
				*chapter = word_chapter(at->entries[i], newest);
				return line * UDS_BUCKET_SIDE_LINE_ENTRIES + i;
			}
		}
		if (at->passed == 0)
			break;
		key += UINT64_C(1) << DISTANCE_SHIFT;
		line = next_line(side, line);
	}
	return UDS_BUCKET_SIDE_NONE;
}

bool
uds_bucket_side_holds(const uds_bucket_side *side, uint64_t slot,
                      const uds_bucket_side_entry *entry)
{
	uint64_t key;
	uint64_t home = home_line(side, entry->bucket, entry->address, &key);
	uint64_t line = slot / UDS_BUCKET_SIDE_LINE_ENTRIES;
	uint64_t distance = line >= home ? line - home : line + side->line_count - home;
	uint64_t word;

	if (slot >= uds_bucket_side_slots(side) || distance >= PROBES)
		return false;
	word = side->lines[line].entries[slot % UDS_BUCKET_SIDE_LINE_ENTRIES];
	key |= distance << DISTANCE_SHIFT;
	return word == (key | entry->chapter << CHAPTER_SHIFT);
}

bool
uds_bucket_side_insert(uds_bucket_side *side, const uds_bucket_side_entry *entry, uint64_t oldest,
                       uint64_t newest, uint64_t *expired)
{
	uint64_t key;
	uint64_t line = home_line(side, entry->bucket, entry->address, &key);
	uint64_t slot = UDS_BUCKET_SIDE_NONE;
	uint64_t distance;

	for (distance = 0; distance < PROBES; distance++)
	{
		const uint64_t *words = side->lines[line].entries;

		for (uint32_t i = 0; i < UDS_BUCKET_SIDE_LINE_ENTRIES; i++)
		{
			if (words[i] == 0 ? side->used >= side->limit : !is_expired(words[i], oldest, newest))
				continue;
			slot = line * UDS_BUCKET_SIDE_LINE_ENTRIES + i;
			break;
		}
		if (slot != UDS_BUCKET_SIDE_NONE)
			break;
		line = next_line(side, line);
	}
	if (slot == UDS_BUCKET_SIDE_NONE)
		return false;
	if (side->lines[line].entries[slot % UDS_BUCKET_SIDE_LINE_ENTRIES] != 0)
	{
		uds_bucket_side_remove(side, slot);
		*expired += 1;
	}
	side->lines[line].entries[slot % UDS_BUCKET_SIDE_LINE_ENTRIES] =
		key | distance << DISTANCE_SHIFT | entry->chapter << CHAPTER_SHIFT;
	for (; distance > 0; distance--)
	{
		line = line == 0 ? side->line_count - 1 : line - 1;
		side->lines[line].passed++;
	}
	side->used++;
	return true;
}

void
uds_bucket_side_remove(uds_bucket_side *side, uint64_t slot)
{
	uint64_t line = slot / UDS_BUCKET_SIDE_LINE_ENTRIES;
	uint64_t *word = &side->lines[line].entries[slot % UDS_BUCKET_SIDE_LINE_ENTRIES];

	for (uint64_t distance = *word >> DISTANCE_SHIFT & DISTANCE_MASK; distance > 0; distance--)
	{
		line = line == 0 ? side->line_count - 1 : line - 1;
		side->lines[line].passed--;
	}
	*word = 0;
	side->used--;
}

uint64_t
uds_bucket_side_sweep(uds_bucket_side *side, uint64_t lines, uint64_t oldest, uint64_t newest)
{
	uint64_t removed = 0;

	if (side->used == 0)
		return 0;
	for (lines = UDS_MIN(lines, side->line_count); lines > 0; lines--)
	{
		const uint64_t *words = side->lines[side->sweep_line].entries;

		for (uint32_t i = 0; i < UDS_BUCKET_SIDE_LINE_ENTRIES; i++)
		{
			if (words[i] == 0 || !is_expired(words[i], oldest, newest))
				continue;
			uds_bucket_side_remove(side, side->sweep_line * UDS_BUCKET_SIDE_LINE_ENTRIES + i);
			removed++;
		}
		side->sweep_line = next_line(side, side->sweep_line);
	}
	return removed;
}

bool
uds_bucket_side_entry_at(const uds_bucket_side *side, uint64_t slot, uint64_t newest,
                         uds_bucket_side_entry *entry)
{
	uint64_t line = slot / UDS_BUCKET_SIDE_LINE_ENTRIES;
	uint64_t word = side->lines[line].entries[slot % UDS_BUCKET_SIDE_LINE_ENTRIES];
	uint64_t rest;

	if (word == 0)
		return false;
	entry->address = (uint32_t) word & UDS_BUCKET_ADDRESS_MASK;
	entry->chapter = word_chapter(word, newest);
	rest = line + 2 * side->line_count - (word >> DISTANCE_SHIFT & DISTANCE_MASK) -
	       address_line(side, entry->address);
	while (rest >= side->line_count)
		rest -= side->line_count;
	entry->bucket =
		rest + (word >> GROUP_SHIFT & ((UINT64_C(1) << GROUP_BITS) - 1)) * side->line_count;
	return true;
}

uds_status
uds_bucket_side_check(const uds_bucket_side *side)
{
	uint64_t used = 0;

	for (uint64_t line = 0; line < side->line_count; line++)
	{
		uint64_t passed = 0;
		uint64_t at = line;

		for (uint64_t distance = 0; distance < PROBES; distance++)
		{
			for (uint32_t i = 0; i < UDS_BUCKET_SIDE_LINE_ENTRIES; i++)
			{
				uint64_t word = side->lines[at].entries[i];

				used += distance == 0 && word != 0;
				passed += distance > 0 && (word >> DISTANCE_SHIFT & DISTANCE_MASK) >= distance;
			}
			at = next_line(side, at);
		}
		if (passed != side->lines[line].passed)
			return UDS_ERR_CORRUPT;
	}
	return used == side->used ? UDS_OK : UDS_ERR_CORRUPT;
}
