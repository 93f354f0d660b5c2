# SPDX-License-Identifier: MIT
# Bash completion for vhdtool. Verbs, options and their values are taken from its own help.

_vhdtool_verbs() {
	vhdtool --help 2>/dev/null | awk '
		/^Verbs:/ { on = 1; next }
		/^$/ { on = 0 }
		on {
			print $1
			if (match($0, /\(alias [a-z]+\)/))
				print substr($0, RSTART + 7, RLENGTH - 8)
		}'
}

# _vhdtool_options VERB: one "--option VALUE" a line; flags have no VALUE.
_vhdtool_options() {
	vhdtool help "$1" 2>/dev/null | awk '
		/^Options:/ { on = 1; next }
		on && match($0, /--[a-z-]+( [A-Za-z|]+)?(  |$)/) {
			line = substr($0, RSTART, RLENGTH)
			sub(/ +$/, "", line)
			print line
		}'
}

_vhdtool() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local verb=${COMP_WORDS[1]} value

	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ] || { [ "$COMP_CWORD" = 2 ] && [ "$verb" = help ]; }; then
		mapfile -t COMPREPLY < <(compgen -W "$(_vhdtool_verbs) help --help --version" -- "$word")
		return
	fi
	if [[ $before == --* ]]; then
		value=$(_vhdtool_options "$verb" | awk -v option="$before" '$1 == option { print $2 }')
		case $value in
		*'|'*)
			mapfile -t COMPREPLY < <(compgen -W "${value//|/ }" -- "$word")
			return
			;;
		DIR)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -d -- "$word")
			return
			;;
		'' | FILE) ;;
		*) return ;;
		esac
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_vhdtool_options "$verb" | awk '{ print $1 }')" -- "$word")
		return
	fi
	compopt -o filenames
	mapfile -t COMPREPLY < <(compgen -f -- "$word")
}

complete -F _vhdtool vhdtool
