#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdmount: what is shown, and that reading changes nothing.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/mount.sh"

# shows_fixture NAME: its content hashes to what the manifest says, its file stays as it was.
shows_fixture() {
	local want before

	mounts
	unpack "$1" disk.vhd
	want=$(awk -F '\t' -v name="$1.xz" '$1 == name { print $14 }' "$STRATA_FIXTURES/MANIFEST.tsv")
	before=$(hash_file disk.vhd; stat -c '%y %s' disk.vhd)
	mkdir at
	expect 0 vhdmount -o ro disk.vhd at
	same "$(hash_file at/disk.img)" "$want" "content"
	unmount at disk.vhd
	same "$(hash_file disk.vhd; stat -c '%y %s' disk.vhd)" "$before" "the file changed"
}

test_windows_dynamic() {
	shows_fixture dissect-dynamic.vhd
}

test_windows_fixed() {
	shows_fixture dissect-fixed.vhd
}

test_windows_gpt() {
	shows_fixture nodevhd-dynamic-512M.vhd
}

test_size_that_is_no_multiple_of_a_block() {
	shows_fixture dfvfs-ext2.vhd
}

test_partitions_are_ranges_of_the_disk() {
	local n start

	mounts
	make_mbr base.raw
	for start in 2048 43008 47104 69632; do
		poke base.raw $((start * 512)) 700000 $start
	done
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at
	expect 0 vhdmount -o ro disk.vhd at
	same "$(cd at && echo *)" "disk.img info.json p1.img p2.img p5.img p6.img"
	cp at/info.json out
	json_is '[p["number"] for p in d["partitions"]] == [1, 2, 5, 6]' \
		'[p["file"] for p in d["partitions"]] == ["p1.img", "p2.img", "p5.img", "p6.img"]' \
		'[p["start"] // 512 for p in d["partitions"]] == [2048, 43008, 47104, 69632]'
	for n in 1 2 5 6; do
		json "[p for p in d['partitions'] if p['number'] == $n][0]['start']" >start
		cmp -n "$(stat -c %s at/p$n.img)" -i "0:$(cat start)" at/p$n.img base.raw
	done
	cmp at/disk.img base.raw
}

test_info_says_what_inspect_says() {
	mounts
	make_mbr base.raw
	expect 0 vhdtool convert base.raw base.vhd
	expect 0 vhdtool create disk.vhd --parent base.vhd
	mkdir at
	expect 0 vhdtool inspect "$PWD/disk.vhd" --json
	mv out inspected
	expect 0 vhdmount -o ro disk.vhd at
	cp at/info.json out
	same "$(stat -c %s out)" "$(stat -c %s at/info.json)"
	json_is 'all(d[k] == json.load(open("inspected"))[k] for k in ("path", "type", "virtual_size",
		"file_size", "block_size", "uuid", "creator_app", "creator_version", "timestamp",
		"allocated_blocks", "total_blocks"))' \
		'all(d["parent"][k] == json.load(open("inspected"))["parent"][k]
		for k in ("uuid", "name", "path"))' \
		'len(d["partitions"]) == 4'
}

test_reads_of_any_offset_and_length() {
	mounts
	random_file base.raw 3145728 20
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at
	expect 0 vhdmount -o ro disk.vhd at
	python3 - <<-'END'
		import os, random
		want, source = open("base.raw", "rb").read(), random.Random(1)
		fd = os.open("at/disk.img", os.O_RDONLY)
		for _ in range(500):
		    off, length = source.randrange(len(want) + 2000), source.choice((1, 511, 513, 70000))
		    assert os.pread(fd, length, off) == want[off:off + length], (off, length)
	END
}

test_chain_reads_as_one_disk() {
	local n

	mounts
	sparse_raw model.raw 21
	expect 0 vhdtool convert model.raw d0.vhd
	mkdir at
	for n in 1 2 3 4 5; do
		expect 0 vhdtool create d$n.vhd --parent d$((n - 1)).vhd
		expect 0 vhdmount d$n.vhd at
		poke at/disk.img $((n * 3000000)) 5000 $n
		poke model.raw $((n * 3000000)) 5000 $n
		unmount at d$n.vhd
	done
	sha256sum -- *.vhd >before
	expect 0 vhdmount -o ro d5.vhd at
	cmp at/disk.img model.raw
	unmount at d5.vhd
	sha256sum --quiet -c before
	same "$(hash_disk d5.vhd)" "$(hash_file model.raw)"
}

