# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What tests of vhdmount share; sourced after cli.sh. A test calls `mounts` first, then mounts on
# folders in its own folder; what is left over is unmounted when it ends, however it ends.

VHDMOUNT=$STRATA_BUILD/vhdmount

# Skip where there is no FUSE; see to the unmounting.
mounts() {
	need fusermount3
	[ -x "$VHDMOUNT" ] || skip "vhdmount is not built"
	[ -c /dev/fuse ] || skip "there is no /dev/fuse"
	trap unmount_all EXIT
}

# Innermost first.
unmount_all() {
	local at

	awk -v here="$PWD/" 'index($2, here) == 1 { print $2 }' /proc/self/mounts | tac |
		while read -r at; do
			umount -l "$at" 2>/dev/null || fusermount3 -u -z "$at" || true
		done
	pkill -KILL -f "^[^ ]*/vhdmount.* $PWD/" || true
}

# vhdmount [OPTION...] FILE DIR: with full paths, by which its process can be found.
vhdmount() {
	local n=$#

	"$VHDMOUNT" "${@:1:n-2}" "$PWD/${*:n-1:1}" "$PWD/${*:n}"
}

# The processes that serve FILE.
daemon_of() {
	pgrep -f "^[^ ]*/vhdmount.* $PWD/$1 "
}

no_daemon_of() {
	! daemon_of "$1" >/dev/null
}

is_mounted() {
	grep -q " $PWD/$1 fuse.vhd " /proc/self/mounts
}

not_mounted() {
	! is_mounted "$1"
}

# unmount DIR FILE: and wait until its process has let go of FILE.
unmount() {
	fusermount3 -u "$1"
	wait_until no_daemon_of "$2"
}

# wait_unlocked FILE: after its process was killed. The kernel drops the lock when the last request of
# the process has ended, which takes as long as the storage does.
wait_unlocked() {
	local rc

	for _ in $(seq 600); do
		rc=0
		"$VHDTOOL" check "$1" >/dev/null 2>&1 || rc=$?
		[ $rc = 75 ] || return 0
		sleep 0.1
	done
	fail "$1 is still locked"
}

# make_mbr RAW: 64 MiB with two primary partitions, and two logical ones in an extended.
make_mbr() {
	need sfdisk
	truncate -s 64M "$1"
	sfdisk -q "$1" <<-END
		label: dos
		start=2048, size=40960, type=83
		start=43008, size=2048, type=c
		start=45056, type=5
		start=47104, size=20480, type=83
		start=69632, size=20480, type=83
	END
}
