#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool inspect
. "$(dirname "$0")/../lib/cli.sh"

make_chain() {
	expect 0 vhdtool create base.vhd --size 8M
	expect 0 vhdtool create middle.vhd --parent base.vhd
	expect 0 vhdtool create leaf.vhd --parent middle.vhd
}

test_promised_json_keys() {
	make_chain
	expect 0 vhdtool inspect leaf.vhd --json
	json_is '{"path", "type", "virtual_size", "file_size", "block_size", "uuid", "creator_app",
		"creator_version", "timestamp", "timestamp_unix", "allocated_blocks", "total_blocks",
		"parent"} <= set(d)' \
		'{"uuid", "name", "path"} <= set(d["parent"])' \
		'd["path"] == "leaf.vhd"' \
		'd["type"] == "differencing"' \
		'd["file_size"] == __import__("os").path.getsize("leaf.vhd")' \
		'__import__("re").fullmatch(r"\d+\.\d+", d["creator_version"])' \
		'__import__("re").fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", d["timestamp"])' \
		'abs(d["timestamp_unix"] - __import__("time").time()) < 3600' \
		'all(type(d[k]) is int for k in ("virtual_size", "file_size", "block_size",
			"allocated_blocks", "total_blocks"))'
	same "$(json '__import__("datetime").datetime.fromisoformat(d["timestamp"][:-1] + "+00:00").timestamp() ==
		d["timestamp_unix"]')" True
	json_is '"chain" not in d'
}

test_info_is_the_same_verb() {
	make_chain
	expect 0 vhdtool inspect leaf.vhd --json
	cp out first
	expect 0 vhdtool info leaf.vhd --json
	cmp out first
}

test_chain_goes_from_the_leaf_down() {
	make_chain
	expect 0 vhdtool inspect leaf.vhd --chain --json
	json_is '[__import__("os").path.basename(x["path"]) for x in d["chain"]] ==
		["leaf.vhd", "middle.vhd", "base.vhd"]' \
		'd["chain"][0]["uuid"] == d["uuid"]' \
		'd["chain"][0]["parent"]["uuid"] == d["chain"][1]["uuid"]' \
		'd["chain"][2]["parent"] is None' \
		'set(d["chain"][0]) <= set(d)'
	expect 0 vhdtool inspect leaf.vhd --chain
	says "leaf.vhd" "middle.vhd" "base.vhd"
}

test_missing_parent_is_told_and_only_an_error_with_chain() {
	make_chain
	rm base.vhd
	expect 0 vhdtool inspect middle.vhd --json
	json_is 'd["parent"]["path"] is None' 'd["parent"]["error"]' 'd["virtual_size"] == 8 << 20' \
		'd["content"] is None' 'd["content_error"]'
	says "base.vhd"
	expect 0 vhdtool inspect middle.vhd
	says "base.vhd"
	expect 1 vhdtool inspect middle.vhd --chain
	says "base.vhd"
	expect 1 vhdtool inspect leaf.vhd --chain --json
}

test_parent_found_by_search_and_by_option() {
	make_chain
	mkdir elsewhere
	mv base.vhd elsewhere/other-name.vhd
	expect 1 vhdtool inspect middle.vhd --chain
	expect 0 vhdtool inspect middle.vhd --chain --search elsewhere
	expect 0 vhdtool inspect leaf.vhd --chain --search elsewhere
	expect 0 vhdtool inspect middle.vhd --chain --parent elsewhere/other-name.vhd
}

test_another_disk_is_no_parent() {
	make_chain
	rm base.vhd
	expect 0 vhdtool create base.vhd --size 8M
	expect 1 vhdtool inspect leaf.vhd --chain
	says "uuid"
	expect 1 vhdtool map leaf.vhd
}

test_disk_in_use_can_be_inspected() {
	need qemu-io
	sparse_raw base.raw 3
	expect 0 vhdtool convert base.raw base.vhd
	mkfifo commands
	qemu-io -f vpc base.vhd <commands >qemu.log 2>&1 &
	exec 3>commands
	echo 'read 0 512' >&3
	wait_until grep -q 'read 512' qemu.log
	expect 0 vhdtool inspect base.vhd --json
	json_is 'd["virtual_size"] > 0'
	exec 3>&-
	wait
}

test_partitions_and_file_systems() {
	need sfdisk mke2fs
	truncate -s 40M disk.raw
	printf 'label: gpt\nstart=2048, size=20480, name="first part"\nstart=22528, size=40960\n' |
		sfdisk -q disk.raw
	truncate -s 20M fs
	mke2fs -q -L inside fs
	dd if=fs of=disk.raw bs=512 seek=22528 conv=notrunc status=none
	expect 0 vhdtool convert disk.raw disk.vhd
	expect 0 vhdtool inspect disk.vhd --json
	json_is 'd["content"]["scheme"] == "gpt"' 'len(d["content"]["partitions"]) == 2' \
		'd["content"]["partitions"][0]["name"] == "first part"' \
		'd["content"]["partitions"][1]["number"] == 2' \
		'd["content"]["partitions"][1]["start"] == 22528 * 512' \
		'd["content"]["partitions"][1]["filesystem"] == "ext2"' \
		'd["content"]["partitions"][1]["label"] == "inside"'
	expect 0 vhdtool inspect disk.vhd
	says "gpt" "ext2" "inside"
}

test_file_system_on_the_whole_disk() {
	need mke2fs
	truncate -s 20M fs.raw
	mke2fs -q -t ext4 fs.raw
	expect 0 vhdtool convert fs.raw disk.vhd
	expect 0 vhdtool inspect disk.vhd --json
	json_is 'd["content"]["scheme"] == ""' 'd["content"]["whole_disk"]["filesystem"] == "ext4"'
}

test_control_characters_in_names_are_escaped() {
	need mke2fs
	truncate -s 20M fs.raw
	mke2fs -q -L "$(printf 'a\033[31mb')" fs.raw
	expect 0 vhdtool convert fs.raw disk.vhd
	expect 0 vhdtool inspect disk.vhd
	grep -q "$(printf '\033')" out && fail "an escape character went to the terminal"
	expect 0 vhdtool inspect disk.vhd --json
	json_is 'd["content"]["whole_disk"]["label"]'
}

run_tests "$@"
