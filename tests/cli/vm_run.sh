#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl start and its kind, as far as they come without a KVM that has Hyper-V's interface, and
# the worker's sandbox. Guests that really run are tested in tests/guest.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

WORKER=$STRATA_BUILD/vmworker

# This machine's KVM can run guests: then what follows would start some.
can_run() {
	python3 - 2>/dev/null <<-'EOF'
		import fcntl, os, sys
		kvm = os.open("/dev/kvm", os.O_RDWR)
		sys.exit(fcntl.ioctl(kvm, 0xAE03, 148) != 1) # KVM_CAP_HYPERV_SYNIC2
	EOF
}

need_no_kvm() {
	! can_run || skip "this machine's KVM has Hyper-V's interface"
}

# bootable NAME: a VM with a disk and what looks like a kernel.
bootable() {
	vms
	make_vm "$1"
	python3 -c 'open("kernel", "wb").write(bytes(0x202) + b"HdrS" + bytes(4096))'
	expect 0 vmctl set "$1" --kernel kernel
}

# nothing_runs NAME: no process, no socket, no lock; and it says that it is off.
nothing_runs() {
	same "$(of 'd["state"]' vmctl show "$1" --json)" off
	[ ! -e "$STRATA_HOME/$1/control" ] || fail "its socket is left behind"
	! pgrep -f "vmworker .*$STRATA_HOME/$1\$" >/dev/null || fail "its process is left behind"
	expect 0 vmctl check "$1" --full
}

test_kvm_without_hyperv_is_one_clear_error() {
	need_no_kvm
	bootable web
	expect 63 vmctl start web
	says "vmctl: web: " kvm
	same "$(wc -l <err)" 1
	[ ! -s out ]
	nothing_runs web
	expect 63 vmctl start web --json
	[ ! -s out ]
	grep -q "not started: .*KVM\|not started: .*kvm" vms/web/worker.log
}

test_missing_kvm_is_one_clear_error() {
	need_root
	need unshare
	bootable web
	unshare -m true 2>/dev/null || skip "no mount namespaces"
	# shellcheck disable=SC2016
	expect 63 unshare -m bash -c 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 &&
		exec "$1" start web' - "$VMCTL"
	says "there is no /dev/kvm"
	same "$(wc -l <err)" 1
	nothing_runs web
}

test_vm_without_a_kernel_does_not_start() {
	vms
	make_vm web
	expect 64 vmctl start web
	says "web" "there is no kernel" "vmctl set --kernel"
	nothing_runs web
}

test_kernel_that_is_none() {
	bootable web
	head -c 4096 /dev/zero >kernel
	expect 2 vmctl start web
	says "is not a Linux kernel" "$PWD/kernel"
	echo short >kernel
	expect 2 vmctl start web
	says "is not a Linux kernel"
	rm kernel
	expect 1 vmctl start web
	says "the kernel" "No such file"
	mkdir kernel
	expect 63 vmctl start web
	says "is not a regular file"
	rmdir kernel
	mkfifo kernel
	expect 63 timeout 20 "$VMCTL" start web
	nothing_runs web
}

test_initrd_that_is_missing() {
	bootable web
	echo initrd >initrd
	expect 0 vmctl set web --initrd initrd
	rm initrd
	expect 1 vmctl start web
	says "the initrd $PWD/initrd"
	nothing_runs web
}

test_memory_must_fit() {
	need_no_kvm
	bootable web
	expect 0 vmctl set web --memory 1T
	expect 1 vmctl start web
	says "not enough memory" "--overcommit"
	[ ! -e vms/web/worker.log ] || fail "its process was started"
	expect 63 vmctl start web --overcommit
	says kvm
	expect 0 vmctl set web --memory 64M
	expect 63 vmctl start web
}

test_disk_in_use_is_told_before_kvm() {
	bootable web
	"$VHDTOOL" bench "$(leaf web)" --rw randwrite --yes --time 30 >/dev/null &
	wait_until locked "$(leaf web)"
	expect 75 vmctl start web
	says "web" vhd
	kill %1
	wait
	nothing_runs web
}

locked() {
	! vhdtool map "$1" >/dev/null 2>&1
}

