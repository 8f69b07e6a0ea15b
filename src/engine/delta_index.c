/*
 * delta_index.c: mutable delta lists.
 *
 * Entries are read with one unaligned 64-bit load for two of them, and the length of a code comes
 * from counting trailing zeros without a branch (read_word).  A word that holds no one bit behind
 * the fixed part of an entry is loaded again, or read the slow way (read_entry): that also meets
 * every list end and all damage.
 *
 * Changes are edits: cut the bits [from, to) of a list and put at most one plain entry in their
 * place, never longer than what is cut.  A walk that expires entries collects its edits first and
 * applies them only when it has seen the whole list in order.
 */
#include "delta_index.h"

#include <string.h>

#define EDITS_MAX 32

typedef struct edit
{
	uint32_t from;
	uint32_t to;
	uint32_t delta; /* of the plain entry that takes the place, when there is one */
	uint32_t value;
	bool has_entry;
} edit;

/* A list while it is read. */
typedef struct reader
{
	const uint8_t *data;
	uint32_t size; /* bits */
} reader;

static bool
open_list(const uds_delta_index *index, uint32_t list, reader *reader)
{
	reader->size = uds_delta_blocks_list(&index->blocks, list)->bits;
	reader->data = NULL;
	if (reader->size == 0)
		return true;
	reader->data = uds_delta_blocks_data(&index->blocks, list);
	return reader->data != NULL;
}

/* Read an entry, collision or not, from the low bits of a word; false when its end is not there. */
static inline bool
read_word(const uds_delta_code *code, uint64_t word, uint32_t *bits, uint64_t *delta)
{
	uint32_t fixed_bits = code->value_bits + code->code_bits;
	uint64_t rest = word >> fixed_bits;
	uint32_t base = (uint32_t) (word >> code->value_bits) & ((1u << code->code_bits) - 1);
	uint32_t zeros;
	uint32_t is_long;

	if (UDS_UNLIKELY(rest == 0))
		return false;
	zeros = (uint32_t) __builtin_ctzll(rest);
	is_long = -(uint32_t) (base >= code->short_count);
	*bits = fixed_bits + ((zeros + 1) & is_long);
	*delta = base + (uint64_t) (zeros & is_long) * code->step;
	return true;
}

/* The same for any entry of a list; false when it ends behind the list. */
static bool
read_entry(const uds_delta_code *code, const reader *list, uint32_t offset, uint32_t *bits,
           uint64_t *delta)
{
	uint32_t at = offset + code->value_bits + code->code_bits;
	uint32_t base;
	uint32_t tail;

	if (at > list->size)
		return false;
	base = (uint32_t) uds_bits_get(list->data, offset + code->value_bits, code->code_bits);
	tail = at;
	if (base >= code->short_count)
	{
		for (;;)
		{
			uint64_t word;

			if (tail >= list->size)
				return false;
			word = uds_bits_load(list->data, tail);
			if (word != 0)
			{
				tail += (uint32_t) __builtin_ctzll(word);
				break;
			}
			tail += 64 - tail % 8;
		}
		if (tail >= list->size)
			return false;
		*delta = base + (uint64_t) (tail - at) * code->step;
		tail++;
	}
	else
		*delta = base;
	*bits = tail - offset;
	return true;
}

/* Look for name among the collision entries directly behind the plain entry at the cursor. */
static uds_status
find_name(const uds_delta_index *index, const uds_name *name, uds_delta_cursor *cursor)
{
	uds_delta_cursor next = *cursor;
	uds_name found;
	uds_status status;

	for (;;)
	{
		status = uds_delta_index_next(index, &next);
		if (status != UDS_OK)
			return status;
		if (!next.is_collision)
			return UDS_OK;
		status = uds_delta_index_name(index, &next, &found);
		if (status != UDS_OK)
			return status;
		if (uds_name_equals(&found, name))
		{
			*cursor = next;
			return UDS_OK;
		}
	}
}

