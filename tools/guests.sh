#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guests.sh RESULTS: one QEMU guest attacks another in the debian machine. The
# cases go to RESULTS, in KTAP. Needs what build.sh leaves.

. "$(dirname "$0")/lib.sh"

results=$1
image=$repo/build/guests/guest.img
"$repo/tools/packages.sh" gcc libc6-dev cpio python3
"$repo/tools/check/guests/image.py" "$image"
kernel=$("$repo/tools/debian-root.sh")/vmlinuz
# One CPU: with several that are emulated, guests in the machine die now and then.
export VM_GUESTS=1 VM_CPUS=1 VM_MEM=2G VM_TIMEOUT=${VM_TIMEOUT:-1200}
printf -v RKSM_RUN '%q ' /usr/bin/python3 -B "$repo/tools/check/guests" "$kernel" "$image" "$repo/build/log/guests"
RKSM_RUN+=">$(printf %q "$results")"
export RKSM_RUN
exec "$repo/tools/vm.sh" debian
