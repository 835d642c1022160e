#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest.sh RESULTS SOURCE TESTS SET [PROVIDER...]: runs the test suites inside
# the test machine, module loaded, and leaves what they say in the folder
# RESULTS. The host judges it. The kernel's own tests run for each PROVIDER;
# what counts of the environment is TORTURE_SECONDS and KSM_ROUNDS.

results=$1 source=$2 tests=$3 set=$4
shift 4
programs=${RKSM_KO%/*}
mkdir -p "$results/kunit"

note() {
	echo "check: $*" >/dev/kmsg
	echo "  $RKSM_KERNEL: $*"
}

# The suites of the module ran when it was loaded.
for suite in /sys/kernel/debug/kunit/rksm*; do
	[ -e "$suite" ] || continue
	cat "$suite/results" >"$results/kunit/${suite##*/}"
done

# kernel_tests PROVIDER
kernel_tests() {
	note "the kernel's own tests of KSM: $1"
	timeout 900 tools/check/kernel-tests.sh "$tests/kernel" >"$results/kernel-tests-$1.ktap" 2>&1
}

# Debian's kernel has hooks for rksm, which were there first.
hooks=$programs/rksm_hooks.ko
load() {
	[ ! -e "$hooks" ] || insmod "$hooks"
	insmod "$RKSM_KO"
}

for provider; do
	case $provider in
	in-tree) dkms/modules unload && kernel_tests in-tree && load ;;
	rksm) kernel_tests rksm ;;
	esac
done

# Says of each program how long it took.
timed() {
	local line start=$SECONDS
	while IFS= read -r line; do
		echo "$line"
		case $line in
		"ok "*" selftests: "* | "not ok "*" selftests: "*)
			echo "# took $((SECONDS - start)) s"
			start=$SECONDS
			;;
		esac
	done
}

# Nobody loads these by opening what they make.
[[ $set != debian* ]] || modprobe -a zram hwpoison_inject

note "selftests"
run() {
	make -s -C selftests "$@" KSRC="$source" OUTPUT="$tests" SET="$set"
}
# Somebody may edit them meanwhile: what was built is run.
run -t all >/dev/null
run run_tests 2>&1 | timed >"$results/selftests.ktap"

# Not to measure anything, but to see that it can. User-Mode Linux is fast.
if [ "${set%-short}" = uml ]; then
	note "benchmark"
	timeout 300 "$programs/rksm-bench" run --size tiny --module "$RKSM_KO" --out "$results/bench.jsonl" \
		>"$results/bench" 2>&1 && echo ok >>"$results/bench"
	note "tmpfs-dedup"
	/usr/bin/python3 -B tools/check/tmpfs_dedup.py "$programs/tmpfs-dedup" >"$results/tmpfs-dedup.ktap" 2>&1
fi

if [ -d "$tests/shared" ]; then
	note "the kernel's own tests of files in memory"
	timeout 1800 tools/check/shared-tests.sh "$tests/shared" >"$results/shared-tests.ktap" 2>&1
fi

# What it needs of a system only Debian has.
if [[ $set = debian* ]]; then
	note "rksmctl"
	/usr/bin/python3 -B tools/check/rksmctl "$programs/rksmctl" >"$results/rksmctl.ktap" 2>&1
	note "what the documents show"
	/usr/bin/python3 -B tools/check/documents "$programs/rksmctl" >"$results/documents.ktap" 2>&1
fi

note "unloading"
if [ ! -d /sys/module/rksm ]; then
	# What ran since was tried with in-tree KSM.
	echo "a test did not load rksm again" >"$results/unload"
elif dkms/modules unload >"$results/unload" 2>&1; then
	echo ok >"$results/unload"
else
	grep . /sys/module/rksm/refcnt /sys/kernel/mm/ksm/* /proc/[0-9]*/ksm_merging_pages \
		>>"$results/unload" 2>&1
fi

note "selftests, in-tree"
tools/check/in-tree.sh "$tests" "${set%-short}" >"$results/in-tree.ktap" 2>&1

if [ -e "$hooks" ]; then
	note "the livepatch"
	/usr/bin/python3 -B tools/check/hooks.py "$hooks" "$RKSM_KO" >"$results/hooks.ktap" 2>&1
fi

# An object must be five seconds old, and unreferenced in two scans, before
# kmemleak believes that it leaked.
leaks=/sys/kernel/debug/kmemleak
if [ -e $leaks ]; then
	note "looking for leaks"
	sleep 6
	echo scan >$leaks && sleep 6 && echo scan >$leaks && cat $leaks >"$results/kmemleak"
fi
note "end"
