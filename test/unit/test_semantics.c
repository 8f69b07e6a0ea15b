/*
 * test_semantics.c: what is deleted or replaced does not come back, although names agree in the bits
 * that the volume index looks at: test vectors TV-1b and TV-1c of specification 02, which find old
 * versions in the original, end "not found" here, before and after a rebuild.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

#define VOLUME_FIELD UINT64_C(0x5a17c0de12345678)

typedef struct scene
{
	engine engine;
	uds_name a, b, k; /* equal volume index bits */
	uint64_t fillers;
} scene;

/* How the index gets from one round of questions to the next. */
typedef enum passage
{
	STAY,
	REBUILD,        /* a crash, no save: every chapter is replayed */
	LOAD,           /* an orderly end: everything comes from the save */
	SAVE_AND_REPLAY /* a save in the middle, then a crash: later chapters are replayed over it */
} passage;

static void
scene_init(scene *scene, uds_index_structure structure, uint32_t zone_count)
{
	uds_config config = engine_config(1, 8, zone_count, structure);

	memset(scene, 0, sizeof(*scene));
	engine_init(&scene->engine, &config);
	engine_must_open(&scene->engine);
	scene->a = uds_generate_name(VOLUME_FIELD, UINT64_C(0x111111111111), 1);
	scene->b = uds_generate_name(VOLUME_FIELD, UINT64_C(0x222222222222), 2);
	scene->k = uds_generate_name(VOLUME_FIELD, UINT64_C(0x333333333333), 3);
}

static uds_request
request(scene *scene, uds_operation operation, const uds_name *name, uint64_t data)
{
	uds_metadata metadata = uds_generate_metadata(0, data);

	return engine_request(&scene->engine, operation, name, &metadata);
}

static void
assert_found(scene *scene, uds_operation operation, const uds_name *name, uint64_t data)
{
	uds_metadata expected = uds_generate_metadata(0, data);
	uds_request answer = request(scene, operation, name, 999);

	assert_true(answer.found);
	assert_memory_equal(&answer.found_metadata, &expected, sizeof(expected));
}

static void
assert_not_found(scene *scene, uds_operation operation, const uds_name *name)
{
	assert_false(request(scene, operation, name, 999).found);
}

/* Fill the open chapter with other names, so that it is closed, and let it be written. */
static void
close_chapter(scene *scene)
{
	uint64_t newest = engine_statistics(&scene->engine).newest_chapter;

	while (engine_statistics(&scene->engine).newest_chapter == newest)
	{
		uds_name name = uds_generate_counter_name(scene->fillers++);

		(void) request(scene, UDS_POST, &name, 0);
	}
	engine_settle(&scene->engine);
}

/* Save in the middle of the story, when the passage asks for it. */
static void
save_for(scene *scene, passage passage)
{
	if (passage == SAVE_AND_REPLAY)
		assert_int_equal(engine_checkpoint(&scene->engine), UDS_OK);
}

static void
pass(scene *scene, passage passage)
{
	switch (passage)
	{
		case STAY:
			return;
		case REBUILD:
		case SAVE_AND_REPLAY:
			close_chapter(scene);
			engine_crash(&scene->engine);
			break;
		case LOAD:
			assert_int_equal(engine_close(&scene->engine), UDS_OK);
			break;
	}
	engine_must_open(&scene->engine);
	if (passage != LOAD)
		assert_true(engine_statistics(&scene->engine).recovery_chapters > 0);
}

/* A and B in chapter 0, both with data 1; A's entry is a hint, B's an exact one. */
static void
begin_story(scene *scene)
{
	assert_not_found(scene, UDS_PEEK, &scene->a);
	assert_false(request(scene, UDS_POST, &scene->a, 1).found);
	assert_false(request(scene, UDS_POST, &scene->b, 1).found);
	close_chapter(scene);
}

/* TV-1b: the deletion of A makes the hint lead to the chapter that K was deleted from. */
static void
tell_1b(uds_index_structure structure, uint32_t zone_count, passage passage)
{
	scene scene;

	scene_init(&scene, structure, zone_count);
	begin_story(&scene);
	assert_found(&scene, UDS_UPDATE, &scene.b, 1);
	assert_false(request(&scene, UDS_POST, &scene.k, 3).found);
	close_chapter(&scene);
	save_for(&scene, passage);
	assert_found(&scene, UDS_DELETE, &scene.k, 3);
	assert_not_found(&scene, UDS_QUERY, &scene.k);
	assert_found(&scene, UDS_DELETE, &scene.a, 1);
	assert_not_found(&scene, UDS_QUERY, &scene.k);
	pass(&scene, passage);
	assert_not_found(&scene, UDS_QUERY, &scene.k);
	assert_not_found(&scene, UDS_QUERY, &scene.a);
	assert_found(&scene, UDS_QUERY, &scene.b, 999);
	engine_destroy(&scene.engine);
}

/* TV-1c: the hint of A still leads to the chapter of the replaced version of B. */
static void
tell_1c(uds_index_structure structure, uint32_t zone_count, passage passage)
{
	scene scene;

	scene_init(&scene, structure, zone_count);
	begin_story(&scene);
	assert_true(request(&scene, UDS_UPDATE, &scene.b, 2).found);
	close_chapter(&scene);
	save_for(&scene, passage);
	assert_found(&scene, UDS_DELETE, &scene.b, 2);
	assert_not_found(&scene, UDS_QUERY, &scene.b);
	pass(&scene, passage);
	assert_not_found(&scene, UDS_QUERY, &scene.b);
	assert_not_found(&scene, UDS_DELETE, &scene.b);
	assert_found(&scene, UDS_QUERY, &scene.a, 1);
	/* And the name can be used again. */
	assert_false(request(&scene, UDS_POST, &scene.b, 7).found);
	assert_found(&scene, UDS_POST, &scene.b, 7);
	engine_destroy(&scene.engine);
}

