/*
 * crc32c.c: see crc32c.h.
 *
 * The instruction crc32 takes three cycles but a new one can begin in each, so three independent
 * streams of a page keep it busy.  Their results are joined by linearity: the remainder of a stream
 * that n bytes follow is multiplied by x^(8 n) modulo the polynomial.  With reflected bits, the
 * carry-less product of two 32-bit remainders is one bit short of 64, and the crc32 of 64 bits
 * multiplies by x^32; so the factor is x^(8 n - 33) mod P.
 */
#include "crc32c.h"

#include <string.h>

#define STREAM_BYTES 1360 /* three of them and 12 bytes are a page without its checksum */

static uint32_t
crc_of_nibbles(uint32_t crc, const uint8_t *data, size_t bytes)
{
	static const uint32_t nibbles[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (; bytes > 0; bytes--, data++)
	{
		crc = nibbles[(crc ^ *data) & 15] ^ crc >> 4;
		crc = nibbles[(crc ^ *data >> 4) & 15] ^ crc >> 4;
	}
	return crc;
}

uint32_t
uds_crc32c_portable(uint32_t crc, const void *data, size_t bytes)
{
	return ~crc_of_nibbles(~crc, data, bytes);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define FACTOR_ONE_STREAM  UINT32_C(0x3f70cc6f) /* x^(8 * 1360 - 33) mod P */
#define FACTOR_TWO_STREAMS UINT32_C(0x5aa1f3cf) /* x^(8 * 2720 - 33) mod P */

__attribute__((target("sse4.2"))) static uint64_t
load_and_add(uint64_t crc, const uint8_t *data)
{
	uint64_t word;

	memcpy(&word, data, sizeof(word));
	return _mm_crc32_u64(crc, word);
}

/* Remainder of a stream that others follow. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t
shift_remainder(uint64_t crc, uint32_t factor)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t) crc),
	                                       _mm_cvtsi32_si128((int32_t) factor),
	                                       0);

	return (uint32_t) _mm_crc32_u64(0, (uint64_t) _mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
crc_with_instructions(uint32_t crc, const uint8_t *data, size_t bytes)
{
	uint64_t first = crc;

	for (; bytes >= 3 * STREAM_BYTES; bytes -= 3 * STREAM_BYTES, data += 3 * STREAM_BYTES)
	{
		uint64_t second = 0;
		uint64_t third = 0;

		for (size_t i = 0; i < STREAM_BYTES; i += 8)
		{
			first = load_and_add(first, data + i);
			second = load_and_add(second, data + STREAM_BYTES + i);
			third = load_and_add(third, data + 2 * STREAM_BYTES + i);
		}
		first = shift_remainder(first, FACTOR_TWO_STREAMS) ^
		        shift_remainder(second, FACTOR_ONE_STREAM) ^ (uint32_t) third;
	}
	for (; bytes >= 8; bytes -= 8, data += 8)
		first = load_and_add(first, data);
	for (; bytes > 0; bytes--, data++)
		first = _mm_crc32_u8((uint32_t) first, *data);
	return (uint32_t) first;
}
#endif

uint32_t
uds_crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		return ~crc_with_instructions(~crc, data, bytes);
#endif
	return uds_crc32c_portable(crc, data, bytes);
}
