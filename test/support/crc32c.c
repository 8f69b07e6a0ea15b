/*
 * crc32c.c: CRC-32C with the instruction of SSE 4.2 where there is one, else bit by bit through a
 * nibble table.
 */
#include "crc32c.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t
crc_with_instruction(uint32_t crc, const uint8_t *data, size_t bytes)
{
	uint64_t value = crc;

	for (; bytes >= 8; bytes -= 8, data += 8)
	{
		uint64_t word;

		memcpy(&word, data, sizeof(word));
		value = _mm_crc32_u64(value, word);
	}
	for (; bytes > 0; bytes--, data++)
		value = _mm_crc32_u8((uint32_t) value, *data);
	return (uint32_t) value;
}
#endif

static uint32_t
crc_with_table(uint32_t crc, const uint8_t *data, size_t bytes)
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
crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_with_instruction(~crc, data, bytes);
#endif
	return ~crc_with_table(~crc, data, bytes);
}
