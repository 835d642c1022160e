#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# archive-test.sh: what the scripts do when Debian's archive has moved on, and when
# they are stopped half way. The archive is a small one, made here; apt, git and the
# scripts are what they are. Nothing is installed, and no kernel built.
# shellcheck disable=SC2317 # the tests are called by their names

set -euo pipefail
export LC_ALL=C
repo=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
top=$work/clone
mkdir -p "$work"/{bin,home,archive} "$work"/apt/{state/lists/partial,cache/archives/partial,empty} \
	"$top"/{tools,kernel/patches,kernel/tree/mm}
cp "$repo"/tools/*.sh "$top/tools/"
. "$repo/tools/versions.sh"
architecture=$(dpkg --print-architecture)

# All that a script may ask for is installed; what root does is done without.
# shellcheck disable=SC2016 # for those scripts
printf '#!/bin/sh\nshift 2\nfor p; do echo "$p installed"; done\n' >"$work/bin/dpkg-query"
# shellcheck disable=SC2016
printf '#!/bin/sh\n[ "$1" = -v ] || exec "$@"\n' >"$work/bin/sudo"
chmod +x "$work"/bin/*
cat >"$work/apt.conf" <<END
Dir::State "$work/apt/state";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
Dir::Etc::parts "$work/apt/empty";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "$work/apt/empty";
Dir::Etc::preferences "$work/apt/empty/none";
Dir::Etc::preferencesparts "$work/apt/empty";
Dir::Bin::dpkg "/bin/false";
APT::Sandbox::User "root";
APT::Update::Post-Invoke { };
APT::Update::Post-Invoke-Success { };
Acquire::AllowInsecureRepositories "true";
Acquire::Languages "none";
APT::Get::AllowUnauthenticated "true";
END
: >"$work/apt/status"
echo "deb file:$work/archive machine main" >"$work/apt/sources.list"
export APT_CONFIG=$work/apt.conf PATH=$work/bin:$PATH HOME=$work/home
unset KERNEL_SOURCE XDG_CACHE_HOME CARGO_HOME "${!GIT_@}"

failed=0
result() {
	if [ "$1" = 0 ]; then
		echo "ok $2"
	else
		echo "not ok $2"
		sed 's/^/# /' "$work/said"
		failed=1
	fi
}

# suite NAME: its packages are what comes in.
suite() {
	local folder=$work/archive/dists/$1
	mkdir -p "$folder/main/binary-$architecture"
	cat >"$folder/main/binary-$architecture/Packages"
	cd "$folder"
	{
		printf 'Origin: Debian\nLabel: Debian\nSuite: %s\nCodename: %s\n' "$1" "$1"
		printf 'Date: %s\nArchitectures: %s\nComponents: main\nSHA256:\n' "$(date -Ru)" "$architecture"
		find main -type f | while read -r file; do
			echo " $(sha256sum "$file" | cut -d ' ' -f 1) $(stat -c %s "$file") $file"
		done
	} >Release
}

# entry NAME VERSION [DEPENDS]: a package that nobody will fetch.
entry() {
	printf 'Package: %s\nVersion: %s\nArchitecture: %s\nDepends: %s\nFilename: pool/%s\nSize: 1\nSHA256: %064d\n\n' \
		"$1" "$2" "$architecture" "${3:-libc6}" "$1" 0
}

# rust INFIX VERSION LLVM
rust() {
	entry "rustc$1" "$2.0-1"
	entry "libstd-rust$1-$2" "$2.0-1" "libc6, libllvm$3, libgcc-s1"
}

# clean: an empty cache.
clean() {
	rm -rf "$work/home/.cache"
}

choose() {
	clean
	"$top/tools/rust-choice.sh" >"$work/out" 2>"$work/said"
}

# has FILE TEXT...: each text is in it.
has() {
	local text
	for text in "${@:2}"; do
		grep -qF -- "$text" "$work/$1" || {
			echo "it does not say: $text" >>"$work/said"
			return 1
		}
	done
}

rust_as_tried() {
	{ rust -web 9.1 99; rust -web "$rust" "$llvm"; rust '' 1.85 19; for i in 99 "$llvm" 19; do entry "clang-$i" 1; done; } | suite machine
	choose && has out "rust=$rust" "llvm=$llvm" infix=-web && ! grep -q 'nobody tried' "$work/said"
}

rust_that_comes_after() {
	{ rust -web 9.1 99; rust '' 1.85 19; for i in 99 19; do entry "clang-$i" 1; done; } | suite machine
	choose && has out rust=9.1 llvm=99 full=9.1.0-1 && has said "no Rust $rust" "9.1 with LLVM 99, which nobody tried"
}

rust_of_the_release() {
	{ rust -web 9.1 99; rust '' 1.85 19; entry clang-19 1; } | suite machine
	choose && has out rust=1.85 llvm=19 "infix=''"
}

rust_nowhere() {
	{ rust -web 9.1 99; rust '' 1.63 14; entry clang-14 1; } | suite machine
	! choose && has said "no Rust from $rust_least" "9.1 with LLVM 99, without clang-99" "1.63 with LLVM 14, too old" 'sources.list'
}

# tree VERSION [SED]: a small kernel source, to be patched.
tree() {
	local folder=$work/linux-$1
	rm -rf "$folder"
	mkdir -p "$folder/mm" "$folder/empty"
	printf 'VERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = 1\n' "${1%.*}" "${1#*.}" >"$folder/Makefile"
	seq -f 'line %g' 40 | sed "${2:-}" >"$folder/mm/ksm.c"
	echo other >"$folder/mm/other.c"
	printf '/*\n*.o\n' >"$folder/.gitignore"
	echo object >"$folder/there.o"
}

# linux VERSION [SED]: the same as a package, printed as its entry.
linux() {
	local name=linux-source-$1 deb
	tree "$@"
	deb=$work/archive/$name.deb
	rm -rf "$work/deb"
	mkdir -p "$work/deb/usr/src" "$work/deb/DEBIAN"
	tar -cJf "$work/deb/usr/src/$name.tar.xz" -C "$work" "linux-$1"
	printf 'Package: %s\nVersion: %s.1-1\nArchitecture: all\nMaintainer: nobody <rksm@localhost>\nDescription: test\n' \
		"$name" "$1" >"$work/deb/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$work/deb" "$deb" >/dev/null
	dpkg-deb -f "$deb"
	printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$name.deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
}

# patch_line NUMBER: our one patch changes that line.
patch_line() {
	tree 0.0
	cd "$work"
	rm -rf b
	cp -r linux-0.0 b
	sed -i "s/^line $1\$/patched $1/" b/mm/ksm.c
	diff -ru --label a/mm/ksm.c --label b/mm/ksm.c linux-0.0/mm/ksm.c b/mm/ksm.c >"$top/kernel/patches/0001-change-ksm.patch" || :
}

# source_says: runs it.
source_says() {
	"$top/tools/source.sh" >"$work/out" 2>"$work/said"
}

# is_right LINE: the tree is whole, and that line is patched.
is_right() {
	local linux=$work/home/.cache/rksm/linux there
	there=$(cd "$linux" && find . -type f | sort | paste -sd ' ' && grep ^patched mm/ksm.c)
	[ "$there" = "./.gitignore ./Makefile ./mm/ksm.c ./mm/other.c ./mm/ours.c ./there.o
patched $1" ] || {
		echo "the tree is not right: $there" >>"$work/said"
		return 1
	}
}

# known: what the suites have to begin with.
known() {
	rm -rf "$work/archive/dists"
	entry nothing 1 | suite machine
	clean
	patch_line 20
}

linux_as_tried() {
	known
	{ linux 9.9; linux "$kernel_series"; } | suite "$kernel_suite"
	source_says && is_right 20 && ! grep -q 'nobody tried' "$work/said"
}

# Of a later point release the context has moved, and a line of it is another.
linux_of_a_later_point_release() {
	known
	linux "$kernel_series" '3i more\nand more
		17s/line/row/' | suite "$kernel_suite"
	source_says && is_right 20
}

linux_that_comes_after() {
	known
	{ linux 6.12; linux 9.9; } | suite "$kernel_suite"
	linux 9.10 | suite sid
	source_says && is_right 20 && has said 'this is Linux 9.9' "made for $kernel_series"
}

linux_in_another_suite() {
	known
	linux 9.9 | suite "$kernel_suite"
	linux "$kernel_series" | suite sid
	source_says && is_right 20 && ! grep -q 'nobody tried' "$work/said"
}

suite_is_gone() {
	known
	linux 9.9 | suite sid
	source_says && is_right 20 && has said 'this is Linux 9.9'
}

linux_nowhere() {
	known
	linux 6.12 | suite "$kernel_suite"
	! source_says && has said "has linux-source-$kernel_series or one after it" 'KERNEL_SOURCE=' 'sources.list'
}

patch_that_does_not_fit() {
	known
	linux "$kernel_series" '18,22s/line/row/' | suite "$kernel_suite"
	! source_says && has said 0001-change-ksm.patch 'mm/ksm.c:17' 'KERNEL_SOURCE='
}

debian_without_its_kernel() {
	known
	linux "$kernel_series" | suite "$kernel_suite"
	! "$top/tools/debian-root.sh" >"$work/out" 2>"$work/said" &&
		has said "has no linux-image-cloud-amd64 in $kernel_suite" 'KERNEL=plain'
}

source_of_ones_own() {
	known
	tree "$kernel_series"
	tar -cJf "$work/linux.tar.xz" -C "$work" "linux-$kernel_series"
	export KERNEL_SOURCE=$work/nowhere
	! source_says && has said 'KERNEL_SOURCE=' 'no such file' || return
	KERNEL_SOURCE=$work/archive
	! source_says && has said 'is no kernel source' || return
	local linux=$work/home/.cache/rksm/linux
	KERNEL_SOURCE=$work/linux.tar.xz
	source_says && is_right 20 || return
	# Of a folder every change is seen; what is not changed keeps its date.
	KERNEL_SOURCE=$work/linux-$kernel_series
	touch -d yesterday "$linux/mm/ksm.c"
	echo changed >"$KERNEL_SOURCE/mm/other.c"
	source_says && is_right 20 && grep -qx changed "$linux/mm/other.c" || return
	# In a clone a file may be known and ignored, or new; what is only ignored is none.
	cd "$KERNEL_SOURCE"
	git init -q
	git add -f there.o .gitignore Makefile mm/ksm.c
	echo more >mm/other.c
	echo object >left.o
	echo '*.o' >.gitignore
	source_says && is_right 20 && grep -qx more "$linux/mm/other.c" &&
		[ -z "$(find "$linux/mm/ksm.c" -newermt '1 hour ago')" ] || return
	KERNEL_SOURCE=$work/linux.tar.xz
	source_says && is_right 20 && grep -qx other "$linux/mm/other.c"
}

only_what_changes_is_written() {
	local linux=$work/home/.cache/rksm/linux
	known
	linux "$kernel_series" | suite "$kernel_suite"
	source_says && touch -d yesterday "$linux"/mm/*.c || return
	patch_line 30
	source_says && is_right 30 &&
		[ "$(cd "$linux" && find . -newermt '1 hour ago' -name '*.c')" = ./mm/ksm.c ]
}

# What git leaves when it is stopped.
stopped_within_git() {
	local rksm=$work/home/.cache/rksm
	known
	linux "$kernel_series" | suite "$kernel_suite"
	source_says || return
	patch_line 30
	touch "$rksm"/linux.git/index{,-new,-debian}.lock "$rksm/linux/mm/stray.c"
	echo half >"$rksm/linux/mm/ksm.c"
	rm "$rksm/linux/mm/other.c"
	source_says && is_right 30 || return
	# Before there was an index.
	rm "$rksm"/linux.{stamp,git/index} "$rksm/linux/mm/other.c"
	source_says && is_right 30
}

# stop_at NUMBER: runs it, and stops it at that command; fails if it came to its end.
stop_at() {
	local status=0
	{ BASH_ENV=$work/killer KILL_AT=$1 setsid -w "$top/tools/source.sh" >"$work/said" 2>&1; } 2>/dev/null || status=$?
	echo "stopped at command $1: status $status" >>"$work/said"
	[ "$status" != 0 ]
}

# A script that is stopped at any of its commands puts all right when it is run once
# more. In between lies STOP_STRIDE.
stopped_anywhere() {
	local stride=${STOP_STRIDE:-7} at
	known
	tree "$kernel_series"
	tar -cJf "$work/linux.tar.xz" -C "$work" "linux-$kernel_series"
	export KERNEL_SOURCE=$work/linux.tar.xz
	echo 'set -T; trap "((++points == KILL_AT)) && kill -KILL \$\$ 0" DEBUG' >"$work/killer"
	for ((at = stride; ; at += stride)); do
		clean
		stop_at "$at" || break
		"$top/tools/source.sh" >>"$work/said" 2>&1 && is_right 20 || return
	done
	[ "$at" -gt 60 ] || return
	# With another patch, on what is there.
	for ((at = stride; ; at += stride)); do
		patch_line 20
		source_says || return
		patch_line 30
		stop_at "$at" || break
		"$top/tools/source.sh" >>"$work/said" 2>&1 && is_right 30 || return
	done
	[ "$at" -gt 60 ]
}

echo 'int ours;' >"$top/kernel/tree/mm/ours.c"
[ $# != 0 ] || set -- rust_as_tried rust_that_comes_after rust_of_the_release rust_nowhere \
	linux_as_tried linux_of_a_later_point_release linux_that_comes_after linux_in_another_suite \
	suite_is_gone linux_nowhere patch_that_does_not_fit debian_without_its_kernel source_of_ones_own \
	only_what_changes_is_written stopped_within_git stopped_anywhere
for name; do
	: >"$work/said"
	status=0
	("$name") || status=$?
	result "$status" "archive/$name"
done
exit "$failed"
