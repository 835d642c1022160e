#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# cargo.sh PROGRAM [clippy|test]: builds tools/PROGRAM, a program for the host, in
# the cache and prints where it is; or checks its source, or runs its unit tests.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

crate=$1
own_cargo "$cache/cargo-home"
# What is in a package must not depend on where it was built. A build ID does: it is
# made of debug information as well.
flags="--remap-path-prefix=$CARGO_HOME=/cargo -Clink-arg=-Wl,--build-id=none"
target=$cache/cargo-$(printf '%s\n' "$(rustc --version)" "$flags" | hash_of "$repo/tools/Cargo.lock")
# A wrapper's output is none of the compiler's: a place of its own.
export CARGO_TARGET_DIR=$target
[ "${2:-}" != clippy ] || export RUSTC_WORKSPACE_WRAPPER=clippy-driver CARGO_TARGET_DIR=$target/clippy
cd "$repo/tools/$crate"
name=$(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml)

lock cargo
# cargo goes by the age of files, and takes what another clone has built from newer
# ones for its own. A test knows where its clone is, which may be gone by now.
mapfile -d '' -t files < <(find . -type f ! -name '*.new' -print0 | sort -z)
content=$(hash_of "${files[@]}" <<<"$repo")
if [ "$(cat "$CARGO_TARGET_DIR/$name.content" 2>/dev/null)" != "$content" ]; then
	rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/"$name"-*
	mkdir -p "$CARGO_TARGET_DIR"
	echo "$content" >"$CARGO_TARGET_DIR/$name.content"
fi
case ${2:-} in
'')
	step "$crate" "building $name (about 1 minute from nothing)" \
		env RUSTFLAGS="$flags" "${cargo[@]}" build --release --locked --color never
	mkdir -p "$repo/build"
	cp "$target/release/$name" "$repo/build/$name.new"
	mv "$repo/build/$name.new" "$repo/build/$name"
	echo "$repo/build/$name"
	;;
clippy)
	RUSTFLAGS=-Dwarnings "${cargo[@]}" check --locked --color never --all-targets
	;;
test)
	# What a shell runs in the background ignores these; a test sends them.
	RUSTFLAGS=$flags env --default-signal=INT,QUIT "${cargo[@]}" test --release --locked --color never
	;;
*) die "usage: cargo.sh PROGRAM [clippy|test]" ;;
esac
