#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# clippy.sh KERNEL: compiles the module with the kernel's clippy lints; any
# warning is an error. Needs what build.sh leaves behind.

. "$(dirname "$0")/lib.sh"

out=$repo/build/$1
[ -e "$out/kdir" ] || die "build/$1 is not built yet"
exec "$repo/tools/module.sh" "$(<"$out/kdir")" "$out/clippy" CLIPPY=1 KRUSTFLAGS=-Dwarnings
