# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by check and build: what a kernel is and what it takes to build for it.

# The series that kernel.patch and the hooks are made for.
series=@SERIES@

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# What our make was given is not meant for the makes that are called from here,
# and bindgen pipes its output through the program that RUSTFMT names.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL KERNELRELEASE
unset RUSTFMT RUSTFLAGS RUSTC_WRAPPER KCFLAGS ARCH CROSS_COMPILE
export LC_ALL=C
rustc=${RUSTC:-rustc} bindgen=${BINDGEN:-bindgen}

die() {
	echo "rksm: $*" >&2
	exit 1
}

# find_kernel RELEASE: where its headers are, and the source they belong to.
find_kernel() {
	release=$1
	case $release in
	"$series".*) ;;
	*) die "this is made for Linux $series, not for $release" ;;
	esac
	kdir=${KDIR:-/lib/modules/$release/build}
	[ -e "$kdir/.config" ] ||
		die "the headers of $release are not in $kdir: apt install linux-headers-$release"
	kdir=$(realpath "$kdir")
	ksrc=$(sed -n 's,^include \(/.*\)/Makefile$,\1,p' "$kdir/Makefile")
	ksrc=$(realpath "${ksrc:-$kdir}")
	tarball=${LINUX_SOURCE:-/usr/src/linux-source-$series.tar.xz}
}

# config NAME: what the kernel's configuration says.
config() {
	sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p" "$kdir/.config"
}

# needs NAME WHAT: refuses a kernel that was built without it.
needs() {
	[ "$(config "$1")" = y ] || die "$release was built without $2 ($1)"
}

# same WHAT OURS KERNEL'S: rustc, for one, has its version in each symbol.
same() {
	[ "$2" = "$3" ] || die "$release was built with another $1: '$3', and here is '${2:-none}'"
}

# Refuses, in one sentence, what does not belong together.
check_kernel() {
	local debian source program

	[ "$(config CONFIG_X86_64)" = y ] || die "$release is not for x86-64"
	needs CONFIG_RUST "support for Rust"
	needs CONFIG_LIVEPATCH "live patching"
	needs CONFIG_KSM "page merging"
	needs CONFIG_KALLSYMS_ALL "the names of all symbols"
	needs CONFIG_DYNAMIC_FTRACE_WITH_ARGS "ftrace with arguments"
	[ -z "$(config CONFIG_RUST_INLINE_HELPERS)" ] ||
		die "$release inlines Rust's helpers (CONFIG_RUST_INLINE_HELPERS), which these modules cannot"
	[ -z "$(config CONFIG_MODVERSIONS)" ] ||
		die "$release checks versions of symbols (CONFIG_MODVERSIONS), which these modules do not have"

	[ -z "$(config CONFIG_LTO)" ] ||
		die "$release was built with link-time optimisation (CONFIG_LTO): what is redirected may be inlined anywhere"

	cc=$(config CONFIG_CC_VERSION_TEXT)
	cc=${cc%% *}
	for program in make patch tar xz "$cc" "$rustc" "$bindgen"; do
		command -v "$program" >/dev/null || die "$program is missing"
	done
	same rustc "$("$rustc" --version)" "$(config CONFIG_RUSTC_VERSION_TEXT)"
	same bindgen "$("$bindgen" --version)" "$(config CONFIG_BINDGEN_VERSION_TEXT)"
	[ -e "$("$rustc" --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs" ] ||
		die "the source of Rust's library is missing: apt install rust-src"

	[ -e "$tarball" ] || die "$tarball is missing: apt install linux-source-$series"
	# What the tarball has inside takes seconds to see; its package knows.
	debian=$(sed -n 's/.* Debian \([^ ]*\) .*/\1/p' "$kdir/include/generated/utsversion.h")
	source=$(dpkg-query -W -f='${Version}' "linux-source-$series" 2>/dev/null || :)
	if [ -z "${LINUX_SOURCE:-}" ] && [ -n "$debian" ] && [ "$debian" != "$source" ]; then
		die "$release is of Debian's version $debian, and linux-source-$series is ${source:-of none}: both must be the same"
	fi
}
