#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Init of the User-Mode Linux machine: what virtme-ng does for the QEMU one.
# The root is the host's, read-only; writes go to memory.

run=$1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 run /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -sfn /proc/self/fd /dev/fd

for dir in /*/; do
	dir=${dir%/}
	case $dir in
	/dev | /proc | /sys | /run | /lost+found) continue ;;
	esac
	[ ! -L "$dir" ] || continue
	mkdir -p "/run/overlay$dir/upper" "/run/overlay$dir/work"
	mount -t overlay -o "lowerdir=$dir,upperdir=/run/overlay$dir/upper,workdir=/run/overlay$dir/work" \
		overlay "$dir"
done

# Where a write reaches the host: the status of the command, and the logs.
repo=$(dirname "$(dirname "$0")")
mkdir -p /run/rksm/host
mount -t hostfs -o "$run" none /run/rksm/host
mount -t hostfs -o "$repo/build/log" none "$repo/build/log"
hostname rksm

if [ -s "$run/cmd" ]; then
	stty -F /dev/tty1 raw -echo
	stty -F /dev/tty2 raw -echo
	setsid bash "$repo/tools/guest.sh" "$run" </dev/null
else
	setsid -c bash "$run/shell" <>/dev/tty0 >&0 2>&1
fi
sync
busybox poweroff -f
