/*
 * fuzz_seal.c: whatever the seals of chapters say, with right checksums, the index opens and no
 * answer is wrong.
 */
#include "fuzz_engine.h"

static fuzz_index index_of_seals;
static uds_geometry geometry;

/* Change the seal in a place of the volume. */
static void
change_seal(fuzz_input *input, const uds_control *control)
{
	const char *directory = index_of_seals.engine.host.directory;
	uint32_t physical = fuzz_take_u8(input) % FUZZ_CHAPTERS;
	uint64_t number =
		uds_geometry_chapter_page(&geometry, physical) + geometry.pages_per_chapter - 1;
	size_t offset = number * UDS_PAGE_BYTES;
	uint8_t page[UDS_PAGE_BYTES];
	uds_page_identity identity;
	uds_seal seal;

	memcpy(page, index_of_seals.volume.data + offset, sizeof(page));
	fuzz_change(input, page, sizeof(seal), 1 + fuzz_take_u8(input) % 8);
	memcpy(&seal, page, sizeof(seal));
	if (fuzz_take_u8(input) % 4 != 0)
	{
		seal.magic = UDS_SEAL_MAGIC;
		seal.nonce = control->nonce;
	}
	seal.crc = 0;
	memcpy(page, &seal, sizeof(seal));
	identity = (uds_page_identity){
		.nonce = seal.nonce,
		.physical_page = number,
		.chapter = seal.chapter,
		.generation = seal.generation,
	};
	seal.crc = uds_port_crc32c(uds_page_seed(&identity), page, sizeof(page));
	memcpy(page, &seal, sizeof(seal));
	files_overwrite(directory, UDS_VOLUME_FILE, offset, page, sizeof(page));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_input input = { data, bytes };
	uint8_t mode = fuzz_take_u8(&input);
	uds_control control;

	if (index_of_seals.control.data == NULL)
	{
		fuzz_index_init(&index_of_seals, UDS_STRUCTURE_BUCKETS, 1);
		FUZZ_REQUIRE(uds_geometry_init(&geometry, &index_of_seals.engine.config.geometry) ==
		             UDS_OK);
	}
	memcpy(&control, index_of_seals.control.data, sizeof(control));
	fuzz_index_restore(&index_of_seals);
	if ((mode & 1) != 0)
		files_remove(index_of_seals.engine.host.directory, index_of_seals.save.name);
	for (int i = 0; i <= (mode >> 1) % 4; i++)
		change_seal(&input, &control);
	FUZZ_REQUIRE(engine_open(&index_of_seals.engine) == UDS_OK);
	fuzz_index_use(&index_of_seals, true);
	engine_crash(&index_of_seals.engine);
	return 0;
}
