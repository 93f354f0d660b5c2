#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool convert
. "$(dirname "$0")/../lib/cli.sh"

test_raw_to_every_type_and_back() {
	local type

	sparse_raw base.raw 10
	for type in dynamic fixed; do
		expect 0 vhdtool convert base.raw $type.vhd --type $type
		expect 0 vhdtool check $type.vhd
		expect 0 vhdtool inspect $type.vhd --json
		json_is "d['type'] == '$type'" 'd["virtual_size"] == 24 << 20'
		expect 0 vhdtool convert $type.vhd $type.raw
		cmp base.raw $type.raw
		same "$(qemu_hash $type.vhd)" "$(hash_file base.raw)" "qemu-img, $type"
	done
}

test_between_vhd_types() {
	sparse_raw base.raw 11
	expect 0 vhdtool convert base.raw a.vhd
	expect 0 vhdtool convert a.vhd b.vhd --type fixed
	expect 0 vhdtool convert b.vhd c.vhd --type dynamic --block-size 512K
	same "$(hash_disk c.vhd)" "$(hash_file base.raw)"
}

test_output_is_sparse() {
	sparse_raw base.raw 12
	expect 0 vhdtool convert base.raw disk.vhd
	[ "$(stat -c %s disk.vhd)" -lt $((9 << 20)) ] || fail "zeros were allocated"
	expect 0 vhdtool convert disk.vhd back.raw
	same "$(stat -c %s back.raw)" $((24 << 20))
	[ "$(($(stat -c %b back.raw) * 512))" -lt $((2 << 20)) ] || fail "the raw image is not sparse"
	# Stored zeros are found by reading.
	expect 0 vhdtool convert base.raw fixed.vhd --type fixed
	expect 0 vhdtool convert fixed.vhd again.vhd
	same "$(stat -c %s again.vhd)" "$(stat -c %s disk.vhd)"
}

test_sizes_that_are_no_multiple_of_anything() {
	local size

	for size in 512 1536 1048064 2097664; do
		rm -f base.raw disk.vhd back.raw
		random_file base.raw $size 13
		expect 0 vhdtool convert base.raw disk.vhd
		expect 0 vhdtool convert disk.vhd back.raw
		cmp base.raw back.raw
	done
	rm -f base.raw disk.vhd back.raw
	random_file base.raw 1000 13
	expect 0 vhdtool convert base.raw disk.vhd
	truncate -s 1024 base.raw
	same "$(hash_disk disk.vhd)" "$(hash_file base.raw)" "rounded up to a sector"
}

test_streams_to_and_from_pipes() {
	sparse_raw base.raw 14
	expect 0 vhdtool convert base.raw disk.vhd
	vhdtool convert disk.vhd - | cmp - base.raw
	cat base.raw | expect 0 vhdtool convert - piped.vhd --size 24M
	same "$(hash_disk piped.vhd)" "$(hash_file base.raw)"
	expect 0 vhdtool check piped.vhd
	vhdtool convert disk.vhd - | vhdtool convert - back.raw --size 24M
	cmp base.raw back.raw
}

test_redirected_file_needs_no_size() {
	sparse_raw base.raw 15
	expect 0 vhdtool convert - disk.vhd <base.raw
	same "$(hash_disk disk.vhd)" "$(hash_file base.raw)"
	vhdtool convert disk.vhd - >back.raw
	cmp base.raw back.raw
}

test_pipe_without_size_is_usage() {
	true | expect 64 vhdtool convert - disk.vhd
	says "--size"
	[ ! -e disk.vhd ]
}

test_pipe_that_ends_early_or_late_is_an_error() {
	head -c 1000000 /dev/urandom | expect 1 vhdtool convert - disk.vhd --size 4M
	says "ended after 1000000 of 4194304"
	[ ! -e disk.vhd ]
	head -c 4194305 /dev/zero | expect 64 vhdtool convert - disk.vhd --size 4M
	says "more than 4194304"
	[ ! -e disk.vhd ]
}