/* The newest version is found, whatever the chapters of its older ones are. */
static void
tell_of_updates(uds_index_structure structure, uint32_t zone_count, passage passage)
{
	scene scene;

	scene_init(&scene, structure, zone_count);
	begin_story(&scene);
	for (uint64_t data = 2; data <= 4; data++)
	{
		assert_true(request(&scene, UDS_UPDATE, &scene.a, data).found);
		assert_true(request(&scene, UDS_UPDATE, &scene.b, 10 * data).found);
		close_chapter(&scene);
		if (data == 3)
			save_for(&scene, passage);
	}
	pass(&scene, passage);
	assert_found(&scene, UDS_PEEK, &scene.a, 4);
	assert_found(&scene, UDS_PEEK, &scene.b, 40);
	engine_destroy(&scene.engine);
}

/* An entry with the full name of K in the open chapter, where no record of it is. */
static void
make_exact_entry(scene *scene)
{
	uds_volume_index *index = &scene->engine.index->volume_index;
	uint32_t zone = uds_volume_index_zone(index, &scene->k);
	uds_index_entry entry;

	assert_false(request(scene, UDS_POST, &scene->a, 1).found);
	assert_int_equal(uds_volume_index_get(index, &scene->k, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_HINT);
	assert_int_equal(uds_volume_index_put(index,
	                                      &entry,
	                                      atomic_load(&scene->engine.index->zones[zone].newest)),
	                 UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_EXACT);
}

/* What an entry says is checked, whoever's it is: rows 9 and 10 of the original's decision table. */
static void
tell_of_exact_entries(uds_index_structure structure, uint32_t zone_count, passage passage)
{
	scene scene;

	scene_init(&scene, structure, zone_count);
	make_exact_entry(&scene);
	assert_not_found(&scene, UDS_QUERY, &scene.k);
	assert_not_found(&scene, UDS_DELETE, &scene.k);
	assert_not_found(&scene, UDS_PEEK, &scene.k);
	assert_false(request(&scene, UDS_POST, &scene.k, 5).found);
	assert_found(&scene, UDS_PEEK, &scene.k, 5);
	assert_found(&scene, UDS_DELETE, &scene.k, 5);
	assert_found(&scene, UDS_QUERY, &scene.a, 1);
	engine_destroy(&scene.engine);
	/* The same with nothing but a post. */
	scene_init(&scene, structure, zone_count);
	make_exact_entry(&scene);
	assert_false(request(&scene, UDS_POST, &scene.k, 5).found);
	save_for(&scene, passage);
	pass(&scene, passage);
	assert_found(&scene, UDS_POST, &scene.k, 5);
	assert_found(&scene, UDS_PEEK, &scene.a, 1);
	engine_destroy(&scene.engine);
}

static int
fail_reads(void *context, const char *operation, const char *name)
{
	const bool *is_failing = context;

	(void) name;
	return *is_failing && strcmp(operation, "read") == 0 ? EIO : 0;
}

/* Deleted while its record could not be read: it does not come back when it can. */
static void
tell_of_unreadable_records(uds_index_structure structure, uint32_t zone_count, passage passage)
{
	bool is_failing = false;
	scene scene;

	scene_init(&scene, structure, zone_count);
	begin_story(&scene);
	for (uint32_t i = 0; i < 4; i++)
		close_chapter(&scene);
	scene.engine.host.fault = fail_reads;
	scene.engine.host.fault_context = &is_failing;
	is_failing = true;
	assert_not_found(&scene, UDS_PEEK, &scene.b);
	assert_not_found(&scene, UDS_DELETE, &scene.b);
	is_failing = false;
	assert_not_found(&scene, UDS_PEEK, &scene.b);
	pass(&scene, passage);
	assert_not_found(&scene, UDS_PEEK, &scene.b);
	/* Nobody has touched the other one. */
	assert_found(&scene, UDS_PEEK, &scene.a, 1);
	engine_destroy(&scene.engine);
}

static void
tell_all(void (*tell)(uds_index_structure, uint32_t, passage))
{
	static const passage passages[] = { STAY, REBUILD, LOAD, SAVE_AND_REPLAY };

	for (size_t i = 0; i < sizeof(passages) / sizeof(passages[0]); i++)
	{
		tell(UDS_STRUCTURE_BUCKETS, 1, passages[i]);
		tell(UDS_STRUCTURE_LISTS, 1, passages[i]);
		tell(UDS_STRUCTURE_BUCKETS, 3, passages[i]);
		tell(UDS_STRUCTURE_LISTS, 3, passages[i]);
	}
}

static void
deleted_name_does_not_come_back_through_a_hint(void **state)
{
	(void) state;
	tell_all(tell_1b);
}

static void
replaced_version_does_not_come_back_after_a_delete(void **state)
{
	(void) state;
	tell_all(tell_1c);
}

static void
newest_of_several_versions_is_found(void **state)
{
	(void) state;
	tell_all(tell_of_updates);
}

static void
an_entry_without_its_record_is_a_new_name(void **state)
{
	(void) state;
	tell_all(tell_of_exact_entries);
}

static void
what_was_deleted_unread_does_not_come_back(void **state)
{
	(void) state;
	tell_all(tell_of_unreadable_records);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deleted_name_does_not_come_back_through_a_hint),
		cmocka_unit_test(replaced_version_does_not_come_back_after_a_delete),
		cmocka_unit_test(newest_of_several_versions_is_found),
		cmocka_unit_test(an_entry_without_its_record_is_a_new_name),
		cmocka_unit_test(what_was_deleted_unread_does_not_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
