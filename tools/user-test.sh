#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# user-test.sh [FILTER]: runs in user space what needs no kernel, with debug
# assertions and AddressSanitizer, and what has several threads with
# ThreadSanitizer; or checks the source: user-test.sh clippy. SEED=<number>
# repeats what was done at random. Miri would be better, but comes with rustup's
# nightly toolchains only, and needs parts of the compiler that Debian's lacks.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

# The runtime of the LLVM that rustc uses.
"$repo/tools/packages.sh" "libclang-rt-$llvm-dev"

# Of this folder alone: cargo takes two copies of the crate for one.
target=$cache/user-$({ rustc --version; echo "$repo"; } | hash_of "$repo/tools/user/Cargo.lock")
own_cargo "$cache/cargo-home"
export RUSTC_BOOTSTRAP=1
cd "$repo/tools/user"

# run SANITIZER [FILTER]: with a target the flags are for what is tested, not for
# what runs in the compiler. A fault can also be that something never ends.
run() {
	local flags="-Zsanitizer=$1 -Zexternal-clangrt -Clink-arg=-fsanitize=$1"
	# The standard library was compiled without.
	[ "$1" = address ] || flags+=" -Cunsafe-allow-abi-mismatch=sanitizer"
	local -x RUSTFLAGS=$flags CARGO_TARGET_DIR=$target/$1
	local test=("${cargo[@]}" test --locked --color never --target x86_64-unknown-linux-gnu)
	# Compiling may take as long as it takes.
	"${test[@]}" --no-run
	timeout -k 5 300 "${test[@]}" -- "${@:2}"
}

lock user
if [ "${1:-}" = clippy ]; then
	export RUSTC_WORKSPACE_WRAPPER=clippy-driver CARGO_TARGET_DIR=$target/clippy
	RUSTFLAGS=-Dwarnings "${cargo[@]}" check --locked --color never --workspace --all-targets
	exit
fi
export SEED=${SEED:-$(date +%s)}
echo "SEED=$SEED"
run address "$@"
export TSAN_OPTIONS=suppressions=$PWD/tsan.supp
run thread "${@:-fuzz::threads}"
