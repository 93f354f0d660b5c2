#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# vmctl's command line itself: help, wrong usage, names, man page, completion.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/vm.sh"

# One a line; some are two words.
verbs() {
	vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\( [a-z]\{1,\}\)\{0,1\}\) .*/\1/p'
}

# options VERB
options() {
	# shellcheck disable=SC2086
	vmctl help $1 | sed -n '/^Options:/,$s/^  \(-., \|    \)--\([a-z-]*\).*/\2/p'
}

# each FUNCTION: call it with every verb.
each() {
	local verb

	while IFS= read -r verb <&3; do
		"$1" "$verb"
	done 3< <(verbs)
}

test_help_lists_every_verb() {
	vms
	expect 0 vmctl --help
	verbs | sort >got
	sort >want <<-END
		check
		console
		create
		delete
		disk add
		disk remove
		disk resize
		export
		fold
		import
		kvp
		list
		log
		pause
		reset
		resume
		set
		show
		snapshot delete
		snapshot diff
		snapshot export
		snapshot list
		snapshot rename
		snapshot revert
		snapshot take
		snapshot tree
		start
		stop
	END
	diff want got
	expect 0 vmctl help
	expect 0 vmctl -h
}

explains_itself() {
	# shellcheck disable=SC2086
	expect 0 vmctl help $1
	grep -q "^Usage: vmctl $1 " out || fail "no usage for $1"
	cp out long
	# shellcheck disable=SC2086
	expect 0 vmctl $1 --help
	cmp out long
}

test_every_verb_explains_itself() {
	vms
	each explains_itself
}

test_group_explains_itself() {
	vms
	expect 0 vmctl help snapshot
	says "Usage: vmctl snapshot VERB" "snapshot take" "snapshot tree"
	! grep -q ' create ' out
	cp out long
	expect 0 vmctl snapshot --help
	cmp out long
	expect 64 vmctl snapshot
	says "what to do is wanted" "Try 'vmctl help snapshot'"
	expect 64 vmctl snapshot --json
}

test_version() {
	vms
	expect 0 vmctl --version
	grep -qx 'vmctl (Strata) [0-9][0-9.]*' out
	same "$(vmctl --version | cut -d ' ' -f 2-)" "$(vhdtool --version | cut -d ' ' -f 2-)"
}

test_no_arguments_is_usage() {
	vms
	expect 64 vmctl
	says "Usage:"
}

test_unknown_verb_is_usage_with_a_hint() {
	vms
	expect 64 vmctl crate x
	says "did you mean 'create'"
	expect 64 vmctl snapshot tkae web
	says "did you mean 'snapshot take'" "Try 'vmctl help snapshot'"
	expect 64 vmctl snapsot list web
	says "did you mean 'snapshot list'"
	expect 64 vmctl revert web
	says "did you mean 'snapshot revert'"
	expect 64 vmctl frobnicate
	says "Try 'vmctl --help'"
	expect 64 vmctl help frobnicate
	expect 64 vmctl help snapshot frobnicate
	expect 64 vmctl snapshot "$(printf 'x%.0s' {1..5000})"
}

refuses_unknown_options() {
	# shellcheck disable=SC2086
	expect 64 vmctl $1 --no-such-option
	says "--no-such-option" "Try 'vmctl help $1'"
	# shellcheck disable=SC2086
	expect 64 vmctl $1 -Z
	says "-Z"
}

test_unknown_option_is_usage_with_a_hint() {
	vms
	each refuses_unknown_options
}

counts_operands() {
	[ "$1" = list ] || {
		# shellcheck disable=SC2086
		expect 64 vmctl $1
		says "operand"
	}
	# shellcheck disable=SC2086
	expect 64 vmctl $1 a b c d
	says "one operand too many"
}

test_wrong_number_of_operands_is_usage() {
	vms
	each counts_operands
	expect 64 vmctl snapshot revert web
	expect 64 vmctl snapshot diff web one
	expect 64 vmctl export web
	expect 64 vmctl show ''
}