test_reader_that_goes_away_is_an_error() {
	sparse_raw base.raw 16
	expect 0 vhdtool convert base.raw disk.vhd
	(vhdtool convert disk.vhd - 2>err || echo $? >code) | head -c 10 >/dev/null
	same "$(cat code)" 1
	grep -q "Broken pipe" err
}

test_never_overwrites() {
	sparse_raw base.raw 17
	echo precious >disk.vhd
	expect 1 vhdtool convert base.raw disk.vhd
	says "disk.vhd"
	same "$(cat disk.vhd)" precious
	echo precious >disk.raw
	expect 1 vhdtool convert base.raw disk.raw
	same "$(cat disk.raw)" precious
	expect 1 vhdtool convert base.raw base.raw
	expect 1 vhdtool convert base.raw disk.raw --force
	same "$(cat disk.raw)" precious "--force is for block devices"
}

test_what_a_file_is_comes_from_its_name_or_an_option() {
	sparse_raw base.raw 18
	mv base.raw base
	expect 64 vhdtool convert base disk.vhd
	says "--from"
	expect 64 vhdtool convert base.vhd disk
	says "--format"
	expect 0 vhdtool convert base disk --from raw --format vhd
	expect 0 vhdtool convert disk back --from vhd --format raw
	cmp base back
	# A footer that a guest wrote at the end of its raw disk does not make it a VHD.
	expect 0 vhdtool convert base fixed.vhd --from raw --type fixed
	cp fixed.vhd guest.raw
	expect 0 vhdtool convert guest.raw guest.vhd
	expect 0 vhdtool inspect guest.vhd --json
	json_is 'd["virtual_size"] == (24 << 20) + 512'
}

test_chain_is_flattened() {
	sparse_raw base.raw 19
	expect 0 vhdtool convert base.raw base.vhd
	cp base.raw new.raw
	poke new.raw 1048576 3000 20
	poke new.raw 6290000 5000 21
	expect 0 vhdtool convert new.raw child.vhd --type diff --parent base.vhd
	cp new.raw newer.raw
	poke newer.raw 512 512 22
	expect 0 vhdtool convert newer.raw leaf.vhd --type diff --parent child.vhd
	same "$(hash_disk leaf.vhd)" "$(hash_file newer.raw)"
	expect 0 vhdtool convert leaf.vhd flat.vhd
	expect 0 vhdtool inspect flat.vhd --json
	json_is 'd["type"] == "dynamic"'
	same "$(qemu_hash flat.vhd)" "$(hash_file newer.raw)"
	expect 0 vhdtool check leaf.vhd --chain
}

test_diff_stores_only_what_differs() {
	sparse_raw base.raw 23
	expect 0 vhdtool convert base.raw base.vhd
	cp base.raw new.raw
	poke new.raw 12582912 4096 24
	truncate -s 6291456 new.raw # what comes after reads as zero now
	truncate -s 24M new.raw
	expect 0 vhdtool convert new.raw child.vhd --type diff --parent base.vhd
	expect 0 vhdtool inspect child.vhd --json
	json_is 'd["type"] == "differencing"' 'd["allocated_blocks"] == 2'
	same "$(hash_disk child.vhd)" "$(hash_file new.raw)"
}

test_other_tools_read_our_chains() {
	need 7zz
	sparse_raw base.raw 25
	expect 0 vhdtool convert base.raw base.vhd
	cp base.raw new.raw
	poke new.raw 100000 30000 26
	poke new.raw 9000000 30000 27
	expect 0 vhdtool convert new.raw child.vhd --type diff --parent base.vhd
	7zz e -tvhd -so child.vhd 2>7z.log | cmp - new.raw
}

test_images_of_qemu() {
	need qemu-img
	local sub

	sparse_raw base.raw 28
	for sub in dynamic fixed; do
		qemu-img convert -f raw -O vpc -o subformat=$sub,force_size=on base.raw qemu-$sub.vhd
		same "$(hash_disk qemu-$sub.vhd)" "$(hash_file base.raw)" "qemu's $sub"
		expect 0 vhdtool check qemu-$sub.vhd
	done
}

