#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl snapshot take, list, tree, revert, rename, diff
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

test_take_makes_a_node() {
	local before

	vms
	make_vm web
	before=$(leaf web)
	expect 0 vmctl snapshot take web one --note 'the first' --json
	json_is 'd["name"] == "one"' 'd["note"] == "the first"' 'd["parent"] is None' 'd["depth"] == 1' \
		'd["is_current"]' 'd["has_memory"] is False' 'len(d["disks"]) == 1' \
		'__import__("re").fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", d["time"])' \
		'd["memory"] == 512 << 20' 'd["unique_bytes"] > 0'
	same "$(json 'd["disks"][0]["path"]')" "$before" "the leaf becomes the snapshot's layer"
	[ "$(leaf web)" != "$before" ]
	same "$(of 'd["current"]' vmctl show web --json)" "$(json 'd["id"]')"
	expect 0 vmctl snapshot take web --name two
	says "two"
	expect 0 vmctl snapshot take web --json
	[ -n "$(json 'd["name"]')" ]
	expect 0 vmctl snapshot take web --json
	same "$(of 'len(set(n["name"] for n in d))' vmctl snapshot list web --json)" 4
	holds web web.raw
	expect 64 vmctl snapshot take web a --name b
}

test_take_is_refused_for_a_name_that_is_taken() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	expect 1 vmctl snapshot take web one
	says "one"
	same "$(names web)" one
}

test_what_is_written_later_is_not_in_it() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	cp web.raw one.raw
	fill web 3 0x11
	fill web 0 0x12
	holds web web.raw
	same "$(hash_disk "$(of 'd[0]["disks"][0]["path"]' vmctl snapshot list web --json)")" "$(hash_file one.raw)"
	expect 0 vmctl snapshot take web two
	fill web 3 0x22
	holds web web.raw
	expect 0 vhdtool check "$(leaf web)" --chain
	expect 0 vmctl check web --full
}

test_revert_goes_back_and_forth() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	cp web.raw one.raw
	fill web 1 0x11
	expect 0 vmctl snapshot take web two
	cp web.raw two.raw
	expect 0 vmctl snapshot revert web one --json
	json_is 'd["kept"] is None'
	same "$(json 'd["current"]')" "$(node web one id)"
	holds web one.raw
	expect 0 vmctl snapshot revert web two
	holds web two.raw
	same "$(names web)" "one two"
	expect 0 vmctl check web --full
}

test_revert_asks_what_becomes_of_changes() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	cp web.raw one.raw
	fill web 1 0x11
	cp web.raw changed.raw
	expect 64 vmctl snapshot revert web one
	says "web has changed since the snapshot one" "--keep" "--discard"
	holds web changed.raw
	expect 0 vmctl snapshot revert web one --keep=mine --json
	same "$(json 'd["kept"]')" "$(node web mine id)"
	holds web one.raw
	expect 0 vmctl snapshot revert web mine
	holds web changed.raw
	same "$(names web)" "one mine"
	fill web 2 0x12
	expect 0 vmctl snapshot revert web one --keep other
	says "other"
	fill web 2 0x13
	expect 0 vmctl snapshot revert web one --keep
	same "$(of 'len(d)' vmctl snapshot list web --json)" 4
	cp one.raw web.raw
	fill web 2 0x14
	expect 0 vmctl snapshot revert web one --discard
	holds web one.raw
	same "$(of 'len(d)' vmctl snapshot list web --json)" 4
	expect 64 vmctl snapshot revert web one --keep --discard
	expect 64 vmctl snapshot revert web one name
	expect 64 vmctl snapshot revert web one --keep=a b
	expect 0 vmctl check web --full
}

test_revert_refuses_a_name_that_is_taken() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	fill web 1 0x11
	expect 1 vmctl snapshot revert web one --keep=one
	says "one"
	holds web web.raw
}

test_revert_asks_at_a_terminal() {
	need script
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	cp web.raw one.raw
	fill web 1 0x11
	(sleep 1; echo neither) | script -qec "$VMCTL snapshot revert web one" /dev/null >log && fail "exit code 0"
	grep -q 'Type keep' log
	holds web web.raw
	(sleep 1; echo keep) | script -qec "$VMCTL snapshot revert web one" /dev/null >log
	holds web one.raw
	same "$(of 'len(d)' vmctl snapshot list web --json)" 2
	cp one.raw web.raw
	fill web 1 0x12
	(sleep 1; echo discard) | script -qec "$VMCTL snapshot revert web one" /dev/null >log
	holds web one.raw
	same "$(of 'len(d)' vmctl snapshot list web --json)" 2
}

test_revert_brings_the_configuration_back() {
	vms
	expect 0 vmctl create web --memory 64M --cpus 2
	expect 0 vmctl snapshot take web small
	expect 0 vmctl set web --memory 1G
	expect 0 vmctl snapshot take web large
	expect 0 vmctl snapshot revert web small
	same "$(of 'd["memory"]' vmctl show web --json)" $((64 << 20))
	expect 0 vmctl snapshot revert web large
	same "$(of 'd["memory"]' vmctl show web --json)" $((1 << 30))
}

