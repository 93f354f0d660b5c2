#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl check, and VMs whose files are not as they should be
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

# A VM with snapshots one, two and three in a line; their contents are in one.raw, ...
make_line() {
	local name i=2

	make_vm web
	for name in one two three; do
		fill web $i "0x1$i"
		vmctl snapshot take web $name >/dev/null
		cp web.raw $name.raw
		i=$((i + 1))
	done
	fill web 9 0x19
}

layer() {
	of "[n for n in d if n['name'] == '$1'][0]['disks'][0]['path']" vmctl snapshot list web --json
}

# What a damaged VM does: an error or a result of a check, never a crash.
never_crashes() {
	local rc command

	for command in "show web" "list" "snapshot list web" "snapshot tree web" "snapshot take web" \
		"check web" "check web --full" "fold web" "export web copy" "snapshot diff web one two"; do
		rc=0
		# shellcheck disable=SC2086
		timeout 60 "$VMCTL" $command >out 2>err || rc=$?
		case $rc in 0 | 1 | 2 | 3 | 63 | 75) ;; *) cat out err; fail "exit code $rc from vmctl $command" ;; esac
		rm -rf copy
	done
}

test_sound_vm_is_clean() {
	vms
	make_line
	expect 0 vmctl check web
	says "web: clean, 3 snapshots"
	expect 0 vmctl check web --full --json
	json_is 'd["result"] == "clean"' 'd["repaired"] is False' 'd["nodes"] == 3' 'd["layers"] >= 4' \
		'd["findings"] == []' 'd["name"] == "web"'
	expect 0 vmctl check web --repair
	expect 1 vmctl check nobody
	says "nobody"
}

test_check_writes_nothing() {
	vms
	make_line
	find vms/web -type f -exec sha256sum {} + | sort -k 2 >before
	expect 0 vmctl check web --full
	find vms/web -type f -exec sha256sum {} + | sort -k 2 | diff before -
}

test_damaged_catalogue_is_repaired_from_its_copy() {
	vms
	make_line
	poke vms/web/catalogue 40 8 1
	expect 3 vmctl check web --json
	json_is 'd["result"] == "repairable"' 'd["findings"][0]["action"]'
	vmctl show web >out 2>err && fail "a damaged catalogue was believed"
	grep -q '^vmctl: web: ' err
	expect 0 vmctl list --json
	json_is 'd[0]["state"] is None' 'd[0]["error"]' 'd[0]["nodes"] is None'
	expect 0 vmctl list
	says "damaged"
	expect 3 vmctl check web --repair
	says "Plan:" "needs --yes"
	expect 3 vmctl check web --repair --yes --dry-run
	expect 3 vmctl check web
	expect 0 vmctl check web --repair --yes --json
	json_is 'd["repaired"]' 'd["result"] == "clean"'
	expect 0 vmctl check web --full
	same "$(names web)" "one two three"
	holds web web.raw
	expect 0 vmctl snapshot revert web two --discard
	holds web two.raw
}

test_repair_asks_at_a_terminal() {
	need script
	vms
	make_line
	poke vms/web/catalogue 40 8 1
	(sleep 1; echo no) | script -qec "$VMCTL check web --repair" /dev/null >log && fail "exit code 0 after a no"
	expect 3 vmctl check web
	(sleep 1; echo yes) | script -qec "$VMCTL check web --repair" /dev/null >log
	expect 0 vmctl check web
}

test_catalogue_and_copy_lost() {
	vms
	make_line
	for file in vms/web/catalogue*; do
		poke "$file" 0 64 2
	done
	expect 2 vmctl check web
	never_crashes
	expect 0 vmctl delete web --yes
	[ ! -e vms/web ]
}

test_missing_catalogue() {
	vms
	make_line
	rm vms/web/catalogue
	expect 3 vmctl check web
	expect 0 vmctl list --json
	json_is '[v["name"] for v in d] == ["web"]' 'd[0]["error"]'
	never_crashes
	expect 0 vmctl check web --repair --yes
	same "$(names web)" "one two three"
	holds web web.raw
}

test_catalogue_cut_anywhere() {
	local size at

	vms
	make_line
	cp vms/web/catalogue good
	size=$(stat -c %s good)
	for at in 0 1 7 8 63 64 65 $((size / 3)) $((size / 2)) $((size - 9)) $((size - 1)); do
		head -c "$at" good >vms/web/catalogue
		expect 3 vmctl check web
		expect 1 sh -c "'$VMCTL' show web 2>err; [ \$? != 0 ] && [ -s err ] && exit 1"
	done
	cp good vms/web/catalogue
	expect 0 vmctl check web --full
}

