#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# demo.sh KERNEL: runs the demo in the test machine; needs what build.sh leaves. With
# SHARED=1 it is that of memory in memfds.

. "$(dirname "$0")/lib.sh"

name=$1
out=${VM_BUILT:-$repo/build/$name}
image=$repo/build/demo/guest.img
[ "$name" != debug ] || die "the debug kernel has no KVM: KERNEL=debian or plain"
"$repo/tools/packages.sh" busybox-static binutils python3
"$repo/tools/demo/prepare" "$image"
# Debian has the package that the demo needs.
if of_debian "$name"; then
	python=/usr/bin/python3
	kernel=$("$repo/tools/debian-root.sh")/vmlinuz
else
	python=$("$repo/tools/venv.sh")/bin/python
	kernel=$out/kernel
fi

# One CPU: with several that are emulated, guests in the machine die now and then.
export RKSM=0 VM_GUESTS=1 VM_CPUS=${VM_CPUS:-1} VM_MEM=${VM_MEM:-2G} VM_TIMEOUT=${VM_TIMEOUT:-600}
demo=("$repo/tools/demo/run" --module "$out/rksm.ko")
if [ -n "${SHARED:-}" ]; then
	! of_debian "$name" || die "Debian's kernel cannot merge files: KERNEL=plain"
	"$repo/tools/packages.sh" qemu-system-common
	"$repo/tools/cargo.sh" tmpfs-dedup
	demo=("$repo/tools/demo/shared" --tool "$repo/build/tmpfs-dedup")
fi
printf -v RKSM_RUN '%q ' "$python" "${demo[@]}" --kernel "$kernel" --image "$image" --logs "$repo/build/log/demo"
export RKSM_RUN
exec "$repo/tools/vm.sh" "$name"
