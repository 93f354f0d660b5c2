#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdmount below loop devices: file systems of the guest, used on the host.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/mount.sh"

make_disk() {
	need_root
	need mkfs.ext4 e2fsck losetup
	mounts
	[ -e /dev/loop-control ] || skip "there are no loop devices"
	make_mbr base.raw
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at guest
	expect 0 vhdmount disk.vhd at
	mkfs.ext4 -q at/p1.img
	mount -o loop at/p1.img guest || skip "no loop device can be set up"
}

test_ext4_through_a_loop_device() {
	make_disk
	random_file data 6000000 50
	mkdir guest/dir
	cp data guest/dir/data
	for n in $(seq 200); do echo "$n" >"guest/dir/$n"; done
	umount guest
	e2fsck -fn at/p1.img
	unmount at disk.vhd
	expect 0 vhdtool check disk.vhd
	expect 0 vhdmount -o ro disk.vhd at
	sha256sum disk.vhd >before
	mount -o loop,ro at/p1.img guest
	cmp data guest/dir/data
	same "$(cat guest/dir/123)" 123
	umount guest
	unmount at disk.vhd
	sha256sum --quiet -c before
}

test_direct_loop_device() {
	make_disk
	umount guest
	random_file data 4000000 51
	local loop

	loop=$(losetup --find --show --direct-io=on at/p1.img)
	mount "$loop" guest
	losetup -d "$loop"
	cp data guest/data
	sync guest/data
	cmp data guest/data
	umount guest
	e2fsck -fn at/p1.img
}

test_synced_files_survive_a_kill() {
	make_disk
	random_file data 3000000 52
	cp data guest/data
	sync -f guest
	pkill -KILL -f "^[^ ]*/vhdmount.* $PWD/disk.vhd "
	umount guest || umount -l guest
	umount -l at
	wait_unlocked disk.vhd
	expect 0 vhdtool check disk.vhd
	expect 0 vhdmount disk.vhd at
	e2fsck -fp at/p1.img || [ $? -le 1 ]
	mount -o loop at/p1.img guest
	cmp data guest/data
	umount guest
}

# What the guest's file system gives up, a disk without a parent gives up too.
test_trim_reaches_the_image() {
	local before after

	make_disk
	random_file data 8388608 53
	cp data guest/data
	sync -f guest
	rm guest/data
	sync -f guest
	cp disk.vhd full.vhd
	fstrim guest || skip "this loop device does not discard"
	umount guest
	e2fsck -fn at/p1.img
	unmount at disk.vhd
	expect 0 vhdtool check disk.vhd
	same "$(hash_disk disk.vhd)" "$(hash_disk disk.vhd)"
	before=$(stat -c %b full.vhd)
	after=$(stat -c %b disk.vhd)
	[ "$after" -le "$before" ] || fail "$after blocks after, $before before"
	mkdir -p again
	expect 0 vhdtool compact disk.vhd --mode prezeroed
	[ "$(stat -c %s disk.vhd)" -lt "$(stat -c %s full.vhd)" ]
}

run_tests "$@"
