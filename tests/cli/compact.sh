#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool compact
. "$(dirname "$0")/../lib/cli.sh"

# A dynamic disk in which every block is stored, though most read as zero.
make_padded() {
	need qemu-img
	sparse_raw base.raw 40
	qemu-img create -q -f vpc -o subformat=dynamic,force_size=on disk.vhd 24M
	qemu-io -f vpc -c 'write -P 1 0 24M' -c 'write -P 0 0 24M' disk.vhd >/dev/null
	qemu-img convert -n -f raw -O vpc base.raw disk.vhd
	qemu-io -f vpc -c 'flush' disk.vhd >/dev/null
}

test_prezeroed_drops_zero_blocks() {
	make_padded
	local before

	before=$(stat -c %s disk.vhd)
	same "$(hash_disk disk.vhd)" "$(hash_file base.raw)" "before"
	expect 0 vhdtool compact disk.vhd --mode prezeroed --json
	json_is 'd["file_after"] < d["file_before"]' 'd["blocks_after"] < d["blocks_before"]' \
		'd["file_after"] == __import__("os").path.getsize("disk.vhd")' 'not d["estimate"]'
	[ "$(stat -c %s disk.vhd)" -lt "$before" ]
	same "$(hash_disk disk.vhd)" "$(hash_file base.raw)"
	same "$(qemu_hash disk.vhd)" "$(hash_file base.raw)"
	expect 0 vhdtool check disk.vhd
}

test_estimate_tells_the_same_and_changes_nothing() {
	make_padded
	local before

	before=$(hash_file disk.vhd)
	expect 0 vhdtool compact disk.vhd --mode prezeroed --estimate --json
	json_is 'd["estimate"]'
	cp out estimate
	expect 0 vhdtool compact disk.vhd --mode prezeroed -n
	same "$(hash_file disk.vhd)" "$before"
	expect 0 vhdtool compact disk.vhd --mode prezeroed --json
	json_is 'json.load(open("estimate"))["blocks_after"] == d["blocks_after"]'
}

test_nothing_to_do_is_done() {
	make_padded
	local before

	expect 0 vhdtool compact disk.vhd --mode prezeroed
	before=$(hash_file disk.vhd)
	expect 0 vhdtool compact disk.vhd --mode prezeroed --json
	json_is 'd["blocks_before"] == d["blocks_after"]'
	same "$(hash_file disk.vhd)" "$before"
	expect 0 vhdtool compact disk.vhd
}

# fill_and_delete KIND: disk.vhd with a file system in which much was written and deleted.
fill_and_delete() {
	random_file kept 300000 41
	random_file junk 8388608 42
	truncate -s 48M fs.raw
	case $1 in
	ext4)
		need mke2fs debugfs
		mke2fs -q -t ext4 fs.raw
		printf 'write junk junk\nwrite kept kept\nrm junk\n' | debugfs -w fs.raw >/dev/null 2>&1
		;;
	fat)
		need mkfs.vfat mcopy mdel
		mkfs.vfat -F 16 fs.raw >/dev/null
		mcopy -i fs.raw junk ::junk
		mcopy -i fs.raw kept ::kept
		mdel -i fs.raw ::junk
		;;
	ntfs)
		need mkntfs ntfscp ntfscat
		mkntfs -q -F -f fs.raw >/dev/null 2>&1
		ntfscp -q fs.raw kept kept
		# Never part of a file, but not zero: free clusters with old content.
		python3 - <<-'END'
			with open("junk", "rb") as j, open("fs.raw", "r+b") as f:
			    f.seek(34 << 20)
			    f.write(j.read())
		END
		;;
	esac
}

# read_kept KIND IMAGE: the file that was kept, on standard output.
read_kept() {
	case $1 in
	ext4) debugfs -R 'cat kept' "$2" 2>/dev/null ;;
	fat) mcopy -i "$2" ::kept - ;;
	ntfs) ntfscat "$2" kept ;;
	esac
}

