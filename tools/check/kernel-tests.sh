#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel-tests.sh FOLDER: runs the kernel's own tests of KSM, which are
# in FOLDER, against whatever is behind /sys/kernel/mm/ksm, and prints KTAP.
# The knobs are afterwards what they were before.

knobs=/sys/kernel/mm/ksm
mapfile -t list < <(sed '/^#/d' "$(dirname "$0")/kernel-tests.list")
cd "$1" || exit 1

# KNOB VALUE for each; of several values it is the one in brackets.
settings() {
	local knob value
	for knob in $(find $knobs/ -type f -perm -u+w -printf '%f\n' | sort); do
		value=$(<"$knobs/$knob")
		value=${value#*[}
		echo "$knob ${value%]*}"
	done
}

restore() {
	local knob value
	echo 2 >$knobs/run
	while read -r knob value; do
		echo "$value" >"$knobs/$knob"
	done <<<"$1"
	[ "$(settings)" = "$1" ]
}

ended=0
# result STATUS NAME
result() {
	ended=$((ended + 1))
	case $1 in
	0) echo "ok $ended $2" ;;
	4) echo "ok $ended $2 # SKIP" ;;
	*) echo "not ok $ended $2 # exit status $1" ;;
	esac
}

before=$(settings)
echo "KTAP version 1"
echo "1..$((${#list[@]} + 1))"
for line in "${list[@]}"; do
	read -ra command <<<"${line#* }"
	# Small batches would make passes take minutes.
	echo 5000 >$knobs/pages_to_scan
	start=$SECONDS
	"./${command[0]}" "${command[@]:1}" 2>&1 | sed 's/^/  /'
	status=${PIPESTATUS[0]}
	echo "  # took $((SECONDS - start)) s"
	result "$status" "${command[*]}"
done
restore "$before" 2>&1
result $? "knobs restored"
