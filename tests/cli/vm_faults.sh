#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl when there is no room, when others are at work, when it is killed
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

# small_home SIZE: the VMs are on a file system of that size.
small_home() {
	need_root
	vms
	mkdir vms
	mount -t tmpfs -o "size=$1" none vms || skip "tmpfs cannot be mounted"
	trap 'umount -l vms' EXIT
}

fill_up() {
	dd if=/dev/zero of=vms/ballast bs=64k 2>/dev/null || true
	dd if=/dev/zero of=vms/ballast bs=512 oflag=append conv=notrunc 2>/dev/null || true
}

test_full_disk_create_leaves_nothing() {
	small_home 4m
	random_file web.raw 8388608 1
	expect 0 vhdtool convert web.raw web.vhd
	expect 1 vmctl create web --disk web.vhd --copy
	says "No space"
	same "$(ls -A vms)" ""
}

test_full_disk_take_changes_nothing() {
	small_home 64m
	make_vm web
	expect 0 vmctl snapshot take web one
	fill web 1 0x11
	fill_up
	expect 1 vmctl snapshot take web two
	says "No space"
	same "$(names web)" one
	holds web web.raw
	expect 1 vmctl snapshot rename web one other
	expect 1 vmctl set web --memory 1G
	same "$(of 'd["memory"]' vmctl show web --json)" $((512 << 20))
	expect 0 vmctl check web --full
	rm vms/ballast
	expect 0 vmctl snapshot take web two
	holds web web.raw
	expect 0 vmctl check web --full
}

test_full_disk_fold_goes_on_later() {
	local i

	small_home 96m
	make_vm web
	for i in 1 2 3 4; do
		fill web $i "0x1$i"
		fill web $((i + 4)) "0x2$i"
		expect 0 vmctl snapshot take web "s$i"
	done
	expect 0 vmctl snapshot delete web s2 --no-fold
	expect 0 vmctl snapshot delete web s3 --no-fold
	fill_up
	vmctl fold web >out 2>err || says "No space"
	holds web web.raw
	rm vms/ballast
	expect 0 vmctl fold web
	no_debt web
	holds web web.raw
	expect 0 vmctl check web --full
}

test_full_disk_export_leaves_nothing() {
	need_root
	vms
	mkdir small
	mount -t tmpfs -o size=2m none small || skip "tmpfs cannot be mounted"
	trap 'umount small' EXIT
	random_file web.raw 8388608 1
	expect 0 vhdtool convert web.raw web.vhd
	expect 0 vmctl create web --disk web.vhd --copy
	for kind in --flat --chain ''; do
		expect 1 vmctl export web small/copy $kind
		says "No space"
		same "$(ls -A small)" "" "$kind"
	done
	STRATA_HOME=$PWD/small expect 1 vmctl import vms/web
	same "$(ls -A small)" ""
	holds web web.raw
}

test_two_at_once() {
	local i

	vms
	make_vm web
	for i in 1 2 3; do
		take_many "$i" &
	done
	wait
	same "$(of 'len(d)' vmctl snapshot list web --json)" 30
	same "$(of 'max(n["depth"] for n in d)' vmctl snapshot list web --json)" 30
	cat failed 2>/dev/null && fail "some failed"
	holds web web.raw
	expect 0 vmctl check web --full
}

take_many() {
	local n

	for ((n = 0; n < 10; n++)); do
		vmctl snapshot take web "p$1-$n" >/dev/null 2>>failed.err || cat failed.err >>failed
	done
}

test_folding_while_taking_and_deleting() {
	local i

	vms
	make_vm web
	for ((i = 1; i <= 12; i++)); do
		fill web $((i % 12)) "$((i + 32))"
		expect 0 vmctl snapshot take web "s$i"
		[ $((i % 3)) != 0 ] || expect 0 vmctl snapshot delete web "s$((i - 1))"
		shows web web.raw
	done
	settled web
	holds web web.raw
	expect 0 vmctl check web --full
}

test_only_one_fold_at_a_time() {
	local rc=0 i

	vms
	random_file web.raw 67108864 3
	expect 0 vhdtool convert web.raw web.vhd
	expect 0 vmctl create web --disk web.vhd --copy
	expect 0 vmctl snapshot take web one
	for ((i = 0; i < 32; i++)); do
		fill web "$i" "$((i + 1))"
	done
	expect 0 vmctl snapshot take web two
	expect 0 vmctl snapshot delete web one --no-fold
	expect 0 vmctl snapshot delete web two --no-fold
	"$VMCTL" fold web >first 2>&1 &
	"$VMCTL" fold web >second 2>&1 || rc=$?
	case $rc in 0 | 75) ;; *) cat second; fail "exit code $rc" ;; esac
	wait || true
	expect 0 vmctl fold web
	no_debt web
	holds web web.raw
	expect 0 vmctl check web --full
}