/* What a walk remembers to expire entries. */
typedef struct expiry_walk
{
	edit edits[EDITS_MAX];
	uint32_t count;
	uint32_t cut_bits; /* by which the list has become shorter so far */
	uint32_t cut_from;
	bool is_cutting;
	bool base_is_lost; /* the plain entry of the present key is cut */
	uint64_t out_key;  /* of the last entry before the cut */
	uint32_t dropped;
	uint32_t dropped_early;
	uint32_t collisions; /* collision entries fewer */
	uint32_t lowest;
} expiry_walk;

/* An entry as a walk sees it. */
typedef struct seen_entry
{
	uint64_t key;
	uint64_t delta;
	uint32_t offset;
	uint32_t bits;
	uint32_t value;
	bool is_collision;
} seen_entry;

/* An entry goes: begin a cut there, unless the one before has gone too. */
static void
walk_drop(expiry_walk *walk, const uds_delta_expiry *expiry, const seen_entry *entry,
          uint32_t relative)
{
	if (!walk->is_cutting)
	{
		walk->is_cutting = true;
		walk->base_is_lost = false;
		walk->cut_from = entry->offset;
		walk->out_key = entry->key - entry->delta;
	}
	if (!entry->is_collision)
		walk->base_is_lost = true;
	walk->collisions += entry->is_collision;
	walk->dropped++;
	walk->dropped_early += relative >= expiry->early;
}

/* An entry behind a cut stays: close the cut.  The entry becomes what it will be afterwards. */
static void
walk_close_cut(const uds_delta_code *code, expiry_walk *walk, seen_entry *entry)
{
	bool is_promoted = entry->is_collision && walk->base_is_lost;
	edit *edit = &walk->edits[walk->count++];

	walk->is_cutting = false;
	walk->collisions += is_promoted;
	edit->from = walk->cut_from;
	edit->has_entry = !entry->is_collision || is_promoted;
	edit->to = edit->has_entry ? entry->offset + entry->bits : entry->offset;
	edit->delta = (uint32_t) (entry->key - walk->out_key);
	edit->value = entry->value;
	entry->offset = edit->from - walk->cut_bits;
	walk->cut_bits += edit->to - edit->from;
	if (edit->has_entry)
	{
		entry->is_collision = false;
		entry->delta = edit->delta;
		entry->bits = uds_delta_code_entry_bits(code, edit->delta);
		walk->cut_bits -= entry->bits;
	}
}

/* Write the edits of a list, in order, and make it shorter. */
static uds_status
apply_edits(uds_delta_index *index, uint32_t list, const edit *edits, uint32_t count)
{
	uint8_t *data = uds_delta_blocks_data(&index->blocks, list);
	uint32_t size = uds_delta_index_list_bits(index, list);
	uint64_t write = edits[0].from;

	if (data == NULL)
		return UDS_ERR_CORRUPT;
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t end = i + 1 < count ? edits[i + 1].from : size;

		if (edits[i].has_entry)
			write = uds_delta_code_write_entry(&index->code,
			                                   data,
			                                   write,
			                                   edits[i].delta,
			                                   edits[i].value);
		uds_bits_move(data, write, data, edits[i].to, end - edits[i].to);
		write += end - edits[i].to;
	}
	return uds_delta_blocks_resize(&index->blocks, list, (uint32_t) write);
}

/* Put a cursor on an entry. */
static void
cursor_set(uds_delta_cursor *cursor, const seen_entry *entry)
{
	cursor->offset = entry->offset;
	cursor->bits = entry->bits;
	cursor->key = (uint32_t) entry->key;
	cursor->delta = (uint32_t) entry->delta;
	cursor->value = entry->value;
	cursor->is_end = false;
	cursor->is_collision = entry->is_collision;
}

static void
cursor_set_end(uds_delta_cursor *cursor, uint32_t size, uint64_t key)
{
	cursor->offset = size;
	cursor->bits = 0;
	cursor->key = (uint32_t) key;
	cursor->delta = 0;
	cursor->value = 0;
	cursor->is_end = true;
	cursor->is_collision = false;
}

/*
 * Read the entry at an offset below the size of a list.  word holds its first bits when is_held,
 * and those of the next entry afterwards, if is_held then.  False when the bits make no sense.
 */