test_damaged_disk_is_told_before_kvm() {
	local disk code=0

	bootable web
	disk=$(leaf web)
	expect 0 vmctl snapshot take web one
	: >"$disk"
	vmctl start web >out 2>err || code=$?
	[ "$code" = 1 ] || [ "$code" = 2 ] || fail "exit code $code"
	same "$(wc -l <err)" 1
	says "vhd"
}

test_verbs_for_a_vm_that_runs_say_that_it_is_off() {
	local verb

	bootable web
	for verb in stop "stop --force" reset pause resume kvp console; do
		# shellcheck disable=SC2086
		expect 1 vmctl $verb web </dev/null
		same "$(cat err)" "vmctl: web: it is off"
		[ ! -s out ]
	done
}

test_wrong_values_are_usage() {
	bootable web
	expect 64 vmctl stop web --timeout 0
	expect 64 vmctl stop web --timeout 86401
	expect 64 vmctl start web --console --json
	expect 64 vmctl disk remove web one
	expect 64 vmctl disk remove web 64
	expect 64 vmctl disk remove web -- -1
	expect 64 vmctl disk resize web 0 much
	expect 64 vmctl disk resize web 0 +99999999T
}

# leave_socket FOLDER: as a process does that was killed.
leave_socket() {
	python3 -c 'import os, socket, sys
os.chdir(sys.argv[1])
socket.socket(socket.AF_UNIX).bind("control")' "$1"
}

test_stale_socket_is_no_vm_that_runs() {
	need_no_kvm
	bootable web
	leave_socket vms/web
	[ -S vms/web/control ]
	same "$(of 'd["state"]' vmctl show web --json)" off
	same "$(of 'd[0]["state"]' vmctl list --json)" off
	expect 1 vmctl stop web
	says "it is off"
	expect 63 vmctl start web
	nothing_runs web
	leave_socket vms/web
	expect 0 vmctl delete web --yes
	[ ! -e vms/web ] || fail "$(ls -la vms/web)"
}

test_what_is_no_socket_is_not_removed() {
	bootable web
	echo mine >vms/web/control
	expect 1 vmctl start web
	says "control is there and is no socket"
	same "$(cat vms/web/control)" mine
	rm vms/web/control
	rm -f vms/web/console.log
	mkfifo vms/web/console.log
	expect 1 timeout 20 "$VMCTL" start web
	says "console.log"
}

test_folder_with_a_long_path() {
	local deep

	need_no_kvm
	vms
	deep=$PWD/$(printf 'x%.0s' {1..120})/$(printf 'y%.0s' {1..120})
	mkdir -p "$deep"
	bootable web
	mv vms/web "$deep/"
	export STRATA_HOME=$deep
	expect 63 vmctl start web
	says kvm
	nothing_runs web
	leave_socket "$deep/web"
	same "$(of 'd["state"]' vmctl show web --json)" off
}

test_start_without_its_worker_program() {
	bootable web
	mkdir bin
	cp "$VMCTL" bin/
	expect 1 bin/vmctl start web
	says "there is no program vmworker"
	nothing_runs web
	mkdir libexec
	cp "$WORKER" libexec/
	! can_run || return 0
	expect 63 bin/vmctl start web
	says kvm
}

test_delete_takes_the_logs_along() {
	bootable web
	echo printed >vms/web/console.log
	echo printed >vms/web/console.log.1
	echo happened >vms/web/worker.log
	expect 0 vmctl delete web --yes
	[ ! -e vms/web ] || fail "$(ls -la vms/web)"
}

test_log_shows_what_was_printed() {
	bootable web
	expect 0 vmctl log web
	[ ! -s out ]
	printf 'old\r\n' >vms/web/console.log.1
	printf 'one\r\n\x1b[31mtwo\0\xff\r\nthree' >vms/web/console.log
	expect 0 vmctl log web
	same "$(cat out)" "$(printf 'old\none\n\\x1b[31mtwo \\xff\nthree')"
	expect 0 vmctl log web --lines 2
	same "$(cat out)" "$(printf '\\x1b[31mtwo \\xff\nthree')"
	expect 0 vmctl log web --lines 2 --json
	json_is 'd["name"] == "web"' 'len(d["lines"]) == 2' 'd["lines"][1] == "three"'
	expect 0 vmctl log web --raw
	cat vms/web/console.log.1 vms/web/console.log | cmp - out
	expect 0 vmctl log web --worker
	[ ! -s out ]
	echo "2024-05-01T10:00:00Z off" >vms/web/worker.log
	expect 0 vmctl log web -w
	same "$(cat out)" "2024-05-01T10:00:00Z off"
	expect 1 vmctl log nobody
}

