#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdmount: that what is written arrives, whole, and stays.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/mount.sh"

# make_disk [TYPE]: disk.vhd with the content of model.raw, on `at`.
make_disk() {
	mounts
	sparse_raw model.raw 30
	expect 0 vhdtool convert model.raw disk.vhd --type "${1:-dynamic}"
	mkdir at
	expect 0 vhdmount disk.vhd at
}

image_is_model() {
	unmount at disk.vhd
	same "$(hash_disk disk.vhd)" "$(hash_file model.raw)" "content"
	same "$(qemu_hash disk.vhd)" "$(hash_file model.raw)" "content as qemu-img sees it"
	expect 0 vhdtool check disk.vhd
}

mount_again() {
	umount -l at 2>/dev/null || fusermount3 -u -z at
	wait_unlocked disk.vhd
	expect 0 vhdmount disk.vhd at
}

model() {
	python3 "$STRATA_ROOT/tests/lib/mount_model.py" "$@"
}

test_writes_are_in_the_image() {
	make_disk
	random_file new 5000001 31
	dd if=new of=at/disk.img bs=70001 seek=100 conv=notrunc status=none
	dd if=new of=model.raw bs=70001 seek=100 conv=notrunc status=none
	cmp at/disk.img model.raw
	image_is_model
}

test_fixed_disk() {
	make_disk fixed
	poke at/disk.img 1000 3000000 32
	poke model.raw 1000 3000000 32
	image_is_model
}

test_any_offset_and_length() {
	make_disk
	model at/disk.img 1 400
	cp --sparse=always at/disk.img model.raw
	image_is_model
}

# make_child: as make_disk, with disk.vhd a child of base.vhd, which is as in the file `before`.
make_child() {
	make_disk
	unmount at disk.vhd
	mv disk.vhd base.vhd
	sha256sum base.vhd >before
	expect 0 vhdtool create disk.vhd --parent base.vhd
	expect 0 vhdmount disk.vhd at
}

test_any_offset_and_length_in_a_child() {
	make_child
	model at/disk.img 2 400
	cp --sparse=always at/disk.img model.raw
	unmount at disk.vhd
	same "$(hash_disk disk.vhd)" "$(hash_file model.raw)"
	sha256sum --quiet -c before
}

