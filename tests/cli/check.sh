#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool check
. "$(dirname "$0")/../lib/cli.sh"

make_disk() {
	sparse_raw base.raw 4
	expect 0 vhdtool convert base.raw disk.vhd
}

test_what_we_make_is_clean() {
	make_disk
	expect 0 vhdtool check disk.vhd
	says "clean"
	expect 0 vhdtool create fixed.vhd --type fixed --size 4M
	expect 0 vhdtool check fixed.vhd
	expect 0 vhdtool create child.vhd --parent disk.vhd
	expect 0 vhdtool check child.vhd --chain --json
	json_is 'd["result"] == "clean"' 'd["repaired"] is False' 'len(d["files"]) == 2' \
		'd["files"][0]["path"].endswith("child.vhd")'
}

test_damaged_trailing_footer_is_repairable() {
	make_disk
	poke disk.vhd -512 512 1
	expect 3 vhdtool check disk.vhd --json
	json_is 'd["result"] == "repairable"' 'd["files"][0]["findings"][0]["action"]' \
		'd["files"][0]["findings"][0]["offset"] == __import__("os").path.getsize("disk.vhd") - 512' \
		'"footer" in d["files"][0]["findings"][0]["field"]'
}

test_repair_wants_a_yes() {
	local before

	make_disk
	poke disk.vhd -512 512 1
	before=$(hash_file disk.vhd)
	expect 3 vhdtool check disk.vhd --repair
	says "plan" "--yes"
	same "$(hash_file disk.vhd)" "$before" "repaired without a yes"
	expect 3 vhdtool check disk.vhd --repair --yes --dry-run
	says "plan"
	same "$(hash_file disk.vhd)" "$before" "a dry run wrote"
	expect 0 vhdtool check disk.vhd --repair --yes --json
	json_is 'd["repaired"]' 'd["result"] == "clean"'
	expect 0 vhdtool check disk.vhd
	same "$(hash_disk disk.vhd)" "$(hash_file base.raw)"
	same "$(qemu_hash disk.vhd)" "$(hash_file base.raw)"
}

test_yes_typed_at_a_terminal() {
	need script
	make_disk
	poke disk.vhd -512 512 1
	cp disk.vhd again.vhd
	(sleep 1; echo no) | script -qec "$VHDTOOL check disk.vhd --repair" /dev/null >log && fail "exit code 0 after a no"
	expect 3 vhdtool check disk.vhd
	(sleep 1; echo yes) | script -qec "$VHDTOOL check disk.vhd --repair" /dev/null >log
	expect 0 vhdtool check disk.vhd
}

test_bat_entry_beyond_the_file_is_corrupt() {
	local before

	make_disk
	expect 0 vhdtool inspect disk.vhd --json
	python3 - "$(json 'd["bat_offset"]')" <<-'END'
		import sys
		with open("disk.vhd", "r+b") as f:
		    f.seek(int(sys.argv[1]))
		    f.write(bytes.fromhex("7ffffff0"))
	END
	before=$(hash_file disk.vhd)
	expect 2 vhdtool check disk.vhd
	says "bat[0]"
	expect 2 vhdtool check disk.vhd --chain
	says "bat[0]"
	expect 2 vhdtool check disk.vhd --repair --yes
	same "$(hash_file disk.vhd)" "$before" "a corrupt disk was written to"
}

test_two_blocks_in_one_place_are_corrupt() {
	make_disk
	expect 0 vhdtool inspect disk.vhd --json
	python3 - "$(json 'd["bat_offset"]')" <<-'END'
		import sys
		with open("disk.vhd", "r+b") as f:
		    f.seek(int(sys.argv[1]))
		    entry = f.read(4)
		    f.write(entry)
	END
	expect 2 vhdtool check disk.vhd
	says "bat["
}

test_chain_checks_every_file() {
	make_disk
	expect 0 vhdtool create child.vhd --parent disk.vhd
	poke disk.vhd -512 512 1
	expect 0 vhdtool check child.vhd
	expect 3 vhdtool check child.vhd --chain --json
	json_is 'd["files"][0]["result"] == "clean"' 'd["files"][1]["result"] == "repairable"'
	expect 0 vhdtool check child.vhd --chain --repair --yes
	expect 0 vhdtool check child.vhd --chain
}

test_chain_without_its_parent_is_an_error() {
	make_disk
	expect 0 vhdtool create child.vhd --parent disk.vhd
	rm disk.vhd
	expect 0 vhdtool check child.vhd
	expect 1 vhdtool check child.vhd --chain
	says "disk.vhd"
}

test_read_only_file_can_be_checked() {
	make_disk
	chmod 444 disk.vhd
	expect 0 vhdtool check disk.vhd
}

run_tests "$@"
