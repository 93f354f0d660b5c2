#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdmount --vm: all snapshots of a VM as folders, while it goes on living.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/mount.sh"

VMCTL=$STRATA_BUILD/vmctl

vmctl() {
	"$VMCTL" "$@" --home "$PWD/home"
}

# make_vm RAW...: the VM "vm" with these disks, which are current in the files RAW.vhd of its store.
make_vm() {
	local raw disks=()

	mounts
	[ -x "$VMCTL" ] || skip "vmctl is not built"
	mkdir -p at rw home
	for raw; do
		expect 0 vhdtool convert "$raw" "${raw%.raw}.vhd"
		disks+=(--disk "$PWD/${raw%.raw}.vhd")
	done
	expect 0 vmctl create vm "${disks[@]}"
}

# leaf [DISK]: the file that the VM writes to now.
leaf() {
	vmctl show vm --json >shown.json
	python3 -c 'import json, sys
print(json.load(open("shown.json"))["disks"][int(sys.argv[1])]["path"])' "${1:-0}"
}

nobody_serves() {
	! pgrep -f "^[^ ]*/vhdmount.* $PWD/$1\$" >/dev/null
}

# vm_writes OFFSET BYTES SEED [DISK]: as poke, into the leaf, as the VM does it.
vm_writes() {
	"$VHDMOUNT" --search "$PWD" "$(leaf "${4:-0}")" "$PWD/rw"
	poke rw/disk.img "$1" "$2" "$3"
	fusermount3 -u rw
	wait_until nobody_serves rw
}

take() {
	expect 0 vmctl snapshot take vm --name "$1"
}

# mount_vm [OPTION...]: the VM on `at`.
mount_vm() {
	"$VHDMOUNT" --vm vm --home "$PWD/home" "$@" "$PWD/at"
}

unmount_vm() {
	fusermount3 -u at
	wait_until nobody_serves at
}

# make_history COUNT: snapshots s1, s2, ...; in SNAPSHOT.hash what the disk was, model.raw what it is.
make_history() {
	local n

	for n in $(seq "$1"); do
		vm_writes $((n * 1500000)) 70000 "$n"
		poke model.raw $((n * 1500000)) 70000 "$n"
		take "s$n"
		hash_file model.raw >"s$n.hash"
	done
	vm_writes 1000 3000 99
	poke model.raw 1000 3000 99
	hash_file model.raw >current.hash
}

shows_all() {
	local name

	for name in "$@"; do
		same "$(hash_file "at/$name/disk0/disk.img")" "$(cat "$name.hash")" "$name"
	done
}

# What a reader might change: the files of the store and the disk that the VM was made from.
state_of_store() {
	find home ./*.vhd -printf '%p %s %T@ %C@ %i\n' | sort
}

# The layers that the process of the mount has open.
open_layers() {
	local pid

	pid=$(pgrep -f "^[^ ]*/vhdmount.* $PWD/at\$")
	find "/proc/$pid/fd" -lname '*.vhd' | wc -l
}

no_layer_is_open() {
	[ "$(open_layers)" = 0 ]
}

test_every_snapshot_shows_what_was_there() {
	local n

	sparse_raw model.raw 70
	make_vm model.raw
	make_history 6
	same "$(hash_disk "$(leaf)" --search "$PWD")" "$(cat current.hash)"
	expect 0 mount_vm
	same "$(cd at && echo *)" "current s1 s2 s3 s4 s5 s6"
	shows_all s1 s2 s3 s4 s5 s6 current
	same "$(cd at/s3 && echo */*)" "disk0/disk.img disk0/info.json"
	unmount_vm
}

