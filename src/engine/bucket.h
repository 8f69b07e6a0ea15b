/*
 * bucket.h: one bucket of the volume index, a ring of entries in the order of their chapters.
 *
 * A bucket is 192 bytes, three cache lines, the same at any address:
 *
 *   byte   0  16 bytes          chapters, high part: Elias-Fano bit vector in age order
 *   byte  16  slots x 16 bits   fingerprints: the low 16 of 18 address bits
 *   then      slots x a bits    aux: the other 2 address bits, above them the low t chapter bits
 *   byte 188  u32               bits 10..31 the header; the lower bits belong to aux
 *
 *   header    head 6, count 6, epoch 7, has side entries 1, has exact entries 1, spare 1 bits
 *
 * A chapter is an epoch (chapter / 2^t) and t low bits.  The vector holds, from bit 0 up, a 1 for
 * each entry, oldest first, and between them a 0 for each epoch that passes.  So entry i is of
 * epoch base + select1(i) - i, bit 0 is set unless the bucket is empty, an insert sets the bit
 * (epoch - base) + count, and the drop of the oldest entry is a shift.  The header holds base mod
 * 128; it is the newest epoch of that residue that is not above the newest chapter's, which is
 * true as long as base is less than 128 epochs old.
 *
 * Zeros are an empty bucket.  Functions trust the head, count and vector of a bucket only after
 * uds_bucket_is_sound said that they make sense; with arbitrary bytes in it the others may give
 * wrong answers, but touch nothing outside the bucket as long as head < slots.
 */
#ifndef UDS_BUCKET_H
#define UDS_BUCKET_H

#include <string.h>

#include "status.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define UDS_BUCKET_BYTES        192
#define UDS_BUCKET_SLOTS_MAX    63
#define UDS_BUCKET_ADDRESS_BITS 18
#define UDS_BUCKET_ADDRESS_MASK ((UINT32_C(1) << UDS_BUCKET_ADDRESS_BITS) - 1)
#define UDS_BUCKET_EPOCHS       128 /* base epochs that the header can tell apart */
#define UDS_BUCKET_VECTOR_BITS  128
#define UDS_BUCKET_STEP_MAX     20 /* largest t */

#define UDS_BUCKET_FINGERPRINTS 16  /* byte offset */
#define UDS_BUCKET_HEADER       188 /* byte offset of the word that holds the header */
#define UDS_BUCKET_HEADER_SHIFT 10
#define UDS_BUCKET_HEADER_BITS  22

#define UDS_BUCKET_HAS_SIDE  (UINT32_C(1) << 19)
#define UDS_BUCKET_HAS_EXACT (UINT32_C(1) << 20)
#define UDS_BUCKET_SPARE     (UINT32_C(1) << 21)

__extension__ typedef unsigned __int128 uds_bucket_vector;

typedef struct uds_bucket
{
	_Alignas(UDS_CACHE_LINE) uint8_t bytes[UDS_BUCKET_BYTES];
} uds_bucket;

_Static_assert(sizeof(uds_bucket) == UDS_BUCKET_BYTES, "stored as raw bytes");

/* What follows from the length of the window.  Constant. */
typedef struct uds_bucket_shape
{
	uint32_t slots;     /* entries of a bucket, up to UDS_BUCKET_SLOTS_MAX */
	uint32_t step_bits; /* t: an epoch is 2^t chapters */
	uint32_t aux_bits;  /* 2 + t */
	uint32_t aux_start; /* first bit of aux in the bucket */
	uint32_t span;      /* epochs from the oldest to the newest valid one, at most */
} uds_bucket_shape;

/* An entry, decoded. */
typedef struct uds_bucket_entry
{
	uint32_t address;
	uint64_t chapter;
} uds_bucket_entry;

/*
 * Choose the step that gives the most slots for a window of chapters: entries, header and vector
 * have to fit the bucket, and a full bucket over the whole window has to fit the vector.
 * chapters is 2..2^20.
 */
static inline void
uds_bucket_shape_init(uds_bucket_shape *shape, uint32_t chapters)
{
	const uint32_t bits = 8 * UDS_BUCKET_BYTES - UDS_BUCKET_VECTOR_BITS - UDS_BUCKET_HEADER_BITS;

	memset(shape, 0, sizeof(*shape));
	for (uint32_t step_bits = 0; step_bits <= UDS_BUCKET_STEP_MAX; step_bits++)
	{
		uint32_t step = UINT32_C(1) << step_bits;
		uint32_t span = (chapters - 1 + step - 1) >> step_bits;
		uint32_t slots = bits / (16 + 2 + step_bits);

		if (span >= UDS_BUCKET_VECTOR_BITS)
			continue;
		slots = UDS_MIN(slots, UDS_BUCKET_VECTOR_BITS - span);
		slots = UDS_MIN(slots, UDS_BUCKET_SLOTS_MAX);
		if (slots <= shape->slots)
			continue;
		shape->slots = slots;
		shape->step_bits = step_bits;
		shape->aux_bits = 2 + step_bits;
		shape->aux_start = 8 * UDS_BUCKET_FINGERPRINTS + 16 * slots;
		shape->span = span;
	}
}

