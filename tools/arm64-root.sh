#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# arm64-root.sh: makes what the `arm64` test machine boots into from Debian 13's
# packages for arm64, and prints its initrd. The packages are unpacked and not
# configured: nothing of them runs here.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"
. "$repo/tools/archive.sh"

suite=${kernel_suite%-backports}
packages=(bash busybox-static coreutils diffutils findutils gawk grep kmod make mount ncurses-bin
	perl-base procps sed util-linux)
# What no test has a use for is a third of it.
left_out=(usr/include usr/lib/systemd usr/share/{doc,i18n,info,locale,man,zoneinfo} var/lib/dpkg)

out=$cache/arm64-$suite-$(hash_of "$0" "$repo/tools/arm64-init.sh" "$repo/tools/versions.sh" </dev/null)
new=$out.new

make_root() {
	local options
	mapfile -t options < <(mmdebstrap_options)
	"${as_root[@]}" rm -rf --one-file-system "$new"
	mkdir "$new"
	# What it mounts is gone with it, however it ends.
	"${as_root[@]}" unshare --mount \
		mmdebstrap --mode=root --variant=extract --architectures=arm64 --format=directory \
		--keyring="$debian_keyring" "${options[@]}" \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--include="${packages[*]}" "$suite" "$new/tree" "$(archive "$uri" "$suite")"
	# Device nodes and files that only root may read go into it as well.
	# shellcheck disable=SC2016 # for the inner shell
	"${as_root[@]}" bash -euc 'cd "$1/tree"
		cp "$2" init
		ln -sf bash usr/bin/sh
		rm -rf "${@:3}"
		find . -xdev -print0 | cpio -0o -H newc --quiet >"$1/initrd"' \
		make-initrd "$new" "$repo/tools/arm64-init.sh" "${left_out[@]}"
	"${as_root[@]}" rm -rf --one-file-system "$new/tree"
}

if [ ! -e "$out" ]; then
	lock arm64
	if [ ! -e "$out" ]; then
		"$repo/tools/packages.sh" mmdebstrap debian-archive-keyring cpio >&2
		find_mirror
		[ ${#as_root[@]} = 0 ] || sudo -v
		step arm64 "making Debian $suite for arm64 in the cache (half a minute)" make_root
		mv "$new" "$out"
	fi
fi
echo "$out/initrd"