test_wrong_combinations_are_usage() {
	sparse_raw base.raw 29
	expect 64 vhdtool convert - -
	expect 64 vhdtool convert base.raw out.raw --type fixed
	expect 64 vhdtool convert base.raw out.vhd --type diff
	expect 64 vhdtool convert base.raw out.vhd --parent base.vhd
	expect 64 vhdtool convert base.raw out.raw --block-size 2M
	expect 64 vhdtool convert base.raw out.vhd --type fixed --block-size 2M
	expect 64 vhdtool convert base.raw out.vhd --block-size 3M
	expect 64 vhdtool convert base.raw out.vhd --size 24M
	expect 64 vhdtool convert base.raw - --format vhd
	expect 64 vhdtool convert - out.vhd --from vhd
	expect 64 vhdtool convert - out.vhd --type diff --parent base.vhd <base.raw
	[ ! -e out.vhd ] && [ ! -e out.raw ]
}

test_dry_run_writes_nothing() {
	sparse_raw base.raw 30
	expect 0 vhdtool convert base.raw out.vhd -n
	says "would write"
	[ ! -e out.vhd ]
	touch out.vhd
	expect 1 vhdtool convert base.raw out.vhd -n
	expect 1 vhdtool convert missing.raw new.vhd -n
}

test_failure_removes_the_target() {
	expect 1 vhdtool convert missing.vhd out.vhd
	says "missing.vhd"
	[ ! -e out.vhd ]
	expect 0 vhdtool create base.vhd --size 4M
	expect 0 vhdtool create child.vhd --parent base.vhd
	rm base.vhd
	expect 1 vhdtool convert child.vhd out.vhd
	says "base.vhd"
	[ ! -e out.vhd ]
}

test_full_disk_removes_the_target() {
	need_root
	local format

	random_file base.raw 8388608 31
	mkdir small
	mount -t tmpfs -o size=4m none small || skip "tmpfs cannot be mounted"
	trap 'umount small' EXIT
	for format in raw vhd; do
		expect 1 vhdtool convert base.raw small/out.$format
		says "No space"
		same "$(ls -A small)" "" "$format"
	done
}

test_interrupt_removes_the_target() {
	local format feeder pid rc

	for format in raw vhd; do
		# A pipe that stays open keeps the program in the middle.
		mkfifo pipe
		(exec 9>pipe; head -c 3000000 /dev/urandom >&9; exec sleep 20) &
		feeder=$!
		interruptible "$VHDTOOL" convert - out.$format --size 24M <pipe 2>err &
		pid=$!
		wait_until test -e out.$format
		sleep 0.3
		kill -INT $pid
		rc=0
		wait $pid || rc=$?
		kill "$feeder" 2>/dev/null || true
		same "$rc" 1 "exit code"
		says "stopped"
		[ ! -e out.$format ] || fail "out.$format is left behind"
		rm pipe
	done
}

test_progress_lines() {
	sparse_raw base.raw 32
	expect 0 vhdtool convert base.raw a.vhd --progress plain
	grep -q '^convert: 100 %' err
	expect 0 vhdtool convert base.raw b.vhd --progress json
	tail -n 1 err >out
	json_is 'd["operation"] == "convert"' 'd["done"] == d["total"]' 'd["percent"] == 100'
	expect 0 vhdtool convert base.raw c.vhd --progress none
	[ ! -s err ]
	expect 0 vhdtool convert base.raw d.vhd
	[ ! -s err ] # stderr is no terminal
	expect 64 vhdtool convert base.raw e.vhd --progress loud
}

test_block_device_target_wants_force() {
	need_root
	need losetup
	local device

	sparse_raw base.raw 33
	random_file backing 26214400 34
	device=$(losetup -f --show backing) || skip "no loop device"
	# shellcheck disable=SC2064
	trap "losetup -d $device" EXIT
	expect 1 vhdtool convert base.raw "$device" --format raw
	expect 0 vhdtool convert base.raw "$device" --format raw --force
	cmp -n 25165824 base.raw "$device"
	expect 0 vhdtool convert "$device" from-device.vhd --from raw
	truncate -s 30M large.raw
	expect 1 vhdtool convert large.raw "$device" --format raw --force
	says "26214400"
}

run_tests "$@"