static inline __attribute__((always_inline)) bool
walk_step(const uds_delta_code *code, const reader *list, uint32_t offset, uint64_t *word,
          bool *is_held, uint32_t *bits, uint64_t *delta)
{
	if (!*is_held)
		*word = uds_bits_load(list->data, offset);
	*is_held = !*is_held;
	if (UDS_UNLIKELY(!read_word(code, *word, bits, delta)))
	{
		/* the rest of a word has run out, or a code is very long */
		uint32_t entry_bits;
		uint64_t entry_delta;

		*word = uds_bits_load(list->data, offset);
		*is_held = false;
		if (!read_entry(code, list, offset, &entry_bits, &entry_delta))
			return false;
		*bits = entry_bits;
		*delta = entry_delta;
	}
	if (UDS_UNLIKELY(*delta == 0) && offset > 0)
	{
		*bits = code->value_bits + code->code_bits + UDS_DELTA_NAME_BITS;
		*is_held = false;
	}
	return offset + *bits <= list->size;
}

/* Stand on the first entry whose key is not below key. */
static uds_status
walk_find(const uds_delta_index *index, uint32_t list, uint64_t key, uds_delta_cursor *cursor)
{
	uds_delta_code code = index->code;
	uint32_t value_mask = (1u << code.value_bits) - 1;
	uint64_t word = 0;
	bool is_held = false;
	uint32_t offset = 0;
	uint64_t at_key = 0;
	reader reader;

	if (!open_list(index, list, &reader))
		return UDS_ERR_CORRUPT;
	cursor->list = list;
	while (offset < reader.size)
	{
		uint32_t bits;
		uint64_t delta;

		if (!walk_step(&code, &reader, offset, &word, &is_held, &bits, &delta))
			return UDS_ERR_CORRUPT;
		at_key += delta;
		if (at_key >= key)
		{
			seen_entry entry = { .key = at_key,
				                 .delta = delta,
				                 .offset = offset,
				                 .bits = bits,
				                 .value = (uint32_t) word & value_mask };

			cursor_set(cursor, &entry);
			return at_key <= UINT32_MAX ? UDS_OK : UDS_ERR_CORRUPT;
		}
		/* bits is at most 64 when the word is used again */
		word = word >> 1 >> ((bits - 1) % 64);
		offset += bits;
	}
	cursor_set_end(cursor, reader.size, at_key);
	return at_key <= UINT32_MAX ? UDS_OK : UDS_ERR_CORRUPT;
}

/* The same on the way through a whole list, collecting the edits that expire entries. */
static uds_status
walk_expire(const uds_delta_index *index, uint32_t list, uint64_t key, uds_delta_cursor *cursor,
            const uds_delta_expiry *expiry, expiry_walk *walk)
{
	uds_delta_code code = index->code;
	uint32_t value_mask = (1u << code.value_bits) - 1;
	uint32_t lowest = UINT32_MAX;
	uint64_t word = 0;
	bool is_held = false;
	bool is_found = false;
	uint32_t offset = 0;
	uint64_t at_key = 0;
	reader reader;

	if (!open_list(index, list, &reader))
		return UDS_ERR_CORRUPT;
	cursor->list = list;
	while (offset < reader.size)
	{
		uint32_t relative;
		uint32_t bits;
		uint64_t delta;

		if (!walk_step(&code, &reader, offset, &word, &is_held, &bits, &delta))
			return UDS_ERR_CORRUPT;
		at_key += delta;
		relative = ((uint32_t) word - expiry->base) & value_mask;
		if (UDS_UNLIKELY(relative < expiry->limit || walk->is_cutting ||
		                 (at_key >= key && !is_found)))
		{
			seen_entry entry = { .key = at_key,
				                 .delta = delta,
				                 .offset = offset,
				                 .bits = bits,
				                 .value = (uint32_t) word & value_mask,
				                 .is_collision = delta == 0 && offset > 0 };

			if (relative < expiry->limit && walk->count < EDITS_MAX - 1)
			{
				walk_drop(walk, expiry, &entry, relative);
				relative = UINT32_MAX;
			}
			else
			{
				if (walk->is_cutting)
					walk_close_cut(&code, walk, &entry);
				else
					entry.offset -= walk->cut_bits;
				if (at_key >= key && !is_found)
				{
					is_found = true;
					cursor_set(cursor, &entry);
				}
			}
		}
		lowest = UDS_MIN(lowest, relative);
		word = word >> 1 >> ((bits - 1) % 64);
		offset += bits;
	}
	walk->lowest = lowest;
	if (!is_found)
		cursor_set_end(cursor, reader.size, walk->is_cutting ? walk->out_key : at_key);
	return at_key <= UINT32_MAX ? UDS_OK : UDS_ERR_CORRUPT;
}

