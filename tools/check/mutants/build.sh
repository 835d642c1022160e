#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# build.sh KERNEL PROGRAM...: builds module and test programs in the copy of the tree in
# which this lies, into its folder build/KERNEL.

. "$(dirname "$0")/../../lib.sh"
. "$repo/tools/env.sh"

name=$1
shift
"$repo/tools/build.sh" "$name"
if of_debian "$name"; then
	source=$("$repo/tools/source.sh")
else
	source=$(<"$repo/build/$name/ksrc")
fi
mkdir -p "$repo/build/$name/tests"
make_selftests "$name" -s KSRC="$source" OUTPUT="$repo/build/$name/tests" SET="$name" TESTS="$*"
