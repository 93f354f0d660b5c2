#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every image of the fixtures' manifest: it opens and has the content the manifest says, or it is
# refused with the right exit code. One test for each row.
. "$(dirname "$0")/../lib/cli.sh"

manifest=$STRATA_FIXTURES/MANIFEST.tsv

# Columns of the manifest, from 1.
readonly KIND=6 SIZE=8 BLOCK=10 RAW=14

column() {
	awk -F '\t' -v name="$ROW" -v column="$1" '$1 == name { print $column }' "$manifest"
}

# Unpack the row's file and those beside it; the image is left in $IMAGE.
unpack_row() {
	local folder file

	folder=$(dirname "$ROW")
	IMAGE=${ROW%.xz}
	mkdir -p "$folder"
	if [ "$folder" = . ]; then
		unpack "$IMAGE" "$IMAGE"
		return
	fi
	for file in "$STRATA_FIXTURES/$folder"/*.xz; do
		file=$folder/$(basename "$file" .xz)
		unpack "$file" "$file"
	done
}

# T9: the same facts and the same content as other tools found.
opens() {
	local size block

	expect 0 vhdtool inspect "$IMAGE" --chain --json
	size=$(column $SIZE)
	block=$(column $BLOCK)
	json_is "d['virtual_size'] == $size" \
		"d['block_size'] == int('${block/-/0}')" \
		"'vhd-' + d['type'] == '$(column $KIND)'.split()[0]"
	expect 0 vhdtool check "$IMAGE" --chain
	if [ "$size" -gt $((16 << 30)) ]; then
		all_zero
	else
		same "$(hash_disk "$IMAGE")" "$(column $RAW)" "content"
	fi
}

# Too large to hash in a test: the manifest says that it is all zeros, and so does the map.
all_zero() {
	grep -q 'Content is all zero' <<<"$(awk -F '\t' -v name="$ROW" '$1 == name' "$manifest")"
	expect 0 vhdtool map "$IMAGE" --json
	json_is 'len(d) == 1' 'd[0]["state"] == "zero"' "d[0]['length'] == $(column $SIZE)"
}

# refused CODE TEXT: by every verb that opens it; the file stays as it was.
refused() {
	local code=$1 text=$2 before

	before=$(hash_file "$IMAGE")
	expect "$code" vhdtool inspect "$IMAGE"
	says "$text"
	expect "$code" vhdtool map "$IMAGE"
	expect "$code" vhdtool convert --from vhd "$IMAGE" out.raw
	expect "$code" vhdtool bench "$IMAGE" --rw write --yes --time 1
	[ ! -e out.raw ]
	same "$(hash_file "$IMAGE")" "$before" "it was written to"
}

run_row() {
	unpack_row
	case $(column $KIND) in
	*'bad'*'checksum'*) refused 2 checksum ;;
	vhdx-header-only) refused 2 footer ;;
	vhdx-*) refused 63 VHDX ;;
	vhd-*) opens ;;
	'not a VHD' | malformed) refused 2 "$IMAGE" ;;
	footer-only) footer_only ;;
	*) fail "no rule for the kind '$(column $KIND)'" ;;
	esac
}

# A footer without the disk before it: sizes contradict the file.
footer_only() {
	refused 2 "$IMAGE"
}

# One function for each row, so that each is a test with a name.
rows() {
	awk -F '\t' 'NR > 1 { print $1 }' "$manifest"
}

if [ ! -f "$manifest" ]; then
	echo "skip fixtures: no MANIFEST.tsv in $STRATA_FIXTURES"
	exit 0
fi
tests=()
for row in $(rows); do
	name=$(tr -c 'a-zA-Z0-9\n' _ <<<"${row%.xz}")
	eval "test_$name() { ROW='$row'; run_row; }"
	tests+=("$name")
done
if [ $# -gt 0 ]; then
	run_tests "$@"
fi
run_tests "${tests[@]}"
