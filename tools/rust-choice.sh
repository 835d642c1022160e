#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# rust-choice.sh: which Rust of those that apt has to take, as lines for a shell:
# rust and llvm are the versions, infix is what its packages have in their names,
# and full is their version.
#
# Debian has two: that for building the web browsers, which moves on with them,
# and the one of the release. The one that rksm was tried with is taken while it
# is there, then the newest; of its LLVM there must be a clang.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"
. "$repo/tools/archive.sh"

# Each version of each Rust, as RUST LLVM FULL INFIX, the newest first.
rusts() {
	local libraries
	mapfile -t libraries < <(apt-cache pkgnames libstd-rust- | grep -xE 'libstd-rust-(web-)?[0-9]+\.[0-9]+')
	[ ${#libraries[@]} != 0 ] || return 0
	apt-cache show "${libraries[@]}" | awk -v RS= -F '\n' '{
		for (i = 1; i <= NF; i++) {
			if (sub(/^Package: /, "", $i)) name = $i
			if (sub(/^Version: /, "", $i)) full = $i
			if (sub(/^Depends: /, "", $i) && match($i, /libllvm[0-9]+/))
				llvm = substr($i, RSTART + 7, RLENGTH - 7)
		}
		print substr(name, match(name, /[0-9.]+$/)), llvm, full, name ~ /-web-/ ? "-web" : ""
	}' | sort -Vru
}

choose() {
	local version its_llvm full infix what
	found=() choice=
	while read -r version its_llvm full infix; do
		what="$version with LLVM $its_llvm"
		if later "$version" "$rust_least"; then
			found+=("$what, too old")
		elif ! apt-cache show "clang-$its_llvm" >/dev/null 2>&1; then
			found+=("$what, without clang-$its_llvm")
		elif [ -z "$choice" ] || [ "$version $its_llvm" = "$rust $llvm" ]; then
			choice="$version $its_llvm $full $infix"
		fi
	done < <(rusts)
	[ "${choice%% *}" = "$rust" ]
}

# It may be that only the lists are old.
choose || { "$repo/tools/packages.sh" --lists && choose; } || :
[ -n "$choice" ] || {
	[ ${#found[@]} != 0 ] || found=(none)
	printf -v all '%s; ' "${found[@]}"
	die "apt has no Rust from $rust_least on with a clang of the same LLVM, such as rustc-web $rust and" \
		"clang-$llvm; it has: ${all%; }. Are the suites main and security of Debian 12 or 13 among its" \
		"sources (sources.list(5))?"
}
read -r version its_llvm full infix <<<"$choice"
[ "$version $its_llvm" = "$rust $llvm" ] ||
	say "apt has no Rust $rust with LLVM $llvm any more; this is $version with LLVM $its_llvm, which nobody tried"
printf '%s=%q\n' rust "$version" llvm "$its_llvm" infix "$infix" full "$full"