# Eight writers fill one range, each with its own bytes of every sector.
test_neighbours_in_a_sector_lose_nothing() {
	make_disk
	python3 - <<-'END'
		import os, threading
		writers, piece, size = 8, 50, 200000

		def fill(n):
		    fd = os.open("at/disk.img", os.O_RDWR)
		    for off in range(n * piece, size, writers * piece):
		        os.pwrite(fd, bytes([n + 1]) * piece, off)
		    os.close(fd)

		threads = [threading.Thread(target=fill, args=(n,)) for n in range(writers)]
		[t.start() for t in threads]
		[t.join() for t in threads]
		with open("at/disk.img", "rb") as f:
		    got = f.read(size)
		for off in range(0, size, piece):
		    assert got[off:off + piece] == bytes([off // piece % writers + 1]) * piece, off
	END
}

# A writer of whole sectors beside writers of parts of the same ones: what it has written once
# nobody takes back.
test_parts_and_whole_sectors_together() {
	make_disk
	python3 - <<-'END'
		import os, threading
		sectors, rounds, done = 64, 40, threading.Event()

		def parts():
		    fd = os.open("at/disk.img", os.O_RDWR)
		    while not done.is_set():
		        for n in range(sectors):
		            os.pwrite(fd, b"p" * 100, n * 512 + 200)

		threads = [threading.Thread(target=parts) for _ in range(3)]
		[t.start() for t in threads]
		fd = os.open("at/disk.img", os.O_RDWR)
		try:
		    for r in range(1, rounds):
		        for n in range(sectors):
		            os.pwrite(fd, bytes([r]) * 512, n * 512)
		            got = os.pread(fd, 512, n * 512)
		            assert got[:200] + got[300:] == bytes([r]) * 412, (r, n)
		finally:
		    done.set()
		    [t.join() for t in threads]
	END
}

test_disk_and_partition_show_the_same_bytes() {
	mounts
	make_mbr model.raw
	expect 0 vhdtool convert model.raw disk.vhd
	mkdir at
	expect 0 vhdmount disk.vhd at
	python3 - <<-'END'
		import os
		disk, part = (os.open("at/" + n, os.O_RDWR) for n in ("disk.img", "p5.img"))
		start = 47104 * 512
		for n in range(50):
		    os.pwrite(part, bytes([n + 1]) * 700, n * 650)
		    assert os.pread(disk, 700, start + n * 650) == bytes([n + 1]) * 700
		    os.pwrite(disk, bytes([n + 100]) * 30, start + n * 650 + 10)
		    assert os.pread(part, 30, n * 650 + 10) == bytes([n + 100]) * 30
	END
	# The last byte of a partition is the last that can be written through it.
	expect 1 dd if=/dev/zero of=at/p5.img bs=512 seek=20480 count=1 conv=notrunc
	says "No space left"
	cp --sparse=always at/disk.img model.raw
	image_is_model
}

test_sizes_and_names_are_fixed() {
	make_disk
	expect 1 truncate -s 1M at/disk.img
	expect 1 truncate -s 100M at/disk.img
	expect 1 rm -f at/disk.img
	expect 1 mv at/disk.img at/other
	expect 1 touch at/new
	expect 1 chmod 666 at/disk.img
	# O_TRUNC means nothing here, as on a block device.
	random_file new 100000 33
	cp new at/disk.img
	dd if=new of=model.raw conv=notrunc status=none
	same "$(stat -c %s at/disk.img)" "$(stat -c %s model.raw)"
	image_is_model
}

test_synced_data_survives_a_kill() {
	make_disk
	poke at/disk.img 9000000 300000 34
	poke model.raw 9000000 300000 34
	sync at/disk.img
	# What follows was never flushed; it may or may not be there, elsewhere.
	dd if=/dev/urandom of=at/disk.img bs=1M seek=20 count=2 conv=notrunc status=none &
	wait_until pkill -KILL -f "^[^ ]*/vhdmount.* $PWD/disk.vhd "
	wait || true
	mount_again
	cmp -n $((20 << 20)) at/disk.img model.raw
	unmount at disk.vhd
	expect 0 vhdtool check disk.vhd
}

# No process may be started between write and kill: what it inherits it closes, and that flushes.
test_o_dsync_survives_a_kill() {
	make_child
	python3 - "$(daemon_of disk.vhd)" <<-'END'
		import os, signal, sys
		model = os.open("model.raw", os.O_RDWR)
		synced = os.open("at/disk.img", os.O_RDWR | os.O_DSYNC)
		for off, data in (9 << 20, b"x" * 4096), ((9 << 20) + 5000, b"y" * 100):
		    os.pwrite(synced, data, off)
		    os.pwrite(model, data, off)
		os.kill(int(sys.argv[1]), signal.SIGKILL)
	END
	mount_again
	cmp at/disk.img model.raw
}

test_fio_verifies_what_it_wrote() {
	need fio
	make_disk
	fio --output=log --filename="$PWD/at/disk.img" --size=24M --verify=crc32c --verify_fatal=1 \
		--rw=randwrite --bsrange=512-128k --bs_unaligned --randrepeat=1 --end_fsync=1 \
		--name=deep --ioengine=libaio --iodepth=16 ||
		{ cat log; fail "fio"; }
	fio --output=log --filename="$PWD/at/disk.img" --verify=crc32c --verify_fatal=1 \
		--rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=16 --size=6M \
		--name=one --offset=0 --name=two --offset=6M --name=three --offset=12M ||
		{ cat log; fail "fio"; }
	unmount at disk.vhd
	expect 0 vhdtool check disk.vhd
}

test_full_file_system_fails_writes_only() {
	need_root
	mounts
	mkdir small at
	mount -t tmpfs -o size=6M none small
	expect 0 vhdtool create small/disk.vhd --size 64M
	expect 0 vhdmount small/disk.vhd at
	dd if=/dev/zero of=at/disk.img bs=64k count=1 conv=notrunc status=none
	poke at/disk.img 0 1000000 35
	hash_part() { head -c 1000000 at/disk.img | sha256sum; }
	hash_part >before
	expect 1 dd if=/dev/urandom of=at/disk.img bs=1M seek=10 count=20 conv=notrunc
	says "No space left"
	same "$(hash_part)" "$(cat before)"
	mount -o remount,size=60M small
	poke at/disk.img 0 1000000 36
	hash_part >before
	unmount at small/disk.vhd
	expect 0 vhdmount small/disk.vhd at
	same "$(hash_part)" "$(cat before)"
}

run_tests "$@"
