#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl create, list, show, set, delete
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

test_create_without_a_disk() {
	vms
	expect 0 vmctl create web --json
	json_is 'd["name"] == "web"' 'd["state"] == "off"' 'd["current"] is None' \
		'd["memory"] == 512 << 20' 'd["cpus"] == 1' 'd["disks"] == []' 'd["kernel"] is None' \
		'd["initrd"] is None' 'd["cmdline"] is None' 'd["nodes"] == 0' \
		'd["debt"] == {"layers": 0, "shared": 0, "bytes": 0, "garbage": 0}'
	same "$(json 'd["path"]')" "$PWD/vms/web"
	expect 0 vmctl check web --full
}

test_create_on_a_disk_that_stays() {
	local before

	vms
	sparse_raw web.raw 3
	expect 0 vhdtool convert web.raw base.vhd
	expect 0 vmctl create web --disk base.vhd --memory 1G --cpus 3 --json
	json_is 'd["memory"] == 1 << 30' 'd["cpus"] == 3' 'len(d["disks"]) == 1' \
		'd["disks"][0]["virtual_size"] == 24 << 20' 'd["disks"][0]["depth"] == 1'
	same "$(json 'd["disks"][0]["path"]')" "$PWD/base.vhd"
	fill web 5 0x33
	holds web web.raw
	expect 0 vmctl snapshot take web one
	before=$(hash_file base.vhd)
	same "$(of 'd["disks"][0]["depth"]' vmctl show web --json)" 2
	fill web 6 0x34
	same "$(hash_disk "$(leaf web)" --search .)" "$(hash_file web.raw)"
	same "$(hash_file base.vhd)" "$before" "the layer of a snapshot was written"
	expect 0 vmctl check web --full
}

test_create_with_copied_disks() {
	vms
	sparse_raw one.raw 4
	expect 0 vhdtool convert one.raw one.vhd
	expect 0 vhdtool create two.vhd --size 8M --type fixed
	expect 0 vmctl create web --disk one.vhd --disk two.vhd --copy --json
	json_is 'len(d["disks"]) == 2' 'd["disks"][1]["virtual_size"] == 8 << 20'
	rm one.vhd two.vhd
	same "$(hash_disk "$(leaf web)")" "$(hash_file one.raw)"
	truncate -s 8M two.raw
	same "$(hash_disk "$(leaf web 1)")" "$(hash_file two.raw)"
	expect 0 vmctl check web --full
}

test_create_on_a_chain() {
	vms
	sparse_raw base.raw 5
	expect 0 vhdtool convert base.raw base.vhd
	expect 0 vhdtool create child.vhd --parent base.vhd
	expect 0 vmctl create copied --disk child.vhd --copy
	holds copied base.raw
	expect 0 vmctl create web --disk child.vhd
	same "$(of 'd["disks"][0]["depth"]' vmctl show web --json)" 2
	same "$(leaf web)" "$PWD/child.vhd"
	holds web base.raw
}

test_create_is_all_or_nothing() {
	vms
	expect 0 vhdtool create good.vhd --size 4M
	expect 1 vmctl create web --disk good.vhd --disk missing.vhd
	says "missing.vhd"
	echo "this is no disk" >bad.vhd
	vmctl create web --disk good.vhd --disk bad.vhd 2>err && fail "made of something that is no disk"
	grep -q bad.vhd err
	expect 1 vmctl create web --disk good.vhd --kernel missing
	[ ! -e vms/web ] || fail "something is left behind"
	expect 0 vmctl create web --disk good.vhd
}

test_existing_vm_is_not_replaced() {
	vms
	expect 0 vmctl create web --memory 64M
	expect 1 vmctl create web
	says "web"
	same "$(of 'd["memory"]' vmctl show web --json)" $((64 << 20))
	mkdir vms/folder
	echo mine >vms/folder/file
	expect 1 vmctl create folder
	same "$(cat vms/folder/file)" mine
}

test_one_disk_belongs_to_one_vm() {
	vms
	expect 0 vhdtool create disk.vhd --size 4M
	expect 0 vmctl create web --disk disk.vhd
	expect 75 vmctl create other --disk disk.vhd
	[ ! -e vms/other ]
	expect 0 vmctl create other --disk disk.vhd --copy
}

test_disk_in_use_is_refused() {
	vms
	expect 0 vhdtool create disk.vhd --size 16M
	"$VHDTOOL" bench disk.vhd --rw randwrite --yes --time 30 >/dev/null &
	wait_until locked disk.vhd
	expect 75 vmctl create web --disk disk.vhd
	expect 75 vmctl create web --disk disk.vhd --copy
	[ ! -e vms/web ]
	kill %1
	wait
	expect 0 vmctl create web --disk disk.vhd
}

locked() {
	! vhdtool map "$1" >/dev/null 2>&1
}

test_paths_become_absolute() {
	vms
	mkdir dir
	echo kernel >dir/kernel
	ln -s kernel dir/link
	expect 0 vmctl create web --kernel dir/../dir/link --initrd dir/kernel --cmdline 'a b' --json
	same "$(json 'd["kernel"]')" "$PWD/dir/link"
	same "$(json 'd["initrd"]')" "$PWD/dir/kernel"
	same "$(json 'd["cmdline"]')" 'a b'
}

