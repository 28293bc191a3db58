# Builds with PostgreSQL 15 to 18 through PGXS. "make help" lists what else there is.

EXTENSION = elt
MODULE_big = elt
DATA = elt--1.0.sql

# The rooms' SQL, in the order in which CREATE EXTENSION runs it.
SQL_PARTS = \
	src/base/tables.sql \
	src/base/functions.sql \
	src/catalog/tables.sql \
	src/capture/tables.sql \
	src/capture/functions.sql \
	src/worker/tables.sql \
	src/worker/functions.sql \
	src/shard/tables.sql \
	src/shard/functions.sql \
	src/load/tables.sql \
	src/load/functions.sql \
	src/transform/tables.sql \
	src/transform/functions.sql \
	src/view/tables.sql \
	src/view/functions.sql \
	src/job/functions.sql

# Where the sources are: "./", or another folder where make runs in a build folder (make -f ../../Makefile).
top := $(dir $(firstword $(MAKEFILE_LIST)))

OBJS = $(patsubst $(top)%.c,%.o,$(wildcard $(top)src/*.c $(top)src/*/*.c))
headers = $(wildcard $(top)src/*.h $(top)src/*/*.h)
sql_parts = $(foreach part,src/guard.sql $(SQL_PARTS),$(wildcard $(top)$(part)))

# "make WERROR=" builds with a compiler that knows newer warnings.
WERROR = -Werror
PG_CPPFLAGS = -I$(top)src
PG_CFLAGS = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers $(WERROR)

# Only what exports.map names can be seen from outside. The servers' own makefiles add -fvisibility=hidden from 16 on;
# 15 cannot have it, because its PG_FUNCTION_INFO_V1 does not mark the function itself as exported.
SHLIB_LINK = -Wl,--version-script=$(top)src/exports.map

# "make installcheck": an unprivileged user, servers of its own, the extension installed. TESTS="a b" picks some.
pick = $(if $(TESTS),$(filter $(TESTS),$(1)),$(1))
REGRESS = $(call pick,$(patsubst $(top)sql/%.sql,%,$(sort $(wildcard $(top)sql/*.sql))))
ISOLATION = $(call pick,$(patsubst $(top)specs/%.spec,%,$(sort $(wildcard $(top)specs/*.spec))))
REGRESS_OPTS = --load-extension=elt --temp-instance=tmp_check_regress \
	--temp-config=$(top)test/postgresql.conf --temp-config=$(top)test/regress.conf
ISOLATION_OPTS = --load-extension=elt --temp-instance=tmp_check_iso --temp-config=$(top)test/postgresql.conf
PROVE_TESTS = $(patsubst %,t/%.pl,$(call pick,$(patsubst $(top)t/%.pl,%,$(sort $(wildcard $(top)t/*.pl)))))
TAP_TESTS = $(if $(PROVE_TESTS),1)
export TEMP_CONFIG = $(abspath $(top))/test/postgresql.conf
# PGXS asks with ifdef, which calls a variable defined that is only empty once expanded.
$(foreach kind,REGRESS ISOLATION TAP_TESTS,$(if $(strip $($(kind))),,$(eval undefine $(kind))))

EXTRA_CLEAN = build tmp_check tmp_check_regress tmp_check_iso output_iso

PG_CONFIG = pg_config
export PG_CONFIG
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

.DEFAULT_GOAL := all

ifneq ($(wildcard $(PGXS)),)

# No bitcode: it doubles the time of a build, and nothing here is worth inlining.
override with_llvm := no
# PGXS would set VPATH, and take the source folder's objects for those of a build folder.
override VPATH :=
vpath %.c $(top)
vpath %.control $(top)
include $(PGXS)

$(OBJS): $(headers) $(top)Makefile | $(sort $(dir $(OBJS)))
$(sort $(dir $(OBJS))):
	mkdir -p $@
$(shlib): $(top)src/exports.map

all: $(top)elt--1.0.sql

else

all install installcheck clean:
	@echo 'no PGXS found by "$(PG_CONFIG)": run scripts/packages, or name another pg_config by PG_CONFIG=' >&2; exit 1

endif

$(top)elt--1.0.sql: $(sql_parts) $(top)Makefile
	cat $(sql_parts) >$@.new && mv $@.new $@

# -------------------------------------------------------------------------------------------------------------------
# What follows runs on throwaway servers, with a private copy of the installation: it needs no "make install".

.PHONY: help packages test demo bench psql indent check-sql check-includes check-indent

help:
	@echo 'make                  build'
	@echo 'make install          install into the server of PG_CONFIG'
	@echo 'make installcheck     pg_regress, isolation and TAP tests as PGXS runs them (not as root)'
	@echo 'make test             all tests, then again with assertions and the undefined-behaviour sanitizer'
	@echo 'make test-KIND        one kind: regress isolation tap pgtap oracle; TESTS="a b" picks files,'
	@echo '                      BUILD=checked takes the build with assertions and sanitizer'
	@echo 'make test-mutants     do the tests notice defects put into the code?'
	@echo 'make demo             the demonstration'
	@echo 'make bench            the benchmarks, with fsync on'
	@echo 'make psql             psql on a throwaway server'
	@echo 'make indent           format the C code'
	@echo 'make check-sql check-includes check-indent'
	@echo '                      is elt--1.0.sql up to date, do includes point one way, is the format right'
	@echo 'make packages         install the Debian packages that lack'

packages:
	@scripts/packages

test: packages
	@scripts/test

test-regress test-isolation test-tap test-pgtap test-oracle: test-%: packages
	@scripts/test --build '$(or $(BUILD),plain)' $* $(TESTS)

test-mutants: packages
	@if [ -x test/mutants/run ]; then test/mutants/run $(TESTS); else echo '0 passed, 0 failed'; fi

demo: packages
	@scripts/cluster run demo/run

bench: packages
	@mkdir -p build
	@scripts/cluster --set fsync=on --set shared_buffers=1GB --set max_wal_size=8GB run bench/run $(TESTS) >build/benchmarks.md
	@cat build/benchmarks.md $(if $(TESTS)$(BENCH_SCALE),,| tee docs/benchmarks.md)

psql: packages
	@scripts/cluster --extension elt run psql

indent: packages
	@scripts/indent

check-indent: packages
	@scripts/indent --check

check-includes:
	@scripts/check-includes

check-sql:
	@cat $(sql_parts) | cmp - elt--1.0.sql || { echo 'elt--1.0.sql is not what its parts in src/ make: run "make"'; exit 1; }
