#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl snapshot delete and fold
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

# grow NAME LAST [FIRST]: snapshots s1, s2, ... in a line, each with something written before it; the
# content of each is in NAME-sN.raw.
grow() {
	local i

	for ((i = ${3:-1}; i <= $2; i++)); do
		fill "$1" $((i % 12)) "$((i + 16))"
		vmctl snapshot take "$1" "s$i" >/dev/null
		cp --reflink=auto --sparse=always "$1.raw" "$1-s$i.raw"
	done
}

# fill_all NAME: write all blocks, so that folding takes a while.
fill_all() {
	local i

	for ((i = 0; i < 12; i++)); do
		fill "$1" "$i" $((i + 100))
	done
}

# layers NAME: how many VHDs its folder has.
layers() {
	find "$STRATA_HOME/$1" -name '*.vhd' | wc -l
}

test_delete_then_fold_to_the_end() {
	local before

	vms
	make_vm web
	grow web 5
	fill web 9 0x77
	before=$(layers web)
	expect 0 vmctl snapshot delete web s2 --no-fold --json
	json_is 'd["deleted"] == 1' 'd["folding"] is False' 'd["debt"]["layers"] == 1' 'd["debt"]["bytes"] > 0'
	same "$(names web)" "s1 s3 s4 s5"
	same "$(node web s3 parent)" "$(node web s1 id)"
	expect 0 vmctl snapshot delete web s4 --no-fold
	expect 0 vmctl fold web -n --json
	json_is 'd["dry_run"]' 'd["folded"] == 0' 'd["debt_before"]["layers"] == 2'
	expect 0 vmctl fold web --dry-run
	says "2 layers"
	same "$(layers web)" "$before" "a dry run removed layers"
	holds web web.raw
	expect 0 vmctl fold web --json
	json_is 'd["folded"] == 2' 'd["more"] is False' 'd["busy"] == 0' 'd["debt"]["layers"] == 0'
	same "$(layers web)" $((before - 2))
	holds web web.raw
	expect 0 vmctl check web --full
	expect 0 vhdtool check "$(leaf web)" --chain
	for name in s1 s3 s5; do
		expect 0 vmctl snapshot revert web $name --discard
		holds web "web-$name.raw"
	done
	expect 0 vmctl fold web
	says "nothing"
}

test_delete_of_a_leaf_leaves_no_debt() {
	local before

	vms
	make_vm web
	grow web 1
	before=$(layers web)
	grow web 3 2
	expect 0 vmctl snapshot revert web s1 --discard
	expect 0 vmctl snapshot delete web s3 --json
	json_is 'd["debt"]["layers"] == 0' 'd["folding"] is False'
	expect 0 vmctl snapshot delete web s2
	same "$(names web)" "s1"
	same "$(layers web)" "$before"
	holds web web-s1.raw
	expect 0 vmctl check web --full
}

test_delete_of_a_subtree() {
	vms
	make_vm web
	grow web 4
	expect 0 vmctl snapshot revert web s1 --discard
	expect 0 vmctl snapshot delete web s2 --subtree --json
	json_is 'd["deleted"] == 3'
	same "$(names web)" "s1"
	holds web web-s1.raw
	expect 0 vmctl check web --full
}

test_delete_of_what_the_vm_stands_on() {
	vms
	make_vm web
	grow web 4
	fill web 8 0x48
	expect 0 vmctl snapshot delete web s4 --no-fold
	same "$(of 'd["current"]' vmctl show web --json)" "$(node web s3 id)"
	expect 0 vmctl snapshot delete web s2 --subtree --no-fold
	same "$(of 'd["current"]' vmctl show web --json)" "$(node web s1 id)"
	holds web web.raw
	expect 0 vmctl fold web
	holds web web.raw
	expect 64 vmctl snapshot revert web s1
	expect 0 vmctl check web --full
}

test_delete_of_the_only_snapshot() {
	vms
	make_vm web
	grow web 1
	fill web 5 0x66
	expect 0 vmctl snapshot delete web s1 --no-fold
	same "$(of 'd["current"]' vmctl show web --json)" None
	holds web web.raw
	expect 0 vmctl fold web
	holds web web.raw
	expect 0 vmctl check web --full
	expect 0 vmctl snapshot take web again
	holds web web.raw
}

test_delete_of_what_is_not_there() {
	vms
	make_vm web
	grow web 1
	expect 1 vmctl snapshot delete web s2
	expect 1 vmctl snapshot delete web current
	same "$(names web)" "s1"
}

test_delete_folds_in_the_background() {
	vms
	make_vm web
	grow web 4
	expect 0 vmctl snapshot delete web s2 --json
	json_is 'd["folding"]' 'd["debt"]["layers"] == 1'
	settled web
	expect 0 vmctl snapshot delete web s3
	says "in the background"
	settled web
	holds web web.raw
	same "$(layers web)" 3
	expect 0 vmctl check web --full
	expect 0 vmctl snapshot revert web s1
	holds web web-s1.raw
}

