#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Init of the `arm64` machine, whose root is in memory: TIME RUN REPO CACHE, as
# the machine has them on its command line.

run=$2 repo=$3 cache=$4
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/vm/host
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -sfn /proc/self/fd /dev/fd
echo rksm >/proc/sys/kernel/hostname
# For make, files of the host shall not be of the future.
date -s "@$1" >/dev/null

mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 host /run/vm/host
guest=("/run/vm/host$repo/tools/debian-guest.sh" "$run" "$repo" "$cache")
if [ -s "/run/vm/host$run/cmd" ]; then
	setsid bash "${guest[@]}" </dev/null
else
	setsid -c bash "${guest[@]}" <>/dev/hvc0 >&0 2>&1
fi
sync
busybox poweroff -f
