# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced.

# own_cargo FOLDER: "${cargo[@]}" is one that keeps what it fetches there. The user's
# own configuration says where to fetch from. What it says of the linker, or of
# wrappers for the compiler, is not used: the last of several --config wins, and over
# the environment.
own_cargo() {
	local config
	config=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")/config.toml
	cargo=(cargo)
	[ ! -e "$config" ] || cargo+=(--config "$config")
	# shellcheck disable=SC2154 # who sources this knows it
	cargo+=(--config "target.x86_64-unknown-linux-gnu.linker='clang-$llvm'")
	export CARGO_HOME=$1 RUSTC_WRAPPER='' RUSTC_WORKSPACE_WRAPPER=''
}