/* ---- memory ---------------------------------------------------------------------------------- */

size_t
uds_delta_index_size(const uds_delta_parameters *parameters)
{
	uds_delta_code code;
	size_t blocks = uds_delta_blocks_size(parameters->lists, parameters->list_bytes);

	if (blocks == 0 || parameters->value_bits == 0 ||
	    uds_delta_code_init(&code, parameters->mean_delta, parameters->value_bits) != UDS_OK)
		return 0;
	return offsetof(uds_delta_index, blocks) + blocks;
}

uds_status
uds_delta_index_init(uds_delta_index *index, const uds_delta_parameters *parameters)
{
	if (uds_delta_index_size(parameters) == 0)
		return UDS_ERR_ARGUMENT;
	memset(index, 0, sizeof(*index));
	if (uds_delta_code_init(&index->code, parameters->mean_delta, parameters->value_bits) != UDS_OK)
		return UDS_ERR_ARGUMENT;
	return uds_delta_blocks_init(&index->blocks,
	                             parameters->lists,
	                             parameters->list_bytes,
	                             parameters->is_zeroed);
}

void
uds_delta_index_reset(uds_delta_index *index)
{
	uds_delta_blocks_reset(&index->blocks);
	index->discards += index->records;
	index->records = 0;
	index->collisions = 0;
}

void
uds_delta_index_prefetch(const uds_delta_index *index, uint32_t list)
{
	const uint8_t *block = uds_delta_blocks_memory(&index->blocks, list / UDS_DELTA_BLOCK_LISTS);
	const uds_delta_list *entry = (const uds_delta_list *) block + list % UDS_DELTA_BLOCK_LISTS;
	const uint8_t *data = block + entry->offset;

	__builtin_prefetch(data);
	__builtin_prefetch(data + UDS_CACHE_LINE);
	__builtin_prefetch(data + 2 * UDS_CACHE_LINE);
	__builtin_prefetch(data + 3 * UDS_CACHE_LINE);
}

/* ---- reading --------------------------------------------------------------------------------- */

uds_status
uds_delta_index_begin(const uds_delta_index *index, uint32_t list, uds_delta_cursor *cursor)
{
	memset(cursor, 0, sizeof(*cursor));
	if (list >= index->blocks.lists)
		return UDS_ERR_ARGUMENT;
	cursor->list = list;
	return UDS_OK;
}

uds_status
uds_delta_index_next(const uds_delta_index *index, uds_delta_cursor *cursor)
{
	seen_entry entry = { .offset = cursor->offset + cursor->bits };
	reader reader;

	if (cursor->is_end)
		return UDS_ERR_BAD_STATE;
	if (cursor->list >= index->blocks.lists || !open_list(index, cursor->list, &reader))
		return UDS_ERR_CORRUPT;
	if (entry.offset >= reader.size)
	{
		cursor_set_end(cursor, reader.size, cursor->key);
		return entry.offset == reader.size ? UDS_OK : UDS_ERR_CORRUPT;
	}
	if (!read_entry(&index->code, &reader, entry.offset, &entry.bits, &entry.delta))
		return UDS_ERR_CORRUPT;
	if (entry.delta == 0 && entry.offset > 0)
	{
		entry.is_collision = true;
		entry.bits += UDS_DELTA_NAME_BITS;
	}
	entry.key = cursor->key + entry.delta;
	if (entry.offset + entry.bits > reader.size || entry.key > UINT32_MAX)
		return UDS_ERR_CORRUPT;
	entry.value = (uint32_t) uds_bits_get(reader.data, entry.offset, index->code.value_bits);
	cursor_set(cursor, &entry);
	return UDS_OK;
}

