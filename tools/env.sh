# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced: puts the toolchain first. bindgen pipes its output through the
# program that the variable RUSTFMT names, so that must not be set.

# shellcheck disable=SC2154 # lib.sh knows the repository
. "$repo/tools/own-cargo.sh"
toolchain=$("$(dirname "${BASH_SOURCE[0]}")/toolchain.sh")
in_use "$toolchain"
# shellcheck source=/dev/null
. "$toolchain/versions"
# shellcheck disable=SC2154
export PATH=$toolchain/bin:/usr/lib/llvm-$llvm/bin:$PATH
export LIBCLANG_PATH=/usr/lib/llvm-$llvm/lib
unset LD_LIBRARY_PATH RUSTFMT RUSTFLAGS RUSTC_WRAPPER RUSTUP_TOOLCHAIN KCFLAGS ARCH CROSS_COMPILE

# make_selftests KERNEL ARGUMENT...: compiles them for the machine of that kernel.
# shellcheck disable=SC2154 # lib.sh knows the repository
make_selftests() {
	local cross=()
	if [ "$1" = arm64 ]; then
		"$repo/tools/packages.sh" gcc-aarch64-linux-gnu libc6-dev-arm64-cross >&2
		cross=(ARCH=arm64)
	fi
	make -C "$repo/selftests" LLVM="-$llvm" "${cross[@]}" "${@:2}"
}
