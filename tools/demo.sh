#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# demo.sh: runs the demo in the test machine; needs what build.sh leaves.

. "$(dirname "$0")/lib.sh"

out=$repo/build/plain
image=$repo/build/demo/guest.img
"$repo/tools/packages.sh" busybox-static e2fsprogs binutils python3
"$repo/tools/demo/prepare" "$image"
venv=$("$repo/tools/venv.sh")

export RKSM=0 VM_MEM=${VM_MEM:-2G} VM_TIMEOUT=${VM_TIMEOUT:-600}
printf -v RKSM_RUN '%q ' "$venv/bin/python" "$repo/tools/demo/run" --module "$out/rksm.ko" \
	--kernel "$out/kernel" --image "$image" --logs "$repo/build/log/demo"
export RKSM_RUN
exec "$repo/tools/vm.sh" plain