/* ---- header ----------------------------------------------------------------------------- */

static inline uint32_t
uds_bucket_header(const uds_bucket *bucket)
{
	uint32_t word;

	memcpy(&word, bucket->bytes + UDS_BUCKET_HEADER, sizeof(word));
	return word >> UDS_BUCKET_HEADER_SHIFT;
}

static inline void
uds_bucket_set_header(uds_bucket *bucket, uint32_t header)
{
	uint32_t word;

	memcpy(&word, bucket->bytes + UDS_BUCKET_HEADER, sizeof(word));
	word &= (UINT32_C(1) << UDS_BUCKET_HEADER_SHIFT) - 1;
	word |= header << UDS_BUCKET_HEADER_SHIFT;
	memcpy(bucket->bytes + UDS_BUCKET_HEADER, &word, sizeof(word));
}

static inline uint32_t
uds_bucket_head(uint32_t header)
{
	return header & 63;
}

static inline uint32_t
uds_bucket_count(uint32_t header)
{
	return header >> 6 & 63;
}

static inline uint32_t
uds_bucket_epoch(uint32_t header)
{
	return header >> 12 & (UDS_BUCKET_EPOCHS - 1);
}

/* The header with another head, count and epoch (any residue), and its flags. */
static inline uint32_t
uds_bucket_make_header(uint32_t header, uint32_t head, uint32_t count, uint64_t epoch)
{
	return (header & ~((UINT32_C(1) << 19) - 1)) | head | count << 6 |
	       (uint32_t) (epoch & (UDS_BUCKET_EPOCHS - 1)) << 12;
}

/* Head and count lie in the ring. */
static inline bool
uds_bucket_is_ring(const uds_bucket_shape *shape, uint32_t header)
{
	return uds_bucket_head(header) < shape->slots && uds_bucket_count(header) <= shape->slots;
}

/* The base epoch as a full number, with the newest chapter's epoch. */
static inline uint64_t
uds_bucket_base(uint32_t header, uint64_t newest_epoch)
{
	return newest_epoch - ((newest_epoch - uds_bucket_epoch(header)) & (UDS_BUCKET_EPOCHS - 1));
}

/* ---- fields of a slot ------------------------------------------------------------------- */

/* The next slot of the ring. */
static inline uint32_t
uds_bucket_next(const uds_bucket_shape *shape, uint32_t slot)
{
	return slot + 1 == shape->slots ? 0 : slot + 1;
}

/* Slot of the entry of an age, 0 = oldest. */
static inline uint32_t
uds_bucket_slot(const uds_bucket_shape *shape, uint32_t head, uint32_t age)
{
	uint32_t slot = head + age;

	return slot >= shape->slots ? slot - shape->slots : slot;
}

/* Age of the entry in a slot: not below count if the slot is free. */
static inline uint32_t
uds_bucket_age(const uds_bucket_shape *shape, uint32_t head, uint32_t slot)
{
	return slot >= head ? slot - head : slot + shape->slots - head;
}

static inline uint32_t
uds_bucket_fingerprint(const uds_bucket *bucket, uint32_t slot)
{
	uint16_t fingerprint;

	memcpy(&fingerprint, bucket->bytes + UDS_BUCKET_FINGERPRINTS + 2 * slot, sizeof(fingerprint));
	return fingerprint;
}

/* Bits of the bucket, up to 57: one 64-bit access that never leaves the bucket. */
static inline uint64_t
uds_bucket_bits(const uds_bucket *bucket, uint32_t offset, uint32_t width)
{
	uint32_t byte = UDS_MIN(offset / 8, UDS_BUCKET_BYTES - 8u);
	uint64_t word;

	memcpy(&word, bucket->bytes + byte, sizeof(word));
	return word >> (offset - 8 * byte) & ((UINT64_C(1) << width) - 1);
}