uds_status
uds_delta_index_find(const uds_delta_index *index, uint32_t list, uint32_t key,
                     const uds_name *name, uds_delta_cursor *cursor)
{
	uds_status status;

	memset(cursor, 0, sizeof(*cursor));
	if (list >= index->blocks.lists)
		return UDS_ERR_ARGUMENT;
	status = walk_find(index, list, key, cursor);
	if (status == UDS_OK && name != NULL && !cursor->is_end && cursor->key == key)
		status = find_name(index, name, cursor);
	return status;
}

uds_status
uds_delta_index_expire(uds_delta_index *index, uint32_t list, uint32_t key, const uds_name *name,
                       uds_delta_expiry *expiry, uds_delta_cursor *cursor)
{
	uint32_t size;
	expiry_walk walk;
	uds_status status;

	memset(cursor, 0, sizeof(*cursor));
	if (list >= index->blocks.lists)
		return UDS_ERR_ARGUMENT;
	do
	{
		walk.count = 0;
		walk.cut_bits = 0;
		walk.is_cutting = false;
		walk.base_is_lost = false;
		walk.out_key = 0;
		walk.dropped = 0;
		walk.dropped_early = 0;
		walk.collisions = 0;
		walk.lowest = UINT32_MAX;
		status = walk_expire(index, list, key, cursor, expiry, &walk);
		if (status != UDS_OK)
			return status;
		if (walk.is_cutting)
		{
			size = uds_delta_index_list_bits(index, list);
			walk.edits[walk.count++] = (edit){ .from = walk.cut_from, .to = size };
			walk.cut_bits += size - walk.cut_from;
		}
		if (walk.count == 0)
			break;
		if (cursor->is_end)
			cursor->offset -= walk.cut_bits;
		status = apply_edits(index, list, walk.edits, walk.count);
		if (status != UDS_OK)
			return status;
		index->records -= walk.dropped;
		index->collisions -= walk.collisions;
		expiry->dropped += walk.dropped;
		expiry->dropped_early += walk.dropped_early;
	} while (walk.lowest < expiry->limit);
	expiry->lowest = walk.lowest;
	if (name != NULL && !cursor->is_end && cursor->key == key)
		return find_name(index, name, cursor);
	return UDS_OK;
}

uds_status
uds_delta_index_name(const uds_delta_index *index, const uds_delta_cursor *cursor, uds_name *name)
{
	uint32_t at = cursor->offset + index->code.value_bits + index->code.code_bits;
	reader reader;

	if (cursor->is_end || !cursor->is_collision)
		return UDS_ERR_BAD_STATE;
	if (cursor->list >= index->blocks.lists || !open_list(index, cursor->list, &reader) ||
	    at + UDS_DELTA_NAME_BITS > reader.size)
		return UDS_ERR_CORRUPT;
	uds_bits_move(name->bytes, 0, reader.data, at, UDS_DELTA_NAME_BITS);
	return UDS_OK;
}

/* ---- changing -------------------------------------------------------------------------------- */

/* Does a cursor stand inside its list? */
static bool
cursor_is_sound(const uds_delta_index *index, const uds_delta_cursor *cursor)
{
	return cursor->list < index->blocks.lists &&
	       cursor->offset + cursor->bits <= uds_delta_index_list_bits(index, cursor->list);
}

/*
 * Grow a list by bits at offset: what lay there moves up.  data gets the place of the list.
 */
static uds_status
open_gap(uds_delta_index *index, uint32_t list, uint32_t offset, uint32_t bits, uint8_t **data)
{
	uint32_t size = uds_delta_index_list_bits(index, list);
	uds_status status = UDS_OVERFLOW;

	if (size > 0 && uds_delta_blocks_data(&index->blocks, list) == NULL)
		return UDS_ERR_CORRUPT;
	if (size + bits <= UDS_DELTA_LIST_BITS_MAX)
		status = uds_delta_blocks_resize(&index->blocks, list, size + bits);
	if (status != UDS_OK)
	{
		index->overflows += status == UDS_OVERFLOW;
		return status;
	}
	*data = uds_delta_blocks_data(&index->blocks, list);
	if (*data == NULL)
		return UDS_ERR_CORRUPT;
	uds_bits_move(*data, (uint64_t) offset + bits, *data, offset, size - offset);
	return UDS_OK;
}

