/*
 * fuzz_index_page.c: any bytes taken for an index page are read without harm, with frame and checksum
 * made right as well, so that the lists themselves are reached.
 */
#include "fuzz.h"

#include "../../src/engine/chapter_index.h"

#include "port.h"

#define NAMES 8

static const uds_page_identity identity = {
	.nonce = 0x1234567890abcdef,
	.physical_page = 77,
	.chapter = 5,
	.generation = 3,
};

/* uds.memory = 4MB, and the largest chapters. */
static uds_geometry geometries[2];

static void
init_geometries(void)
{
	static const uint32_t memory_mb[2] = { 4, 1024 };

	for (int i = 0; i < 2; i++)
	{
		uds_geometry_parameters parameters;

		FUZZ_REQUIRE(uds_geometry_parameters_for_memory(&parameters, memory_mb[i], false) ==
		             UDS_OK);
		FUZZ_REQUIRE(uds_geometry_init(&geometries[i], &parameters) == UDS_OK);
	}
}

/* Make a page of the input's lists: their sizes are the input's, too. */
static void
make_page(uint8_t *page, fuzz_input *input)
{
	uint16_t list_bits[64];
	uds_delta_page_header header = {
		.nonce = identity.nonce,
		.chapter = identity.chapter,
		.first_list = fuzz_take_u16(input) % 300,
		.list_count = fuzz_take_u8(input) % 64,
	};
	uint32_t start;
	uint32_t bits = 0;

	for (uint32_t i = 0; i < header.list_count; i++)
		list_bits[i] = fuzz_take_u16(input) % 600;
	header.list_count =
		(uint16_t) uds_delta_page_fit(UDS_INDEX_PAGE_BYTES, list_bits, header.list_count);
	for (uint32_t i = 0; i < header.list_count; i++)
		bits += list_bits[i];
	start = uds_delta_page_begin(page, UDS_INDEX_PAGE_BYTES, &header, list_bits);
	/* Bits of the lists, from the byte on that is theirs alone to the last one that is. */
	if ((start + bits) / 8 > start / 8 + 1)
		fuzz_take(input, page + start / 8 + 1, (start + bits) / 8 - start / 8 - 1);
}

static void
read_page(const uint8_t *page, const uds_geometry *geometry, fuzz_input *input)
{
	uint32_t entries;
	uint32_t collisions;
	uint32_t first;
	uint32_t count;
	uds_status status = uds_chapter_index_walk(page, geometry, &entries, &collisions);

	FUZZ_REQUIRE(status == UDS_OK || status == UDS_ERR_CORRUPT);
	if (status == UDS_OK)
		FUZZ_REQUIRE(collisions <= entries);
	uds_chapter_index_bounds(page, &first, &count);
	for (int i = 0; i < NAMES; i++)
	{
		uint32_t record_page;
		uds_name name;

		fuzz_take(input, &name, sizeof(name));
		status = uds_chapter_index_search(page, geometry, &name, &record_page);
		FUZZ_REQUIRE(status == UDS_OK || status == UDS_NOT_FOUND || status == UDS_ERR_CORRUPT);
		if (status == UDS_OK)
			FUZZ_REQUIRE(record_page < geometry->parameters.record_pages);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_input input = { data, bytes };
	uint8_t *page = malloc(UDS_PAGE_BYTES);
	uint8_t mode = fuzz_take_u8(&input);
	const uds_geometry *geometry = &geometries[mode >> 7];
	uds_status status;

	if (geometry->index_pages == 0)
		init_geometries();
	memset(page, 0, UDS_PAGE_BYTES);
	if (mode % 4 == 0)
		fuzz_take(&input, page, UDS_PAGE_BYTES);
	else
		make_page(page, &input);
	if (mode % 4 == 2)
		fuzz_change(&input, page, UDS_PAGE_BYTES, 4);
	uds_chapter_index_seal_page(page, geometry, &identity);
	status = uds_chapter_index_verify_page(page, geometry, &identity);
	FUZZ_REQUIRE(status == UDS_OK || status == UDS_ERR_CORRUPT);
	read_page(page, geometry, &input);
	free(page);
	return 0;
}
