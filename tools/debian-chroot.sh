#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# debian-chroot.sh COMMAND...: runs a command in the Debian root to build in, as
# the user who calls this; --root before it: as root. It sees this repository
# and the cache at their own places, where its writes stay. All else that it
# writes goes with it, unless DEBIAN_KEEP names a folder to keep that in from
# one run to the next. DEBIAN_DISK names a disk of the `debian` machine: then it
# runs on that, which keeps everything. What it leaves running is ended.

. "$(dirname "$0")/lib.sh"

user=$(id -u):$(id -g)
[ "${1:-}" != --root ] || { user=0:0; shift; }
[ $# != 0 ] || die "debian-chroot.sh: which command?"
disk=${DEBIAN_DISK:-}
tree=
[ -n "$disk" ] || tree=$("$repo/tools/debian-root.sh")/tree

work=${DEBIAN_KEEP:-}
if [ -z "$work" ]; then
	mkdir -p "$cache/run"
	work=$(mktemp -d "$cache/run/chroot-XXXXXX")
	trap '"${as_root[@]}" rm -rf --one-file-system "$work"' EXIT
fi
mkdir -p "$work/upper" "$work/work" "$work/root"
chmod 755 "$work" "$work/upper"

# Mounts and processes in name spaces of their own are gone when it ends.
# shellcheck disable=SC2016 # for the inner shell
"${as_root[@]}" unshare --mount --pid --fork --kill-child --propagation private \
	bash -euc '
	tree=$1 disk=$2 work=$3 repo=$4 cache=$5 user=$6
	shift 6
	root=$work/root
	if [ -n "$disk" ]; then
		mount -o loop "$disk" "$root"
		mount -t tmpfs tmpfs "$root/run"
	else
		mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" "$root"
	fi
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
	rm -f "$root/etc/resolv.conf"
	cp -L /etc/resolv.conf "$root/etc/resolv.conf" || :
	for place in "$repo" "$cache"; do
		mkdir -p "$root$place"
		mount --bind "$place" "$root$place"
	done
	status=0
	chroot --userspec="$user" "$root" env -i HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		sh -c "cd \"\$0\" && exec \"\$@\"" "$repo" "$@" || status=$?
	# The disk is whole when this ends. The first process of a name space does
	# not hit itself.
	kill -KILL -1 2>/dev/null || :
	for _ in {1..100}; do
		! umount -R "$root" 2>/dev/null || exit "$status"
		sleep 0.1
	done
	umount -R "$root"
	exit "$status"
	' debian-chroot "$tree" "$disk" "$work" "$repo" "$cache" "$user" "$@"
