/*
 * fuzz_record_page.c: any bytes taken for a record page are read without harm, and what was encoded
 * is found.
 */
#include "fuzz.h"

#include "../../src/engine/record_page.h"

#include "port.h"

#define NAMES 8

static const uds_page_identity identity = {
	.nonce = 0x1234567890abcdef,
	.physical_page = 77,
	.chapter = 5,
	.generation = 3,
};

/* Read everything there is on a page, whatever it is. */
static void
read_page(const uint8_t *page, fuzz_input *input)
{
	uint32_t count = uds_record_page_count(page);

	FUZZ_REQUIRE(count <= UDS_RECORDS_PER_PAGE);
	for (uint32_t i = 0; i < count; i++)
	{
		uds_metadata metadata;
		bool is_tombstone;
		uds_status status = uds_record_page_search(page,
		                                           &uds_record_page_record(page, i)->name,
		                                           &metadata,
		                                           &is_tombstone);

		FUZZ_REQUIRE(status == UDS_OK || status == UDS_NOT_FOUND || status == UDS_ERR_CORRUPT);
		(void) uds_record_page_is_tombstone(page, i);
	}
	for (int i = 0; i < NAMES; i++)
	{
		uds_name name;
		uds_status status;

		fuzz_take(input, &name, sizeof(name));
		status = uds_record_page_search(page, &name, NULL, NULL);
		FUZZ_REQUIRE(status == UDS_OK || status == UDS_NOT_FOUND || status == UDS_ERR_CORRUPT);
	}
}

/* Is the name that of an earlier record? */
static bool
is_known(const uds_record *records, uint32_t count, const uds_name *name)
{
	for (uint32_t i = 0; i < count; i++)
		if (uds_name_equals(&records[i].name, name))
			return true;
	return false;
}

static void
encode_and_find(uint8_t *page, fuzz_input *input)
{
	uds_record records[UDS_RECORDS_PER_PAGE];
	uds_record_ref refs[UDS_RECORDS_PER_PAGE];
	uint32_t wanted = fuzz_take_u8(input) % (UDS_RECORDS_PER_PAGE + 1);
	uint32_t count = 0;

	for (uint32_t i = 0; i < wanted; i++)
	{
		uds_record *record = &records[count];

		/* Names that have much in common are the interesting ones. */
		memset(record, fuzz_take_u8(input), sizeof(*record));
		fuzz_take(input, &record->name.bytes[(i % 3) * 6], 2);
		record->metadata.bytes[0] = (uint8_t) i;
		if (is_known(records, count, &record->name))
			continue;
		refs[count] = (uds_record_ref){ .record = record, .is_tombstone = i % 5 == 0 };
		count++;
	}
	uds_record_page_encode(page, refs, count, 9, &identity);
	FUZZ_REQUIRE(uds_record_page_verify(page, 9, &identity) == UDS_OK);
	FUZZ_REQUIRE(uds_record_page_verify(page, 8, &identity) == UDS_ERR_CORRUPT);
	FUZZ_REQUIRE(uds_record_page_count(page) == count);
	for (uint32_t i = 0; i < count; i++)
	{
		uds_metadata metadata;
		bool is_tombstone;

		FUZZ_REQUIRE(uds_record_page_search(page, &records[i].name, &metadata, &is_tombstone) ==
		             UDS_OK);
		FUZZ_REQUIRE(memcmp(&metadata, &records[i].metadata, sizeof(metadata)) == 0);
		FUZZ_REQUIRE(is_tombstone == refs[i].is_tombstone);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_input input = { data, bytes };
	uint8_t *page = malloc(UDS_PAGE_BYTES);
	uint8_t mode = fuzz_take_u8(&input);
	uint32_t crc;

	if (mode % 4 == 0)
	{
		encode_and_find(page, &input);
		/* One changed byte, and it is no page. */
		page[fuzz_take_u16(&input) % UDS_PAGE_BYTES] ^= (uint8_t) (1 + fuzz_take_u8(&input) % 255);
		FUZZ_REQUIRE(uds_record_page_verify(page, 9, &identity) == UDS_ERR_CORRUPT);
	}
	else
		fuzz_take(&input, page, UDS_PAGE_BYTES);
	if (mode % 4 == 1)
	{
		crc = uds_port_crc32c(uds_page_seed(&identity),
		                      page + sizeof(crc),
		                      UDS_PAGE_BYTES - sizeof(crc));
		memcpy(page, &crc, sizeof(crc));
	}
	(void) !uds_record_page_verify(page, 9, &identity);
	read_page(page, &input);
	free(page);
	return 0;
}
