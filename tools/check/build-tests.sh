#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# build-tests.sh SOURCE OUT SET: builds the test programs of user space:
# ours, and the kernel's own of KSM as they are.

. "$(dirname "$0")/../lib.sh"
. "$repo/tools/env.sh"

source=$1 out=$2 set=$3
selftests=$source/tools/testing/selftests
# A program of an earlier state would be one that did not run.
rm -rf "$out"
mkdir -p "$out"
make_selftests "$set" -j"$(nproc)" KSRC="$source" OUTPUT="$out" SET="$set"

case $set in uml | debian | arm64) exit 0 ;; esac
mkdir -p "$out/kernel"
for program in ksm_tests ksm_functional_tests merge rmap; do
	"clang-$llvm" -O2 -Wall -U_FORTIFY_SOURCE -D_GNU_SOURCE= \
		-I "$selftests" -I "$source" -isystem "$source/tools/include/uapi" \
		"$selftests"/mm/{"$program",vm_util,hugepage_settings}.c \
		-o "$out/kernel/$program" -lrt -lpthread -lm -lnuma
done