static uds_status
put_collision(uds_delta_index *index, uds_delta_cursor *cursor, uint32_t value,
              const uds_name *name)
{
	uint32_t bits = uds_delta_code_collision_bits(&index->code);
	uint32_t offset = cursor->offset + cursor->bits;
	uint8_t *data;
	uds_status status = open_gap(index, cursor->list, offset, bits, &data);

	if (status != UDS_OK)
		return status;
	uds_delta_code_write_collision(&index->code, data, offset, value, name);
	cursor->offset = offset;
	cursor->bits = bits;
	cursor->delta = 0;
	cursor->value = value;
	cursor->is_collision = true;
	index->collisions++;
	return UDS_OK;
}

static uds_status
put_plain(uds_delta_index *index, uds_delta_cursor *cursor, uint32_t key, uint32_t value)
{
	const uds_delta_code *code = &index->code;
	uint32_t before = cursor->key - cursor->delta; /* key of the entry before, or 0 */
	uint32_t delta = key - before;
	uint32_t bits;
	uint32_t next_bits = 0;
	uint64_t at;
	uint8_t *data;
	uds_status status;

	/* before the first entry of a list, key 0 is the only delta of 0 */
	if (key < before || (delta == 0 && cursor->offset > 0) ||
	    (!cursor->is_end && key >= cursor->key))
		return UDS_ERR_ARGUMENT;
	/* also keeps the length of a code from wrapping around */
	if (delta / code->step > UDS_DELTA_LIST_BITS_MAX)
	{
		index->overflows++;
		return UDS_OVERFLOW;
	}
	bits = uds_delta_code_entry_bits(code, delta);
	if (!cursor->is_end)
		next_bits = uds_delta_code_entry_bits(code, cursor->key - key);
	status = open_gap(index,
	                  cursor->list,
	                  cursor->offset + cursor->bits,
	                  bits + next_bits - cursor->bits,
	                  &data);
	if (status != UDS_OK)
		return status;
	at = uds_delta_code_write_entry(code, data, cursor->offset, delta, value);
	if (!cursor->is_end)
		uds_delta_code_write_entry(code, data, at, cursor->key - key, cursor->value);
	cursor->bits = bits;
	cursor->key = key;
	cursor->delta = delta;
	cursor->value = value;
	cursor->is_end = false;
	return UDS_OK;
}

uds_status
uds_delta_index_put(uds_delta_index *index, uds_delta_cursor *cursor, uint32_t key, uint32_t value,
                    const uds_name *name)
{
	bool has_key = !cursor->is_end && cursor->key == key && cursor->bits > 0;
	uds_status status;

	if (cursor->is_collision)
		return UDS_DUPLICATE;
	if (!cursor_is_sound(index, cursor) || value >> index->code.value_bits != 0 ||
	    has_key != (name != NULL) || (cursor->bits == 0 && !cursor->is_end))
		return UDS_ERR_ARGUMENT;
	if (name != NULL)
		status = put_collision(index, cursor, value, name);
	else
		status = put_plain(index, cursor, key, value);
	index->records += status == UDS_OK;
	return status;
}

uds_status
uds_delta_index_set_value(uds_delta_index *index, uds_delta_cursor *cursor, uint32_t value)
{
	uint8_t *data;

	if (cursor->is_end || cursor->bits == 0)
		return UDS_ERR_BAD_STATE;
	if (!cursor_is_sound(index, cursor) || value >> index->code.value_bits != 0)
		return UDS_ERR_ARGUMENT;
	data = uds_delta_blocks_data(&index->blocks, cursor->list);
	if (data == NULL)
		return UDS_ERR_CORRUPT;
	uds_bits_set(data, cursor->offset, index->code.value_bits, value);
	cursor->value = value;
	return UDS_OK;
}

