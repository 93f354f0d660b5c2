#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool create
. "$(dirname "$0")/../lib/cli.sh"

qemu_size() {
	qemu-img info --output json --image-opts \
		"driver=vpc,force_size_calc=current_size,file.filename=$1" |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])'
}

test_dynamic_is_small_and_reads_zero() {
	expect 0 vhdtool create disk.vhd --size 64M
	[ "$(stat -c %s disk.vhd)" -lt 65536 ]
	same "$(hash_disk disk.vhd)" "$(head -c 64M /dev/zero | sha256sum | cut -d ' ' -f 1)"
	expect 0 vhdtool inspect disk.vhd --json
	json_is 'd["type"] == "dynamic"' 'd["virtual_size"] == 64 << 20' 'd["block_size"] == 2 << 20' \
		'd["total_blocks"] == 32' 'd["allocated_blocks"] == 0' 'd["parent"] is None'
}

test_other_tools_see_the_same_size() {
	need qemu-img vhdiinfo
	local size

	for size in 512 1M 41943040 1073742336 127G 2040G; do
		rm -f disk.vhd
		expect 0 vhdtool create disk.vhd --size $size
		expect 0 vhdtool inspect disk.vhd --json
		same "$(qemu_size disk.vhd)" "$(json 'd["virtual_size"]')" "qemu-img, $size"
		vhdiinfo disk.vhd >info
		grep -q "($(json 'd["virtual_size"]') bytes)\|: $(json 'd["virtual_size"]') bytes" info ||
			{ cat info; fail "vhdiinfo sees another size than $size"; }
	done
}

test_fixed_is_allocated_in_full() {
	expect 0 vhdtool create disk.vhd --size 8M --type fixed
	same "$(stat -c %s disk.vhd)" $((8388608 + 512))
	[ "$(($(stat -c %b disk.vhd) * 512))" -ge 8388608 ]
	expect 0 vhdtool inspect disk.vhd --json
	json_is 'd["type"] == "fixed"' 'd["block_size"] == 0'
	same "$(qemu_hash disk.vhd)" "$(head -c 8M /dev/zero | sha256sum | cut -d ' ' -f 1)"
}

test_child_takes_size_and_content_of_its_parent() {
	sparse_raw base.raw 1
	expect 0 vhdtool convert base.raw base.vhd
	expect 0 vhdtool create child.vhd --parent base.vhd
	same "$(hash_disk child.vhd)" "$(hash_file base.raw)"
	expect 0 vhdtool inspect child.vhd --json
	json_is 'd["type"] == "differencing"' 'd["virtual_size"] == 24 << 20' \
		'd["parent"]["path"].endswith("base.vhd")' 'd["parent"]["name"].endswith("base.vhd")'
	cp out child.json
	expect 0 vhdtool inspect base.vhd --json
	json_is 'json.load(open("child.json"))["parent"]["uuid"] == d["uuid"]'
}

test_child_is_found_again_after_moving_the_folder() {
	mkdir here
	expect 0 vhdtool create here/base.vhd --size 4M
	expect 0 vhdtool create here/child.vhd --type diff --parent here/base.vhd
	mv here there
	expect 0 vhdtool inspect there/child.vhd --chain --json
	json_is 'len(d["chain"]) == 2'
}

test_parent_in_another_folder() {
	mkdir a b
	expect 0 vhdtool create a/base.vhd --size 4M
	expect 0 vhdtool create b/child.vhd --parent a/base.vhd
	expect 0 vhdtool inspect b/child.vhd --chain --search a
}

test_block_sizes() {
	local size

	sparse_raw base.raw 2
	for size in 64K 512K 32M 256M; do
		rm -f disk.vhd
		expect 0 vhdtool create disk.vhd --size 24M --block-size $size
		expect 0 vhdtool check disk.vhd
		rm disk.vhd
		expect 0 vhdtool convert base.raw disk.vhd --block-size $size
		same "$(hash_disk disk.vhd)" "$(hash_file base.raw)" "block size $size"
		expect 0 vhdtool check disk.vhd
	done
}

test_wrong_block_sizes_are_usage() {
	local size

	for size in 0 512 32K 3M 512M 100000; do
		expect 64 vhdtool create disk.vhd --size 24M --block-size $size
		[ ! -e disk.vhd ]
	done
	expect 64 vhdtool create disk.vhd --size 24M --type fixed --block-size 2M
}

test_wrong_sizes_are_usage() {
	expect 64 vhdtool create disk.vhd
	expect 64 vhdtool create disk.vhd --size 0
	expect 64 vhdtool create disk.vhd --size 513
	expect 64 vhdtool create disk.vhd --size 2041G
	expect 64 vhdtool create disk.vhd --size 16M --parent x --type fixed
	expect 64 vhdtool create disk.vhd --type diff
	expect 64 vhdtool create disk.vhd --size 16M --azure --type dynamic
	[ ! -e disk.vhd ]
}

test_azure_rounds_up_to_a_mebibyte() {
	expect 0 vhdtool create disk.vhd --size 3000K --azure --json
	json_is 'd["type"] == "fixed"' 'd["virtual_size"] == 3 << 20'
	same "$(stat -c %s disk.vhd)" $((3145728 + 512))
}

test_never_overwrites() {
	echo precious >disk.vhd
	expect 1 vhdtool create disk.vhd --size 4M
	says "vhdtool: disk.vhd: "
	same "$(cat disk.vhd)" precious
	ln -s nowhere link.vhd
	expect 1 vhdtool create link.vhd --size 4M
	[ ! -e nowhere ]
}

test_dry_run_creates_nothing() {
	expect 0 vhdtool create disk.vhd --size 4M --dry-run
	says "would create"
	[ ! -e disk.vhd ]
	expect 1 vhdtool create child.vhd --parent missing.vhd -n
	touch disk.vhd
	expect 1 vhdtool create disk.vhd --size 4M -n
}

test_missing_parent_leaves_nothing() {
	expect 1 vhdtool create child.vhd --parent missing.vhd
	says "missing.vhd"
	[ ! -e child.vhd ]
}

test_given_uuid_is_used() {
	expect 0 vhdtool create disk.vhd --size 4M --uuid 01234567-89ab-cdef-0123-456789abcdef --json
	json_is 'd["uuid"] == "01234567-89ab-cdef-0123-456789abcdef"'
	expect 64 vhdtool create other.vhd --size 4M --uuid 123
}

test_names_of_any_kind() {
	local name

	for name in 'with space.vhd' 'ünïcödé-日本.vhd' '-dash.vhd' 'a:b.vhd' '(x).vhd' "quote'.vhd"; do
		expect 0 vhdtool create --size 4M -- "$name"
		expect 0 vhdtool create --parent "./$name" -- "./child of $name"
		expect 0 vhdtool inspect --chain --json -- "./child of $name"
		json_is 'len(d["chain"]) == 2'
		expect 0 vhdtool check --chain -- "./child of $name"
	done
}

test_full_disk_leaves_nothing() {
	need_root
	mkdir small
	mount -t tmpfs -o size=4m none small || skip "tmpfs cannot be mounted"
	trap 'umount small' EXIT
	expect 1 vhdtool create small/disk.vhd --size 64M --type fixed
	says "No space"
	same "$(ls -A small)" ""
}

run_tests "$@"
