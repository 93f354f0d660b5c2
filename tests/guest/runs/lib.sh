# SPDX-License-Identifier: MIT
# shellcheck shell=busybox
#
# What the scripts share that run where the VMs do: in DIR of tests/guest/machine, with vmctl,
# vmworker and vhdtool in DIR/bin, kernel and initrd in DIR, and the guests' disks in DIR/out.
STRATA_HOME=$PWD/vms
export STRATA_HOME
mkdir -p out "$STRATA_HOME"
trap 'keep_logs' EXIT

say() {
	echo "run: $*"
}

fail() {
	say "failed: $*"
	exit 1
}

keep_logs() {
	for dir in "$STRATA_HOME"/*; do
		[ ! -f "$dir/console.log" ] || cp "$dir/console.log" "out/${dir##*/}.console"
		[ ! -f "$dir/worker.log" ] || cp "$dir/worker.log" "out/${dir##*/}.worker"
	done
	return 0
}

# create NAME PROCESSORS CMDLINE DISK...: with the kernel's words every guest gets.
create() {
	local name=$1 cpus=$2 cmdline=$3 disk disks=
	shift 3

	for disk; do
		disks="$disks --disk $disk"
	done
	# shellcheck disable=SC2086
	vmctl create "$name" --cpus "$cpus" --memory "${MEMORY:-256M}" --kernel vmlinuz --initrd initrd \
		--cmdline "console=ttyS0 quiet panic=-1 strata.after=stay $cmdline" $disks >/dev/null ||
		fail "$name cannot be created"
}

start() {
	vmctl start "$@" || fail "$1 cannot be started"
}

# wait_for NAME TEXT [SECONDS]: until its console has shown it.
wait_for() {
	local end
	end=$(($(date +%s) + ${3:-120}))

	until grep -qF -- "$2" "$STRATA_HOME/$1/console.log" 2>/dev/null; do
		[ "$(date +%s)" -lt "$end" ] || {
			tail -n 30 "$STRATA_HOME/$1/console.log"
			fail "$1 does not say '$2'"
		}
		sleep 0.3
	done
}

# wait_until SECONDS COMMAND...: until it succeeds.
wait_until() {
	local end
	end=$(($(date +%s) + $1))
	shift

	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || fail "never true: $*"
		sleep 0.5
	done
}

# state NAME KEY: a string or number of vmctl show --json.
value() {
	vmctl show "$1" --json | sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1
}

is() {
	[ "$(value "$1" "$2")" = "$3" ]
}

stop() {
	vmctl stop "$1" --timeout 120 || fail "$1 cannot be stopped"
	is "$1" state off || fail "$1 is $(value "$1" state), not off"
}