static inline void
uds_bucket_set_bits(uds_bucket *bucket, uint32_t offset, uint32_t width, uint64_t value)
{
	uint32_t byte = UDS_MIN(offset / 8, UDS_BUCKET_BYTES - 8u);
	uint32_t shift = offset - 8 * byte;
	uint64_t mask = ((UINT64_C(1) << width) - 1) << shift;
	uint64_t word;

	memcpy(&word, bucket->bytes + byte, sizeof(word));
	word = (word & ~mask) | (value << shift & mask);
	memcpy(bucket->bytes + byte, &word, sizeof(word));
}

static inline uint32_t
uds_bucket_aux(const uds_bucket_shape *shape, const uds_bucket *bucket, uint32_t slot)
{
	return (uint32_t) uds_bucket_bits(bucket,
	                                  shape->aux_start + slot * shape->aux_bits,
	                                  shape->aux_bits);
}

static inline void
uds_bucket_set_slot(const uds_bucket_shape *shape, uds_bucket *bucket, uint32_t slot,
                    uint32_t fingerprint, uint32_t aux)
{
	uint16_t low = (uint16_t) fingerprint;

	memcpy(bucket->bytes + UDS_BUCKET_FINGERPRINTS + 2 * slot, &low, sizeof(low));
	uds_bucket_set_bits(bucket, shape->aux_start + slot * shape->aux_bits, shape->aux_bits, aux);
}

/* ---- search ----------------------------------------------------------------------------- */

/* Lanes 0..63 (one more than there are slots) whose 16 bits equal fingerprint. */
static inline uint64_t
uds_bucket_match(const uds_bucket *bucket, uint32_t fingerprint)
{
	const uint8_t *lanes = bucket->bytes + UDS_BUCKET_FINGERPRINTS;
	uint64_t mask = 0;

#if defined(__SSE2__)
	const __m128i key = _mm_set1_epi16((short) fingerprint);

#pragma GCC unroll 4
	for (uint32_t i = 0; i < 4; i++)
	{
		__m128i a = _mm_load_si128((const __m128i *) (const void *) (lanes + 32 * i));
		__m128i b = _mm_load_si128((const __m128i *) (const void *) (lanes + 32 * i + 16));
		__m128i equal = _mm_packs_epi16(_mm_cmpeq_epi16(a, key), _mm_cmpeq_epi16(b, key));

		mask |= (uint64_t) (uint32_t) _mm_movemask_epi8(equal) << (16 * i);
	}
#else
	for (uint32_t i = 0; i < 64; i++)
	{
		uint16_t lane;

		memcpy(&lane, lanes + 2 * i, sizeof(lane));
		mask |= (uint64_t) (lane == (uint16_t) fingerprint) << i;
	}
#endif
	return mask;
}

/* Slots that hold an entry. */
static inline uint64_t
uds_bucket_occupied(const uds_bucket_shape *shape, uint32_t header)
{
	uint64_t ones = (UINT64_C(1) << uds_bucket_count(header)) - 1;
	uint32_t head = uds_bucket_head(header);

	return (ones << head | ones >> (shape->slots - head)) & ((UINT64_C(1) << shape->slots) - 1);
}

/* ---- chapters --------------------------------------------------------------------------- */

static inline uds_bucket_vector
uds_bucket_get_vector(const uds_bucket *bucket)
{
	uint64_t words[2];

	memcpy(words, bucket->bytes, sizeof(words));
	return (uds_bucket_vector) words[1] << 64 | words[0];
}

static inline void
uds_bucket_set_vector(uds_bucket *bucket, uds_bucket_vector vector)
{
	uint64_t words[2] = { (uint64_t) vector, (uint64_t) (vector >> 64) };

	memcpy(bucket->bytes, words, sizeof(words));
}

/* Byte k holds the number of ones in bytes 0..k. */
static inline uint64_t
uds_bucket_prefix_counts(uint64_t word)
{
	word -= word >> 1 & UINT64_C(0x5555555555555555);
	word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
	word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return word * UINT64_C(0x0101010101010101);
}

static inline uint32_t
uds_bucket_ones(uds_bucket_vector vector)
{
	return (uint32_t) ((uds_bucket_prefix_counts((uint64_t) vector) >> 56) +
	                   (uds_bucket_prefix_counts((uint64_t) (vector >> 64)) >> 56));
}

