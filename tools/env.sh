# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced: puts the toolchain first. bindgen pipes its output through the
# program that the variable RUSTFMT names, so that must not be set.

toolchain=$("$(dirname "${BASH_SOURCE[0]}")/toolchain.sh")
in_use "$toolchain"
# shellcheck source=/dev/null
. "$toolchain/versions"
# shellcheck disable=SC2154
export PATH=$toolchain/bin:/usr/lib/llvm-$llvm/bin:$PATH
export LIBCLANG_PATH=/usr/lib/llvm-$llvm/lib
unset LD_LIBRARY_PATH RUSTFMT RUSTFLAGS RUSTC_WRAPPER RUSTUP_TOOLCHAIN KCFLAGS ARCH CROSS_COMPILE

# cargo keeps what it fetches in the cache. The user's own configuration says where to
# fetch from. What it says of the linker, or of wrappers for the compiler, is not
# used: the last of several --config wins, and over the environment.
# shellcheck disable=SC2154 # lib.sh knows the cache
own_cargo() {
	local config=${CARGO_HOME:-$HOME/.cargo}/config.toml
	cargo=(cargo)
	[ ! -e "$config" ] || cargo+=(--config "$config")
	cargo+=(--config "target.x86_64-unknown-linux-gnu.linker='clang-$llvm'")
	export CARGO_HOME=$cache/cargo-home RUSTC_WRAPPER='' RUSTC_WORKSPACE_WRAPPER=''
}

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
