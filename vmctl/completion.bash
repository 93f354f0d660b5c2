# SPDX-License-Identifier: MIT
# Bash completion for vmctl. Verbs, options and their values are taken from its own help, names of
# VMs and snapshots from its lists.

# One verb a line, with all its words.
_vmctl_verbs() {
	vmctl --help 2>/dev/null | awk '
		/^Verbs:/ { on = 1; next }
		/^$/ { on = 0 }
		on { sub(/^ +/, ""); sub(/   .*/, ""); print }'
}

# _vmctl_options VERB: one "--option VALUE" a line; flags have no VALUE.
_vmctl_options() {
	# shellcheck disable=SC2086
	vmctl help $1 2>/dev/null | awk '
		/^Options:/ { on = 1; next }
		on && match($0, /--[a-z-]+( [A-Za-z|]+)?(\[|  |$)/) {
			line = substr($0, RSTART, RLENGTH)
			sub(/[[ ]+$/, "", line)
			print line
		}'
}

# _vmctl_operand VERB NUMBER: what the operand of that number, from 1, is called.
_vmctl_operand() {
	# shellcheck disable=SC2086
	vmctl help $1 2>/dev/null | awk -v number="$2" '
		sub(/^Usage: .*\[OPTION\]\.\.\. /, "") { gsub(/[][]/, ""); print $number; exit }'
}

# _vmctl_names VERB...: the names that a verb lists as JSON.
_vmctl_names() {
	vmctl "$@" 2>/dev/null | sed -n 's/^    "name": "\(.*\)",\{0,1\}$/\1/p' | sed 's/\\"/"/g'
}

# A word without the quotes and backslashes it is typed with; names have no backslashes.
_vmctl_plain() {
	local word=${1#[\'\"]}

	word=${word//\\/}
	printf '%s' "${word%[\'\"]}"
}

# _vmctl_offer WORD: those of the lines on stdin that begin like the word, quoted for the shell.
_vmctl_offer() {
	local line prefix

	prefix=$(_vmctl_plain "$1")
	COMPREPLY=()
	while IFS= read -r line; do
		[[ $line != "$prefix"* ]] || COMPREPLY+=("$(printf '%q' "$line")")
	done
}

# What stands for a kind of operand or value.
_vmctl_kind() {
	local kind=$1 word=$2 vm=$3

	case $kind in
	*'|'*) _vmctl_offer "$word" < <(tr '|' '\n' <<<"$kind") ;;
	NAME) _vmctl_offer "$word" < <(_vmctl_names list --json "${home[@]}") ;;
	NODE | A | B)
		_vmctl_offer "$word" < <(
			_vmctl_names snapshot list --json "${home[@]}" -- "$vm"
			[ "$kind" = NODE ] || echo current
		)
		;;
	NUMBER)
		_vmctl_offer "$word" < <(vmctl show --json "${home[@]}" -- "$vm" 2>/dev/null |
			awk '/"number":/ { n = $2 + 0; next } /"path":/ && n != "" { print n } { n = "" }')
		;;
	DIR)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		;;
	FILE)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		;;
	esac
}

# The words of the command line after the verb, up to the one being completed: sets `operands` to
# those that are neither options nor their values, and `home` to --home as it was given.
_vmctl_scan() {
	local options=$1 i

	operands=()
	home=()
	for ((i = $2; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} != -* ]]; then
			operands+=("${COMP_WORDS[i]}")
		elif [[ $'\n'$options == *$'\n'"${COMP_WORDS[i]} "* ]]; then # it has a value
			[ "${COMP_WORDS[i]}" != --home ] || home=(--home "${COMP_WORDS[i + 1]}")
			i=$((i + 1))
		fi
	done
}

_vmctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local verbs verb first=1 length value options operands home

	COMPREPLY=()
	verbs=$(_vmctl_verbs)
	[ "${COMP_WORDS[1]}" != help ] || [ "$COMP_CWORD" = 1 ] || first=2
	if [ "$COMP_CWORD" = "$first" ]; then
		_vmctl_offer "$word" < <(
			cut -d ' ' -f 1 <<<"$verbs" | uniq
			[ "$first" = 2 ] || printf '%s\n' help --help --version
		)
		return
	fi
	verb=${COMP_WORDS[first]}
	if [[ $'\n'$verbs == *$'\n'"$verb "* ]]; then
		if [ "$COMP_CWORD" = $((first + 1)) ]; then
			_vmctl_offer "$word" < <(sed -n "s/^$verb //p" <<<"$verbs")
			return
		fi
		verb="$verb ${COMP_WORDS[first + 1]}"
	fi
	[ "$first" = 1 ] || return 0
	length=$(wc -w <<<"$verb")
	options=$(_vmctl_options "$verb")
	_vmctl_scan "$options" $((length + 1))
	value=$(awk -v option="$before" '$1 == option { print $2 }' <<<"$options")
	if [ -n "$value" ]; then
		_vmctl_kind "$value" "$word" ''
	elif [[ $word == -* ]]; then
		_vmctl_offer "$word" < <(cut -d ' ' -f 1 <<<"$options")
	else
		value=$(_vmctl_operand "$verb" $((${#operands[@]} + 1)))
		[ "$verb" != create ] || value= # a new name
		_vmctl_kind "$value" "$word" "$(_vmctl_plain "${operands[0]:-}")"
	fi
}

complete -F _vmctl vmctl