/* Position of the one of a rank, 0 = lowest; UDS_BUCKET_VECTOR_BITS when there are not so many. */
static inline uint32_t
uds_bucket_select(uds_bucket_vector vector, uint32_t rank)
{
	uint64_t word = (uint64_t) vector;
	uint64_t counts = uds_bucket_prefix_counts(word);
	uint32_t ones = (uint32_t) (counts >> 56);
	uint32_t position = 0;
	uint64_t not_above;

	if (rank >= ones)
	{
		rank -= ones;
		word = (uint64_t) (vector >> 64);
		counts = uds_bucket_prefix_counts(word);
		position = 64;
		if (rank >= counts >> 56)
			return UDS_BUCKET_VECTOR_BITS;
	}
	/* Bytes whose count is not above rank lie before the one that is searched. */
	not_above = ((rank * UINT64_C(0x0101010101010101)) | UINT64_C(0x8080808080808080)) - counts;
	not_above = not_above >> 7 & UINT64_C(0x0101010101010101);
	ones = (uint32_t) (not_above * UINT64_C(0x0101010101010101) >> 56) * 8;
	rank -= (uint32_t) (counts << 8 >> ones & 0xff);
	word >>= ones;
	for (; rank > 0; rank--)
		word &= word - 1;
	return position + ones + (uint32_t) __builtin_ctzll(word);
}

/* Trailing zeros of a vector that is not zero. */
static inline uint32_t
uds_bucket_trailing_zeros(uds_bucket_vector vector)
{
	uint64_t low = (uint64_t) vector;

	return low != 0 ? (uint32_t) __builtin_ctzll(low)
	                : 64 + (uint32_t) __builtin_ctzll((uint64_t) (vector >> 64));
}

/*
 * Chapter of the entry in a slot that is occupied: false when the vector does not hold it.
 * newest_epoch is the epoch of the newest chapter.
 */
static inline bool
uds_bucket_chapter(const uds_bucket_shape *shape, const uds_bucket *bucket, uint32_t slot,
                   uint64_t newest_epoch, uint64_t *chapter)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t age = uds_bucket_age(shape, uds_bucket_head(header), slot);
	uint32_t position = uds_bucket_select(uds_bucket_get_vector(bucket), age);
	uint64_t epoch = uds_bucket_base(header, newest_epoch) + position - age;

	*chapter = epoch << shape->step_bits | uds_bucket_aux(shape, bucket, slot) >> 2;
	return position < UDS_BUCKET_VECTOR_BITS;
}

/* The oldest entry of a bucket that is not empty. */
static inline uds_bucket_entry
uds_bucket_oldest(const uds_bucket_shape *shape, const uds_bucket *bucket, uint64_t newest_epoch)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t slot = uds_bucket_head(header);
	uint32_t aux = uds_bucket_aux(shape, bucket, slot);

	return (uds_bucket_entry){
		.address = uds_bucket_fingerprint(bucket, slot) | (aux & 3) << 16,
		.chapter = uds_bucket_base(header, newest_epoch) << shape->step_bits | aux >> 2
	};
}

/* Everything that the other functions rely on, and no chapter is above the newest one. */
static inline bool
uds_bucket_is_sound(const uds_bucket_shape *shape, const uds_bucket *bucket, uint64_t newest)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t count = uds_bucket_count(header);
	uint64_t newest_epoch = newest >> shape->step_bits;
	uds_bucket_vector vector = uds_bucket_get_vector(bucket);
	uint64_t chapter;

	if (!uds_bucket_is_ring(shape, header) || (header & UDS_BUCKET_SPARE) != 0 ||
	    uds_bucket_ones(vector) != count)
		return false;
	if (count == 0)
		return true;
	if ((vector & 1) == 0 || uds_bucket_base(header, newest_epoch) > newest_epoch)
		return false;
	return uds_bucket_chapter(shape,
	                          bucket,
	                          uds_bucket_slot(shape, uds_bucket_head(header), count - 1),
	                          newest_epoch,
	                          &chapter) &&
	       chapter <= newest;
}

/* ---- changes ---------------------------------------------------------------------------- */

/* Drop the oldest entry of a bucket that is not empty.  The flags stay. */
static inline void
uds_bucket_pop(const uds_bucket_shape *shape, uds_bucket *bucket)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t head = uds_bucket_next(shape, uds_bucket_head(header));
	uint32_t count = uds_bucket_count(header) - 1;
	uint32_t epoch = uds_bucket_epoch(header);
	uds_bucket_vector vector = uds_bucket_get_vector(bucket) >> 1;

	if (vector != 0)
	{
		uint32_t zeros = uds_bucket_trailing_zeros(vector);

		vector >>= zeros;
		epoch += zeros;
	}
	uds_bucket_set_vector(bucket, vector);
	uds_bucket_set_header(bucket, uds_bucket_make_header(header, head, count, epoch));
}

/*
 * Append an entry of the newest chapter to a bucket with a free slot.  Returns its slot, or
 * UDS_BUCKET_SLOTS_MAX when the vector has no bit for it: the bucket holds an entry that is older
 * than the window.
 */