test_missing_layer_is_named() {
	local lost

	vms
	make_line
	lost=$(layer two)
	mv "$lost" aside
	expect 2 vmctl check web --json
	json_is 'd["result"] == "corrupt"' 'any(f["kind"] == "lost" and "two" in f["what"] for f in d["findings"])'
	never_crashes
	expect 1 vmctl snapshot export web two out-two
	[ ! -e out-two ]
	mv aside "$lost"
	expect 0 vmctl check web --full
	holds web web.raw
}

test_missing_layer_the_rest_is_usable() {
	vms
	make_line
	rm "$(layer two)"
	expect 0 vmctl check web --repair --yes
	says "2 of 3 snapshots need layers that are gone"
	expect 0 vmctl check web --full
	same "$(names web)" one
	expect 0 vmctl snapshot export web one out-one
	same "$(hash_disk out-one/disk0.vhd)" "$(hash_file one.raw)"
	expect 0 vmctl snapshot revert web one --discard
	holds web one.raw
	expect 0 vmctl snapshot take web again
}

test_changed_layer_is_found() {
	need qemu-io
	vms
	make_line
	qemu-io -f vpc -c 'write -P 0x99 20M 2M' "$(layer one)" >/dev/null
	expect 3 vmctl check web
	says "snapshot \"one\"" "changed behind our back"
	vmctl snapshot export web one out-one 2>err && fail "a changed layer was believed"
	[ ! -e out-one ]
	never_crashes
	expect 0 vmctl check web --repair --yes # taken as it is now
	expect 0 vmctl snapshot export web one out-one
	expect 0 vmctl check web --full
}

test_exchanged_layers_are_found() {
	local one two

	vms
	make_line
	one=$(layer one)
	two=$(layer two)
	mv "$one" aside
	mv "$two" "$one"
	mv aside "$two"
	expect 2 vmctl check web
	never_crashes
}

test_damaged_layer_is_found_by_a_full_check() {
	local before

	vms
	make_line
	expect 0 vhdtool inspect "$(layer two)" --json
	python3 - "$(layer two)" "$(json 'd["bat_offset"]')" <<-'END'
		import os, sys
		path, at = sys.argv[1], int(sys.argv[2])
		stat = os.stat(path)
		with open(path, "r+b") as f:
		    f.seek(at)
		    f.write(bytes.fromhex("7ffffff0"))
		os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
	END
	before=$(hash_file "$(layer two)")
	expect 2 vmctl check web --full
	says "two"
	vmctl check web --full --repair --yes >out 2>err || true
	same "$(hash_file "$(layer two)")" "$before" "a damaged layer was written to"
	never_crashes
}

test_leftovers_are_removed() {
	vms
	make_line
	cp "$(leaf web)" vms/web/00000000ffff.vhd
	echo half >vms/web/catalogue.new
	expect 0 vmctl snapshot take web four
	expect 0 vmctl check web --full
	holds web web.raw
	[ ! -e vms/web/catalogue.new ]
}

test_folder_can_be_moved() {
	vms
	make_line
	mv vms/web vms/renamed
	mv vms elsewhere
	export STRATA_HOME=$PWD/elsewhere
	mv web.raw renamed.raw
	holds renamed renamed.raw
	expect 0 vmctl check renamed --full
	expect 0 vmctl snapshot revert renamed two --discard
	holds renamed two.raw
}

test_links_are_not_followed() {
	local lost

	vms
	make_line
	lost=$(layer two)
	mv "$lost" aside.vhd
	ln -s "$PWD/aside.vhd" "$lost"
	expect 2 vmctl check web
	vmctl snapshot export web two out-two 2>err && fail "a link was followed"
	never_crashes
}

test_hostile_names_are_escaped() {
	vms
	make_line
	python3 - <<-'END'
		with open("vms/web/catalogue", "r+b") as f:
		    data = f.read().replace(b"three", b"t\x1b[2J")
		    f.seek(0)
		    f.write(data)
	END
	for command in show 'snapshot list' 'snapshot tree' check; do
		# shellcheck disable=SC2086
		vmctl $command web >out 2>&1 || true
		! grep -q "$(printf '\x1b')" out || fail "vmctl $command prints control characters"
	done
}

run_tests "$@"
