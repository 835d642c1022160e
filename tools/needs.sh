#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# needs.sh MEMORY SHM PART...: whether this machine has room for what is not in the
# cache yet, before hours go into it. In MiB are the memory of the test machines that
# run at once, and how much of /dev/shm is used.

. "$(dirname "$0")/lib.sh"

# What of the cache each part is, and how large, while it is made.
part() {
	case $1 in
	toolchain) what='toolchain-*/.complete' size=1600 ;;
	source) what=linux.stamp size=2700 ;;
	debian*) what='debian-*/tree' size=4000 ;;
	tools) what='debian-tools-*' size=1200 ;;
	plain) what=build-plain/rksm.stamp size=700 ;;
	debug) what=build-debug/rksm.stamp size=1100 ;;
	uml) what=build-uml/rksm.stamp size=400 ;;
	uml-debug) what=build-uml-debug/rksm.stamp size=600 ;;
	arm64) what=build-arm64/rksm.stamp size=1000 ;;
	programs) what='cargo-*' size=2500 ;;
	*) what='' size=0 ;;
	esac
}

memory=$1 shm=$2 disk=0
for name in "${@:3}"; do
	part "$name"
	[ -z "$what" ] || compgen -G "$cache/$what" >/dev/null || disk=$((disk + size))
done
free=$(df --output=avail -m "$cache" | tail -n 1)
[ "$free" -ge "$disk" ] ||
	die "$disk MiB of disk are needed in $cache, and $free are free: make room, or name another place in XDG_CACHE_HOME"
if [ "$shm" != 0 ]; then
	free=$(df --output=avail -m "${TMPDIR:-/dev/shm}" | tail -n 1)
	[ "$free" -ge "$shm" ] || die "User-Mode Linux has its memory in ${TMPDIR:-/dev/shm}: $shm MiB are needed, $free are free:" \
		"make it larger (mount -o remount,size=${shm}M), or leave out that kernel"
fi
free=$(awk '/^(MemAvailable|SwapFree):/ { sum += $2 } END { print int(sum / 1024) }' /proc/meminfo)
[ "$free" -ge "$memory" ] ||
	say "the test machines take up to $memory MiB of memory, and $free are free: they may be killed"