test_disk_in_use_is_not_touched() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	"$VHDTOOL" bench "$(leaf web)" --rw randwrite --yes --time 30 >/dev/null &
	wait_until busy
	expect 75 vmctl snapshot take web two
	says "vmctl: web: "
	expect 75 vmctl snapshot revert web one --discard
	expect 75 vmctl delete web --yes
	same "$(names web)" one
	expect 0 vmctl show web
	kill %1
	wait
	expect 0 vmctl snapshot take web two
	expect 0 vmctl check web --full
}

# What the process that runs a VM does: it has the third byte of the file "lock". For background jobs.
run_vm() {
	exec python3 -c 'import fcntl, os, struct, sys, time
F_OFD_SETLK = 37
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 2, 1, 0))
time.sleep(60)' "$STRATA_HOME/$1/lock"
}

runs() {
	[ "$(of "d['state']" vmctl show "$1" --json)" = running ]
}

test_running_vm() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	expect 0 vmctl snapshot take web two
	same "$(of 'd["state"]' vmctl show web --json)" off
	run_vm web &
	wait_until runs web
	expect 0 vmctl list
	grep -qE '^web +running ' out
	expect 75 vmctl snapshot take web three
	expect 75 vmctl snapshot revert web one
	expect 75 vmctl snapshot revert web one --keep
	expect 75 vmctl delete web --yes
	expect 75 vmctl snapshot diff web one current
	says "running"
	same "$(names web)" "one two"
	# What does not touch the disks goes on.
	expect 0 vmctl set web --memory 1G
	expect 0 vmctl snapshot rename web two zwei
	expect 0 vmctl snapshot diff web one zwei
	expect 0 vmctl snapshot export web one flat
	expect 0 vmctl snapshot delete web one
	expect 0 vmctl check web
	kill %1
	wait
	settled web
	shows web web.raw
	expect 0 vmctl fold web # headers of what was in use
	holds web web.raw
	expect 0 vmctl snapshot take web three
	expect 0 vmctl check web --full
}

busy() {
	! vhdtool map "$(leaf web)" >/dev/null 2>&1
}

test_killed_anywhere() {
	local i left

	vms
	make_vm web
	for ((i = 1; i <= 60; i++)); do
		timeout -s KILL "0.00$((i % 10))$((i * 3 % 10))" "$VMCTL" snapshot take web "s$i" >/dev/null 2>&1 || true
		[ $((i % 4)) != 0 ] ||
			timeout -s KILL "0.00$((i % 7))" "$VMCTL" snapshot delete web "s$((i - 1))" --no-fold >/dev/null 2>&1 || true
		[ $((i % 5)) != 0 ] ||
			timeout -s KILL "0.00$((i % 9))" "$VMCTL" snapshot rename web "s$((i - 2))" "r$i" >/dev/null 2>&1 || true
	done
	wait_until vmctl check web --full
	shows web web.raw
	wait_until folded web
	holds web web.raw
	left=$(of 'len(d)' vmctl snapshot list web --json)
	wait_until vmctl snapshot take web last
	same "$(of 'len(d)' vmctl snapshot list web --json)" $((left + 1))
	# Nothing is left over: as many layers as are named.
	expect 0 vmctl show web --json
	json_is 'd["debt"]["garbage"] == 0'
	same "$(find vms/web -name '*.vhd' | wc -l)" "$(json 'd["disks"][0]["depth"]')"
	expect 0 vmctl check web --full
}

test_killed_create_and_import() {
	local i

	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	expect 0 vmctl export web copy
	for ((i = 1; i <= 12; i++)); do
		timeout -s KILL "0.00$i" "$VMCTL" create "c$i" --disk web.vhd --copy >/dev/null 2>&1 || true
		timeout -s KILL "0.00$i" "$VMCTL" import copy --name "i$i" >/dev/null 2>&1 || true
	done
	expect 0 vmctl list --json
	json_is 'all(v["error"] is None for v in d)'
	for name in $(json '" ".join(v["name"] for v in d)'); do
		expect 0 vmctl check "$name" --full
		same "$(hash_disk "$(leaf "$name")")" "$(hash_file web.raw)"
	done
}

run_tests "$@"
