#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The stock Debian kernel as a guest of ours: on this host's KVM where it has Hyper-V's interface,
# else in the nested machine.
#
# Usage: tests/guest/vm.sh [test...]
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/lib.sh"

"$GUEST_SOURCE/images" >&2 || { echo "skip vm: its images cannot be made"; exit 0; }

# make_machine BITS RUN: the folder m for tests/guest/machine.
make_machine() {
	local suffix=

	[ "$1" = 64 ] || suffix=32
	[ -e "$GUEST/vmlinuz$suffix" ] || skip "there is no $1-bit kernel"
	mkdir -p m/out m/bin
	cp "$STRATA_BUILD"/{vmctl,vmworker,vhdtool} m/bin/
	cp -L "$GUEST/vmlinuz$suffix" m/vmlinuz
	cp "$GUEST/guest$suffix.initrd" m/initrd
	cp "$GUEST_SOURCE/runs/lib.sh" m/lib.sh
	cp "$GUEST_SOURCE/runs/$2" m/run
}

# root_disk TREE FILE MIB: a dynamic VHD with a root file system.
root_disk() {
	"$GUEST_SOURCE/images" disk root.raw "$3" "$1"
	vhdtool convert root.raw "$2" >/dev/null
	rm root.raw
}

# in_machine SECONDS [MIB]: m/run runs to its end. QEMU's emulation of AMD-V is known to end or to
# stop the nested machine now and then, whoever the hypervisor in it is; that is told, and tried
# again from the start, the second time with all its processors in one thread.
in_machine() {
	local try rc mode=multi

	for try in 1 2 3; do
		rm -rf try
		cp -a m try
		rc=0
		STRATA_TCG=$mode "$GUEST_SOURCE/machine" try --timeout "$1" --disk "${2:-1024}" >out 2>&1 || rc=$?
		: >err
		sed -n 's/^\(machine: .*\|run: .*\)/    \1/p' out >&3
		case $rc in
		124 | 125) echo "    attempt $try: the machine itself has failed ($rc)" >&3 ;;
		*) break ;;
		esac
		[ $try = 1 ] || mode=single
	done
	[ "$rc" = 0 ] || { tail -n 60 out; fail "the machine ended with $rc"; }
	rm -rf m
	mv try m
}

# is_clean VHD: its file system needs neither repair nor recovery.
is_clean() {
	rm -f image.raw
	vhdtool check --chain "$1"
	vhdtool convert "$1" image.raw >/dev/null
	e2fsck -fn image.raw
	! dumpe2fs -h image.raw 2>/dev/null | grep -q needs_recovery || fail "$1 needs recovery"
}

# hello_is_there VHD: what the job wrote, by way of a mount.
hello_is_there() {
	local n

	if [ -c /dev/fuse ]; then
		mkdir -p mnt
		"$STRATA_BUILD/vhdmount" "$1" mnt
		cmp mnt/disk.img image.raw || { fusermount3 -u mnt; fail "the mount reads otherwise"; }
		fusermount3 -u mnt
	fi
	for n in 0 1 2 3; do
		seq 5000 | awk -v "i=$n" '{printf "file %d %010d\n", i, $1}' >want
		debugfs -R "dump /hello/$n got" image.raw 2>/dev/null
		cmp want got
	done
}

# boots BITS PROCESSORS...
boots() {
	local bits=$1 cpus suffix=
	shift

	need mke2fs debugfs dumpe2fs
	make_machine "$bits" boot
	[ "$bits" = 64 ] || suffix=32
	root_disk "root$suffix" m/out/base.vhd 256
	for cpus; do
		vhdtool create "m/out/root$cpus.vhd" --parent m/out/base.vhd >/dev/null
	done
	sed -i "s/^for cpus in .*/for cpus in $*; do/" m/run
	in_machine 300
	says "Hypervisor detected: Microsoft Hyper-V" "Vmbus version:5.3" "storvsc_host_t" \
		"Attached SCSI disk" "/dev/sda / ext4 rw" "guest: disks are clean"
	for cpus; do
		says "processors: $cpus," "run: $cpus processors: off"
		is_clean "m/out/root$cpus.vhd"
		hello_is_there "m/out/root$cpus.vhd"
	done
}

test_1_2_and_4_processors() {
	boots 64 1 2 4
}

test_32_bit() {
	boots 32 2
}

test_components() {
	make_machine 64 components
	root_disk root m/out/root.vhd 256
	in_machine 400
	says "heartbeat is ok" "time follows after a pause" "heartbeat is lost" "stopped by force"
	grep -q strata-guest m/out/kvp || { cat m/out/kvp; fail "the guest's name is not among its facts"; }
}

test_disks_come_and_go_and_a_worker_is_killed() {
	local synced found

	make_machine 64 disks
	root_disk root m/out/steady.vhd 256
	root_disk root m/out/victim.vhd 256
	in_machine 400
	synced=$(tr -dc 0-9 <m/out/synced)
	found=$(tr -dc 0-9 <m/out/found)
	[ "$found" -ge "$synced" ] || fail "$synced was synced, but only $found is there"
	is_clean m/out/victim.vhd
	is_clean m/out/steady.vhd
}

test_fio_512_deep() {
	local STRATA_HOME=$PWD/home n
	export STRATA_HOME

	root_disk root-fio root.vhd 256
	"$STRATA_BUILD/vmctl" create vm --disk root.vhd >/dev/null
	for n in $(seq 511); do
		"$STRATA_BUILD/vmctl" snapshot take vm --name "s$n" >/dev/null
	done
	make_machine 64 deep
	"$STRATA_BUILD/vmctl" export vm m/deep >/dev/null
	in_machine 400 2048
	says "guest: job fio-verify exit 0" "512 files deep"
	is_clean m/out/flat/disk0.vhd
}

run_tests "$@" 3>&1