test_partitions_of_each_time() {
	local n

	make_mbr model.raw
	make_vm model.raw
	make_history 2
	# Another table, the last of its partitions gone.
	sfdisk -q --delete model.raw 6
	dd if=model.raw bs=1M count=40 status=none | cat >table
	"$VHDMOUNT" --search "$PWD" "$(leaf)" "$PWD/rw"
	dd if=table of=rw/disk.img bs=1M conv=notrunc status=none
	fusermount3 -u rw
	wait_until nobody_serves rw
	take s3
	expect 0 mount_vm
	same "$(cd at/s1/disk0 && echo *)" "disk.img info.json p1.img p2.img p5.img p6.img"
	same "$(cd at/s3/disk0 && echo *)" "disk.img info.json p1.img p2.img p5.img"
	for n in 1 2; do
		cmp "at/s$n/disk0/p1.img" <(tail -c +$((2048 * 512 + 1)) "at/s$n/disk0/disk.img" |
			head -c $((40960 * 512)))
		same "$(hash_file at/s$n/disk0/disk.img)" "$(cat s$n.hash)"
	done
	cp at/s2/disk0/info.json out
	json_is 'd["name"] == "s2" and d["vm"] == "vm" and d["disk"] == 0' \
		'd["parent"]["name"] == "s1"' 'len(d["id"]) == 36' 'd["virtual_size"] == 64 << 20' \
		'[p["file"] for p in d["partitions"]] == ["p1.img", "p2.img", "p5.img", "p6.img"]' \
		'[p["start"] // 512 for p in d["partitions"]] == [2048, 43008, 47104, 69632]'
	cp at/current/disk0/info.json out
	json_is 'd["name"] == "current" and d["id"] is None and d["parent"]["name"] == "s3"'
}

test_several_disks() {
	sparse_raw one.raw 71
	random_file two.raw 3145728 72
	make_vm one.raw two.raw
	take s1
	hash_file two.raw >two.hash
	vm_writes 5000 5000 73 1
	poke two.raw 5000 5000 73
	expect 0 mount_vm
	same "$(cd at && echo */*)" "current/disk0 current/disk1 s1/disk0 s1/disk1"
	cmp at/s1/disk0/disk.img one.raw
	same "$(hash_file at/s1/disk1/disk.img)" "$(cat two.hash)"
	cmp at/current/disk1/disk.img two.raw
	expect 2 ls at/s1/disk2
	expect 2 ls at/s1/disk01
}

test_an_id_finds_the_same_folder() {
	local id

	sparse_raw model.raw 74
	make_vm model.raw
	make_history 2
	expect 0 mount_vm
	cp at/s1/disk0/info.json out
	id=$(json 'd["id"]')
	same "$(stat -c %i "at/$id")" "$(stat -c %i at/s1)"
	same "$(stat -c %i "at/$id/disk0/disk.img")" "$(stat -c %i at/s1/disk0/disk.img)"
	same "$(hash_file "at/$id/disk0/disk.img")" "$(cat s1.hash)"
	same "$(cd at && echo *)" "current s1 s2"
	expect 2 ls "at/00000000-0000-4000-8000-000000000000"
}

test_nothing_can_be_written() {
	sparse_raw model.raw 75
	make_vm model.raw
	make_history 2
	state_of_store >before
	expect 0 mount_vm -o rw
	for file in at/s1/disk0/disk.img at/current/disk0/disk.img at/s2/disk0/info.json; do
		expect 1 python3 -c 'import sys; open(sys.argv[1], "r+b")' $file
		says "Read-only file system"
	done
	expect 1 touch at/new
	says "Read-only file system"
	expect 1 mkdir at/s1/new
	expect 1 rm -rf at/s1
	expect 1 mv at/s1 at/s9
	expect 1 truncate -s 0 at/s1/disk0/disk.img
	expect 1 chmod 777 at/s1
	shows_all s1 s2 current
	same "$(stat -c %a at at/s1 at/s1/disk0 at/s1/disk0/disk.img | tr '\n' ' ')" "500 500 500 400 "
	unmount_vm
	same "$(state_of_store)" "$(cat before)" "the store has changed"
}

