/*
 * fuzz_control.c: whatever the control file says, with a right checksum, the index opens or tells
 * why not, and no answer is wrong.
 */
#include "fuzz_engine.h"

#include "crc32c.h"

static fuzz_index indexes[2];

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_input input = { data, bytes };
	uint8_t mode = fuzz_take_u8(&input);
	fuzz_index *index = &indexes[mode & 1];
	uds_control control;
	uds_status status;

	if (index->control.data == NULL)
		fuzz_index_init(index, UDS_STRUCTURE_BUCKETS, 1 + (mode & 1));
	fuzz_index_restore(index);
	memcpy(&control, index->control.data, sizeof(control));
	if ((mode & 2) != 0)
		/* The part behind the identity, which most changes would make a mismatch. */
		fuzz_change(&input, &control.generation, offsetof(uds_control, memory_mb) - 48, 4);
	else
		fuzz_change(&input, &control, sizeof(control), 8);
	if ((mode & 12) != 12)
	{
		control.crc = 0;
		control.crc = uds_crc32c(0, &control, sizeof(control));
	}
	files_write(index->engine.host.directory,
	            UDS_CONTROL_FILE,
	            &control,
	            (mode & 240) == 240 ? fuzz_take_u16(&input) % sizeof(control) : sizeof(control));
	status = engine_open(&index->engine);
	FUZZ_REQUIRE(status == UDS_OK || status == UDS_ERR_CORRUPT || status == UDS_ERR_MISMATCH);
	FUZZ_REQUIRE(status == UDS_OK || index->engine.error.message[0] != '\0');
	if (status == UDS_OK)
		fuzz_index_use(index, true);
	engine_crash(&index->engine);
	return 0;
}
