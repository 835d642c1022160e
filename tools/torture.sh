#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# torture.sh KERNEL: builds the integrity torture and runs it in the test
# machine, with what build.sh left in build/KERNEL. TORTURE_SECONDS is how long, SEED
# is for the same steps again, TORTURE has further options of the program.
# Fails if the program does, or if the kernel log has a complaint.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

name=$1
if of_debian "$name"; then
	source=$("$repo/tools/source.sh")
else
	source=$(<"$repo/build/$name/ksrc")
fi
# Not where make check has its tests, which may be running.
tests=$repo/build/$name/torture
exec 8>"$tests.lock"
flock -n 8 || die "another make torture KERNEL=$name is running here"
seconds=${TORTURE_SECONDS:-60}
export VM_LOG=${VM_LOG:-$repo/build/log/torture-$name.log}
# More than one node and one CPU, but see tools/check for User-Mode Linux.
of_uml "$name" || export VM_NUMA=${VM_NUMA:-2}
[ "$name" != debug ] || export VM_MEM=${VM_MEM:-3G}
# A rest ends only when everybody has verified all there is, however slow.
export VM_TIMEOUT=${VM_TIMEOUT:-$((2 * seconds + 900))}

make_selftests "$name" -s KSRC="$source" OUTPUT="$tests" TESTS=torture >&2
printf -v RKSM_RUN '%q --seconds %q%s %s' "$tests/torture" "$seconds" \
	"${SEED:+ --seed $SEED}" "${TORTURE:-}"
# Without the module it is in-tree KSM that is tortured.
[ "${RKSM:-1}" != 0 ] || RKSM_RUN="RKSM_KO= $RKSM_RUN"
export RKSM_RUN
status=0
"$repo/tools/vm.sh" "$name" || status=$?
/usr/bin/python3 "$repo/tools/check/klog.py" "$VM_LOG" || status=1
[ "$status" = 0 ] || say "torture: FAILED (status $status); the kernel log is $VM_LOG"
exit "$status"