test_wrong_values_are_usage() {
	vms
	expect 64 vmctl create web --memory
	says "needs a value"
	expect 64 vmctl create web --memory 10Q
	expect 64 vmctl create web --memory +1G
	expect 64 vmctl create web --memory 1000
	says "multiple of 1M"
	expect 64 vmctl create web --cpus 0
	expect 64 vmctl create web --cpus two
	expect 64 vmctl create web --copy
	says "--disk"
	expect 64 vmctl create web --initrd "$CLI_SCRIPT"
	says "--kernel"
	expect 64 vmctl create web --disk ''
	expect 64 vmctl fold web --budget 0
	expect 64 vmctl fold web --budget much
	expect 64 vmctl fold web --progress loud
	[ ! -e vms ] || fail "something was made"
}

# Every verb that names a VM refuses such names, and makes nothing anywhere.
test_names_that_are_refused() {
	local name long

	vms
	long=$(printf 'x%.0s' {1..129})
	expect 0 vmctl create web
	for name in .. . ../x x/y /x 'x\y' .x -x ' x' 'x ' current "$long" $'a\nb' $'a\tb' $'a\x1bb' $'a\xff' \
		01234567-89ab-cdef-0123-456789abcdef; do
		expect 64 vmctl create -- "$name"
		expect 64 vmctl show -- "$name"
		expect 64 vmctl delete --yes -- "$name"
		expect 64 vmctl snapshot take web -- "$name"
		expect 64 vmctl snapshot take web --name="$name"
		expect 64 vmctl import --name="$name" -- vms/web
	done
	same "$(ls -A vms)" web
	same "$(names web)" ''
	same "$(wc -l <err)" 1 "one line on stderr"
	! grep -q $'\xff' err
}

test_names_that_are_allowed() {
	local name

	vms
	for name in a 'a b' 'grün' "it's" '"quoted"' '$(x)' '%s%n' 'a.b-c' "$(printf 'x%.0s' {1..128})"; do
		expect 0 vmctl create "$name" --json
		same "$(json 'd["name"]')" "$name"
		expect 0 vmctl snapshot take "$name" "$name" --json
		same "$(json 'd["name"]')" "$name"
		expect 0 vmctl snapshot tree "$name"
		grep -qF -- "○ $name " out
		expect 0 vmctl snapshot delete "$name" "$name"
	done
	same "$(of 'len(d)' vmctl list --json)" 9
}

test_notes() {
	vms
	expect 0 vmctl create web
	expect 0 vmctl snapshot take web one --note "$(printf 'n%.0s' {1..4096})"
	same "$(node web one note | tr -d '\n' | wc -c)" 4096
	expect 64 vmctl snapshot take web two --note "$(printf 'n%.0s' {1..4097})"
	expect 0 vmctl snapshot rename web one --note $'two\nlines \x1b[2J'
	expect 0 vmctl snapshot list web
	same "$(wc -l <out)" 2
	grep -qF 'two\x0alines \x1b[2J' out
	same "$(names web)" one
}

test_missing_vm_is_an_error_with_its_name() {
	local command

	vms
	for command in "show nobody" "set nobody --cpus 2" "delete nobody --yes" "export nobody new" \
		"snapshot take nobody" "snapshot list nobody" "snapshot tree nobody" \
		"snapshot revert nobody x" "snapshot delete nobody x" "snapshot rename nobody x y" \
		"snapshot diff nobody x y" "snapshot export nobody x new" "fold nobody" "check nobody" \
		"start nobody" "stop nobody" "reset nobody" "pause nobody" "resume nobody" \
		"console nobody" "kvp nobody" "log nobody" "disk remove nobody 0" \
		"disk resize nobody 0 1G"; do
		# shellcheck disable=SC2086
		expect 1 vmctl $command
		says "vmctl: nobody: "
		same "$(wc -l <err)" 1 "one line on stderr from $command"
	done
	[ ! -e vms ] || fail "something was made"
}

