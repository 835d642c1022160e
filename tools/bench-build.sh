#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench-build.sh [clippy|test]: builds the benchmark in the cache and prints
# where the program is; or checks its source, or runs its unit tests.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

target=$cache/bench-$(rustc --version | hash_of "$repo/tools/bench/Cargo.lock")
# A wrapper's output is none of the compiler's: a place of its own.
export CARGO_TARGET_DIR=$target
[ "${1:-}" != clippy ] || export RUSTC_WORKSPACE_WRAPPER=clippy-driver CARGO_TARGET_DIR=$target/clippy
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=clang-$llvm
cd "$repo/tools/bench"

lock bench
case ${1:-} in
'')
	step bench "building the benchmark (about 1 minute from nothing)" \
		cargo build --release --locked --color never
	cp "$target/release/rksm-bench" "$repo/build/rksm-bench.new"
	mv "$repo/build/rksm-bench.new" "$repo/build/rksm-bench"
	echo "$repo/build/rksm-bench"
	;;
clippy)
	RUSTFLAGS=-Dwarnings cargo check --locked --color never --all-targets
	;;
test)
	cargo test --release --locked --color never
	;;
esac
