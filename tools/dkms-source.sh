#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# dkms-source.sh FOLDER [SERIES]: lays out there what both modules are built from
# on a distribution's kernel, by dkms/build. It is refused for those of any other
# series.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"

top=$1
mkdir -p "$top/dkms" "$top/kernel"
cp -r "$repo"/*.rs "$repo/mm" "$repo/intrusive" "$repo/dkms/Kbuild" "$repo/VERSION" "$top/"
cp "$repo"/dkms/{build,check,common.sh,top.mk,rust.mk,klp-post-link.c} "$repo"/dkms/*.klp "$top/dkms/"
cp -r "$repo"/kernel/{tree,livepatch} "$top/kernel/"
# Of the series it is only the kernel's Rust that has to be patched.
cp "$repo"/kernel/patches/*-rust-add-bindings-*.patch "$top/kernel.patch"
sed -i "s/@SERIES@/${2:-$kernel_series}/g" "$top/dkms/common.sh"
