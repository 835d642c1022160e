#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# module.sh KDIR OUT [make arguments]: builds rksm.ko for the prepared kernel
# tree KDIR into the folder OUT.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

kdir=$1 out=$2
shift 2
[ -e "$kdir/.config" ] || die "$kdir is not a prepared kernel tree: it has no .config"
mkdir -p "$out"

arch=()
grep -q '^CONFIG_UML=y' "$kdir/.config" && arch=(ARCH=um)
grep -q '^CONFIG_ARM64=y' "$kdir/.config" && arch=(ARCH=arm64)
make -s -C "$kdir" M="$repo" MO="$(realpath "$out")" LLVM="-$llvm" "${arch[@]}" "$@" modules
