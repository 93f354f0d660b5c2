#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One writer or many readers, also between our programs and QEMU: exit code 75.
. "$(dirname "$0")/../lib/cli.sh"

# hold COMMAND...: run it in the background until `release`.
hold() {
	"$@" >hold.out 2>hold.err &
	HOLDER=$!
}

release() {
	kill "$HOLDER" 2>/dev/null || true
	wait "$HOLDER" || true
}

test_writer_excludes_everybody_else() {
	expect 0 vhdtool create disk.vhd --size 16M
	expect 0 vhdtool create child.vhd --parent disk.vhd
	hold "$VHDTOOL" bench child.vhd --rw randwrite --yes --time 30
	sleep 1
	expect 75 vhdtool bench child.vhd --rw randwrite --yes --time 1
	says "vhdtool: child.vhd: "
	expect 75 vhdtool compact child.vhd
	expect 75 vhdtool expand child.vhd --size 32M
	expect 75 vhdtool merge child.vhd
	expect 75 vhdtool map child.vhd
	expect 0 vhdtool map child.vhd --no-lock
	expect 0 vhdtool inspect child.vhd
	release
	expect 0 vhdtool check child.vhd --chain
}

test_parent_in_use_is_not_written() {
	expect 0 vhdtool create disk.vhd --size 16M
	expect 0 vhdtool create child.vhd --parent disk.vhd
	hold "$VHDTOOL" bench child.vhd --rw randwrite --yes --time 30
	sleep 1
	expect 75 vhdtool compact disk.vhd
	expect 0 vhdtool map disk.vhd
	release
}

test_readers_share() {
	expect 0 vhdtool create disk.vhd --size 16M
	hold "$VHDTOOL" bench disk.vhd --time 30
	sleep 1
	expect 0 vhdtool map disk.vhd
	expect 0 vhdtool check disk.vhd
	expect 75 vhdtool compact disk.vhd
	release
}

# hold_with_qemu IMAGE [OPTION]: QEMU has it open when this returns.
hold_with_qemu() {
	need qemu-io
	mkfifo commands
	touch qemu.log
	# shellcheck disable=SC2086
	qemu-io -f vpc ${2:-} "$1" <commands >qemu.log 2>&1 &
	exec 3>commands
	echo 'read 0 512' >&3
	wait_until grep -q 'read 512' qemu.log
}

test_disk_that_qemu_writes_is_locked() {
	expect 0 vhdtool create disk.vhd --size 16M
	hold_with_qemu disk.vhd
	expect 75 vhdtool compact disk.vhd
	expect 75 vhdtool map disk.vhd
	expect 0 vhdtool inspect disk.vhd
	exec 3>&-
	wait
	expect 0 vhdtool map disk.vhd
}

test_disk_that_qemu_reads_can_be_read() {
	expect 0 vhdtool create disk.vhd --size 16M
	hold_with_qemu disk.vhd -r
	expect 0 vhdtool map disk.vhd
	expect 75 vhdtool compact disk.vhd
	exec 3>&-
	wait
}

test_qemu_stays_out_of_what_we_write() {
	need qemu-io
	expect 0 vhdtool create disk.vhd --size 16M
	hold "$VHDTOOL" bench disk.vhd --rw randwrite --yes --time 30
	sleep 1
	qemu-io -f vpc -c 'write 0 512' disk.vhd >log 2>&1 && fail "qemu wrote to a disk in use"
	grep -qi lock log
	release
}

test_raw_image_in_use_by_qemu() {
	need qemu-io
	random_file base.raw 1048576 90
	mkfifo commands
	qemu-io -f raw base.raw <commands >qemu.log 2>&1 &
	exec 3>commands
	echo 'read 0 512' >&3
	wait_until grep -q 'read 512' qemu.log
	expect 75 vhdtool convert base.raw disk.vhd
	[ ! -e disk.vhd ]
	expect 0 vhdtool convert base.raw disk.vhd --no-lock
	exec 3>&-
	wait
}

run_tests "$@"
