#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Prints the folder of the Rust toolchain, made in the cache when it is not
# there. Source tools/env.sh to use it. The file `versions` in it says which it is;
# it stays until this script or tools/versions.sh changes, whatever apt has later.
#
# The packages of Debian's newest Rust conflict with rustc and rustup. So they are
# never installed: they are unpacked into the cache and run from there, on every
# machine.
# shellcheck disable=SC2154 # what it is comes from a file

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"
. "$repo/tools/own-cargo.sh"

os=$(. /etc/os-release && echo "$ID $VERSION_ID")
toolchain=$cache/toolchain-$(hash_of "$repo"/tools/{versions,toolchain,rust-choice,own-cargo}.sh <<<"$os")
build_tools=(
	make flex bison bc patch perl rsync cpio kmod xz-utils lz4
	libc6-dev libelf-dev libssl-dev gcc git file
)

# The shared libraries that the unpacked programs need are ordinary packages.
libraries() {
	apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks \
		--no-replaces "$@" |
		sed -n 's/^  Depends: \(lib[^<]*\)$/\1/p' | grep -v '^libstd-rust' | sort -u
}

unpack() {
	local package deb
	mkdir "$toolchain/debs"
	cd "$toolchain/debs"
	for package in "${unpacked[@]}"; do
		# apt checks the package against Debian's signed list.
		apt-get -o APT::Sandbox::User=root download "$package=$full"
	done
	for deb in *.deb; do
		dpkg-deb -x "$deb" "$toolchain"
	done
	rm -r "$toolchain/debs"
	wrap
	"$toolchain/bin/rustc" --version | grep -F "rustc $rust."
}

# Each program runs with the toolchain's own libraries.
wrap() {
	local program
	mkdir "$toolchain/bin"
	for program in rustc rustdoc rustfmt clippy-driver cargo; do
		cat >"$toolchain/bin/$program" <<-EOF
			#!/bin/sh
			LD_LIBRARY_PATH=$toolchain/usr/lib/$(gcc -dumpmachine) exec $toolchain/usr/bin/$program "\$@"
		EOF
		chmod +x "$toolchain/bin/$program"
	done
}

install_bindgen() {
	unset RUSTUP_TOOLCHAIN RUSTFLAGS CARGO_BUILD_TARGET
	export PATH=$toolchain/bin:$PATH
	own_cargo "$toolchain/cargo-home"
	# It runs a few times for each build: optimising it takes longer than that saves.
	export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
	cd "$toolchain"
	"${cargo[@]}" install --locked --root "$toolchain" --target-dir "$toolchain/target" \
		--version "$bindgen" bindgen-cli
	rm -rf "$toolchain/cargo-home" "$toolchain/target"
}

[ -e "$toolchain/.complete" ] || lock toolchain
if [ -e "$toolchain/.complete" ]; then
	# shellcheck source=/dev/null
	. "$toolchain/versions"
	needed=()
else
	choice=$("$repo/tools/rust-choice.sh")
	eval "$choice"
	unpacked=(
		"rustc$infix" "rust$infix-src" "rustfmt$infix" "rust$infix-clippy" "cargo$infix"
		"libstd-rust$infix-dev" "libstd-rust$infix-$rust"
	)
	mapfile -t needed < <(libraries "${unpacked[@]/%/=$full}")
fi
"$repo/tools/packages.sh" "clang-$llvm" "lld-$llvm" "llvm-$llvm" "libclang-$llvm-dev" "${build_tools[@]}" "${needed[@]}"
if [ ! -e "$toolchain/.complete" ]; then
	rm -rf "$toolchain"
	mkdir -p "$toolchain"
	step toolchain-unpack "fetching Rust $rust from Debian (about 1 minute)" unpack
	step bindgen "building bindgen $bindgen (about 2 minutes)" install_bindgen
	echo "rust=$rust llvm=$llvm" >"$toolchain/versions"
	touch "$toolchain/.complete"
fi
echo "$toolchain"
