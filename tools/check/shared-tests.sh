#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shared-tests.sh FOLDER: runs the kernel's own tests of what is done to files in memory,
# which are in FOLDER, without and with all pages of all memfds being merged, and prints KTAP.

mapfile -t list < <(sed '/^#/d' "$(dirname "$0")/shared-tests.list")
cd "$1" || exit 1
out=$(mktemp -d)

# run NAME COMMAND...: leaves the output and the exit status.
run() {
	"./$2" "${@:3}" >"$out/$1" 2>&1
	echo $? >"$out/$1.status"
}

# What failed, and how it ended. Cases have numbers, and some tell how fast they were.
verdict() {
	sed -nE 's/^(not ok) [0-9]+ /\1 /p' "$out/$1" | grep -v '# SKIP' | sort
	echo "exit status $(<"$out/$1.status")"
}

echo "KTAP version 1"
echo "1..${#list[@]}"
number=0
for line in "${list[@]}"; do
	read -r how line <<<"$line"
	read -ra command <<<"$line"
	number=$((number + 1))
	run alone "${command[@]}"
	if [ "$how" = before ]; then
		: >"$out/count"
		export SHARED_COUNT=$out/count LD_PRELOAD=$PWD/shared_before.so
		run merged "${command[@]}"
		unset SHARED_COUNT LD_PRELOAD
	else
		./shared_all >"$out/count" &
		run merged "${command[@]}"
		kill $!
		wait $!
	fi
	merged=$(awk '{ n += $1 } END { print n + 0 }' "$out/count")
	echo "  # $(grep -c '^ok ' "$out/merged") cases passed, $merged pages were merged"
	if [ "$(verdict alone)" = "$(verdict merged)" ] && [ "$merged" -gt 0 ]; then
		echo "ok $number $line"
	else
		diff <(verdict alone) <(verdict merged) | sed 's/^/  # /'
		tail -n 20 "$out/merged" | sed 's/^/  # /'
		echo "not ok $number $line"
	fi
done
rm -rf "$out"
