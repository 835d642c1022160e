#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shared-tests.sh FOLDER MERGER: runs the kernel's own tests of what is done to files in
# memory, which are in FOLDER, without and with the program MERGER, which merges all pages
# of all memfds meanwhile, and prints KTAP.

merger=$(realpath "$2")
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
	read -ra command <<<"$line"
	number=$((number + 1))
	run alone "${command[@]}"
	"$merger" >"$out/count" &
	run merged "${command[@]}"
	kill $!
	wait $!
	merged=$(<"$out/count")
	echo "  # $(grep -c '^ok ' "$out/merged") cases passed, $merged pages were merged"
	if [ "$(verdict alone)" = "$(verdict merged)" ] && [ "${merged:-0}" -gt 0 ]; then
		echo "ok $number $line"
	else
		diff <(verdict alone) <(verdict merged) | sed 's/^/  # /'
		tail -n 20 "$out/merged" | sed 's/^/  # /'
		echo "not ok $number $line"
	fi
done
rm -rf "$out"
