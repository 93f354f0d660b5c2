# SPDX-License-Identifier: MIT
# Strata. `make help` lists the targets; `make V=1` shows the commands.

CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
VARIANT ?=
BUILD   := build$(if $(VARIANT),/$(VARIANT))
PREFIX  ?= /usr/local
DESTDIR ?=
# mount(8) looks for its helpers here and nowhere else
HELPERS ?= /sbin

Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

.DEFAULT_GOAL := all

# ---- how to compile -------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wvla -Wformat=2 -Wundef -Wwrite-strings -Werror
OPT_        := -O2 -g
OPT_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_tsan    := -O1 -g -fsanitize=thread
OPT_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
OPT_clang   := -O2 -g
OPT     := $(OPT_$(VARIANT))
ifneq ($(filter clang fuzz,$(VARIANT)),)
CC := clang
endif

PKGS       := liburing uuid blkid ext2fs com_err jansson libxxhash liblz4
PKG_CFLAGS  = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS    = $(shell pkg-config --libs $(PKGS) 2>/dev/null)
FUSE_CFLAGS = $(shell pkg-config --cflags fuse3 2>/dev/null)
FUSE_LIBS   = $(shell pkg-config --libs fuse3 2>/dev/null)
SECCOMP_LIBS = $(shell pkg-config --libs libseccomp 2>/dev/null)

CPPFLAGS := -D_GNU_SOURCE -Isrc -I.
CFLAGS   := -std=gnu17 $(OPT) $(WARN) -fno-strict-aliasing -pthread $(EXTRA_CFLAGS)
LDFLAGS  := $(OPT) -pthread

