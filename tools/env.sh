# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced: puts the toolchain first. bindgen pipes its output through the
# program that the variable RUSTFMT names, so that must not be set.

toolchain=$("$(dirname "${BASH_SOURCE[0]}")/toolchain.sh")
. "$(dirname "${BASH_SOURCE[0]}")/versions.sh"
export PATH=$toolchain/bin:/usr/lib/llvm-$llvm/bin:$PATH
export LIBCLANG_PATH=/usr/lib/llvm-$llvm/lib
unset LD_LIBRARY_PATH RUSTFMT RUSTFLAGS RUSTC_WRAPPER RUSTUP_TOOLCHAIN KCFLAGS ARCH CROSS_COMPILE