test_set_changes_what_is_named() {
	vms
	echo kernel >kernel
	echo initrd >initrd
	expect 0 vmctl create web --memory 64M --cpus 2 --kernel kernel --initrd initrd --cmdline quiet
	expect 0 vmctl set web --memory 1G --json
	json_is 'd["memory"] == 1 << 30' 'd["cpus"] == 2' 'd["cmdline"] == "quiet"'
	expect 0 vmctl set web --cpus 4 --initrd '' --json
	json_is 'd["cpus"] == 4' 'd["initrd"] is None' 'd["kernel"]'
	expect 0 vmctl set web --kernel ''
	expect 0 vmctl show web --json
	json_is 'd["kernel"] is None' 'd["cmdline"] is None' 'd["memory"] == 1 << 30'
	expect 64 vmctl set web
	expect 64 vmctl set web --cmdline x
	says "--kernel"
	expect 64 vmctl set web --memory 1
	expect 64 vmctl set web --memory 0
	expect 64 vmctl set web --cpus 0
	expect 64 vmctl set web --cpus 5000
	expect 1 vmctl set web --kernel missing
	expect 0 vmctl show web --json
	json_is 'd["memory"] == 1 << 30' 'd["cpus"] == 4'
}

test_list_shows_all_sorted() {
	vms
	expect 0 vmctl list
	[ ! -s out ]
	expect 0 vmctl list --json
	json_is 'd == []'
	expect 0 vmctl create web
	expect 0 vmctl create 'a b ü'
	expect 0 vmctl snapshot take web one
	mkdir vms/nothing
	expect 0 vmctl list --json
	json_is '[v["name"] for v in d] == ["a b ü", "web"]' '[v["nodes"] for v in d] == [0, 1]' \
		'all(v["state"] == "off" and v["error"] is None for v in d)'
	same "$(json 'd[1]["path"]')" "$PWD/vms/web"
	expect 0 vmctl list
	grep -qE "^web +off +1  $PWD/vms/web\$" out
}

test_show_for_people() {
	vms
	make_vm web
	expect 0 vmctl snapshot take web one
	expect 0 vmctl show web
	says "web" "off" "512 MiB" "one (" "24 MiB" "nothing" "$(leaf web)"
}

test_home_is_where_it_is_said_to_be() {
	vms
	expect 0 vmctl create web --home other
	[ -d other/web ]
	expect 0 vmctl list --json
	json_is 'd == []'
	expect 0 vmctl show web --home other
	expect 1 vmctl show web
	unset STRATA_HOME
	if [ "$(id -u)" != 0 ]; then
		XDG_DATA_HOME=$PWD/data expect 0 vmctl create web
		[ -d data/strata/web ]
		XDG_DATA_HOME='' HOME=$PWD/home expect 0 vmctl create web
		[ -d home/.local/share/strata/web ]
	fi
	expect 64 vmctl list --home ''
}

test_delete_removes_everything_of_it() {
	vms
	expect 0 vhdtool create disk.vhd --size 4M
	expect 0 vmctl create web --disk disk.vhd
	expect 0 vmctl snapshot take web one
	expect 0 vmctl create other
	expect 64 vmctl delete web
	says "--yes"
	[ -d vms/web ]
	expect 0 vmctl delete web --yes
	[ ! -e vms/web ] || fail "$(ls -la vms/web)"
	[ -e disk.vhd ] || fail "a disk that lives elsewhere is gone"
	expect 0 vmctl show other
	expect 1 vmctl delete web --yes
	expect 1 vmctl delete web
	says "web"
	expect 0 vmctl create web --disk disk.vhd
}

test_delete_asks_at_a_terminal() {
	need script
	vms
	expect 0 vmctl create web
	(sleep 1; echo no) | script -qec "$VMCTL delete web" /dev/null >log && fail "exit code 0 after a no"
	grep -q 'Delete web with its 0 snapshots' log
	[ -d vms/web ]
	(sleep 1; echo yes) | script -qec "$VMCTL delete web" /dev/null >log
	[ ! -e vms/web ]
}

test_delete_leaves_what_is_not_its_own() {
	vms
	expect 0 vmctl create web
	echo mine >vms/web/notes
	vmctl delete web --yes 2>err || true
	same "$(cat vms/web/notes)" mine
	expect 0 vmctl list --json
	json_is 'd == []'
}

test_disk_in_use_cannot_be_deleted() {
	vms
	make_vm web
	"$VHDTOOL" bench "$(leaf web)" --rw randread --time 30 >/dev/null &
	wait_until reading "$(leaf web)"
	expect 75 vmctl delete web --yes
	kill %1
	wait
	holds web web.raw
	expect 0 vmctl delete web --yes
}

reading() {
	grep -q "$(stat -c ':%i ' "$1")" /proc/locks
}

test_vm_of_another_user_cannot_be_read() {
	need_root
	need runuser
	vms
	chmod 755 "$CLI_DIR" "$CLI_DIR/work"
	expect 0 vmctl create web
	chmod 700 vms/web
	expect 1 runuser -u nobody -- "$VMCTL" show web
	says "Permission denied"
	expect 1 runuser -u nobody -- "$VMCTL" create other
	expect 0 vmctl show web
}

run_tests "$@"
