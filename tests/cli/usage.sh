#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The command line itself: help, wrong usage, man page, completion.
. "$(dirname "$0")/../lib/cli.sh"

verbs() {
	vhdtool --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

options() {
	vhdtool help "$1" | sed -n '/^Options:/,$s/^  \(-., \|    \)--\([a-z-]*\).*/\2/p'
}

test_help_lists_every_verb() {
	local verb

	expect 0 vhdtool --help
	for verb in create inspect check compact expand shrink resize convert merge relink compare \
		diff map measure bench mount umount; do
		grep -q "^  $verb " out || fail "$verb is not in the help"
	done
	same "$(verbs | wc -l)" 17
}

test_every_verb_explains_itself() {
	local verb

	for verb in $(verbs); do
		expect 0 vhdtool help "$verb"
		grep -q "^Usage: vhdtool $verb " out || fail "no usage for $verb"
		cp out long
		expect 0 vhdtool "$verb" --help
		cmp out long
	done
}

test_aliases_name_the_same_verb() {
	expect 0 vhdtool help info
	says "Usage: vhdtool inspect"
	expect 0 vhdtool help rebase
	says "Usage: vhdtool relink"
}

test_version() {
	expect 0 vhdtool --version
	grep -qx 'vhdtool (Strata) [0-9][0-9.]*' out
}

test_no_arguments_is_usage() {
	expect 64 vhdtool
	says "Usage:"
}

test_unknown_verb_is_usage_with_a_hint() {
	expect 64 vhdtool inspct x
	says "did you mean 'inspect'"
	expect 64 vhdtool frobnicate
	says "Try 'vhdtool --help'"
	expect 64 vhdtool help frobnicate
}

test_unknown_option_is_usage_with_a_hint() {
	local verb

	for verb in $(verbs); do
		expect 64 vhdtool "$verb" --no-such-option
		says "--no-such-option" "Try 'vhdtool help $verb'"
		expect 64 vhdtool "$verb" -Z
		says "-Z"
	done
}

test_missing_operand_is_usage() {
	local verb

	for verb in $(verbs); do
		expect 64 vhdtool "$verb"
		says "operand"
	done
	expect 64 vhdtool convert only-one.vhd
	expect 64 vhdtool compare only-one.vhd
}

test_operand_too_many_is_usage() {
	expect 64 vhdtool inspect a.vhd b.vhd
	says "b.vhd"
	expect 64 vhdtool convert a b c
}

test_wrong_values_are_usage() {
	expect 64 vhdtool create x.vhd --size
	says "needs a value"
	expect 64 vhdtool create x.vhd --size 10Q
	says "10Q"
	expect 64 vhdtool create x.vhd --size -5
	expect 64 vhdtool create x.vhd --size +5M
	expect 64 vhdtool create x.vhd --size 99999999999999999999T
	expect 64 vhdtool create x.vhd --size 1M --type floppy
	says "dynamic|fixed|diff"
	expect 64 vhdtool bench x.vhd --iodepth 0
	expect 64 vhdtool bench x.vhd --iodepth many
	expect 64 vhdtool compact x.vhd --mode slow
	expect 64 vhdtool inspect ''
	[ ! -e x.vhd ]
}

test_missing_file_is_an_error_with_its_name() {
	local verb

	for verb in inspect check compact map measure merge relink; do
		expect 1 vhdtool "$verb" missing.vhd
		says "vhdtool: missing.vhd: "
		same "$(wc -l <err)" 1 "one line on stderr from $verb"
	done
}

test_directory_and_fifo_are_refused() {
	mkdir dir.vhd
	mkfifo fifo.vhd
	expect 63 vhdtool inspect dir.vhd
	expect 63 timeout 5 "$VHDTOOL" inspect fifo.vhd
}

test_write_error_on_stdout_is_an_error() {
	[ -c /dev/full ] || skip "no /dev/full"
	vhdtool --help >/dev/full 2>err && fail "exit code 0 with a full standard output"
	says "standard output" 2>/dev/null || grep -q "standard output" err
}

test_man_page_covers_every_verb_and_option() {
	local page=$STRATA_ROOT/man/vhdtool.1 verb option text

	text=$(sed 's/\\-/-/g; s/\\f.//g' "$page")
	for verb in $(verbs); do
		grep -q "^\.SS \"\{0,1\}$verb" <<<"$text" || fail "the man page has no section $verb"
		for option in $(options "$verb"); do
			grep -q -- "--$option" <<<"$text" || fail "the man page has no --$option ($verb)"
		done
	done
	for option in $(grep -o -- '--[a-z][a-z-]*' <<<"$text" | grep -vx -- --version | sort -u); do
		for verb in $(verbs); do
			options "$verb" | grep -qx -- "${option#--}" && continue 2
		done
		fail "the man page has $option, which no verb has"
	done
}

test_man_page_is_well_formed() {
	need man
	MANROFFSEQ='' man --warnings -l "$STRATA_ROOT/man/vhdtool.1" 2>&1 >/dev/null | tee warnings
	[ ! -s warnings ]
}

test_completion_knows_verbs_options_and_values() {
	bash -c '
		set -e
		PATH=$STRATA_BUILD:$PATH
		. "$STRATA_ROOT/vhdtool/completion.bash"
		compopt() { :; }
		complete_at() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vhdtool; echo "${COMPREPLY[*]}"; }
		complete_at vhdtool comp
		complete_at vhdtool inf
		complete_at vhdtool create --si
		complete_at vhdtool create --type f
		complete_at vhdtool compact --mode ""
		touch disk.vhd
		complete_at vhdtool inspect dis' >got
	cat >want <<-END
		compact compare
		info
		--size
		fixed
		full quick prezeroed
		disk.vhd
	END
	diff want got
}

run_tests "$@"