test_branches() {
	local name value=32

	vms
	make_vm web
	expect 0 vmctl snapshot take web root
	cp web.raw root.raw
	for name in a b c; do
		value=$((value + 16))
		cp root.raw web.raw
		expect 0 vmctl snapshot revert web root --discard
		fill web 4 $value
		expect 0 vmctl snapshot take web "$name"
		cp web.raw "$name.raw"
		fill web 5 $((value + 1))
		expect 0 vmctl snapshot take web "$name$name"
		cp web.raw "$name$name.raw"
	done
	for name in b root aa c bb a cc; do
		expect 0 vmctl snapshot revert web "$name"
		holds web "$name.raw"
	done
	expect 0 vmctl snapshot list web --json
	json_is 'len(d) == 7' 'sum(n["is_current"] for n in d) == 1' \
		'[n["name"] for n in d if n["parent"] is None] == ["root"]' \
		'{n["name"]: n["depth"] for n in d} == dict(root=1, a=2, b=2, c=2, aa=3, bb=3, cc=3)' \
		'all([m["id"] for m in d].index(n["parent"]) < d.index(n) for n in d if n["parent"])'
	expect 0 vmctl check web --full
}

test_nodes_are_found_by_name_and_id() {
	local id

	vms
	expect 0 vmctl create web
	expect 0 vmctl snapshot take web 'a name with blanks'
	expect 0 vmctl snapshot take web two
	id=$(node web two id)
	expect 0 vmctl snapshot revert web 'a name with blanks'
	expect 0 vmctl snapshot revert web "$id"
	same "$(of 'd["current"]' vmctl show web --json)" "$id"
	expect 0 vmctl snapshot revert web 'a name with blanks'
	expect 0 vmctl snapshot revert web "${id:0:8}"
	same "$(of 'd["current"]' vmctl show web --json)" "$id"
	expect 1 vmctl snapshot revert web "${id:0:7}"
	expect 1 vmctl snapshot revert web nobody
	says "nobody"
	expect 1 vmctl snapshot revert web current
}

test_list_for_people() {
	vms
	make_vm web
	expect 0 vmctl snapshot list web
	[ ! -s out ]
	expect 0 vmctl snapshot take web one --note 'with a note'
	expect 0 vmctl snapshot take web zwölf
	expect 0 vmctl snapshot list web
	same "$(wc -l <out)" 3
	grep -qE '^  one    +[0-9a-f]{8}  .*with a note$' out
	grep -qE '^\* zwölf  +[0-9a-f]{8}  ' out
}

# The lines of a tree without ids, times, sizes.
drawn() {
	sed -E 's/ *  [0-9a-f]{8}  .*//; s/ \(\+.*\)//' out
}

test_tree_is_drawn() {
	vms
	expect 0 vmctl create web
	expect 0 vmctl snapshot tree web
	printf 'web\n* you are here\n' | diff - <(drawn)
	expect 0 vmctl snapshot take web root
	expect 0 vmctl snapshot take web a
	expect 0 vmctl snapshot take web aa
	expect 0 vmctl snapshot revert web root
	expect 0 vmctl snapshot take web b
	expect 0 vmctl snapshot revert web a
	expect 0 vmctl snapshot tree web
	diff - <(drawn) <<-'END'
		web
		○ root
		├─○ b
		○ a
		├─○ aa
		* you are here
	END
	grep -qE '^├─○ b +[0-9a-f]{8}  [0-9TZ:-]{20}  depth 2 ' out
	LC_ALL=C expect 0 vmctl snapshot tree web
	diff - <(drawn) <<-'END'
		web
		o root
		|-o b
		o a
		|-o aa
		* you are here
	END
	expect 0 vmctl snapshot tree web --json
	json_is 'd["name"] == "web"' '[n["depth"] for n in d["nodes"]] == [1, 2, 3, 2]'
	same "$(json 'd["current"]')" "$(node web a id)"
}

test_tree_of_a_long_line_is_not_indented() {
	local i

	vms
	expect 0 vmctl create web
	for ((i = 1; i <= 40; i++)); do
		vmctl snapshot take web "s$i" >/dev/null
	done
	expect 0 vmctl snapshot tree web
	same "$(grep -c '^○ s[0-9]' out)" 40
	same "$(wc -l <out)" 42
}

test_tree_shows_what_was_written() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	fill web 1 0x11
	expect 0 vmctl snapshot tree web
	grep -qE '^\* you are here \(\+[0-9.]+ [KM]iB\)$' out
	expect 0 vmctl snapshot tree web --json
	json_is 'd["current_bytes"] >= 2 << 20'
}

