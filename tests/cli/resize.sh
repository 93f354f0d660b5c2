#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool expand, shrink, resize
. "$(dirname "$0")/../lib/cli.sh"

# make TYPE: disk.vhd of 24 MiB with the content of base.raw.
make() {
	rm -f base.raw disk.vhd parent.vhd
	sparse_raw base.raw 50
	case $1 in
	diff)
		expect 0 vhdtool create parent.vhd --size 24M
		expect 0 vhdtool convert base.raw disk.vhd --type diff --parent parent.vhd
		;;
	*) expect 0 vhdtool convert base.raw disk.vhd --type "$1" ;;
	esac
}

size_of() {
	expect 0 vhdtool inspect "$1" --json
	json 'd["virtual_size"]'
}

test_every_type_grows_and_reads_zero_there() {
	local size type

	for type in dynamic fixed diff; do
		make $type
		size=$((5 << 30))
		[ "$type" != fixed ] || size=$((100 << 20)) # every byte of it is allocated
		expect 0 vhdtool expand disk.vhd --size $size
		same "$(size_of disk.vhd)" $size
		expect 0 vhdtool check disk.vhd
		truncate -s $size base.raw
		expect 0 vhdtool compare base.raw disk.vhd --strict
	done
}

test_relative_size() {
	make dynamic
	expect 0 vhdtool expand disk.vhd --size +8M --json
	json_is 'd["size_before"] == 24 << 20' 'd["size_after"] == 32 << 20' 'not d["dry_run"]'
	same "$(size_of disk.vhd)" $((32 << 20))
}

test_other_tools_accept_an_expanded_disk() {
	need qemu-img vhdiinfo
	make dynamic
	expect 0 vhdtool expand disk.vhd --size 10G
	truncate -s 10G base.raw
	qemu-img compare --image-opts driver=raw,file.filename=base.raw \
		driver=vpc,force_size_calc=current_size,file.filename=disk.vhd
	vhdiinfo disk.vhd # it takes the original size for the size, so only that it opens it
}

test_shrink_over_zeros() {
	local type

	for type in dynamic fixed diff; do
		make $type
		truncate -s 6M base.raw
		truncate -s 24M base.raw
		rm disk.vhd
		case $type in
		diff) expect 0 vhdtool convert base.raw disk.vhd --type diff --parent parent.vhd ;;
		*) expect 0 vhdtool convert base.raw disk.vhd --type $type ;;
		esac
		expect 0 vhdtool shrink disk.vhd --size 8M
		same "$(size_of disk.vhd)" $((8 << 20)) "$type"
		truncate -s 8M base.raw
		same "$(hash_disk disk.vhd)" "$(hash_file base.raw)" "$type"
		expect 0 vhdtool check disk.vhd
	done
}

test_shrink_over_data_is_refused() {
	make dynamic
	local before

	before=$(hash_file disk.vhd)
	expect 1 vhdtool shrink disk.vhd --size 8M
	same "$(hash_file disk.vhd)" "$before"
	expect 1 vhdtool resize disk.vhd --size 8M --dry-run
}

test_direction_is_kept() {
	make dynamic
	expect 64 vhdtool expand disk.vhd --size 8M
	says "shrink"
	expect 64 vhdtool shrink disk.vhd --size 80M
	says "expand"
	expect 64 vhdtool shrink disk.vhd --size +8M
	expect 0 vhdtool resize disk.vhd --size 80M
	expect 0 vhdtool resize disk.vhd --size 30M
}

test_same_size_is_nothing_to_do() {
	make dynamic
	local before

	before=$(hash_file disk.vhd)
	expect 0 vhdtool expand disk.vhd --size 24M
	expect 0 vhdtool resize disk.vhd --size +0
	same "$(hash_file disk.vhd)" "$before"
}

test_wrong_sizes_are_usage() {
	make dynamic
	expect 64 vhdtool expand disk.vhd
	expect 64 vhdtool expand disk.vhd --size 25165825
	expect 64 vhdtool expand disk.vhd --size 2041G
	expect 64 vhdtool expand disk.vhd --size +2040G
}

test_dry_run_changes_nothing() {
	local before type

	for type in dynamic fixed diff; do
		make $type
		before=$(hash_file disk.vhd)
		expect 0 vhdtool expand disk.vhd --size 1G -n
		says "would"
		same "$(hash_file disk.vhd)" "$before"
	done
}

test_disk_with_children_is_refused() {
	make dynamic
	expect 0 vhdtool create child.vhd --parent disk.vhd
	expect 1 vhdtool expand disk.vhd --size 1G
	says "child.vhd"
	mkdir children
	mv child.vhd children
	expect 1 vhdtool expand disk.vhd --size 1G --search children
	expect 0 vhdtool expand disk.vhd --size 1G
}

run_tests "$@"
