/*
 * bits.c: bit moves.
 *
 * A move has a head, up to the first byte boundary of the destination, a body of whole destination
 * bytes and a tail.  Without overlap to fear, the body goes word by word: the source of a word is
 * 64 bits at phase 0..7, so nine bytes of which the ninth is read only when the phase needs it.
 * The order (upwards or downwards) follows the positions as in memmove.
 */
#include "bits.h"

/* Field of 0..8 bits that touches only the bytes which hold it. */
static uint32_t
get_few(const uint8_t *bytes, uint64_t offset, uint32_t width)
{
	const uint8_t *at = bytes + offset / 8;
	uint32_t phase = offset % 8;
	uint32_t word;

	if (width == 0)
		return 0;
	word = at[0];
	if (phase + width > 8)
		word |= (uint32_t) at[1] << 8;
	return word >> phase & ((1u << width) - 1);
}

/* Set bits of one byte: phase + width <= 8. */
static void
set_few(uint8_t *bytes, uint64_t offset, uint32_t width, uint32_t value)
{
	uint32_t phase = offset % 8;
	uint32_t mask = ((1u << width) - 1) << phase;

	if (width == 0)
		return;
	bytes[offset / 8] = (uint8_t) ((bytes[offset / 8] & ~mask) | (value << phase & mask));
}

/* 64 bits at any phase, touching only the bytes which hold them. */
static uint64_t
get_word(const uint8_t *at, uint32_t phase)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	if (phase == 0)
		return word;
	return word >> phase | (uint64_t) at[8] << (64 - phase);
}

/* Body of a move, lowest byte first: the destination begins below the source. */
static void
move_body_up(uint8_t *to, const uint8_t *from, uint32_t phase, uint64_t bytes)
{
	for (; bytes >= 8; bytes -= 8, to += 8, from += 8)
	{
		uint64_t word = get_word(from, phase);

		memcpy(to, &word, sizeof(word));
	}
	for (; bytes > 0; bytes--, to++, from++)
		*to = (uint8_t) get_few(from, phase, 8);
}

/* Body of a move, highest byte first: the destination begins above the source. */
static void
move_body_down(uint8_t *to, const uint8_t *from, uint32_t phase, uint64_t bytes)
{
	for (; bytes >= 8; bytes -= 8)
	{
		uint64_t word = get_word(from + bytes - 8, phase);

		memcpy(to + bytes - 8, &word, sizeof(word));
	}
	for (; bytes > 0; bytes--)
		to[bytes - 1] = (uint8_t) get_few(from + bytes - 1, phase, 8);
}

void
uds_bits_move(uint8_t *to, uint64_t to_offset, const uint8_t *from, uint64_t from_offset,
              uint64_t count)
{
	uint8_t *to_byte = to + to_offset / 8;
	const uint8_t *from_byte = from + from_offset / 8;
	uint32_t to_phase = to_offset % 8;
	uint32_t from_phase = from_offset % 8;
	uint32_t head = (uint32_t) UDS_MIN((8 - to_phase) % 8, count);
	uint64_t bytes = (count - head) / 8;
	uint32_t tail = (uint32_t) ((count - head) % 8);
	uint32_t head_bits;
	uint32_t tail_bits;
	uint64_t from_body = from_phase + head;
	uint8_t *to_body = to_byte + (to_phase + head) / 8;

	/* The edges are read before anything is written, so only the body depends on the order. */
	head_bits = get_few(from_byte, from_phase, head);
	tail_bits = get_few(from_byte, from_body + bytes * 8, tail);
	if (bytes > 0)
	{
		const uint8_t *body = from_byte + from_body / 8;
		uint32_t phase = from_body % 8;

		if (phase == 0)
			memmove(to_body, body, bytes);
		else if ((uintptr_t) to_body <= (uintptr_t) body)
			move_body_up(to_body, body, phase, bytes);
		else
			move_body_down(to_body, body, phase, bytes);
	}
	set_few(to_byte, to_phase, head, head_bits);
	set_few(to_body + bytes, 0, tail, tail_bits);
}

void
uds_bits_clear(uint8_t *bytes, uint64_t offset, uint64_t count)
{
	uint8_t *at = bytes + offset / 8;
	uint32_t phase = offset % 8;
	uint32_t head = (uint32_t) UDS_MIN((8 - phase) % 8, count);
	uint64_t whole = (count - head) / 8;

	set_few(at, phase, head, 0);
	at += (phase + head) / 8;
	memset(at, 0, whole);
	set_few(at + whole, 0, (uint32_t) ((count - head) % 8), 0);
}
