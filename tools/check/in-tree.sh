#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# in-tree.sh TESTS KIND: runs those of the tests in the folder TESTS that
# in-tree.list names for machines of that kind, with in-tree KSM, and prints KTAP.

here=$(dirname "$(realpath "$0")")
[ ! -d /sys/module/rksm ] || { echo "rksm is loaded" >&2; exit 1; }
mapfile -t list < <(/usr/bin/python3 -B "$here/in_tree.py" "$2")
cd "$1" || exit 1
unset RKSM_KO
echo "KTAP version 1"
echo "1..${#list[@]}"
ended=0
for line in "${list[@]}"; do
	read -ra command <<<"$line"
	ended=$((ended + 1)) status=0 start=$SECONDS
	timeout 900 "./${command[0]}" "${command[@]:1}" >/run/in-tree.out 2>&1 </dev/null || status=$?
	sed 's/^/  /' /run/in-tree.out
	echo "  # took $((SECONDS - start)) s"
	# 1: some cases failed.
	case $status in
	0 | 1) echo "ok $ended ${command[0]}" ;;
	*) echo "not ok $ended ${command[0]} # exit status $status" ;;
	esac
	echo 2 >/sys/kernel/mm/ksm/run
done