uds_status
uds_delta_index_remove(uds_delta_index *index, uds_delta_cursor *cursor)
{
	uds_delta_cursor next = *cursor;
	edit edit = { .from = cursor->offset, .to = cursor->offset + cursor->bits };
	bool is_promoted = false;
	uds_status status;

	if (cursor->is_end || cursor->bits == 0)
		return UDS_ERR_BAD_STATE;
	if (!cursor_is_sound(index, cursor))
		return UDS_ERR_ARGUMENT;
	status = uds_delta_index_next(index, &next);
	if (status != UDS_OK)
		return status;
	if (!cursor->is_collision && !next.is_end)
	{
		is_promoted = next.is_collision;
		edit.to = next.offset + next.bits;
		edit.has_entry = true;
		edit.delta = cursor->delta + next.delta;
		edit.value = next.value;
		next.delta = edit.delta;
		next.bits = uds_delta_code_entry_bits(&index->code, edit.delta);
		next.is_collision = false;
	}
	else if (!cursor->is_collision)
		next.key = cursor->key - cursor->delta;
	next.offset = cursor->offset;
	status = apply_edits(index, cursor->list, &edit, 1);
	if (status != UDS_OK)
		return status;
	index->collisions -= cursor->is_collision || is_promoted;
	index->records--;
	index->discards++;
	*cursor = next;
	return UDS_OK;
}

/* ---- whole lists ----------------------------------------------------------------------------- */

uds_status
uds_delta_index_copy_out(const uds_delta_index *index, uint32_t list, uint8_t *bytes)
{
	reader reader;

	if (list >= index->blocks.lists || !open_list(index, list, &reader))
		return UDS_ERR_CORRUPT;
	if (reader.size == 0)
		return UDS_OK;
	memcpy(bytes, reader.data, uds_delta_blocks_bytes(reader.size));
	if (reader.size % 8 != 0)
		bytes[reader.size / 8] &= (uint8_t) ((1u << reader.size % 8) - 1);
	return UDS_OK;
}

uds_status
uds_delta_index_check_list(const uds_delta_index *index, uint32_t list, uint32_t key_bits,
                           uint32_t base, uint32_t highest, uint32_t *records, uint32_t *collisions)
{
	uint32_t value_mask = (1u << index->code.value_bits) - 1;
	uds_delta_cursor cursor;
	uds_status status = uds_delta_index_begin(index, list, &cursor);

	*records = 0;
	*collisions = 0;
	while (status == UDS_OK)
	{
		status = uds_delta_index_next(index, &cursor);
		if (status != UDS_OK || cursor.is_end)
			break;
		if ((uint64_t) cursor.key >> key_bits != 0 ||
		    ((cursor.value - base) & value_mask) > highest)
			return UDS_ERR_CORRUPT;
		*records += 1;
		*collisions += cursor.is_collision;
	}
	return status == UDS_OK ? UDS_OK : UDS_ERR_CORRUPT;
}

uds_status
uds_delta_index_copy_in(uds_delta_index *index, uint32_t list, const uint8_t *bytes, uint32_t bits,
                        uint32_t key_bits, uint32_t base, uint32_t highest)
{
	uint32_t records;
	uint32_t collisions;
	uint8_t *data;
	uds_status status;

	if (list >= index->blocks.lists || bits > UDS_DELTA_LIST_BITS_MAX ||
	    uds_delta_index_list_bits(index, list) != 0)
		return UDS_ERR_CORRUPT;
	if (bits == 0)
		return UDS_OK;
	if (uds_delta_blocks_resize(&index->blocks, list, bits) != UDS_OK)
		return UDS_ERR_CORRUPT;
	data = uds_delta_blocks_data(&index->blocks, list);
	if (data == NULL)
		return UDS_ERR_CORRUPT;
	memcpy(data, bytes, uds_delta_blocks_bytes(bits));
	status =
		uds_delta_index_check_list(index, list, key_bits, base, highest, &records, &collisions);
	if (status != UDS_OK)
	{
		if (uds_delta_blocks_resize(&index->blocks, list, 0) != UDS_OK)
			return UDS_ERR_INTERNAL;
		return status;
	}
	index->records += records;
	index->collisions += collisions;
	return UDS_OK;
}
