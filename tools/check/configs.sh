#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# configs.sh: compiles what the patches touch, and the module, for kernels that
# lack something that the test kernels have. Prints a line for each.

. "$(dirname "$0")/../lib.sh"
. "$repo/tools/env.sh"

# compile KDIR OUT: there is nothing for a module to stand in for without KSM, and no
# kernel that it could be linked for.
compile() {
	local arch=x86
	grep -q '^CONFIG_KSM=y' "$1/.config" || return 0
	! grep -q '^CONFIG_UML=y' "$1/.config" || arch=um
	mkdir -p "$2"
	make -s -C "$1" M="$repo" MO="$2" LLVM="-$llvm" ARCH="$arch" rksm.o
}

status=0
lock build
for name in no-ksm no-memcg no-numa; do
	if kdir=$("$repo/tools/kernel.sh" "$name") && compile "$kdir" "$repo/build/$name"; then
		echo "ok configs/$name"
	else
		echo "not ok configs/$name"
		status=1
	fi
done
exit $status