test_snapshots_come_and_go() {
	local number

	sparse_raw model.raw 76
	make_vm model.raw
	make_history 3
	expect 0 mount_vm
	same "$(cd at && echo *)" "current s1 s2 s3"
	shows_all current
	take s4
	mv current.hash s4.hash
	wait_until test -d at/s4
	vm_writes 700000 5000 77
	poke model.raw 700000 5000 77
	hash_file model.raw >current.hash
	shows_all s4 s1
	number=$(stat -c %i at/s2/disk0/disk.img)
	expect 0 vmctl snapshot rename vm s2 "second one"
	wait_until test -d "at/second one"
	[ ! -e at/s2 ]
	same "$(stat -c %i "at/second one/disk0/disk.img")" "$number"
	cp "at/second one/disk0/info.json" out
	json_is 'd["name"] == "second one"'
	expect 0 vmctl snapshot delete --no-fold vm s3
	wait_until test ! -e at/s3
	same "$(cd at && ls | tr '\n' ,)" "current,s1,s4,second one,"
	shows_all s1 s4 current
	take s3
	wait_until test -d at/s3
	[ "$(stat -c %i at/s3)" -gt "$(stat -c %i at/s4)" ]
	mv current.hash s3.hash
	shows_all s3
}

test_current_follows_the_vm() {
	sparse_raw model.raw 78
	make_vm model.raw
	make_history 1
	expect 0 mount_vm -o idle=1
	exec 3<at/current/disk0/disk.img
	hash_file model.raw >before.hash
	take s2
	wait_until test -d at/s2
	vm_writes 900000 5000 79
	poke model.raw 900000 5000 79
	# Who has the file open still sees what it opened.
	same "$(sha256sum <&3 | cut -d ' ' -f 1)" "$(cat before.hash)"
	same "$(stat -L -c %s /dev/fd/3)" "$(stat -c %s model.raw)"
	exec 3<&-
	cmp at/current/disk0/disk.img model.raw
}

test_current_goes_back() {
	sparse_raw model.raw 95
	make_vm model.raw
	make_history 2
	expect 0 mount_vm
	shows_all current
	exec 3<at/current/disk0/disk.img
	expect 0 vmctl snapshot revert vm s1 --discard
	same "$(sha256sum <&3 | cut -d ' ' -f 1)" "$(cat current.hash)"
	cp s1.hash current.hash
	wait_until eval 'cmp -s at/current/disk0/disk.img at/s1/disk0/disk.img'
	cp at/current/disk0/info.json out
	json_is 'd["parent"]["name"] == "s1"'
	exec 3<&-
	shows_all s1 s2 current
}

test_a_damaged_snapshot_hides_no_other() {
	local layer

	sparse_raw model.raw 96
	make_vm model.raw
	make_history 3
	expect 0 mount_vm -o idle=0
	cp at/s3/disk0/info.json out
	layer=$(json 'd["path"]')
	wait_until no_layer_is_open
	mv "$layer" lost
	expect 1 cat at/s3/disk0/disk.img
	says "Input/output error"
	shows_all s1 s2
	unmount_vm
	expect 0 mount_vm
	expect 1 stat at/s3/disk0/disk.img
	shows_all s1 s2
	mv lost "$layer"
	shows_all s3
}

test_an_open_file_outlives_its_snapshot() {
	sparse_raw model.raw 80
	make_vm model.raw
	make_history 3
	expect 0 mount_vm -o idle=0
	exec 3<at/s2/disk0/disk.img 4<at/s3/disk0/info.json
	head -c 100000 <&3 >start
	expect 0 vmctl snapshot delete --no-fold vm s2
	expect 0 vmctl snapshot delete --no-fold vm s3
	wait_until test ! -e at/s2
	expect 0 vmctl fold vm
	same "$(cat start - <&3 | sha256sum | cut -d ' ' -f 1)" "$(cat s2.hash)"
	same "$(stat -L -c %s /dev/fd/3)" "$(stat -c %s model.raw)"
	cat <&4 >out
	json_is 'd["name"] == "s3"'
	exec 3<&- 4<&-
	wait_until no_layer_is_open
	shows_all s1 current
}

