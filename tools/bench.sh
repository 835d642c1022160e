#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench.sh PLATFORM SIZE: measures rksm beside in-tree KSM in one boot of the
# test machine, and shows a table; JSON and charts go to build/bench/PLATFORM.
# PLATFORM is uml, qemu, icount: QEMU with a clock that counts instructions, or
# debian: QEMU with Debian's own kernel.
# ONLY names workloads, or a group that is left out otherwise: neighbours,
# scanners, domains, content, splits, frames,
# shared, for which the kernel has to merge pages of files, or hooks, for which there has to be the livepatch.

. "$(dirname "$0")/lib.sh"

platform=$1 size=$2
kernel=plain
export VM_CPUS=1
case $platform in
uml) kernel=uml ;;
qemu) VM_CPUS=2 ;;
debian) kernel=debian VM_CPUS=2 ;;
icount) export VM_ICOUNT=1 ;;
*) die "PLATFORM=$platform: there are uml, qemu, icount and debian" ;;
esac
if [[ ${ONLY:-} = hooks* && $kernel != debian ]]; then
	die "ONLY=hooks needs a kernel that rksm comes to by livepatch: PLATFORM=debian"
fi
case $size in
tiny | small) mem=2G ;;
normal) mem=4G ;;
full) mem=13G ;;
*) die "SIZE=$size: there are tiny, small, normal and full" ;;
esac
export VM_MEM=${VM_MEM:-$mem}
mib=$(($(numfmt --from=iec "$VM_MEM") >> 20))
"$repo/tools/needs.sh" "$mib" "$([ $kernel = uml ] && echo "$mib" || echo 0)" programs
"$repo/tools/build.sh" $kernel
program=$("$repo/tools/cargo.sh" bench)

out=$repo/build/bench/$platform
mkdir -p "$out" "$repo/build/log/bench"
figures=$repo/build/log/bench/$platform.jsonl
export VM_LOG=${VM_LOG:-$repo/build/log/bench/$platform.log} RKSM=1
export VM_TIMEOUT=${VM_TIMEOUT:-14400}
cpu=$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)
vendor=$(sed -n 's/^vendor_id\s*: //p' /proc/cpuinfo | head -n 1)
commit=$(git -C "$repo" describe --always --dirty 2>/dev/null || :)
printf -v RKSM_RUN '%q ' "$program" run --module "$repo/build/$kernel/rksm.ko" --out "$figures" \
	--size "$size" --seed "${SEED:-1}" --only "${ONLY:-}" --platform "$platform" \
	--host-cpu "$cpu" --host-vendor "$vendor" --host-cpus "$(nproc --all)" --commit "$commit"
export RKSM_RUN

# Microseconds in which something on the host waited for a CPU, since it booted.
stalled() {
	local total
	{ read -r _ _ _ _ total </proc/pressure/cpu; } 2>/dev/null && echo "${total#total=}"
}

start=${EPOCHREALTIME/[.,]/} stalled_before=$(stalled) || stalled_before=
status=0
"$repo/tools/vm.sh" $kernel || status=$?
busy=()
if [ -n "$stalled_before" ]; then
	now=${EPOCHREALTIME/[.,]/}
	busy=(--stalled-percent $((100 * ($(stalled) - stalled_before) / (now - start))))
fi
/usr/bin/python3 "$repo/tools/check/klog.py" "$VM_LOG" || status=1
rm -f "$out"/*
# What was measured until it failed is shown all the same.
"$program" report "$figures" --out "$out" "${busy[@]}" || status=1
[ $status != 130 ] || die "interrupted"
[ $status = 0 ] || die "the benchmark failed (status $status); the kernel log is $VM_LOG"
say "figures and charts: $out; every single run: $figures"
