#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl export, import, snapshot export
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

# A VM with snapshots one and two, in one line, and something written since; their contents are in
# one.raw, two.raw and web.raw.
make_line() {
	make_vm web
	fill web 2 0x12
	vmctl snapshot take web one --note 'the first' >/dev/null
	cp web.raw one.raw
	fill web 3 0x13
	vmctl snapshot take web two >/dev/null
	cp web.raw two.raw
	fill web 4 0x14
}

test_flat() {
	vms
	make_line
	expect 0 vmctl snapshot export web one out-one --json
	json_is 'd["kind"] == "flat"' 'd["node"]'
	same "$(hash_disk out-one/disk0.vhd)" "$(hash_file one.raw)"
	same "$(qemu_hash out-one/disk0.vhd)" "$(hash_file one.raw)"
	expect 0 vhdtool inspect out-one/disk0.vhd --json
	json_is 'd["type"] == "dynamic"'
	expect 0 vmctl snapshot export web current out-current --flat
	same "$(hash_disk out-current/disk0.vhd)" "$(hash_file web.raw)"
	expect 0 vmctl export web out-flat --flat
	same "$(hash_disk out-flat/disk0.vhd)" "$(hash_file web.raw)"
	holds web web.raw
	expect 0 vhdtool compare out-flat/disk0.vhd "$(leaf web)"
}

test_chain() {
	vms
	make_line
	expect 0 vmctl snapshot export web two out-two --chain --json
	json_is 'd["kind"] == "chain"'
	same "$(hash_disk out-two/disk0.vhd)" "$(hash_file two.raw)"
	expect 0 vhdtool check out-two/disk0.vhd --chain
	expect 0 vhdtool inspect out-two/disk0.1.vhd
	expect 0 vmctl export web out-chain --chain
	expect 0 vhdtool inspect out-chain/disk0.vhd --chain --json
	json_is 'len(d["chain"]) >= 3' 'all(f["path"].startswith("out-chain/") or "/out-chain/" in f["path"] for f in d["chain"])'
	# Its locators are its own: it can be moved, and the store is not needed.
	mkdir elsewhere
	mv out-chain elsewhere
	mv vms gone
	same "$(hash_disk elsewhere/out-chain/disk0.vhd)" "$(hash_file web.raw)"
	expect 0 vhdtool check elsewhere/out-chain/disk0.vhd --chain
}

test_chain_opens_with_other_tools() {
	need 7zz
	vms
	make_line
	expect 0 vmctl export web out-chain --chain
	7zz x -tvhd -so out-chain/disk0.vhd >seven.raw 2>/dev/null || skip "7zz does not read chains"
	same "$(hash_file seven.raw)" "$(hash_file web.raw)"
}

test_whole_vm_and_back() {
	local name

	vms
	make_line
	vmctl snapshot revert web one --keep=kept >/dev/null
	cp web.raw kept.raw
	cp one.raw web.raw
	fill web 7 0x17
	vmctl set web --memory 1G >/dev/null
	expect 0 vmctl export web copy --json
	json_is 'd["kind"] == "vm"' 'd["node"] is None'
	expect 0 vmctl import copy --name web2 --json
	json_is 'd["name"] == "web2"' 'd["memory"] == 1 << 30' 'd["nodes"] == 3'
	expect 0 vmctl check web2 --full
	same "$(names web2)" "$(names web)"
	vmctl snapshot list web --json >list
	vmctl snapshot list web2 --json >list2
	python3 - <<-'END'
		import json
		a, b = (json.load(open(f)) for f in ("list", "list2"))
		for x, y in zip(a, b, strict=True):
		    for key in ("id", "name", "note", "parent", "time", "depth", "is_current", "memory"):
		        assert x[key] == y[key], (key, x, y)
	END
	holds web web.raw
	same "$(hash_disk "$(leaf web2)")" "$(hash_file web.raw)"
	rm -rf vms/web copy # it stands alone
	for name in one two kept; do
		expect 0 vmctl snapshot revert web2 $name --discard
		same "$(hash_disk "$(leaf web2)")" "$(hash_file $name.raw)" "$name"
	done
	expect 0 vmctl snapshot take web2 more
	expect 0 vmctl check web2 --full
}