# current_is_busy: nobody sees current, but all the rest.
current_is_busy() {
	expect 1 stat -c %s at/current/disk0/disk.img
	says "busy"
	expect 2 ls at/current/disk0
	same "$(ls at/current)" disk0
	shows_all s1 s2
}

# The process of a running VM has the lock of current in the file "lock" of the store.
test_current_of_a_running_vm_is_busy() {
	sparse_raw model.raw 81
	make_vm model.raw
	make_history 2
	expect 0 mount_vm
	python3 - <<-'END' &
		import fcntl, os, struct, time
		fd = os.open("home/vm/lock", os.O_RDWR)
		lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 2, 1, 0)
		fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
		open("running", "w").close()
		while os.path.exists("running"):
		    time.sleep(0.05)
	END
	wait_until test -e running
	current_is_busy
	rm running
	wait $!
	shows_all current
}

test_current_that_another_program_writes_is_busy() {
	sparse_raw model.raw 82
	make_vm model.raw
	make_history 2
	expect 0 mount_vm
	"$VHDMOUNT" -f --search "$PWD" "$(leaf)" "$PWD/rw" &
	wait_until is_mounted rw
	current_is_busy
	kill $!
	wait $!
	exec 3<at/current/disk0/disk.img
	expect 75 "$VHDMOUNT" --search "$PWD" "$(leaf)" "$PWD/rw"
	exec 3<&-
	shows_all current
}

current_is_free() {
	! find "/proc/$(pgrep -f "^[^ ]*/vhdmount.* $PWD/at\$")/fd" -lname "$(leaf)" | grep -q .
}

# Who has looked at current must not keep the VM from starting, but for a moment.
test_a_look_at_current_does_not_lock_it() {
	sparse_raw model.raw 82
	make_vm model.raw
	make_history 1
	expect 0 mount_vm
	shows_all s1 current
	wait_until current_is_free
	vm_writes 1000 3000 83
	shows_all s1
}

test_views_are_closed_when_idle() {
	sparse_raw model.raw 84
	make_vm model.raw
	make_history 3
	expect 0 mount_vm -o idle=1
	ls -lR at/s1 >/dev/null
	shows_all s1 s2 s3 current
	wait_until no_layer_is_open
	shows_all s1 current
}

