#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# debian-root.sh: makes Debian 13 in the cache, from its packages and nothing
# else, and prints the folder. There are in it
#   root.img            the disk of the `debian` test machine
#   vmlinuz, initrd.img its kernel and initrd, out of that disk
#   tree                the same, and what it takes to build a module for that
#                       kernel: for debian-chroot.sh
# Both come from one reading of the package lists, so that they fit together.
# DEBIAN_FLAVOUR is which of Debian's kernels; there is one Debian for each.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"
. "$repo/tools/archive.sh"

suite=${kernel_suite%-backports}
flavour=${DEBIAN_FLAVOUR:-cloud-amd64}
# What a small Debian system has, and what the tests and the demo run there.
boot=(ca-certificates systemd-sysv udev dbus kmod initramfs-tools zstd e2fsprogs iproute2 procps
	make python3 python3-rich numactl qemu-system-x86
	"linux-image-$flavour/$kernel_suite")
build=(gcc-14 gcc make rustc rust-src bindgen dkms bc bison flex cpio rsync xz-utils
	libelf-dev libdw-dev libssl-dev pahole python3
	"linux-headers-$flavour/$kernel_suite")

out=$cache/debian-$suite-$(hash_of "$0" "$repo/tools/versions.sh" <<<"$flavour")
new=$out.new

# mmdebstrap calls this script for it when the machine's packages are installed:
# makes the disk, then installs the rest. All programs of the root run inside of
# it: an apt or a dpkg from outside would have this system to work on.
finish() {
	local root=$1 series
	inside() {
		chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
	}
	inside apt-get clean
	# A system that was started before has a machine id, and nothing left to do
	# that is done at a first start.
	echo rksm >"$root/etc/hostname"
	inside systemd-machine-id-setup
	inside /usr/lib/systemd/systemd-update-done
	cp "$root"/boot/vmlinuz-* "$new/vmlinuz"
	cp "$root"/boot/initrd.img-* "$new/initrd.img"
	chmod 644 "$new/initrd.img"
	# The bind mount shows the root without what is mounted in it.
	mkdir "$new/mnt"
	truncate -s 8G "$new/root.img"
	# shellcheck disable=SC2016 # for the inner shell
	unshare --mount sh -ec 'mount --bind "$1" "$2/mnt"
		/sbin/mke2fs -q -t ext4 -d "$2/mnt" "$2/root.img"' mke2fs "$root" "$new"
	rmdir "$new/mnt"
	series=$(series_of "$(basename "$root"/boot/vmlinuz-*)")
	inside apt-get -y install "${build[@]}" "linux-source-$series/$kernel_suite"
}

# What is missing is said before anything is fetched.
offered() {
	read_suite "$cache/apt-debian" "$uri" "$kernel_suite" && suite_apt apt-cache show "linux-image-$flavour" &&
		suite_apt apt-cache show "linux-headers-$flavour" && rm -r "$apt" && return
	echo "The archive that apt uses here has no linux-image-$flavour in $kernel_suite, or cannot be read (see"
	echo "above). Without Debian's own kernel there are KERNEL=plain, debug and uml; or have apt use an archive that"
	echo "has it: see sources.list(5)."
	return 1
}

make_root() {
	local options
	mapfile -t options < <(mmdebstrap_options)
	"${as_root[@]}" rm -rf --one-file-system "$new"
	mkdir "$new"
	# What it mounts is gone with it, however it ends.
	"${as_root[@]}" env XDG_CACHE_HOME="${cache%/*}" DEBIAN_FLAVOUR="$flavour" unshare --mount \
		mmdebstrap --mode=root --variant=minbase --format=directory --keyring="$debian_keyring" \
		--dpkgopt=force-unsafe-io "${options[@]}" \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--include="${boot[*]}" --customize-hook="'$repo/tools/debian-root.sh' finish \"\$1\"" \
		"$suite" "$new/tree" "$(archive "$uri" "$suite")" "$(archive "$uri" "$kernel_suite")"
}

if [ "${1:-}" = finish ]; then
	finish "$2"
	exit
fi
if [ ! -e "$out" ]; then
	lock debian
	if [ ! -e "$out" ]; then
		"$repo/tools/packages.sh" mmdebstrap debian-archive-keyring e2fsprogs >&2
		find_mirror
		[ ${#as_root[@]} = 0 ] || sudo -v
		step debian-offered "looking for Debian's kernel $flavour" offered
		step debian "making Debian $suite with $flavour in the cache (1.5 minutes)" make_root
		mv "$new" "$out"
	fi
fi
echo "$out"