test_import_of_one_snapshot() {
	vms
	make_line
	expect 0 vmctl snapshot export web one flat
	expect 0 vmctl snapshot export web two chain --chain
	expect 0 vmctl import flat
	same "$(hash_disk "$(leaf flat)")" "$(hash_file one.raw)"
	expect 0 vmctl import chain/ --json
	json_is 'd["name"] == "chain"' 'd["current"] is None'
	same "$(hash_disk "$(leaf chain)")" "$(hash_file two.raw)"
	expect 0 vmctl check chain --full
	expect 0 vmctl snapshot take chain again
}

test_import_is_refused() {
	vms
	expect 0 vmctl create web
	expect 0 vmctl export web copy
	expect 0 vmctl import copy
	expect 1 vmctl import copy
	says "copy"
	expect 1 vmctl import missing --name other
	mkdir empty
	expect 1 vmctl import empty
	[ ! -e vms/empty ]
	expect 64 vmctl import copy --name ../x
	mkdir .hidden
	expect 64 vmctl import .hidden
}

test_export_does_not_overwrite() {
	vms
	make_line
	mkdir there
	echo mine >there/disk0.vhd
	expect 1 vmctl export web there
	expect 1 vmctl export web there --flat
	expect 1 vmctl snapshot export web one there
	same "$(cat there/disk0.vhd)" mine
	expect 1 vmctl snapshot export web missing new
	[ ! -e new ]
	expect 64 vmctl export web new --flat --chain
	expect 64 vmctl snapshot export web one new --flat --chain
}

test_interrupted_export_leaves_nothing() {
	local kind

	vms
	random_file web.raw 100663296 7
	expect 0 vhdtool convert web.raw web.vhd
	expect 0 vmctl create web --disk web.vhd --copy
	expect 0 vmctl snapshot take web one
	for kind in --flat --chain ''; do
		expect 1 interrupt INT "$VMCTL" export web copy $kind
		says "stopped"
		[ ! -e copy ] || fail "something is left behind: $(ls -la copy)"
	done
	same "$(ls)" "$(printf '%s\n' err out vms web.raw web.vhd)"
	holds web web.raw
	expect 0 vmctl check web
	expect 0 vmctl export web flat --flat --progress plain
	grep -q '^export: 100 %' err
	expect 0 vmctl export web copy
	expect 1 interrupt TERM "$VMCTL" import copy --name again
	[ ! -e vms/again ]
	same "$(ls -A vms)" web
	expect 0 vmctl import copy --name again
}

test_long_chain_is_sound() {
	local i

	vms
	make_vm web
	for ((i = 1; i <= 64; i++)); do
		fill web $((i % 12)) "$i"
		vmctl snapshot take web "s$i" >/dev/null
		[ "$i" != 40 ] || cp web.raw s40.raw
	done
	fill web 2 0xee
	same "$(of 'd["disks"][0]["depth"]' vmctl show web --json)" 65
	holds web web.raw
	expect 0 vmctl export web chain --chain
	expect 0 vhdtool check chain/disk0.vhd --chain --json
	json_is 'd["result"] == "clean"' 'len(d["files"]) >= 65'
	same "$(hash_disk chain/disk0.vhd)" "$(hash_file web.raw)"
	expect 0 vmctl snapshot export web s40 flat
	same "$(qemu_hash flat/disk0.vhd)" "$(hash_file s40.raw)"
	expect 0 vmctl check web --full
	for ((i = 2; i <= 63; i++)); do
		vmctl snapshot delete web "s$i" --no-fold >/dev/null
	done
	expect 0 vmctl fold web --json
	json_is 'd["folded"] == 62' 'd["debt"]["layers"] == 0'
	holds web web.raw
	expect 0 vmctl check web --full
	expect 0 vhdtool check "$(leaf web)" --chain
}

run_tests "$@"