test_folders_are_listed_without_opening_disks() {
	sparse_raw model.raw 85
	make_vm model.raw
	make_history 3
	expect 0 mount_vm
	stat at at/* at/*/* >/dev/null
	ls -l at at/* >/dev/null
	no_layer_is_open
	[ "$(stat -c %h at)" = 6 ]
	[ "$(stat -c %h at/s1)" = 3 ]
}

test_strange_names() {
	local name names=('with space' "it's" '"quoted"' 'a,b=c' '$(reboot)' 'день' '日本語 🚀' '*')

	sparse_raw model.raw 86
	make_vm model.raw
	for name in "${names[@]}"; do
		take "$name"
	done
	expect 0 mount_vm
	same "$(ls at | wc -l)" $((${#names[@]} + 1))
	for name in "${names[@]}"; do
		cmp "at/$name/disk0/disk.img" model.raw
		cp "at/$name/disk0/info.json" out
		same "$(json 'd["name"]')" "$name"
	done
}

# make_many COUNT: snapshots n1, n2, ...; the first block of the first 64 is filled with their number.
# (A whole block: qemu marks all sectors of a new one as its own.)
make_many() {
	local n

	need qemu-io
	truncate -s 4M model.raw
	make_vm model.raw
	for n in $(seq "$1"); do
		[ "$n" -gt 64 ] || qemu-io -f vpc -c "write -q -P $n 0 2M" "$(leaf)"
		take "n$n"
	done
}

# is_filled N BYTE: what snapshot N shows.
is_filled() {
	cmp "at/n$1/disk0/disk.img" <(head -c 2M /dev/zero | tr '\0' "\\$(printf %o "$2")"
		head -c 2M /dev/zero)
}

test_64_snapshots_through_4_views() {
	local n

	make_many 64
	expect 0 mount_vm -o views=4
	for n in $(seq 64); do
		is_filled "$n" "$n"
	done
	# A view has as many files as its chain.
	[ "$(open_layers)" -le $((4 * 65)) ]
	# More readers than views, each waiting for room.
	export -f is_filled
	seq 64 | shuf --random-source="$VHDTOOL" | xargs -P 12 -I{} bash -c 'is_filled {} {}'
	unmount_vm
}

test_no_more_views_than_allowed() {
	sparse_raw model.raw 87
	make_vm model.raw
	make_history 4
	expect 0 mount_vm -o views=3
	exec 3<at/s1/disk0/disk.img 4<at/s2/disk0/disk.img 5<at/s3/disk0/disk.img
	expect 1 cat at/s4/disk0/disk.img
	says "Too many open files"
	shows_all s1 s2 s3
	exec 4<&-
	wait_until test -e at/s4/disk0/disk.img
	shows_all s4
	same "$(sha256sum <&3 | cut -d ' ' -f 1)" "$(cat s1.hash)"
	exec 3<&- 5<&-
}

test_512_snapshots_at_once() {
	local n

	make_many 512
	expect 0 mount_vm
	same "$(ls at | wc -l)" 513
	same "$(find at -mindepth 1 -maxdepth 1 -type d -links 3 | wc -l)" 513
	same "$(ls -f at | sort -u | wc -l)" 515
	no_layer_is_open
	for n in 1 63 64 300 512; do
		is_filled "$n" $((n < 64 ? n : 64))
	done
	unmount_vm
}

test_readers_while_snapshots_come_and_go() {
	local n reader

	sparse_raw model.raw 88
	make_vm model.raw
	make_history 3
	expect 0 mount_vm -o views=3,idle=0
	for n in 1 2 3; do
		(while [ ! -e stop ]; do shows_all s$n; done) >reader$n 2>&1 &
		reader+=" $!"
	done
	for n in $(seq 10); do
		take "t$n"
		ls -l at >/dev/null
		[ "$n" -lt 3 ] || expect 0 vmctl snapshot delete --no-fold vm "t$((n - 2))"
		[ "$n" != 6 ] || expect 0 vmctl fold vm
	done
	touch stop
	for n in $reader; do
		wait "$n" || { cat reader?; fail "a reader"; }
	done
	wait_until test -d at/t10
	wait_until test ! -e at/t8
	shows_all s1 s2 s3
}

test_file_system_of_a_snapshot() {
	local n

	need_root
	need mkfs.ext4 losetup
	mounts
	[ -e /dev/loop-control ] || skip "there are no loop devices"
	make_mbr model.raw
	make_vm model.raw
	mkdir guest
	"$VHDMOUNT" "$(leaf)" "$PWD/rw"
	mkfs.ext4 -q rw/p1.img
	mount -o loop rw/p1.img guest || skip "no loop device can be set up"
	umount guest
	fusermount3 -u rw
	wait_until nobody_serves rw
	for n in 1 2 3; do
		"$VHDMOUNT" --search "$PWD" "$(leaf)" "$PWD/rw"
		mount -o loop rw/p1.img guest
		echo "$n" >"guest/file$n"
		umount guest
		fusermount3 -u rw
		wait_until nobody_serves rw
		take "s$n"
	done
	expect 0 mount_vm
	for n in 1 2 3; do
		mount -o loop,ro "at/s$n/disk0/p1.img" guest
		same "$(cat guest/file? | tr '\n' ' ')" "$(seq -s ' ' "$n") "
		umount guest
	done
}

test_kernel_cache_is_for_snapshots_only() {
	sparse_raw model.raw 89
	make_vm model.raw
	make_history 1
	expect 0 mount_vm -o kernel_cache,idle=1
	cat at/current/disk0/disk.img >/dev/null
	python3 - "$(cat s1.hash)" <<-'END'
		import hashlib, mmap, sys
		with open("at/s1/disk0/disk.img", "rb") as f:
		    shown = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
		    assert hashlib.sha256(shown).hexdigest() == sys.argv[1]
	END
	wait_until no_layer_is_open
	vm_writes 5000 5000 90
	poke model.raw 5000 5000 90
	cmp at/current/disk0/disk.img model.raw
}

test_signals_unmount() {
	local signal rc

	sparse_raw model.raw 91
	make_vm model.raw
	make_history 1
	for signal in TERM INT HUP; do
		"$VHDMOUNT" -f --vm vm --home "$PWD/home" "$PWD/at" &
		wait_until is_mounted at
		exec 3<at/s1/disk0/disk.img
		kill -s $signal $!
		wait_until not_mounted at
		same "$(sha256sum <&3 | cut -d ' ' -f 1)" "$(cat s1.hash)"
		exec 3<&-
		rc=0
		wait $! || rc=$?
		same $rc 0 "exit code"
	done
	# A second signal does not wait for who has a file open.
	"$VHDMOUNT" -f --vm vm --home "$PWD/home" "$PWD/at" &
	wait_until is_mounted at
	exec 3<at/s1/disk0/disk.img
	kill $!
	wait_until not_mounted at
	kill $!
	wait $! || rc=$?
	same $rc 0 "exit code"
	exec 3<&-
}

test_a_vm_without_snapshots() {
	sparse_raw model.raw 92
	make_vm model.raw
	expect 0 mount_vm
	same "$(cd at && echo *)" current
	cmp at/current/disk0/disk.img model.raw
	cp at/current/disk0/info.json out
	json_is 'd["parent"] is None'
}

# refused CODE TEXT ARGUMENT...: nothing is mounted.
refused() {
	expect "$1" "$VHDMOUNT" "${@:3}"
	says "$2"
	not_mounted at
}

test_usage() {
	sparse_raw model.raw 93
	make_vm model.raw
	refused 1 "other" --vm other --home "$PWD/home" at
	refused 64 "" --vm a/b --home "$PWD/home" at
	refused 64 "folder to mount on" --vm vm --home "$PWD/home"
	refused 64 "too many" --vm vm --home "$PWD/home" at at
	refused 64 "--home is for --vm" --home "$PWD/home" model.vhd at
	refused 64 "for images" --vm vm --home "$PWD/home" --search . at
	refused 64 "at least one view" --vm vm --home "$PWD/home" -o views=0 at
	refused 1 "nowhere" --vm vm --home "$PWD/home" nowhere
	STRATA_HOME=$PWD/home expect 0 "$VHDMOUNT" --vm vm at
	cmp at/current/disk0/disk.img model.raw
	same "$(awk -v at="$PWD/at" '$2 == at { print $1 }' /proc/self/mounts)" "$PWD/home/vm"
	unmount_vm
	expect 0 "$VHDMOUNT" -o "vm=vm,home=$PWD/home" at
	is_mounted at
}

test_called_as_a_mount_helper() {
	sparse_raw model.raw 94
	make_vm model.raw
	take s1
	ln -s "$VHDMOUNT" mount.fuse.vhd
	expect 64 ./mount.fuse.vhd vm -o "rw,vm=vm,home=$PWD/home"
	expect 0 ./mount.fuse.vhd vm "$PWD/at" -o "rw,noauto,vm=vm,home=$PWD/home"
	cmp at/s1/disk0/disk.img model.raw
	fusermount3 -u at
	wait_until not_mounted at
}

run_tests "$@"
