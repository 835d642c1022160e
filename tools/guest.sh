#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs inside the test machine: loads the module, runs the command that the
# runner left in the run folder, hands back its status.
#
# Under QEMU the output goes through virtio ports of our own, found by name in
# sysfs: that needs no udev, and keeps it apart from the kernel log on the
# serial line. A port takes one writer at a time, and a command may open
# /dev/stderr beside its own, so each port is fed by one `cat` from a FIFO.
# User-Mode Linux has consoles that are connected to the host's descriptors.

run=$1
set -a
# shellcheck source=/dev/null
. "$run/env"
set +a

port() {
	local name
	for name in /sys/class/virtio-ports/*/name; do
		if [ "$(<"$name")" = "$1" ]; then
			name=${name%/name}
			echo "/dev/${name##*/}"
		fi
	done
}

status=125
if [[ $RKSM_KERNEL = uml* ]]; then
	out=/dev/tty1 err=/dev/tty2 ret=/run/rksm/host/ret
else
	out=$(port rksm.out) err=$(port rksm.err) ret=$(port rksm.ret)
fi

mkdir -p /run/rksm
mkfifo /run/rksm/out /run/rksm/err
cat /run/rksm/out >"$out" &
cats=$!
cat /run/rksm/err >"$err" &
cats="$cats $!"
exec 1>/run/rksm/out 2>/run/rksm/err
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr

load() {
	local module

	[ "$RKSM" = 0 ] && return 0
	# A kernel that was not built for rksm needs the hooks first.
	for module in "${RKSM_KO%/*}/rksm_hooks.ko" "$RKSM_KO"; do
		[ ! -e "$module" ] || insmod "$module" || {
			echo "vm: insmod $module failed; the kernel log says why" >&2
			return 1
		}
	done
}

if load && cd "$RKSM_REPO"; then
	bash "$run/cmd" </dev/null
	status=$?
fi

# What a left-over background process holds open must not keep the machine up. One
# who reads slowly, as `less` does, may: then a `cat` is writing.
exec 1>&- 2>&-
write=1 idle=0
[ "$(uname -m)" != aarch64 ] || write=64
# shellcheck disable=SC2086
while kill -0 $cats && [ $idle -lt 20 ]; do
	idle=$((idle + 1))
	for cat in $cats; do
		read -r call _ <"/proc/$cat/syscall" && [ "$call" = $write ] && idle=0
	done
	sleep 0.1
done 2>/dev/null
echo "$status" >"$ret"