test_home_that_is_no_folder() {
	local command

	vms
	echo mine >file
	for command in list "show web" "create web" "check web"; do
		# shellcheck disable=SC2086
		expect 1 vmctl $command --home file
		says "file: the home of all VMs is not a folder"
		same "$(wc -l <err)" 1 "one line on stderr from $command"
	done
	expect 1 env STRATA_HOME=file "$VMCTL" list
	expect 0 vmctl list --home missing
	same "$(cat file)" mine
}

test_write_error_on_stdout_is_an_error() {
	vms
	[ -c /dev/full ] || skip "no /dev/full"
	expect 0 vmctl create web
	vmctl show web >/dev/full 2>err && fail "exit code 0 with a full standard output"
	grep -q "standard output" err
}

covered_by_the_man_page() {
	local option

	grep -q "^\.SS \"\{0,1\}$1\( \|\"\|\$\)" text || fail "the man page has no section $1"
	for option in $(options "$1"); do
		grep -q -- "--$option" text || fail "the man page has no --$option ($1)"
		echo "--$option" >>known
	done
}

test_man_page_covers_every_verb_and_option() {
	vms
	sed 's/\\-/-/g; s/\\f.//g' "$STRATA_ROOT/man/vmctl.1" >text
	echo --version >known
	each covered_by_the_man_page
	grep -o -- '--[a-z][a-z-]*' text | sort -u | while read -r option; do
		grep -qx -- "$option" known || fail "the man page has $option, which no verb has"
	done
}

# Every key that is printed is in the man page.
test_man_page_covers_json_keys() {
	local key

	vms
	sed 's/\\-/-/g; s/\\f.//g' "$STRATA_ROOT/man/vmctl.1" >text
	expect 0 vhdtool create disk.vhd --size 4M
	{
		vmctl create web --disk disk.vhd --copy --json
		vmctl snapshot take web one --json
		vmctl snapshot take web two --json
		vmctl list --json
		vmctl snapshot tree web --json
		vmctl snapshot diff web one two --json
		vmctl snapshot revert web one --json
		vmctl snapshot export web one new --json
		vmctl snapshot delete web two --json
		vmctl fold web --json
		vmctl check web --json
	} | grep -o '"[a-z_]*":' | tr -d '":' | sort -u >keys
	[ "$(wc -l <keys)" -gt 30 ]
	while read -r key; do
		grep -qw -- "$key" text || fail "the man page does not know $key"
	done <keys
}

test_man_page_is_well_formed() {
	need man
	MANROFFSEQ='' man --warnings -l "$STRATA_ROOT/man/vmctl.1" 2>&1 >/dev/null | tee warnings
	[ ! -s warnings ]
}

test_completion_knows_verbs_options_and_names() {
	vms
	expect 0 vmctl create web
	expect 0 vmctl create 'web two'
	expect 0 vmctl snapshot take web one
	expect 0 vmctl snapshot take web "other's"
	bash -c '
		set -e
		PATH=$STRATA_BUILD:$PATH
		. "$STRATA_ROOT/vmctl/completion.bash"
		compopt() { :; }
		complete_at() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vmctl; echo "${COMPREPLY[*]}"; }
		complete_at vmctl snap
		complete_at vmctl snapshot t
		complete_at vmctl help snapshot re
		complete_at vmctl show ""
		complete_at vmctl show "web\\ t"
		complete_at vmctl show --home nowhere ""
		complete_at vmctl snapshot revert web ""
		complete_at vmctl snapshot diff web one ""
		complete_at vmctl snapshot delete web --sub
		complete_at vmctl fold web --progress ""
		touch disk.vhd
		complete_at vmctl create new --disk dis
		complete_at vmctl create ""
		complete_at vmctl snapshot revert "\$(touch pwned)" ""' >got
	cat >want <<-'END'
		snapshot
		take tree
		revert rename
		web web\ two
		web\ two

		one other\'s
		one other\'s current
		--subtree
		auto plain json none
		disk.vhd


	END
	diff want got
	[ ! -e pwned ]
}

run_tests "$@"
