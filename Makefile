# uds: the deduplication index of UDS as a PostgreSQL extension
#
#   make                    build uds.so
#   make install            install it into the server that PG_CONFIG names
#   make installcheck       SQL tests against a running server that preloads uds
#   make pgtap              pgTAP tests against the same server
#   make tap                TAP tests; they start their own servers (not as root)
#   make engine             the index alone: build/libuds_engine.a
#   make unit               tests of the engine; SANITIZE=address,undefined or SANITIZE=thread
#   make simulate           seeded crash and interleaving search; SEEDS=number of runs, SIM_SECONDS=
#                           or HOURS=, SIM_JOBS=processes
#   make soak               ten minutes of mixed load and trouble, each answer checked; SOAK_SECONDS=,
#                           SOAK_CLIENTS= (not as root)
#   make find-bugs          does the simulation find the bugs of test/sim/bugs, and how fast
#   make fuzz               libFuzzer targets; FUZZ_SECONDS=seconds for each
#   make bench              benchmarks, with the conditions they ran under
#   make format             write the layout of .clang-format; check-format compares
#   make lint               static analysis of the engine
#   make check-exports      what uds.so exports; check-imports: what the engine calls;
#                           check-versions: one version everywhere
#
# WERROR=1 makes warnings errors.  Everything that is built lies in build/, except uds.so.

PG_CONFIG ?= pg_config

