#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vhdtool bench
. "$(dirname "$0")/../lib/cli.sh"

test_promised_json_keys() {
	random_file base.raw 8388608 80
	expect 0 vhdtool convert base.raw disk.vhd
	expect 0 vhdtool bench disk.vhd --time 1 --json
	json_is 'd["iops"] > 0' 'd["mb_per_s"] > 0' '0 < d["p50_us"] <= d["p99_us"]' \
		'd["rw"] == "randread"' 'd["bs"] == 4096' 'd["iodepth"] == 32' 'd["threads"] == 1' \
		'abs(d["mb_per_s"] * 1e6 / 4096 / d["iops"] - 1) < 0.01' 'd["requests"] > 0' \
		'd["open_ms"] > 0' 'd["depth"] == 1'
	expect 0 vhdtool bench disk.vhd --time 1
	says "requests a second"
}

test_writing_wants_a_yes() {
	local before

	random_file base.raw 8388608 81
	expect 0 vhdtool convert base.raw disk.vhd
	before=$(hash_file disk.vhd)
	expect 64 vhdtool bench disk.vhd --rw randwrite --time 1
	says "--yes"
	expect 0 vhdtool bench disk.vhd --rw write --time 1 --dry-run
	same "$(hash_file disk.vhd)" "$before"
	expect 0 vhdtool bench disk.vhd --rw randwrite --time 1 --yes --json
	json_is 'd["rw"] == "randwrite"' 'd["requests"] > 0'
	expect 0 vhdtool check disk.vhd
	[ "$(hash_file disk.vhd)" != "$before" ]
}

# bench_one DISK RW: it reports, and the disk is sound afterwards.
bench_one() {
	expect 0 vhdtool bench "$1" --rw "$2" --time 1 --threads 2 --iodepth 8 --bs 64K --yes --json
	json_is 'd["iops"] > 0' 'd["bytes"] == d["requests"] * 65536'
	expect 0 vhdtool check "$1"
}

test_every_mode() {
	local rw

	expect 0 vhdtool create disk.vhd --size 64M
	for rw in write randread read randwrite; do
		bench_one disk.vhd $rw
	done
}

test_every_kind_of_disk() {
	expect 0 vhdtool create fixed.vhd --size 16M --type fixed
	expect 0 vhdtool create base.vhd --size 16M
	expect 0 vhdtool create child.vhd --parent base.vhd
	bench_one fixed.vhd randwrite
	bench_one child.vhd randwrite
}

test_flushes_are_counted() {
	expect 0 vhdtool create disk.vhd --size 64M
	expect 0 vhdtool bench disk.vhd --rw randwrite --time 1 --flush-every 16 --yes --json
	json_is 'd["flushes"] > 0' 'd["syncs"] <= 2 * d["flushes"] + 0.1 * d["blocks_allocated"] + 4'
}

test_raw_and_direct() {
	random_file base.raw 8388608 82
	expect 0 vhdtool bench base.raw --raw --time 1 --direct --json
	json_is 'd["iops"] > 0'
}

test_wrong_options_are_usage() {
	expect 0 vhdtool create disk.vhd --size 1M
	expect 64 vhdtool bench disk.vhd --bs 0
	expect 64 vhdtool bench disk.vhd --bs 1000
	expect 64 vhdtool bench disk.vhd --bs 2M
	expect 64 vhdtool bench disk.vhd --bs 128M
	expect 64 vhdtool bench disk.vhd --iodepth 5000
	expect 64 vhdtool bench disk.vhd --threads 1000
	expect 64 vhdtool bench disk.vhd --flush-every 4
	expect 64 vhdtool bench disk.vhd --rw trim
}

test_interrupt_still_reports() {
	local pid

	expect 0 vhdtool create disk.vhd --size 64M
	interruptible "$VHDTOOL" bench disk.vhd --time 30 --json >out 2>err &
	pid=$!
	sleep 1
	kill -INT $pid
	wait $pid
	json_is 'd["seconds"] < 20' 'd["iops"] > 0'
}

run_tests "$@"