test_log_does_not_follow_links() {
	bootable web
	echo secret >secret
	ln -s ../../secret vms/web/console.log
	expect 1 vmctl log web
	! grep -q secret out
	rm vms/web/console.log
	ln -s ../../secret vms/web/worker.log
	expect 1 vmctl start web
	same "$(cat secret)" secret
}

test_disk_add_and_remove_while_off() {
	bootable web
	expect 0 vhdtool create more.vhd --size 8M
	expect 0 vmctl disk add web more.vhd --json
	json_is 'len(d["disks"]) == 2' 'd["disks"][1]["number"] == 1' \
		'd["disks"][1]["virtual_size"] == 8 << 20' 'd["disks"][1]["counters"] is None' \
		'd["pid"] is None' 'd["uptime"] is None' 'd["processors"] is None'
	same "$(json 'd["disks"][1]["path"]')" "$PWD/more.vhd"
	expect 1 vmctl disk add web more.vhd
	expect 1 vmctl disk add web missing.vhd
	expect 1 vmctl disk remove web 7
	says "there is no disk 7"
	expect 0 vmctl disk remove web 0 --json
	json_is 'len(d["disks"]) == 1' 'd["disks"][0]["number"] == 1'
	expect 0 vmctl disk remove web 1
	[ -e more.vhd ] || fail "a disk that lives elsewhere is gone"
	expect 0 vmctl disk add web more.vhd --json
	json_is 'd["disks"][0]["number"] == 0'
	expect 0 vmctl check web --full
}

test_disk_resize_while_off() {
	bootable web
	expect 0 vmctl disk resize web 0 32M
	same "$(of 'd["virtual_size"]' vhdtool info "$(leaf web)" --json)" $((32 << 20))
	expect 0 vmctl disk resize web 0 +8M
	same "$(of 'd["virtual_size"]' vhdtool info "$(leaf web)" --json)" $((40 << 20))
	truncate -s 40M web.raw
	holds web web.raw
	expect 1 vmctl disk resize web 3 +8M
	says "there is no disk 3"
	expect 0 vmctl check web --full
}

# worker_that FOLDER PYTHON: something that listens in its place, and answers what comes first on a
# connection with what each expression gives, sent at once.
worker_that() {
	python3 -c 'import os, socket, sys
os.chdir(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind("control")
listener.listen()
while True:
    client, _ = listener.accept()
    client.recv(65536)
    try:
        for expression in sys.argv[2:]:
            client.sendall(eval(expression))
    except OSError:
        pass
    client.close()' "$@" &
	wait_until [ -S "$1/control" ]
}

test_nonsense_from_a_worker_is_an_error() {
	local answer

	bootable web
	for answer in 'b""' 'b"\n"' 'b"{}\n"' 'b"[1]\n"' 'b"\0\xff\n"' "b'{\"ok\": 1}\n'" "b'{\"ok\": true'" \
		'b"[" * 100000 + b"\n"' 'b"x" * 3000000'; do
		worker_that vms/web "$answer"
		expect 1 timeout 60 "$VMCTL" stop web
		same "$(wc -l <err)" 1
		says "vmctl: web: its worker"
		expect 1 timeout 60 "$VMCTL" kvp web
		expect 0 timeout 60 "$VMCTL" list
		kill %%
		wait
		rm vms/web/control
	done
}

test_error_of_a_worker_is_escaped_and_keeps_its_code() {
	bootable web
	worker_that vms/web 'b"{\"ok\": false, \"code\": 75, \"error\": \"a\\u001b[2Jb\\nc\"}\n"'
	expect 75 vmctl reset web
	same "$(cat err)" 'vmctl: web: a\x1b[2Jb\x0ac'
	kill %%
	wait
}

test_state_is_what_the_worker_says() {
	bootable web
	worker_that vms/web '(b"{\"ok\": true, \"pid\": 7, \"state\": \"paused\", \"uptime\": 90061.5, " +
		b"\"heartbeat\": \"lost\", \"vmbus\": \"5.\\u001b\", \"failure\": null, \"memory_used\": 1048576, " +
		b"\"processors\": [{\"number\": 0, \"seconds\": 1.5, \"exits\": 2, \"hypercalls\": 3}], " +
		b"\"disks\": [{\"number\": 0, \"reads\": 4, \"read_bytes\": 4096}]}\n")'
	expect 0 vmctl show web --json
	json_is 'd["state"] == "paused"' 'd["pid"] == 7' 'd["heartbeat"] == "lost"' \
		'd["disks"][0]["counters"] == {"reads": 4, "read_bytes": 4096}' \
		'd["processors"][0]["exits"] == 2' 'd["uptime"] == 90061.5'
	expect 0 vmctl show web
	says paused "1 days, 1:01:01" '5.\x1b' "lost" "4 reads (4 KiB)" "1.5 s, 2 exits"
	same "$(of 'd[0]["state"]' vmctl list --json)" paused
	expect 1 vmctl start web
	says "running already"
	kill %%
	wait
}

