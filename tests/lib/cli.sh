# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# A small library for tests of the programs. A script sources it, defines functions named
# test_SOMETHING and ends with run_tests "$@". Each runs in a subshell with `set -eu`, in an empty
# folder of its own, and gives one line: "ok SCRIPT/SOMETHING", "not ok ..." with what it printed,
# or "skip ...: reason". Arguments of the script name the tests to run; none means all.

STRATA_ROOT=${STRATA_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
STRATA_BUILD=${STRATA_BUILD:-$STRATA_ROOT/build}
STRATA_FIXTURES=${STRATA_FIXTURES:-$STRATA_ROOT/../shared/fixtures}
VHDTOOL=$STRATA_BUILD/vhdtool
export STRATA_ROOT STRATA_BUILD STRATA_FIXTURES VHDTOOL
export LC_ALL=C.UTF-8 TZ=UTC
readonly SKIPPED=77
CLI_SCRIPT=$(realpath "$0")

fail() {
	echo "failed: $*"
	exit 1
}

skip() {
	echo "$*" >"$CLI_REASON"
	exit $SKIPPED
}

# need COMMAND...: skip unless all are installed.
need() {
	local command

	for command in "$@"; do
		command -v "$command" >/dev/null || skip "$command is not installed"
	done
}

need_root() {
	[ "$(id -u)" = 0 ] || skip "needs root"
}

vhdtool() {
	"$VHDTOOL" "$@"
}

# expect CODE COMMAND...: run it, keep stdout and stderr in the files out and err, check its code.
expect() {
	local want=$1 got=0
	shift

	"$@" >out 2>err || got=$?
	[ "$got" = "$want" ] && return
	echo "exit code $got, not $want, from: $*"
	head -n 20 out
	head -n 20 err
	exit 1
}

# says TEXT...: each is in what the last expect printed.
says() {
	local text

	for text in "$@"; do
		grep -qiF -- "$text" out err || { cat out err; fail "does not say '$text'"; }
	done
}

# json EXPRESSION: a Python expression of d, the JSON the last expect printed.
json() {
	python3 -c 'import json, sys
d = json.load(open("out"))
print(eval("(" + sys.argv[1] + ")"))' "$1"
}

# json_is EXPRESSION...: each is true.
json_is() {
	local expression

	for expression in "$@"; do
		[ "$(json "bool($expression)")" = True ] || { cat out; fail "JSON: not $expression"; }
	done
}

same() {
	[ "$1" = "$2" ] || fail "'$1' is not '$2'${3:+: $3}"
}

# random_file FILE BYTES SEED: content that does not compress, the same each time.
random_file() {
	python3 -c 'import random, sys
path, left, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
source = random.Random(seed)
with open(path, "wb") as f:
    while left:
        n = min(left, 1 << 20)
        f.write(source.randbytes(n))
        left -= n' "$@"
}

# poke FILE OFFSET BYTES SEED: overwrite a part; OFFSET below 0 counts from the end.
poke() {
	python3 -c 'import os, random, sys
path, off, n, seed = sys.argv[1], *map(int, sys.argv[2:5])
with open(path, "r+b") as f:
    f.seek(off, os.SEEK_END if off < 0 else os.SEEK_SET)
    f.write(random.Random(seed).randbytes(n))' "$@"
}

# sparse_raw FILE SEED: 24 MiB with data at its start, over a block's edge, and at its end.
sparse_raw() {
	truncate -s 24M "$1"
	poke "$1" 0 70000 "$2"
	poke "$1" 6287360 10240 "$2"
	poke "$1" -4096 4096 "$2"
}

hash_file() {
	sha256sum "$1" | cut -d ' ' -f 1
}

# hash_disk VHD [OPTION...]: of the content, as convert streams it.
hash_disk() {
	local image=$1
	shift

	set -o pipefail
	vhdtool convert "$@" "$image" - | sha256sum | cut -d ' ' -f 1
}

# qemu_hash VHD: of the content, as qemu-img reads it. Not for differencing disks.
qemu_hash() {
	need qemu-img
	qemu-img convert -O raw --image-opts \
		"driver=vpc,force_size_calc=current_size,file.filename=$1" qemu.raw
	hash_file qemu.raw
	rm -f qemu.raw
}

# unpack NAME FILE: a fixture, without the .xz of its name.
unpack() {
	need xz
	[ -f "$STRATA_FIXTURES/$1.xz" ] || skip "no $1 among the fixtures"
	mkdir -p "$(dirname "$2")"
	xz -dc "$STRATA_FIXTURES/$1.xz" >"$2"
}

# interruptible COMMAND...: for background jobs, whose SIGINT the shell ignores; exec it there.
interruptible() {
	exec python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}

# wait_until COMMAND...: up to ten seconds.
wait_until() {
	local n

	for ((n = 0; n < 200; n++)); do
		"$@" && return
		sleep 0.05
	done
	fail "waited in vain for: $*"
}

cli_run_one() {
	local test=$1 name rc
	name=$(basename "$CLI_SCRIPT" .sh)/${test#test_}

	CLI_DIR=$(mktemp -d "${TMPDIR:-/tmp}/strata-cli.XXXXXX")
	CLI_REASON=$CLI_DIR/.reason
	mkdir "$CLI_DIR/work"
	(
		cd "$CLI_DIR/work" || exit 1
		set -eu
		"$test"
	) >"$CLI_DIR/.log" 2>&1 </dev/null
	rc=$? # not with ||: that would switch off set -e inside
	case $rc in
	0) echo "ok $name" ;;
	"$SKIPPED") echo "skip $name: $(cat "$CLI_REASON")" ;;
	*)
		echo "not ok $name"
		sed 's/^/    /' "$CLI_DIR/.log"
		echo "    again: STRATA_BUILD=$STRATA_BUILD bash $CLI_SCRIPT ${test#test_}"
		CLI_FAILED=1
		;;
	esac
	rm -rf "$CLI_DIR"
}

run_tests() {
	local test

	CLI_FAILED=0
	[ -x "$VHDTOOL" ] || { echo "not ok $VHDTOOL is not built"; exit 1; }
	if [ $# -gt 0 ]; then
		set -- "${@/#/test_}"
	else
		# shellcheck disable=SC2046
		set -- $(sed -n 's/^\(test_[a-z0-9_]*\)().*/\1/p' "$CLI_SCRIPT")
	fi
	for test in "$@"; do
		cli_run_one "$test"
	done
	exit $CLI_FAILED
}