check_guest() {
	local kind=$1 mode

	fill_and_delete "$kind"
	for mode in full quick; do
		rm -f disk.vhd back.raw
		expect 0 vhdtool convert fs.raw disk.vhd
		expect 0 vhdtool compact disk.vhd --mode $mode --json
		json_is 'd["filesystems"] == 1' 'd["blocks_free"] >= 2' 'd["file_after"] < d["file_before"]'
		expect 0 vhdtool check disk.vhd
		expect 0 vhdtool convert disk.vhd back.raw
		read_kept "$kind" back.raw | cmp - kept
		[ "$kind" != ext4 ] || e2fsck -fn back.raw >/dev/null 2>&1 || fail "e2fsck finds errors"
		[ "$kind" != fat ] || ! command -v fsck.vfat >/dev/null || fsck.vfat -n back.raw >/dev/null
		[ "$kind" != ntfs ] || ! command -v ntfsfix >/dev/null || ntfsfix -n back.raw >/dev/null
	done
}

test_free_clusters_of_ext4() {
	check_guest ext4
}

test_free_clusters_of_fat() {
	check_guest fat
}

test_free_clusters_of_ntfs() {
	check_guest ntfs
}

test_partitioned_disk() {
	need sfdisk mke2fs debugfs
	random_file kept 300000 43
	random_file junk 8388608 44
	truncate -s 30M fs
	mke2fs -q -t ext4 fs
	printf 'write junk junk\nwrite kept kept\nrm junk\n' | debugfs -w fs >/dev/null 2>&1
	truncate -s 32M disk.raw
	echo 'start=2048' | sfdisk -q disk.raw
	dd if=fs of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
	expect 0 vhdtool convert disk.raw disk.vhd
	expect 0 vhdtool compact disk.vhd --json
	json_is 'd["filesystems"] == 1' 'd["blocks_free"] >= 2'
	expect 0 vhdtool convert disk.vhd back.raw
	dd if=back.raw of=fs.back bs=1M skip=1 status=none
	e2fsck -fn fs.back >/dev/null 2>&1
	debugfs -R 'cat kept' fs.back 2>/dev/null | cmp - kept
}

test_unclean_file_system_is_not_asked() {
	need mke2fs debugfs
	fill_and_delete ext4
	debugfs -w -R 'ssv state 0' fs.raw 2>/dev/null
	expect 0 vhdtool convert fs.raw disk.vhd
	same "$(hash_disk disk.vhd)" "$(hash_file fs.raw)"
	expect 0 vhdtool compact disk.vhd --json
	json_is 'd["filesystems"] == 0' 'd["note"]'
	same "$(hash_disk disk.vhd)" "$(hash_file fs.raw)" "content of an unclean file system"
}

# W9: a block of zeros in a child hides the parent's data and must stay.
test_zeros_that_hide_a_parent_stay() {
	random_file base.raw 8388608 45
	expect 0 vhdtool convert base.raw base.vhd
	truncate -s 8M zero.raw
	poke zero.raw 0 512 46
	expect 0 vhdtool convert zero.raw child.vhd --type diff --parent base.vhd
	expect 0 vhdtool compact child.vhd --mode prezeroed
	same "$(hash_disk child.vhd)" "$(hash_file zero.raw)"
	expect 0 vhdtool compact child.vhd --mode full
	same "$(hash_disk child.vhd)" "$(hash_file zero.raw)"
	expect 0 vhdtool check child.vhd --chain
}

test_zeros_over_zeros_go() {
	truncate -s 8M base.raw
	expect 0 vhdtool convert base.raw base.vhd
	random_file new.raw 8388608 47
	expect 0 vhdtool convert new.raw child.vhd --type diff --parent base.vhd
	truncate -s 2M new.raw
	truncate -s 8M new.raw
	need qemu-io
	qemu-io -f vpc -c 'write -P 0 2M 6M' child.vhd >/dev/null
	same "$(hash_disk child.vhd)" "$(hash_file new.raw)" "before"
	expect 0 vhdtool compact child.vhd --mode prezeroed --json
	json_is 'd["blocks_after"] == 1'
	same "$(hash_disk child.vhd)" "$(hash_file new.raw)"
}

test_fixed_disk_is_nothing_to_do() {
	local before

	expect 0 vhdtool create disk.vhd --size 4M --type fixed
	before=$(hash_file disk.vhd)
	expect 0 vhdtool compact disk.vhd
	says "fixed"
	same "$(hash_file disk.vhd)" "$before"
}

run_tests "$@"