# It holds neither our output nor our session, runs with the lowest priority and leaves no zombie.
test_background_fold_is_detached() {
	local pid fd before

	need qemu-io
	vms
	expect 0 vhdtool create web.vhd --size 256M
	expect 0 vmctl create web --disk web.vhd --copy
	expect 0 vmctl snapshot take web one
	qemu-io -f vpc -c 'write -P 1 0 128M' "$(leaf web)" >/dev/null
	expect 0 vmctl snapshot take web two
	qemu-io -f vpc -c 'write -P 2 128M 128M' "$(leaf web)" >/dev/null
	before=$(hash_disk "$(leaf web)")
	"$VMCTL" snapshot delete web two | cat >out # ends when nobody has the pipe open
	pid=$(pgrep -f "^vmctl fold --background --home $STRATA_HOME -- web\$")
	for fd in 0 1 2; do
		same "$(readlink "/proc/$pid/fd/$fd")" /dev/null
	done
	wait_until nice_is_19 "$pid"
	[ "$(ps -o sid= -p "$pid")" != "$(ps -o sid= -p $$)" ] || fail "it is in our session"
	settled web
	same "$(hash_disk "$(leaf web)")" "$before"
	wait_until gone "$pid" # no zombie either
}

gone() {
	[ ! -e "/proc/$1" ]
}

nice_is_19() {
	[ "$(ps -o ni= -p "$1" | tr -d ' ')" = 19 ]
}

test_shared_layers_stay() {
	vms
	make_vm web
	grow web 2
	expect 0 vmctl snapshot revert web s1 --discard
	cp web-s1.raw web.raw
	fill web 6 0x61
	expect 0 vmctl snapshot take web b
	cp web.raw web-b.raw
	expect 0 vmctl snapshot delete web s1 --json
	json_is 'd["debt"] == dict(d["debt"], layers=1, shared=1)' 'd["folding"] is False'
	expect 0 vmctl fold web --json
	json_is 'd["folded"] == 0'
	expect 0 vmctl snapshot revert web s2
	holds web web-s2.raw
	expect 0 vmctl snapshot delete web b
	settled web
	holds web web-s2.raw
	expect 0 vmctl check web --full
}

test_budget_is_kept_in_steps() {
	local rounds=0

	vms
	make_vm web
	grow web 8
	for name in s2 s4 s6; do
		expect 0 vmctl snapshot delete web $name --no-fold
	done
	until no_debt web; do
		expect 0 vmctl fold web --budget 1M --json
		rounds=$((rounds + 1))
		[ $rounds -lt 40 ] || fail "there is no end to it"
		holds web web.raw
	done
	[ $rounds -gt 1 ] || fail "the budget was not kept"
	expect 0 vmctl check web --full
	for name in s1 s3 s5 s7 s8; do
		expect 0 vmctl snapshot revert web $name --discard
		holds web "web-$name.raw"
	done
}

test_killed_fold_goes_on() {
	local round

	vms
	make_vm web
	grow web 8
	for name in s1 s3 s4 s5 s7; do
		expect 0 vmctl snapshot delete web $name --no-fold
	done
	for round in 1 2 3 4 5 6 7 8; do
		timeout -s KILL 0.0$((round * 7 % 10))$round "$VMCTL" fold web >/dev/null 2>&1 || true
		shows web web.raw
	done
	wait_until folded web
	holds web web.raw
	expect 0 vmctl check web --full
	for name in s2 s6 s8; do
		expect 0 vmctl snapshot revert web $name --discard
		holds web "web-$name.raw"
	done
}

test_interrupted_fold_says_so() {
	vms
	make_vm web
	grow web 3
	fill_all web
	expect 0 vmctl snapshot take web s4
	for name in s1 s2 s3; do
		expect 0 vmctl snapshot delete web $name --no-fold
	done
	expect 1 interrupt INT "$VMCTL" fold web
	says "stopped"
	holds web web.raw
	expect 0 vmctl fold web
	holds web web.raw
	expect 0 vmctl check web --full
}

test_progress_of_a_fold() {
	vms
	make_vm web
	grow web 3
	expect 0 vmctl snapshot delete web s2 --no-fold
	expect 0 vmctl fold web --progress plain
	grep -q '^fold: 100 %' err
}

test_deleted_vm_while_folding() {
	vms
	make_vm web
	grow web 4
	fill_all web
	expect 0 vmctl snapshot delete web s2
	expect 0 vmctl snapshot delete web s3
	wait_until vmctl delete web --yes
	[ ! -e vms/web ]
	wait_until no_fold web
	[ ! -e vms/web ]
}

run_tests "$@"