static inline uint32_t
uds_bucket_append(const uds_bucket_shape *shape, uds_bucket *bucket, uint32_t address,
                  uint64_t newest)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t head = uds_bucket_head(header);
	uint32_t count = uds_bucket_count(header);
	uint64_t epoch = newest >> shape->step_bits;
	uint64_t base = count == 0 ? epoch : uds_bucket_base(header, epoch);
	uint64_t position = epoch - base + count;
	uint32_t slot = uds_bucket_slot(shape, head, count);
	uint32_t low = (uint32_t) newest & ((UINT32_C(1) << shape->step_bits) - 1);

	if (position >= UDS_BUCKET_VECTOR_BITS)
		return UDS_BUCKET_SLOTS_MAX;
	uds_bucket_set_vector(bucket,
	                      uds_bucket_get_vector(bucket) | (uds_bucket_vector) 1 << position);
	uds_bucket_set_slot(shape, bucket, slot, address, address >> 16 | low << 2);
	uds_bucket_set_header(bucket, uds_bucket_make_header(header, head, count + 1, base));
	return slot;
}

/* Copy count slots, starting at from, to the ones starting at to, next to each other. */
static inline void
uds_bucket_move_slots(const uds_bucket_shape *shape, uds_bucket *bucket, uint32_t to, uint32_t from,
                      uint32_t count)
{
	uint8_t *fingerprints = bucket->bytes + UDS_BUCKET_FINGERPRINTS;
	uint32_t width = shape->aux_bits;
	uint32_t most = 57 / width;

	memmove(fingerprints + 2 * to, fingerprints + 2 * from, 2 * (size_t) count);
	while (count > 0)
	{
		uint32_t n = UDS_MIN(count, most);
		uint32_t skip = to < from ? 0 : count - n;
		uint64_t bits =
			uds_bucket_bits(bucket, shape->aux_start + (from + skip) * width, n * width);

		uds_bucket_set_bits(bucket, shape->aux_start + (to + skip) * width, n * width, bits);
		count -= n;
		if (to < from)
		{
			to += n;
			from += n;
		}
	}
}

/* Close the hole at a slot with the count entries that follow it in the ring. */
static inline void
uds_bucket_close_from_newer(const uds_bucket_shape *shape, uds_bucket *bucket, uint32_t slot,
                            uint32_t count)
{
	while (count > 0)
	{
		uint32_t n = UDS_MIN(count, shape->slots - 1 - slot);

		if (n == 0)
		{
			uds_bucket_move_slots(shape, bucket, slot, 0, 1);
			slot = 0;
			n = 1;
		}
		else
		{
			uds_bucket_move_slots(shape, bucket, slot, slot + 1, n);
			slot += n;
		}
		count -= n;
	}
}

/* Close the hole at a slot with the count entries that precede it in the ring. */
static inline void
uds_bucket_close_from_older(const uds_bucket_shape *shape, uds_bucket *bucket, uint32_t slot,
                            uint32_t count)
{
	while (count > 0)
	{
		uint32_t n = UDS_MIN(count, slot);

		if (n == 0)
		{
			uds_bucket_move_slots(shape, bucket, 0, shape->slots - 1, 1);
			slot = shape->slots - 1;
			n = 1;
		}
		else
		{
			uds_bucket_move_slots(shape, bucket, slot - n + 1, slot - n, n);
			slot -= n;
		}
		count -= n;
	}
}

/* Remove the entry in an occupied slot, whose one is in the vector.  Others may change slots. */
static inline void
uds_bucket_remove(const uds_bucket_shape *shape, uds_bucket *bucket, uint32_t slot)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t head = uds_bucket_head(header);
	uint32_t count = uds_bucket_count(header);
	uint32_t age = uds_bucket_age(shape, head, slot);
	uds_bucket_vector vector = uds_bucket_get_vector(bucket);
	uint32_t position = uds_bucket_select(vector, age);
	uds_bucket_vector below = ((uds_bucket_vector) 1 << position) - 1;

	if (age == 0)
	{
		uds_bucket_pop(shape, bucket);
		return;
	}
	uds_bucket_set_vector(bucket, (vector & below) | (vector >> 1 & ~below));
	if (age < count / 2)
	{
		uds_bucket_close_from_older(shape, bucket, slot, age);
		head = uds_bucket_next(shape, head);
	}
	else
		uds_bucket_close_from_newer(shape, bucket, slot, count - 1 - age);
	/* Aux and header share a word: read the header again. */
	header = uds_bucket_header(bucket);
	uds_bucket_set_header(bucket,
	                      uds_bucket_make_header(header,
	                                             head,
	                                             count - 1,
	                                             uds_bucket_epoch(header)));
}

#endif