# ---- what there is --------------------------------------------------------------------------
LIB_SRC     := $(wildcard src/util/*.c src/block/*.c src/vhd/*.c src/snapshot/*.c src/hv/*.c)
CLI_SRC     := $(wildcard src/cli/*.c)
VHDTOOL_SRC := $(wildcard vhdtool/*.c)
VMCTL_SRC   := $(wildcard vmctl/*.c)
WORKER_SRC  := $(wildcard worker/*.c)
FUSE_SRC    := $(wildcard fuse/*.c)
TESTLIB_SRC := $(wildcard tests/lib/*.c)
UNIT_SRC    := $(wildcard tests/unit/*.c tests/prop/*.c)
CRASH_SRC   := $(wildcard tests/crash/*.c)
THREADS_SRC := $(wildcard tests/threads/*.c)
TREE_SRC    := $(wildcard tests/tree/*.c)
KILL_SRC    := $(wildcard tests/kill/*.c)
FUZZ_SRC    := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC   := $(wildcard bench/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB := $(BUILD)/libstrata.a
COMMANDS := $(BUILD)/vhdtool $(BUILD)/vhdmount $(BUILD)/vmctl
# started by others, not by users
WORKERS  := $(BUILD)/vmworker
PROGRAMS := $(COMMANDS) $(WORKERS)

.PHONY: all deps check check-asan check-tsan check-crash check-layers fuzz torture bench lint demo \
	install help clean format tests

all: | deps ## build the programs
	$(Q)$(MAKE) --no-print-directory programs

.PHONY: programs
programs: $(PROGRAMS)

deps: ## install what is missing from Debian's packages
	$(Q)./.ci/deps build

$(BUILD)/obj/fuse/%.o: CPPFLAGS += $(FUSE_CFLAGS)
$(BUILD)/obj/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(call obj,$(LIB_SRC))
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/vhdtool: $(call obj,$(VHDTOOL_SRC) $(CLI_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/vmctl: $(call obj,$(VMCTL_SRC) $(CLI_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/vmworker: $(call obj,$(WORKER_SRC)) $(BUILD)/obj/src/cli/out.o $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(SECCOMP_LIBS)

$(BUILD)/vhdmount: $(call obj,$(FUSE_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(FUSE_LIBS) $(PKG_LIBS)

# ---- tests ----------------------------------------------------------------------------------
$(BUILD)/tests/unit: $(call obj,$(UNIT_SRC) $(TESTLIB_SRC)) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcriterion

$(BUILD)/tests/crash: $(call obj,$(CRASH_SRC) $(TESTLIB_SRC)) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/tests/threads: $(call obj,$(THREADS_SRC) $(TESTLIB_SRC)) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/tests/tree: $(call obj,$(TREE_SRC) $(TESTLIB_SRC)) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/tests/kill: $(call obj,$(KILL_SRC) $(TESTLIB_SRC)) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/tests/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(call obj,$(TESTLIB_SRC)) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer) -o $@ $^ $(PKG_LIBS)

.PHONY: test-programs
test-programs: $(BUILD)/tests/unit $(BUILD)/tests/crash $(BUILD)/tests/threads $(BUILD)/tests/tree \
	$(BUILD)/tests/kill

check: ## run all tests (under 20 minutes); the last line is the sum
	$(Q)./.ci/deps check
	$(Q)$(MAKE) --no-print-directory programs test-programs
	$(Q)BUILD=$(BUILD) tests/run unit layers threads tree kill cli guest crash-short

check-asan: ## the tests under AddressSanitizer and UBSan
	$(Q)./.ci/deps check
	$(Q)$(MAKE) --no-print-directory VARIANT=asan programs test-programs
	$(Q)BUILD=build/asan tests/run unit threads tree kill cli crash-short

check-tsan: ## the tests that use threads, under ThreadSanitizer
	$(Q)./.ci/deps check
	$(Q)$(MAKE) --no-print-directory VARIANT=tsan build/tsan/tests/threads
	$(Q)BUILD=build/tsan tests/run threads

check-crash: ## power-cut replay and barrier mutation, at least 1,500,000 crash states
	$(Q)./.ci/deps check
	$(Q)$(MAKE) --no-print-directory programs test-programs
	$(Q)BUILD=$(BUILD) tests/run crash-full

torture: ## a tree of snapshots: 120,000 random steps, a long line, half an hour of kills
	$(Q)./.ci/deps check
	$(Q)$(MAKE) --no-print-directory programs test-programs
	$(Q)BUILD=$(BUILD) tests/run tree-long kill-long

check-layers: ## no include points up
	$(Q)tests/check-layers

FUZZ_SECONDS ?= 60
fuzz: ## run every fuzz target for FUZZ_SECONDS
	$(Q)./.ci/deps fuzz
	$(Q)$(MAKE) --no-print-directory VARIANT=fuzz fuzz-programs
	$(Q)BUILD=build/fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run fuzz

.PHONY: fuzz-programs
fuzz-programs: $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(FUZZ_SRC))

BENCH_PROGRAMS := $(patsubst bench/%.c,$(BUILD)/bench/%,$(BENCH_SRC))
$(BUILD)/bench/ring: $(call obj,$(wildcard tests/lib/guest_*.c))
$(BENCH_PROGRAMS): $(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LIBS)

.PHONY: bench-programs
bench-programs: $(BENCH_PROGRAMS)

bench: ## measure against fio, qemu and libvhdi; writes build/bench.json
	$(Q)./.ci/deps bench
	$(Q)$(MAKE) --no-print-directory programs bench-programs
	$(Q)BUILD=$(BUILD) bench/run

demo: ## the main job, on a real image, shown
	$(Q)./.ci/deps demo
	$(Q)$(MAKE) --no-print-directory programs
	$(Q)BUILD=$(BUILD) tests/demo

# ---- house-keeping --------------------------------------------------------------------------
C_FILES = $(shell git ls-files '*.c' '*.h')

lint: ## clang-format, clang-tidy, cppcheck, layers
	$(Q)./.ci/deps lint
	$(Q)clang-format --dry-run -Werror $(C_FILES)
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=missingIncludeSystem --error-exitcode=1 -Isrc -I. -D_GNU_SOURCE \
		src vhdtool fuse vmctl worker
	$(Q)printf '%s\n' $(LIB_SRC) $(CLI_SRC) $(VHDTOOL_SRC) $(VMCTL_SRC) $(WORKER_SRC) $(FUSE_SRC) | xargs -P 2 -n 1 \
		sh -c 'clang-tidy --quiet "$$@" -- -std=gnu17 $(CPPFLAGS) $(PKG_CFLAGS) $(FUSE_CFLAGS) 2>/dev/null' --
	$(Q)$(MAKE) --no-print-directory check-layers

format: ## rewrite the sources as clang-format wants them
	$(Q)clang-format -i $(C_FILES)

install: ## install the programs, man pages and completion below DESTDIR and PREFIX
	$(Q)$(MAKE) --no-print-directory programs
	$(Q)install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(COMMANDS)
	$(Q)install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec $(WORKERS)
	$(Q)install -d $(DESTDIR)$(HELPERS)
	$(Q)ln -sf $(PREFIX)/bin/vhdmount $(DESTDIR)$(HELPERS)/mount.fuse.vhd
	$(Q)install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 man/*.1
	$(Q)for file in $(wildcard */completion.bash); do install -D -m 644 $$file \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$${file%/*}; done

clean: ## remove what was built
	$(Q)rm -rf build

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
