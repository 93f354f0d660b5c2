# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What tests of vmctl share; sourced after cli.sh. A test calls `vms` first: its VMs are then in the
# folder vms of its own folder.

VMCTL=$STRATA_BUILD/vmctl

vms() {
	[ -x "$VMCTL" ] || skip "vmctl is not built"
	export STRATA_HOME=$PWD/vms
}

vmctl() {
	"$VMCTL" "$@"
}

# of EXPRESSION COMMAND...: as json, of what a command prints; out and err stay.
of() {
	local expression=$1
	shift

	"$@" | python3 -c 'import json, sys
d = json.load(sys.stdin)
print(eval("(" + sys.argv[1] + ")"))' "$expression"
}

# make_vm NAME [SEED]: a VM with one disk of 24 MiB, 12 blocks; its content is in NAME.raw.
make_vm() {
	sparse_raw "$1.raw" "${2:-1}"
	[ -e "$1.vhd" ] || expect 0 vhdtool convert "$1.raw" "$1.vhd"
	expect 0 vmctl create "$1" --disk "$1.vhd" --copy
}

# leaf NAME [DISK]: the file the VM writes to.
leaf() {
	of "d['disks'][${2:-0}]['path']" vmctl show "$1" --json
}

# fill NAME BLOCK BYTE: write a whole block of the disk, and of NAME.raw. (A whole one: qemu marks all
# sectors of a new block as its own.)
fill() {
	need qemu-io
	qemu-io -f vpc -c "write -P $3 $(($2 * 2))M 2M" "$(leaf "$1")" >/dev/null
	qemu-io -f raw -c "write -P $3 $(($2 * 2))M 2M" "$1.raw" >/dev/null
}

# holds NAME FILE: what is current reads as that raw file.
holds() {
	same "$(hash_disk "$(leaf "$1")")" "$(hash_file "$2")" "the content of $1"
}

# shows NAME FILE: the same as its store shows it, while the files may be changing.
shows() {
	rm -rf shown
	vmctl snapshot export "$1" current shown
	same "$(hash_disk shown/disk0.vhd)" "$(hash_file "$2")" "the content of $1"
	rm -r shown
}

# node NAME SNAPSHOT KEY: of its entry in the list.
node() {
	of "[n for n in d if n['name'] == '$2'][0]['$3']" vmctl snapshot list "$1" --json
}

# names NAME: those of its snapshots, in order.
names() {
	of "' '.join(n['name'] for n in d)" vmctl snapshot list "$1" --json
}

# no_debt NAME: nothing is left to be folded or removed.
no_debt() {
	[ "$(of "d['debt']['layers'] - d['debt']['shared'] + d['debt']['garbage']" \
		vmctl show "$1" --json)" = 0 ]
}

# folded NAME: it is so after a fold. After a kill it may have to wait until the kernel is done with
# the files of the process: wait_until.
folded() {
	vmctl fold "$1" >/dev/null && no_debt "$1"
}

# no_fold NAME: no process folds it; of those that were started in the background too.
no_fold() {
	! pgrep -f "^vmctl fold --background --home $STRATA_HOME -- $1\$" >/dev/null
}

# settled NAME: what was started in the background has done its work and is gone.
settled() {
	wait_until no_debt "$1"
	wait_until no_fold "$1"
}

# interrupt SIGNAL COMMAND...: send it as soon as the command listens to it; the exit code is its own.
interrupt() {
	python3 -c 'import os, signal, subprocess, sys
number = getattr(signal, "SIG" + sys.argv[1])
child = subprocess.Popen(sys.argv[2:], preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
while child.poll() is None:
    with open(f"/proc/{child.pid}/status") as f:
        caught = [line for line in f if line.startswith("SigCgt")][0].split()[1]
    if int(caught, 16) >> (number - 1) & 1:
        child.send_signal(number)
        break
code = child.wait()
sys.exit(code if code >= 0 else 128 - code)' "$@"
}
