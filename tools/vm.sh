#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vm.sh KERNEL: boots what build.sh left in build/KERNEL, or Debian with a kernel
# of its own if KERNEL is `debian` or `debian-FLAVOUR`, as the VM_*, RKSM and
# ACCEL variables say. VM_ROOT is another folder with what debian-root.sh leaves in
# one, and VM_UEFI one with firmware to boot that by, as tools/check-deb makes it.
# VM_BUILT is another folder with what build.sh left. RKSM_RUN holds the command; without it there is a shell.
# Exits with the command's status (make would turn any failure into 2).

. "$(dirname "$0")/lib.sh"

name=$1
out=${VM_BUILT:-$repo/build/$name}
[ -n "${RKSM_RUN:-}" ] || [ -t 0 ] ||
	die "a shell in the test machine needs a terminal; use RUN='command'"
of_debian "$name" || [ -z "${VM_DISK:-}" ] || die "only KERNEL=debian has a disk: VM_DISK means nothing here"

cpus=2
if of_debian "$name"; then
	"$repo/tools/packages.sh" python3 qemu-system-x86 >&2
	# In Debian 12 it comes with QEMU.
	[ -e /usr/lib/qemu/virtiofsd ] || "$repo/tools/packages.sh" virtiofsd >&2
	debian=$("$repo/tools/debian-root.sh")
	root=${VM_ROOT:-$debian}
	args=(--kernel "$root/vmlinuz" --initrd "$root/initrd.img" --tree "$debian/tree")
	[ -z "${VM_UEFI:-}" ] || args+=(--uefi "$VM_UEFI")
	if [ -n "${VM_DISK:-}" ]; then
		# Half a copy must not be taken for one.
		[ -e "$VM_DISK" ] || {
			cp --sparse=always --reflink=auto "$root/root.img" "$VM_DISK.new"
			mv "$VM_DISK.new" "$VM_DISK"
		}
		args+=(--disk "$VM_DISK" --keep-disk)
	else
		args+=(--disk "$root/root.img")
		# For tests: torture reads memory that nobody may access, as a debugger
		# does, and whoever takes memory out says when it comes online.
		args+=(--kopt proc_mem.force_override=always --kopt memhp_default_state=offline)
	fi
elif [ "$name" = arm64 ]; then
	"$repo/tools/packages.sh" python3 qemu-system-arm >&2
	args=(--kernel "$out/kernel" --initrd "$("$repo/tools/arm64-root.sh")")
else
	"$repo/tools/packages.sh" python3 python3-venv qemu-system-x86 kmod busybox-static \
		e2fsprogs iproute2 file >&2
	venv=$("$repo/tools/venv.sh")
	args=(--virtme "$venv/bin/virtme-run" --kernel "$out/kernel")
	# Why not more: see tools/check.
	! of_uml "$name" || cpus=1
fi
args+=(--name "$name")
args+=(--cpus "${VM_CPUS:-$cpus}" --mem "${VM_MEM:-2G}" --numa "${VM_NUMA:-1}")
args+=(--accel "${ACCEL:-auto}")
[ "${RKSM:-1}" = 0 ] || args+=(--module "$out/rksm.ko")
[ -z "${VM_DIMM:-}" ] || args+=(--dimm "$VM_DIMM")
[ -z "${VM_ICOUNT:-}" ] || args+=(--icount)
[ -z "${VM_GUESTS:-}" ] || args+=(--guests)
[ -z "${VM_TIMEOUT:-}" ] || args+=(--timeout "$VM_TIMEOUT")
[ -z "${VM_LOG:-}" ] || args+=(--log "$VM_LOG")
for option in ${VM_KOPT:-}; do
	args+=(--kopt "$option")
done
exec /usr/bin/python3 "$repo/tools/vm.py" "${args[@]}"
