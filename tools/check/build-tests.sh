#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# build-tests.sh SOURCE OUT SET: builds the test programs of user space, ours and
# the kernel's own as they are, and leaves those of the set in the folder OUT: those
# of KSM in kernel/, and in shared/ those that shared-tests.sh runs.
# The kernels of one architecture share them: the folder has links.

. "$(dirname "$0")/../lib.sh"
. "$repo/tools/env.sh"

# newer_than_all FILE OTHER...
newer_than_all() {
	local file
	for file in "${@:2}"; do
		[ "$1" -nt "$file" ] || return
	done
}

source=$1 out=$2 set=$3
selftests=$source/tools/testing/selftests
arch=x86
[ "$set" != arm64 ] || arch=arm64
built=$repo/build/tests-$arch
own="ksm_tests ksm_functional_tests merge rmap"

# make knows of no change of these.
key=$({ "clang-$llvm" --version; echo "$source"; } | hash_of "$repo/selftests/Makefile" \
	"$selftests"/{lib.mk,kselftest.h,kselftest_harness.h})
[ "$(cat "$built/key" 2>/dev/null)" = "$key" ] || rm -rf "$built"
mkdir -p "$built/kernel"
echo "$key" >"$built/key"

make_selftests "$set" -j"$(nproc)" KSRC="$source" OUTPUT="$built" SET="$set"
names=$(make_selftests "$set" -s --no-print-directory KSRC="$source" OUTPUT="$built" SET="$set" names)

# A program of an earlier state would be one that did not run.
rm -rf "$out"
mkdir -p "$out"
for name in $names; do
	ln "$built/$name" "$out/"
done

case $set in uml* | debug-short | arm64) exit 0 ;; esac
mkdir -p "$out/kernel"
# What the kernel's Makefile finds out for them: there is no liburing.
mkdir -p "$built/include"
: >"$built/include/local_config.h_gen"

# kernel_test FOLDER PROGRAM [FILE...]
kernel_test() {
	local folder=$1 program=$2 files
	files=("$selftests"/mm/{"$program",vm_util,hugepage_settings}.c "${@:3}")
	newer_than_all "$built/kernel/$program" "${files[@]}" ||
		"clang-$llvm" -O2 -Wall -Wno-deprecated-declarations -U_FORTIFY_SOURCE -D_GNU_SOURCE= \
			-I "$built/include" -I "$selftests" -I "$source" -isystem "$source/tools/include/uapi" \
			"${files[@]}" -o "$built/kernel/$program" -lrt -lpthread -lm -lnuma
	ln "$built/kernel/$program" "$out/$folder/"
}

for program in $own; do
	kernel_test kernel "$program"
done

case $set in plain | debug) ;; *) exit 0 ;; esac
mkdir -p "$out/shared"
ln "$built"/{shared_all,shared_before.so} "$out/shared/"
while read -r _ program _; do
	case $program in
	uffd-*) kernel_test shared "$program" "$selftests/mm/uffd-common.c" ;;
	*) kernel_test shared "$program" ;;
	esac
done < <(sed '/^#/d' "$repo/tools/check/shared-tests.list" | sort -u -k2,2)
