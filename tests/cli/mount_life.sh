#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdmount: how it starts, is called by mount(8), and ends.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/mount.sh"

make_disk() {
	mounts
	sparse_raw model.raw 40
	expect 0 vhdtool convert model.raw disk.vhd
	mkdir at
}

# in_foreground: disk.vhd on `at`, its process in $server.
in_foreground() {
	"$VHDMOUNT" -f "$PWD/disk.vhd" "$PWD/at" &
	server=$!
	wait_until is_mounted at
}

# ends_well: $server ends by itself, with exit code 0.
ends_well() {
	local rc=0

	wait "$server" || rc=$?
	same "$rc" 0 "exit code"
	not_mounted at
}

test_signals_unmount() {
	local signal

	make_disk
	for signal in TERM INT HUP; do
		in_foreground
		poke at/disk.img 1000 5000 1
		kill -s $signal "$server"
		ends_well
	done
	poke model.raw 1000 5000 1
	same "$(hash_disk disk.vhd)" "$(hash_file model.raw)"
}

test_signal_waits_for_who_has_a_file_open() {
	make_disk
	in_foreground
	exec 3<>at/disk.img
	kill -TERM "$server"
	wait_until not_mounted at
	head -c 1000 /dev/zero >&3
	sleep 0.3
	kill -0 "$server"
	exec 3>&-
	ends_well
	dd if=/dev/zero of=model.raw bs=1000 count=1 conv=notrunc status=none
	same "$(hash_disk disk.vhd)" "$(hash_file model.raw)"
}

test_second_signal_does_not_wait() {
	make_disk
	in_foreground
	exec 3<>at/disk.img
	head -c 1000 /dev/zero >&3
	kill -TERM "$server"
	wait_until not_mounted at
	kill -TERM "$server"
	ends_well
	dd if=/dev/zero of=model.raw bs=1000 count=1 conv=notrunc status=none
	same "$(hash_disk disk.vhd)" "$(hash_file model.raw)"
}

test_unmounting_ends_the_daemon() {
	make_disk
	expect 0 vhdmount disk.vhd at
	[ ! -s out ] && [ ! -s err ]
	is_mounted at
	daemon_of disk.vhd
	unmount at disk.vhd
	not_mounted at
}

test_debug_shows_requests() {
	make_disk
	"$VHDMOUNT" -d "$PWD/disk.vhd" "$PWD/at" 2>log &
	server=$!
	wait_until is_mounted at
	ls at >/dev/null
	kill -TERM "$server"
	ends_well
	grep -q READDIR log
}

# refused CODE TEXT OPTION...: disk.vhd is not mounted.
refused() {
	local code=$1 text=$2
	shift 2

	expect "$code" vhdmount "$@" disk.vhd at
	says "$text"
	not_mounted at
	no_daemon_of disk.vhd
}

test_missing_parent() {
	make_disk
	mkdir elsewhere
	mv disk.vhd base.vhd
	expect 0 vhdtool create disk.vhd --parent base.vhd
	mv base.vhd elsewhere
	refused 1 "parent"
	expect 0 vhdmount --parent "$PWD/elsewhere/base.vhd" disk.vhd at
	cmp at/disk.img model.raw
	unmount at disk.vhd
	expect 0 vhdmount --search elsewhere disk.vhd at
	cmp at/disk.img model.raw
	unmount at disk.vhd
	expect 0 vhdmount -o "ro,search=$PWD/elsewhere" disk.vhd at
	cmp at/disk.img model.raw
}

test_bad_images() {
	mounts
	mkdir at
	refused 1 "disk.vhd"
	random_file disk.vhd 1048576 41
	refused 2 "disk.vhd"
	unpack dissect-dynamic.vhdx disk.vhd
	refused 63 "vhdx"
}

