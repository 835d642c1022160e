#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# build.sh KERNEL [kernel|module]: builds the test kernel if it has changed
# and the module for it, and leaves both in build/KERNEL: a pair that fits
# together, whatever another clone does to the cache later. With KDIR set, the
# kernel is that prepared tree and is not built. If it is Debian's own, there
# are the module and its hooks.

. "$(dirname "$0")/lib.sh"

name=$1 what=${2:-module}
out=$repo/build/$name
mkdir -p "$out"

# Debian's own kernel comes out of its package.
if of_debian "$name"; then
	"$repo/tools/needs.sh" 2000 0 "$name"
	[ "$what" = kernel ] || "$repo/tools/debian-module.sh" "$out"
	exit
fi

"$repo/tools/needs.sh" 2000 0 toolchain source "$name"
kdir=${KDIR:-}
if [ -z "$kdir" ]; then
	lock build
	kdir=$("$repo/tools/kernel.sh" "$name")
fi
for image in "$kdir/arch/x86/boot/bzImage" "$kdir/arch/arm64/boot/Image" "$kdir/linux" "$kdir/vmlinux"; do
	[ -e "$image" ] || continue
	cmp -s "$image" "$out/kernel" || cp "$image" "$out/kernel"
	break
done
realpath "$kdir" >"$out/kdir"
realpath "$kdir/source" >"$out/ksrc"
if [ "$what" = module ]; then
	"$repo/tools/module.sh" "$kdir" "$out"
fi
