#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool compare, diff, map and measure
. "$(dirname "$0")/../lib/cli.sh"

make_pair() {
	sparse_raw base.raw 70
	expect 0 vhdtool convert base.raw base.vhd
	cp base.raw new.raw
	python3 - <<-'END'
		with open("new.raw", "r+b") as f:
		    for off in (7000017, 7000100, 20000000):
		        f.seek(off)
		        byte = f.read(1)
		        f.seek(off)
		        f.write(bytes([byte[0] ^ 255]))
	END
	expect 0 vhdtool convert new.raw child.vhd --type diff --parent base.vhd
}

test_equal() {
	make_pair
	expect 0 vhdtool compare base.raw base.vhd --json
	json_is 'd["equal"] is True' 'd["first_difference"] is None'
	expect 0 vhdtool convert base.raw fixed.vhd --type fixed
	expect 0 vhdtool compare base.vhd fixed.vhd
	says "equal"
	expect 0 vhdtool compare child.vhd new.raw
}

test_different_from_the_exact_byte() {
	make_pair
	expect 1 vhdtool compare base.vhd child.vhd --json
	json_is 'd["equal"] is False' 'd["first_difference"] == 7000017'
	expect 1 vhdtool compare new.raw base.raw
	says "7000017"
}

test_sizes() {
	make_pair
	cp base.raw longer.raw
	truncate -s 30M longer.raw
	expect 0 vhdtool compare base.vhd longer.raw --json
	json_is 'd["equal"]' 'd["size_a"] == 24 << 20' 'd["size_b"] == 30 << 20'
	expect 1 vhdtool compare base.vhd longer.raw --strict --json
	json_is 'not d["equal"]' 'd["first_difference"] is None'
	poke longer.raw -1 1 71
	expect 1 vhdtool compare longer.raw base.vhd --json
	json_is 'd["first_difference"] == (30 << 20) - 1'
}

test_unknown_name_wants_a_format() {
	make_pair
	mv base.raw base
	expect 64 vhdtool compare base base.vhd
	says "--format-a"
	expect 0 vhdtool compare base base.vhd --format-a raw
	expect 0 vhdtool compare base.vhd base --format-b raw
}

test_error_prints_nothing_on_stdout() {
	make_pair
	expect 1 vhdtool compare base.vhd missing.vhd --json
	[ ! -s out ]
	says "missing.vhd"
	expect 1 vhdtool diff base.vhd missing.vhd --json
	[ ! -s out ]
}

test_diff_lists_changed_sectors() {
	make_pair
	expect 0 vhdtool diff base.vhd child.vhd --json
	json_is 'd["extents"] == [
		{"start": 7000017 // 512 * 512, "length": 1024},
		{"start": 20000000 // 512 * 512, "length": 512}]' \
		'd["changed_bytes"] == 1536' 'd["complete"]'
	expect 0 vhdtool diff base.raw new.raw --json
	json_is 'd["changed_bytes"] == 1536'
	expect 0 vhdtool diff child.vhd new.raw --json
	json_is 'd["extents"] == []' 'd["changed_bytes"] == 0'
	expect 0 vhdtool diff base.vhd child.vhd
	says "1536 bytes"
}

test_map_covers_the_disk_and_tells_the_truth() {
	make_pair
	expect 0 vhdtool map child.vhd --json
	json_is 'type(d) is list' 'all(set(e) == {"start", "length", "state", "depth", "path", "offset"} for e in d)' \
		'd[0]["start"] == 0' \
		'all(a["start"] + a["length"] == b["start"] for a, b in zip(d, d[1:]))' \
		'd[-1]["start"] + d[-1]["length"] == 24 << 20' \
		'{e["state"] for e in d} == {"data", "zero"}' \
		'{e["depth"] for e in d if e["state"] == "data"} == {0, 1}' \
		'all(e["path"] is None and e["offset"] is None for e in d if e["state"] == "zero")'
	python3 - <<-'END'
		import json
		with open("new.raw", "rb") as content:
		    for e in json.load(open("out")):
		        content.seek(e["start"])
		        want = content.read(e["length"])
		        if e["state"] == "zero":
		            assert not any(want), e
		        else:
		            with open(e["path"], "rb") as f:
		                f.seek(e["offset"])
		                assert f.read(e["length"]) == want, e
	END
	expect 0 vhdtool map child.vhd
	says "child.vhd" "base.vhd" "zero"
}

test_map_of_raw_and_empty() {
	make_pair
	expect 0 vhdtool map base.raw --raw --json
	json_is 'd[-1]["start"] + d[-1]["length"] == 24 << 20'
	expect 0 vhdtool create empty.vhd --size 2040G
	expect 0 vhdtool map empty.vhd --json
	json_is 'len(d) == 1' 'd[0]["state"] == "zero"' 'd[0]["length"] == 2040 << 30'
}

test_measure_is_an_upper_bound_and_close() {
	local block

	make_pair
	for block in 64K 2M; do
		rm -f out.vhd
		expect 0 vhdtool measure child.vhd --block-size $block --json
		cp out measured
		json_is 'd["virtual_size"] == 24 << 20' 'd["raw"]["file_size"] == 24 << 20' \
			'd["fixed"]["file_size"] == (24 << 20) + 512' 'd["dynamic"]["blocks"] > 0'
		expect 0 vhdtool convert child.vhd out.vhd --block-size $block
		json_size=$(python3 -c 'import json; print(json.load(open("measured"))["dynamic"]["file_size"])')
		[ "$(stat -c %s out.vhd)" -le "$json_size" ] ||
			fail "block $block: measured $json_size, took $(stat -c %s out.vhd)"
	done
	# With nothing but data the figure is exact.
	random_file full.raw 8388608 72
	expect 0 vhdtool measure full.raw --json
	json_size=$(json 'd["dynamic"]["file_size"]')
	expect 0 vhdtool convert full.raw full.vhd
	same "$(stat -c %s full.vhd)" "$json_size"
	expect 0 vhdtool measure base.vhd
	says "as dynamic"
}

run_tests "$@"