test_a_disk_in_use_is_locked() {
	make_disk
	mkdir too
	expect 0 vhdmount disk.vhd at
	expect 75 vhdmount disk.vhd too
	not_mounted too
	unmount at disk.vhd
	expect 0 vhdmount -o ro disk.vhd at
	expect 0 vhdmount -o ro disk.vhd too
	cmp at/disk.img too/disk.img
}

test_usage() {
	make_disk
	refused 64 "unknown option --frob" --frob
	refused 64 "unknown mount option 'frob'" -o ro,frob
	refused 64 "valid value" -o uid=me
	expect 64 "$VHDMOUNT" disk.vhd
	expect 64 "$VHDMOUNT" disk.vhd at at
	expect 1 "$VHDMOUNT" disk.vhd nowhere
	says "nowhere"
	expect 0 "$VHDMOUNT" --help
	says "Usage:"
}

test_relative_and_strange_names() {
	make_disk
	mv -- disk.vhd "-a, b\\c.vhd"
	expect 0 "$VHDMOUNT" -o ro -- "-a, b\\c.vhd" at
	cmp at/disk.img model.raw
	fusermount3 -u at
	wait_until not_mounted at
}

# The mount point may hide the image and its folder.
test_mount_over_the_images_own_folder() {
	make_disk
	mkdir here
	mv disk.vhd here
	expect 0 vhdmount here/disk.vhd here
	poke here/disk.img 0 5000 42
	poke model.raw 0 5000 42
	[ -s here/info.json ]
	unmount here here/disk.vhd
	same "$(hash_disk here/disk.vhd)" "$(hash_file model.raw)"
}

test_called_as_a_mount_helper() {
	make_disk
	ln -s "$VHDMOUNT" mount.fuse.vhd
	helper() { ./mount.fuse.vhd "$PWD/disk.vhd" "$PWD/at" "$@"; }
	expect 0 helper -f -o rw
	not_mounted at
	expect 0 helper -n -v -o rw,user,noauto,nofail,x-systemd.automount,_netdev -t fuse.vhd
	is_mounted at
	poke at/disk.img 0 5000 43
	fusermount3 -u at
	wait_until not_mounted at
	expect 64 helper -o rw,frob
	expect 0 helper -s -o ro,frob
	expect 1 cp model.raw at/disk.img
}

# mount(8) looks for helpers in /sbin alone: give it one, in a name space of our own.
mount_by_type() {
	set -e
	mkdir up work
	mount -t tmpfs none up
	mkdir up/up up/work
	mount -t overlay -o "lowerdir=/usr/sbin,upperdir=up/up,workdir=up/work" none /usr/sbin || exit 77
	ln -s "$VHDMOUNT" /usr/sbin/mount.fuse.vhd
	echo "$PWD/disk.vhd $PWD/at fuse.vhd rw,user,noauto,umask=022 0 0" >fstab
	mount -t fuse.vhd -o ro "$PWD/disk.vhd" "$PWD/at"
	cmp at/disk.img model.raw
	[ "$(findmnt -no FSTYPE,SOURCE at)" = "fuse.vhd $PWD/disk.vhd" ]
	umount at
	wait_until no_daemon_of disk.vhd
	mount -T fstab "$PWD/at"
	[ "$(stat -c %a at/disk.img)" = 644 ]
	dd if=/dev/zero of=at/disk.img bs=1000 count=1 conv=notrunc status=none
	umount at
	wait_until no_daemon_of disk.vhd
}

test_mounted_by_type_and_by_fstab() {
	local rc=0

	need_root
	need unshare findmnt
	make_disk
	export -f mount_by_type daemon_of no_daemon_of wait_until fail
	export VHDMOUNT
	unshare -m bash -c mount_by_type || rc=$?
	[ $rc != 77 ] || skip "no overlay file system"
	same $rc 0
	dd if=/dev/zero of=model.raw bs=1000 count=1 conv=notrunc status=none
	same "$(hash_disk disk.vhd)" "$(hash_file model.raw)"
}

run_tests "$@"
