#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool merge and relink
. "$(dirname "$0")/../lib/cli.sh"

# base.vhd <- one.vhd <- two.vhd <- leaf.vhd, with base.raw, one.raw, two.raw, leaf.raw their content.
make_chain() {
	sparse_raw base.raw 60
	expect 0 vhdtool convert base.raw base.vhd
	cp base.raw one.raw
	poke one.raw 300 5000 61
	poke one.raw 8388608 100000 62
	expect 0 vhdtool convert one.raw one.vhd --type diff --parent base.vhd
	cp one.raw two.raw
	poke two.raw 2000 700 63
	poke two.raw 12582912 100000 64
	expect 0 vhdtool convert two.raw two.vhd --type diff --parent one.vhd
	cp two.raw leaf.raw
	poke leaf.raw 8400000 6000 65
	expect 0 vhdtool convert leaf.raw leaf.vhd --type diff --parent two.vhd
}

test_into_the_parent() {
	make_chain
	expect 0 vhdtool merge leaf.vhd --json
	json_is 'd["into"].endswith("two.vhd")' 'd["files_removed"] == 1' 'd["copied_bytes"] > 0'
	[ ! -e leaf.vhd ]
	same "$(hash_disk two.vhd)" "$(hash_file leaf.raw)"
	expect 0 vhdtool check two.vhd --chain
}

test_into_an_ancestor_in_one_pass() {
	make_chain
	expect 0 vhdtool merge leaf.vhd --into base.vhd
	[ ! -e leaf.vhd ] && [ ! -e two.vhd ] && [ ! -e one.vhd ]
	same "$(hash_disk base.vhd)" "$(hash_file leaf.raw)"
	expect 0 vhdtool inspect base.vhd --json
	json_is 'd["type"] == "dynamic"'
	same "$(qemu_hash base.vhd)" "$(hash_file leaf.raw)"
}

test_from_the_middle_keeps_the_leaf_readable() {
	make_chain
	expect 0 vhdtool merge two.vhd --into base.vhd
	same "$(hash_disk base.vhd)" "$(hash_file two.raw)"
	expect 0 vhdtool relink leaf.vhd --parent base.vhd
	same "$(hash_disk leaf.vhd)" "$(hash_file leaf.raw)"
}

test_dry_run_changes_nothing() {
	make_chain
	local before

	before=$(sha256sum ./*.vhd)
	expect 0 vhdtool merge leaf.vhd --into one.vhd -n --json
	json_is 'd["dry_run"]' 'd["files_removed"] == 2'
	same "$(sha256sum ./*.vhd)" "$before"
}

test_refused_where_another_child_would_break() {
	make_chain
	local before

	expect 0 vhdtool create other.vhd --parent one.vhd
	before=$(sha256sum ./*.vhd)
	expect 1 vhdtool merge leaf.vhd --into one.vhd
	says "other.vhd"
	expect 1 vhdtool merge leaf.vhd --into base.vhd
	same "$(sha256sum ./*.vhd)" "$before"
}

test_not_an_ancestor_is_refused() {
	make_chain
	expect 0 vhdtool create stranger.vhd --size 24M
	"$VHDTOOL" merge leaf.vhd --into stranger.vhd >out 2>err && fail "merged into a stranger"
	[ -e leaf.vhd ]
	"$VHDTOOL" merge base.vhd >out 2>err && fail "merged a disk without a parent"
	[ -e base.vhd ]
}

test_smaller_ancestor_grows() {
	make_chain
	expect 0 vhdtool expand leaf.vhd --size 40M
	poke leaf.raw 25000000 1000 66
	truncate -s 40M leaf.raw
	expect 0 vhdtool convert leaf.raw top.vhd --type diff --parent leaf.vhd
	expect 0 vhdtool merge top.vhd --into base.vhd
	same "$(hash_disk base.vhd)" "$(hash_file leaf.raw)"
}

test_relink_after_a_move() {
	make_chain
	mkdir elsewhere
	mv two.vhd elsewhere/renamed.vhd
	expect 0 vhdtool relink elsewhere/renamed.vhd --parent one.vhd
	expect 1 vhdtool map leaf.vhd
	expect 0 vhdtool relink leaf.vhd --search elsewhere --json
	json_is 'd["parent"].endswith("renamed.vhd")'
	# A parent outside the child's folder is not followed without being told.
	same "$(hash_disk leaf.vhd --search .)" "$(hash_file leaf.raw)"
	expect 0 vhdtool check leaf.vhd --chain --search .
}

test_relink_dry_run_changes_nothing() {
	make_chain
	local before

	mv two.vhd renamed.vhd
	before=$(hash_file leaf.vhd)
	expect 0 vhdtool rebase leaf.vhd --parent renamed.vhd -n
	says "renamed.vhd"
	same "$(hash_file leaf.vhd)" "$before"
}

test_relink_refuses_another_disk() {
	make_chain
	local before

	expect 0 vhdtool create stranger.vhd --size 24M
	before=$(hash_file leaf.vhd)
	expect 1 vhdtool relink leaf.vhd --parent stranger.vhd
	says "uuid"
	same "$(hash_file leaf.vhd)" "$before"
	expect 64 vhdtool relink leaf.vhd --ignore-id-mismatch
	expect 0 vhdtool relink leaf.vhd --parent stranger.vhd --ignore-id-mismatch
	expect 0 vhdtool inspect leaf.vhd --chain
}

test_relink_that_finds_nothing_is_an_error() {
	make_chain
	rm two.vhd
	expect 1 vhdtool relink leaf.vhd
	expect 1 vhdtool relink leaf.vhd --parent two.vhd
	says "two.vhd"
}

run_tests "$@"
