/*
 * fuzz_checkpoint.c: whatever a save says, in frames with right checksums, its loaders refuse it or
 * leave an index in order.  The volume behind it is whole, so the index always opens.
 */
#include "fuzz_engine.h"

#include "../../src/engine/block.h"
#include "../../src/engine/checkpoint.h"

#define SECTIONS_MAX 16
#define SECTION_ROOM 4096 /* that a section may grow by */
#define FRAME_BYTES  3000
#define CHANGES_MAX  8

typedef struct fuzz_section
{
	uint16_t kind;
	uint16_t number;
	size_t bytes;
	uint8_t *data; /* with SECTION_ROOM behind it */
} fuzz_section;

typedef struct fuzz_save
{
	fuzz_section sections[SECTIONS_MAX];
	uint32_t count;
} fuzz_save;

/* Buckets and lists, with one zone and with three. */
static fuzz_index indexes[4];
static fuzz_save saves[4];

/* Take the frames of a save apart into its sections. */
static void
take_apart(fuzz_save *save, const fuzz_file *file)
{
	fuzz_section *section = NULL;

	for (size_t offset = 0; offset < file->bytes;)
	{
		uds_frame frame;

		memcpy(&frame, file->data + offset, sizeof(frame));
		if (section == NULL || section->kind != frame.section || section->number != frame.index)
		{
			FUZZ_REQUIRE(save->count < SECTIONS_MAX);
			section = &save->sections[save->count++];
			section->kind = frame.section;
			section->number = frame.index;
			section->data = malloc(file->bytes + SECTION_ROOM);
		}
		memcpy(section->data + section->bytes, file->data + offset + sizeof(frame), frame.length);
		section->bytes += frame.length;
		offset += sizeof(frame) + frame.length;
	}
}

/* Change what one section says, or how it is called. */
static void
change_section(fuzz_input *input, fuzz_save *save)
{
	fuzz_section *section = &save->sections[fuzz_take_u8(input) % save->count];
	uint8_t kind = fuzz_take_u8(input);
	/* The first bytes decide most. */
	size_t reach = (kind & 0x80) != 0 ? 256 : section->bytes;
	size_t offset = section->bytes == 0
	                    ? 0
	                    : fuzz_take_u64(input) % (reach < section->bytes ? reach : section->bytes);
	size_t length = fuzz_take_u8(input);

	switch (kind % 8)
	{
		case 0:
			section->bytes = offset;
			break;
		case 1:
			memmove(section->data + offset + length,
			        section->data + offset,
			        section->bytes - offset);
			fuzz_take(input, section->data + offset, length);
			section->bytes += length;
			break;
		case 2:
			section->kind = fuzz_take_u8(input) % 7;
			section->number = fuzz_take_u8(input) % 5;
			break;
		case 3:
			length = length < section->bytes - offset ? length : section->bytes - offset;
			memset(section->data + offset, fuzz_take_u8(input), length);
			break;
		case 4:
			length = length < section->bytes - offset ? length : section->bytes - offset;
			fuzz_take(input, section->data + offset, length);
			break;
		default:
			offset -= offset % 4;
			if (offset < section->bytes)
				fuzz_change(input, section->data + offset, section->bytes - offset, 1);
			break;
	}
}

/* Write the sections as frames with right checksums. */
static void
write_save(const fuzz_save *save, const fuzz_index *index)
{
	uint8_t *file = malloc(index->save.bytes * 2 + SECTIONS_MAX * 2 * SECTION_ROOM);
	uint64_t seed[2];
	size_t total = 0;
	uint32_t sequence = 0;
	uds_control control;

	memcpy(&control, index->control.data, sizeof(control));
	seed[0] = control.nonce;
	seed[1] = control.save_number;
	for (uint32_t i = 0; i < save->count; i++)
	{
		const fuzz_section *section = &save->sections[i];
		size_t done = 0;

		do
		{
			uds_frame frame = {
				.length = (uint32_t) UDS_MIN(section->bytes - done, (size_t) FRAME_BYTES),
				.sequence = sequence++,
				.section = section->kind,
				.index = section->number,
			};
			uint8_t *start = file + total;

			memcpy(start, &frame, sizeof(frame));
			memcpy(start + sizeof(frame), section->data + done, frame.length);
			frame.crc = uds_port_crc32c(uds_port_crc32c(0, seed, sizeof(seed)),
			                            start + sizeof(frame.crc),
			                            sizeof(frame) - sizeof(frame.crc) + frame.length);
			memcpy(start, &frame, sizeof(frame));
			total += sizeof(frame) + frame.length;
			done += frame.length;
		} while (done < section->bytes);
	}
	files_write(index->engine.host.directory, index->save.name, file, total);
	free(file);
}

/* A copy of a save whose sections may be changed. */
static void
copy_save(fuzz_save *to, const fuzz_save *from)
{
	*to = *from;
	for (uint32_t i = 0; i < from->count; i++)
	{
		/* As many changes as can make a section larger, each by at most 255 bytes. */
		to->sections[i].data = malloc(from->sections[i].bytes + SECTION_ROOM);
		memcpy(to->sections[i].data, from->sections[i].data, from->sections[i].bytes);
	}
}

_Static_assert(CHANGES_MAX * 255 < SECTION_ROOM, "sections have room to grow");

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_input input = { data, bytes };
	uint32_t number = fuzz_take_u8(&input) % 4;
	fuzz_index *index = &indexes[number];
	engine *engine = &index->engine;
	fuzz_save save;

	if (index->control.data == NULL)
	{
		fuzz_index_init(index,
		                number < 2 ? UDS_STRUCTURE_BUCKETS : UDS_STRUCTURE_LISTS,
		                number % 2 == 0 ? 1 : 3);
		take_apart(&saves[number], &index->save);
	}
	copy_save(&save, &saves[number]);
	for (int i = 0; i < CHANGES_MAX && input.bytes > 0; i++)
		change_section(&input, &save);
	fuzz_index_restore(index);
	write_save(&save, index);
	for (uint32_t i = 0; i < save.count; i++)
		free(save.sections[i].data);

	FUZZ_REQUIRE(engine_open(engine) == UDS_OK);
	/* Buckets are taken as they are when nothing in them leads astray: entries may be out of order
	 * or there twice, which the whole check refuses. */
	for (uint32_t i = 0; i < engine->config.zone_count; i++)
		FUZZ_REQUIRE(engine->config.structure == UDS_STRUCTURE_BUCKETS ||
		             uds_volume_index_check(&engine->index->volume_index, i) == UDS_OK);
	/* Records of the open chapter are what the save says. */
	fuzz_index_use(index, false);
	engine_crash(engine);
	return 0;
}
