#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool mount and umount: that they reach vhdmount and fusermount3. What a mount does is tested
# with vhdmount itself.
. "$(dirname "$0")/../lib/cli.sh"

test_mount_reads_and_umount_ends_it() {
	need fusermount3
	[ -x "$STRATA_BUILD/vhdmount" ] || skip "vhdmount is not built"
	[ -c /dev/fuse ] || skip "no /dev/fuse"
	sparse_raw base.raw 95
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at
	trap 'fusermount3 -u at 2>/dev/null || true' EXIT
	expect 0 vhdtool mount -o ro disk.vhd at
	wait_until test -e at/disk.img
	cmp at/disk.img base.raw
	expect 0 vhdtool umount at
	[ ! -e at/disk.img ]
}

test_dry_run_says_the_command() {
	expect 0 vhdtool mount -o ro disk.vhd dir -n
	grep -q 'would run: .*vhdmount -o ro -- disk.vhd dir' out
	expect 0 vhdtool mount disk.vhd dir -n --parent p.vhd --search a --search b
	grep -q 'vhdmount --parent p.vhd --search a --search b -- disk.vhd dir' out
	expect 0 vhdtool umount dir --dry-run
	says "would run: fusermount3 -u -- dir"
}

test_missing_vhdmount_is_an_error() {
	cp "$VHDTOOL" alone
	mkdir at
	PATH=/nonexistent expect 1 ./alone mount disk.vhd at
	says "vhdmount"
}

run_tests "$@"