test_read_only_refuses_writers() {
	mounts
	sparse_raw base.raw 22
	expect 0 vhdtool convert base.raw disk.vhd
	chmod 400 disk.vhd
	mkdir at
	expect 0 vhdmount -r disk.vhd at
	expect 1 python3 -c 'open("at/disk.img", "r+b")'
	says "Read-only file system"
	expect 1 touch at/new
	same "$(stat -c %a at/disk.img)" 400
}

test_owner_and_modes() {
	mounts
	make_mbr base.raw
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at
	expect 0 vhdmount disk.vhd at
	same "$(stat -c '%a %u %g' at/p1.img)" "600 $(id -u) $(id -g)"
	same "$(stat -c '%a' at/info.json)" 400
	same "$(stat -c '%a' at)" 500
	unmount at disk.vhd
	expect 0 vhdmount -o uid=1234,gid=99,umask=027 disk.vhd at
	same "$(stat -c '%a %u %g' at/p1.img)" "640 1234 99"
}

test_holes_are_found() {
	mounts
	sparse_raw base.raw 23
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at
	expect 0 vhdmount -o ro disk.vhd at
	python3 - <<-'END'
		import os
		fd, end, off, data = os.open("at/disk.img", os.O_RDONLY), 24 << 20, 0, 0
		raw = open("base.raw", "rb").read()
		while True:
		    try:
		        start = os.lseek(fd, off, os.SEEK_DATA)
		    except OSError:
		        start = end
		    assert not any(raw[off:start]), (off, start)
		    if start == end:
		        break
		    off = os.lseek(fd, start, os.SEEK_HOLE)
		    assert start < off <= end
		    data += off - start
		assert 0 < data < end, data
	END
}

test_kernel_cache_allows_shared_mappings() {
	mounts
	sparse_raw base.raw 24
	expect 0 vhdtool convert base.raw disk.vhd
	mkdir at
	expect 64 vhdmount -o kernel_cache disk.vhd at
	expect 0 vhdmount -o ro,kernel_cache disk.vhd at
	python3 - <<-'END'
		import mmap
		with open("at/disk.img", "rb") as f:
		    shown = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
		    assert shown[:] == open("base.raw", "rb").read()
	END
}

# With a /dev/fuse that is everybody's, as it is on most machines, if need be in a name space.
mount_as_user() {
	set -e
	as() { setpriv --reuid "$1" --regid 65534 --clear-groups "${@:2}"; }
	if ! as nobody test -w /dev/fuse; then
		mknod -m 666 fuse c 10 229
		mount --bind fuse /dev/fuse
		as nobody test -w /dev/fuse || exit 77
	fi
	as nobody "$VHDMOUNT" "$PWD/disk.vhd" "$PWD/at"
	as nobody cmp "$PWD/at/disk.img" - <base.raw
	as nobody dd if=/dev/zero of="$PWD/at/disk.img" bs=1000 count=1 conv=notrunc status=none
	! as daemon cat "$PWD/at/info.json" || exit 1
	as nobody fusermount3 -u "$PWD/at"
	wait_until no_daemon_of disk.vhd
}

test_a_user_without_privileges_may_mount() {
	local rc=0

	need_root
	need setpriv unshare
	id nobody daemon >/dev/null || skip "no users nobody and daemon"
	mounts
	sparse_raw base.raw 25
	expect 0 vhdtool convert base.raw disk.vhd
	chmod 711 "$CLI_DIR" .
	mkdir at
	chown nobody disk.vhd at
	export -f mount_as_user daemon_of no_daemon_of wait_until fail
	export VHDMOUNT
	unshare -m bash -c mount_as_user || rc=$?
	[ $rc != 77 ] || skip "no /dev/fuse for users"
	same $rc 0
	dd if=/dev/zero of=base.raw bs=1000 count=1 conv=notrunc status=none
	same "$(hash_disk disk.vhd)" "$(hash_file base.raw)"
}

run_tests "$@"