ENGINE_SOURCES := $(sort $(wildcard src/engine/*.c))
PG_SOURCES     := $(sort $(wildcard src/pg/*.c))

# Without the glue there is no server module: all that can be built is the engine.
ifneq ($(PG_SOURCES),)
MODULE_big = uds
endif
OBJS      = $(patsubst %.c,build/server/%.o,$(ENGINE_SOURCES) $(PG_SOURCES))
EXTENSION = uds
DATA      = $(sort $(wildcard uds--*.sql))

REGRESS := $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ifeq ($(REGRESS),)
undefine REGRESS
endif
# Every test finds the extension created, in a database that sorts the same everywhere.
REGRESS_OPTS = --load-extension=uds
ENCODING     = UTF8
NO_LOCALE    = 1

EXTRA_CLEAN  = build
SHLIB_LINK  += -lsodium
PG_CPPFLAGS  = -Isrc/engine -Isrc/pg
PG_CFLAGS    = -std=gnu11 -Wno-declaration-after-statement -Wstrict-prototypes \
               $(if $(WERROR),-Werror)

# No bitcode: a server built with LLVM asks for the same clang when an extension is built, and
# the build breaks where it is absent or another version.  JIT inlining has nothing to gain from
# functions that mostly wait for a worker.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

.DEFAULT_GOAL := all

ifeq ($(PG_SOURCES),)
all: engine
endif

# ---- flags ----------------------------------------------------------------------------------

ENGINE_WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wvla \
                  $(if $(WERROR),-Werror)
# The engine alone does not inherit the server's flags: -fwrapv and -fno-strict-aliasing would hide
# from the sanitizers what another compiler may use.
ENGINE_CFLAGS   = -std=gnu11 -g -fvisibility=hidden -fno-omit-frame-pointer $(ENGINE_WARNINGS) \
                  -Isrc/engine -Itest/support

# Rules for one way to build the engine and its tests: $(1) directory, $(2) compiler, $(3) flags.
# Objects mirror the tree; all depend on this file, since it holds the flags.
define variant_rules
$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$(2) $$(ENGINE_CFLAGS) $(3) -MMD -MP -c -o $$@ $$<

$(1)/libuds_engine.a: $(patsubst %.c,$(1)/%.o,$(ENGINE_SOURCES))
	@rm -f $$@
	$$(AR) crs $$@ $$^
endef

# Header dependencies of whatever has been built before.
-include $(shell find build -name '*.d' 2>/dev/null)

# ---- the server module ------------------------------------------------------------------------

# Only the engine is compiled with hidden symbols: before PostgreSQL 16 the macros of SQL functions
# do not mark them as exported, so the option would hide them.
build/server/src/engine/%.o: src/engine/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(ENGINE_WARNINGS) -fvisibility=hidden $(CPPFLAGS) -MMD -MP -c -o $@ $<

build/server/src/pg/%.o: src/pg/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# ---- engine -----------------------------------------------------------------------------------

$(eval $(call variant_rules,build/release,$$(CC),-O2))

.PHONY: engine
engine: build/libuds_engine.a
build/libuds_engine.a: build/release/libuds_engine.a
	cp $< $@

# ---- unit tests ---------------------------------------------------------------------------------

comma := ,
SANITIZE       ?=
SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
SANITIZE_NAME  := $(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))

# What of test/support the unit tests are not linked with.
UNIT_SUPPORT_EXCLUDE = test/support/port_sim.c test/support/sim.c
UNIT_SUPPORT := $(filter-out $(UNIT_SUPPORT_EXCLUDE),$(sort $(wildcard test/support/*.c)))
# The tests to run, for example UNIT_TESTS="bits geometry".
UNIT_TESTS   ?= $(patsubst test/unit/test_%.c,%,$(sort $(wildcard test/unit/test_*.c)))

unit_directory := build/unit$(SANITIZE_NAME)
UNIT_PROGRAMS   = $(patsubst %,$(unit_directory)/test_%,$(UNIT_TESTS))

$(eval $(call variant_rules,$(unit_directory),$$(CC),-O1 -DUDS_ASSERTIONS $(SANITIZE_FLAGS)))

$(unit_directory)/libsupport.a: $(patsubst %.c,$(unit_directory)/%.o,$(UNIT_SUPPORT))
	@rm -f $@
	$(AR) crs $@ $^

$(unit_directory)/test_%: $(unit_directory)/test/unit/test_%.o $(unit_directory)/libsupport.a \
                          $(unit_directory)/libuds_engine.a
	$(CC) $(SANITIZE_FLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		-lcmocka -pthread -lm

# A test that does not build is a failed test, also when an older program is there; the others
# still run.
.PHONY: unit unit-programs
unit-programs: $(UNIT_PROGRAMS)
unit:
	@rm -f $(UNIT_PROGRAMS)
	@$(MAKE) --no-print-directory -k unit-programs || true
	@test/run_unit $(UNIT_PROGRAMS)

# ---- simulation -------------------------------------------------------------------------------

# SEEDS runs from FIRST on, or as many as fit into SIM_SECONDS or HOURS.
SEEDS       ?= 1000
FIRST       ?= 1
SIM_SECONDS ?=
HOURS       ?=
SIM_JOBS    ?= 1
# At most so many for each planted bug.
BUG_SEEDS   ?= 20000

sim_directory := build/sim$(SANITIZE_NAME)
SIM_SUPPORT   := generate port_sim sim sim_disk
SIM_SOURCES   := $(sort $(wildcard test/sim/*.c)) $(SIM_SUPPORT:%=test/support/%.c)

# Each basic block of the engine calls the simulation, which may go on elsewhere there.
$(eval $(call variant_rules,$(sim_directory),$$(CC),-O2 -DUDS_ASSERTIONS $(SANITIZE_FLAGS) \
	$$(if $$(filter src/engine/%,$$<),-fsanitize-coverage=trace-pc)))

$(sim_directory)/simulate: $(patsubst %.c,$(sim_directory)/%.o,$(SIM_SOURCES)) \
                           $(sim_directory)/libuds_engine.a
	$(CC) $(SANITIZE_FLAGS) -o $@ $^ -pthread -lm

.PHONY: simulate
simulate: $(sim_directory)/simulate
	$< --first $(FIRST) --jobs $(SIM_JOBS) \
		$(if $(HOURS),--hours $(HOURS),$(if $(SIM_SECONDS),--seconds $(SIM_SECONDS),--seeds $(SEEDS)))

.PHONY: find-bugs
find-bugs:
	test/sim/find_bugs $(BUG_SEEDS)

# ---- fuzzing ------------------------------------------------------------------------------------

FUZZ_SECONDS ?= 60
FUZZ_CC      ?= $(if $(CLANG),$(CLANG),clang)
FUZZ_TARGETS := $(patsubst test/fuzz/%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
FUZZ_FLAGS   := -fsanitize=address,undefined -fno-sanitize-recover=all

$(eval $(call variant_rules,build/fuzz,$$(FUZZ_CC),-O1 -DUDS_ASSERTIONS \
	-fsanitize=fuzzer-no-link $(FUZZ_FLAGS)))

build/fuzz/libsupport.a: $(patsubst %.c,build/fuzz/%.o,$(UNIT_SUPPORT))
	@rm -f $@
	$(AR) crs $@ $^

# Messages are declared with the types of the server.
build/fuzz/test/fuzz/fuzz_message.o: ENGINE_CFLAGS += -isystem $(includedir_server)

build/fuzz/fuzz_%: build/fuzz/test/fuzz/fuzz_%.o build/fuzz/libsupport.a build/fuzz/libuds_engine.a
	$(FUZZ_CC) -fsanitize=fuzzer $(FUZZ_FLAGS) -o $@ $< \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group -pthread -lm

# Inputs that a run finds stay in build/fuzz/corpus; those worth keeping go to test/fuzz/seeds.
.PHONY: fuzz
fuzz: $(addprefix build/fuzz/,$(FUZZ_TARGETS))
	@failed=0; for target in $(FUZZ_TARGETS); do \
		mkdir -p build/fuzz/corpus/$$target build/fuzz/found; \
		seeds=test/fuzz/seeds/$$target; [ -d $$seeds ] || seeds=; \
		if build/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=0 \
			-artifact_prefix=build/fuzz/found/$$target- build/fuzz/corpus/$$target $$seeds \
			>build/fuzz/$$target.log 2>&1; \
		then echo "ok     $$target"; \
		else tail -n 40 build/fuzz/$$target.log; echo "FAILED $$target"; failed=1; fi; \
	done; exit $$failed

# ---- benchmarks -----------------------------------------------------------------------------------

BENCH_PROGRAMS := $(patsubst bench/%.c,build/bench/%,$(sort $(wildcard bench/bench_*.c)))
BENCH_SCRIPTS  := $(sort $(wildcard bench/*.sh))
# Arguments for the programs and scripts.
BENCH_ARGS     ?=

build/bench/bench_%: build/release/bench/bench_%.o \
                     $(patsubst %.c,build/release/%.o,$(UNIT_SUPPORT)) build/release/libuds_engine.a
	@mkdir -p $(@D)
	$(CC) -o $@ $(filter %.o,$^) $(filter %.a,$^) -pthread -lm
build/bench/bench_sparse: build/release/bench/locality.o build/release/bench/threads.o

# Clients of a server: the demo's, and those of the SQL benchmarks.
PQ_CFLAGS = -I$(includedir)
PQ_LIBS   = -L$(libdir) -lpq -lsodium -pthread
build/client/%: bench/client_%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) $(PQ_CFLAGS) -O2 -MMD -MP -MF $@.d -o $@ $< $(PQ_LIBS)
build/client/demo: scripts/demo_client.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) $(PQ_CFLAGS) -O2 -MMD -MP -MF $@.d -o $@ $< $(PQ_LIBS)

.PHONY: bench bench-programs
bench-programs: $(BENCH_PROGRAMS) \
                $(patsubst bench/client_%.c,build/client/%,$(sort $(wildcard bench/client_*.c)))
bench: bench-programs
	@PG_CONFIG="$(PG_CONFIG)" scripts/conditions
	@failed=0; for program in $(BENCH_PROGRAMS) $(BENCH_SCRIPTS); do \
		echo; echo "== $$program $(BENCH_ARGS)"; \
		PG_CONFIG="$(PG_CONFIG)" $$program $(BENCH_ARGS) || failed=1; \
	done; exit $$failed

# ---- tests of the server module -------------------------------------------------------------------

PGTAP_DATABASE ?= uds_pgtap
PGTAP_PSQL      = $(bindir)/psql -XAtq -P pager=off -v ON_ERROR_STOP=1 -d $(PGTAP_DATABASE)
PGTAP_TESTS    ?= $(sort $(wildcard test/pgtap/*.sql))
TAP_FILES      ?= $(sort $(wildcard test/t/*.pl))

.PHONY: pgtap tap
pgtap:
	$(bindir)/psql -Xq -v ON_ERROR_STOP=1 -d postgres \
		-c 'DROP DATABASE IF EXISTS $(PGTAP_DATABASE)' -c 'CREATE DATABASE $(PGTAP_DATABASE)'
	$(bindir)/psql -Xq -v ON_ERROR_STOP=1 -d $(PGTAP_DATABASE) \
		-c 'CREATE EXTENSION pgtap' -c 'CREATE EXTENSION uds'
	$(PROVE) $(PROVE_FLAGS) --ext .sql --exec '$(PGTAP_PSQL) -f' $(PGTAP_TESTS)

tap: PROVE_TESTS = $(TAP_FILES)
tap: PG_PROVE_FLAGS += -I test/t
tap:
	@if [ "$$(id -u)" = 0 ]; then \
		echo 'make tap starts servers and cannot run as root: see scripts/test' >&2; exit 1; fi
	@$(prove_installcheck)

# The short soak is one of the TAP tests; this is the long one.
SOAK_SECONDS ?= 600
SOAK_CLIENTS ?= 8
.PHONY: soak
soak:
	@UDS_SOAK_SECONDS=$(SOAK_SECONDS) UDS_SOAK_CLIENTS=$(SOAK_CLIENTS) \
		$(MAKE) --no-print-directory tap TAP_FILES=test/t/050_soak.pl PROVE_FLAGS=-v

# ---- checks of the source -------------------------------------------------------------------------

C_FILES       = $(shell find $(wildcard src test bench scripts) -name '*.[ch]' | LC_ALL=C sort)
CLANG_FORMAT ?= $(firstword $(notdir $(wildcard /usr/bin/clang-format-14)) clang-format)
CPPCHECK     ?= cppcheck

.PHONY: format check-format lint check-exports check-imports check-versions
format:
	$(CLANG_FORMAT) -i $(C_FILES)
check-format:
	@failed=0; for file in $(C_FILES); do \
		$(CLANG_FORMAT) --dry-run --Werror $$file 2>/dev/null || \
			{ echo "$$file is not as make format writes it"; failed=1; }; \
	done; exit $$failed

# uninitvar takes a loop for one that may be skipped by its count but not by the next loop's.
lint:
	$(CPPCHECK) --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--error-exitcode=1 --suppress=missingIncludeSystem \
		--suppress=uninitvar -I src/engine src/engine

check-exports: all
	test/check_exports uds$(DLSUFFIX)
check-imports: engine
	test/check_imports build/libuds_engine.a
check-versions:
	test/check_versions