test_console_joins_pipes_and_ends_with_the_vm() {
	bootable web
	worker_that vms/web 'b"{\"ok\": true}\nlogin: "' 'client.recv(100)' 'b"bye"'
	echo root | timeout 20 "$VMCTL" console web >got
	same "$(cat got)" "$(printf 'login: root\nbye')"
	kill %%
	wait
}

test_console_can_be_left_at_a_terminal() {
	need script
	bootable web
	worker_that vms/web 'b"{\"ok\": true}\nlogin: "' \
		'client.recv(100)' 'client.recv(100)'
	(sleep 1; printf 'ls\r'; sleep 0.5; printf '~.') |
		timeout 20 script -qec "$VMCTL console web" /dev/null >log
	grep -q "login: " log
	grep -q "its console was left" log
	kill %%
	wait
}

test_worker_explains_itself() {
	vms
	expect 0 "$WORKER" --help
	says "Usage: vmworker"
	expect 0 "$WORKER" --version
	expect 64 "$WORKER"
	expect 64 "$WORKER" --no-such-option folder
	expect 64 "$WORKER" a b
	expect 64 "$WORKER" --report x .
	expect 1 "$WORKER" missing
	says "missing"
}

test_worker_by_hand_says_what_is_wrong() {
	vms
	mkdir folder
	expect 1 "$WORKER" folder
	says "no such VM"
}

test_sandbox_refuses_what_is_not_needed() {
	local line

	vms
	mkdir folder
	expect 0 "$WORKER" --check-sandbox folder
	same "$(grep -c . out)" 9
	grep -qx "writing a file in the VM's folder: allowed" out
	while IFS= read -r line; do
		case $line in
		*": refused" | *"not restricted here" | *": allowed") ;;
		*) fail "$line" ;;
		esac
	done <out
	grep -qE '__[at]san_init' "$WORKER" || grep -qx "starting a program: refused" out
	[ -z "$(ls folder)" ]
}

test_worker_becomes_the_owner_of_the_folder() {
	need_root
	need_no_kvm
	bootable web
	chmod 755 "$CLI_DIR" "$CLI_DIR/work"
	chown -R nobody vms/web
	expect 63 vmctl start web
	if runuser -u nobody -- test -w /dev/kvm || [ ! -e /dev/kvm ]; then
		grep -q "as the owner of its folder" vms/web/worker.log
		same "$(stat -c %U vms/web/worker.log)" nobody
	else
		grep -q "as root, with capabilities" vms/web/worker.log
	fi
	chown -R root vms/web
	rm vms/web/worker.log
	expect 63 vmctl start web
	grep -q "as root, without capabilities" vms/web/worker.log
}

run_tests "$@"
