# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts of this folder share.

GUEST_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GUEST=${STRATA_GUEST:-$GUEST_SOURCE/../../build/guest}
GUEST=$(realpath -m "$GUEST")
PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# need_tools COMMAND...: or say which task of .ci/deps brings them.
need_tools() {
	local tool

	for tool in "$@"; do
		command -v "$tool" >/dev/null || die "$tool is not installed; .ci/deps guest installs it"
	done
}

# libraries PROGRAM...: the files of the shared libraries they need, their loader included.
libraries() {
	# A static program or a script has none, which ldd reports as a failure.
	{ ldd "$@" 2>/dev/null || true; } | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u
}

# put_libraries FOLDER PROGRAM...: into that folder, by their bare names.
put_libraries() {
	local folder=$1 library
	shift

	mkdir -p "$folder"
	libraries "$@" | while read -r library; do
		[ -e "$folder/${library##*/}" ] || cp -L --reflink=auto "$library" "$folder/"
	done
}

# put_applets FOLDER BUSYBOX: it, and a link for each of its applets.
put_applets() {
	local applet

	mkdir -p "$1"
	cp --remove-destination "$2" "$1/busybox"
	busybox --list | while read -r applet; do
		[ "$applet" = busybox ] || ln -sf busybox "$1/$applet"
	done
}