test_rename() {
	local id

	vms
	expect 0 vmctl create web
	expect 0 vmctl snapshot take web one
	expect 0 vmctl snapshot take web two
	id=$(node web one id)
	expect 0 vmctl snapshot rename web one erste --json
	json_is 'd["name"] == "erste"' 'd["note"] == ""'
	same "$(node web erste id)" "$id"
	expect 0 vmctl snapshot rename web erste --note 'a note'
	same "$(node web erste note)" 'a note'
	expect 0 vmctl snapshot rename web erste one --note ''
	same "$(node web one note)" ''
	expect 1 vmctl snapshot rename web one two
	expect 0 vmctl snapshot rename web one one
	expect 64 vmctl snapshot rename web one
	expect 64 vmctl snapshot rename web one ../x
	expect 1 vmctl snapshot rename web three four
	same "$(names web)" "one two"
}

test_diff_lists_what_differs() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	fill web 3 0x11
	expect 0 vmctl snapshot take web two
	fill web 7 0x22
	fill web 8 0x22
	expect 0 vmctl snapshot diff web one two --json
	json_is 'd["complete"]' 'len(d["disks"]) == 1' 'd["disks"][0]["disk"] == 0'
	cat >check.py <<-'END'
		import json
		d = json.load(open("out"))["disks"][0]
		covered = sum(e["length"] for e in d["extents"])
		assert covered == d["changed_bytes"], d
		print(min(e["start"] for e in d["extents"]) >> 20, max(e["start"] + e["length"] for e in d["extents"]) >> 20)
	END
	same "$(python3 check.py)" "6 8"
	expect 0 vmctl snapshot diff web two current --json
	same "$(python3 check.py)" "14 18"
	expect 0 vmctl snapshot diff web current one --json
	json_is 'd["disks"][0]["changed_bytes"] == 6 << 20'
	expect 0 vmctl snapshot diff web one one --json
	json_is 'd["disks"][0] == {"disk": 0, "extents": [], "changed_bytes": 0}'
	expect 0 vmctl snapshot diff web one two
	says "disk 0" "6291456" "2 MiB (2097152 bytes)"
	expect 1 vmctl snapshot diff web one three
}

test_diff_agrees_with_vhdtool() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	fill web 2 0
	fill web 6 0x44
	expect 0 vmctl snapshot take web two
	expect 0 vmctl snapshot diff web one two --json
	json 'd["disks"][0]["extents"]' >ours
	expect 0 vhdtool diff "$(of 'd[0]["disks"][0]["path"]' vmctl snapshot list web --json)" \
		"$(of 'd[1]["disks"][0]["path"]' vmctl snapshot list web --json)" --json
	json 'd["extents"]' | diff ours -
}

test_many_disks() {
	local i disks=()

	vms
	for ((i = 0; i < 5; i++)); do
		expect 0 vhdtool create "$i.vhd" --size $((i + 1))M
		disks+=(--disk "$i.vhd")
	done
	expect 0 vmctl create web "${disks[@]}" --copy
	expect 0 vmctl snapshot take web one --json
	json_is 'len(d["disks"]) == 5'
	fill_disk 3
	expect 0 vmctl snapshot diff web one current --json
	json_is '[x["changed_bytes"] for x in d["disks"]] == [0, 0, 0, 2 << 20, 0]'
	expect 64 vmctl snapshot revert web one
	expect 0 vmctl snapshot revert web one --discard
	expect 0 vmctl snapshot diff web one current --json
	json_is '[x["changed_bytes"] for x in d["disks"]] == [0, 0, 0, 0, 0]'
}

fill_disk() {
	need qemu-io
	qemu-io -f vpc -c 'write -P 0x77 2M 2M' "$(leaf web "$1")" >/dev/null
}

# Written in parts of blocks, by our own writer.
test_parts_of_blocks() {
	local round

	vms
	need fusermount3
	[ -x "$STRATA_BUILD/vhdmount" ] || skip "vhdmount is not built"
	[ -c /dev/fuse ] || skip "there is no /dev/fuse"
	trap 'fusermount3 -u -z at 2>/dev/null || true' EXIT
	make_vm web
	mkdir at
	for round in 1 2 3; do
		"$STRATA_BUILD/vhdmount" "$(leaf web)" at
		poke at/disk.img $((round * 3000000)) 70001 "$round"
		poke web.raw $((round * 3000000)) 70001 "$round"
		fusermount3 -u at
		wait_until unused "$(leaf web)"
		holds web web.raw
		expect 0 vmctl snapshot take web "s$round"
		cp web.raw "s$round.raw"
	done
	for round in 2 1 3; do
		expect 0 vmctl snapshot revert web "s$round"
		holds web "s$round.raw"
	done
	expect 0 vmctl check web --full
}

unused() {
	! grep -q "$(stat -c ':%i ' "$1")" /proc/locks
}

run_tests "$@"
