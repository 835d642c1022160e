#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check-deb.sh: the whole life of the package on Debian 13 with its own kernel:
# installed, loaded at boot, rebuilt for other kernels, refused, removed. Prints
# a numbered line for each case, and how many there were; fails if one does.
#
# Packages come and go in the machine's disk while it is down, as an installer
# does it: an emulated machine would compile ten times as long. What needs the
# running kernel is done in the machine, on the same disk.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"

work=$repo/build/check-deb logs=$repo/build/log/check-deb archives=$cache/archives
lock check-deb
"$repo/tools/packages.sh" busybox-static binutils python3
"$repo/tools/deb.sh"
root=$("$repo/tools/debian-root.sh")
"${as_root[@]}" rm -rf "$work" "$logs"
mkdir -p "$work" "$logs" "$archives"
"$repo/tools/demo/prepare" "$work/guest.img"
disk=$work/root.img
cp --sparse=always --reflink=auto "$root/root.img" "$disk"

number=0 failed=0

# result LINE: a case, as `ok NAME` or `not ok NAME: WHY`.
result() {
	number=$((number + 1))
	case $1 in
	"not ok "*)
		failed=$((failed + 1))
		echo "not ok $number ${1#not ok }"
		;;
	*) echo "ok $number ${1#ok }" ;;
	esac
}

# end: how many there were. Nothing that follows on a failure would say anything.
end() {
	say "took $((SECONDS / 60)) min $((SECONDS % 60)) s; logs are in $logs"
	echo "$((number - failed)) passed, $failed failed"
	exit $((failed != 0))
}

# run STAGE COMMAND...: its output, and a last line that has its status.
run() {
	local errors=$logs/$1.err status=0
	shift
	"$@" </dev/null 2>"$errors" || status=$?
	echo "status $status"
}

# cases STAGE: counts what run has printed; it came to its end as well.
cases() {
	local stage=$1 line status=
	while read -r line; do
		case $line in
		"ok "*) result "ok $stage: ${line#ok }" ;;
		"not ok "*) result "not ok $stage: ${line#not ok }" ;;
		"status "*) status=${line#status } ;;
		esac
	done
	if [ "$status" = 0 ]; then
		result "ok $stage: it came to its end"
	else
		result "not ok $stage: it ended with status $status: $(tail -n 1 "$logs/$stage.err")"
	fi
}

# steps STAGE: the command for it, in the disk or in the machine.
steps() {
	echo "DEB_SERIES='$kernel_series' DEB_SUITE='$kernel_suite' DEB_ARCHIVES='$archives'" \
		"PYTHONDONTWRITEBYTECODE=1 '$repo/tools/check-deb/steps' $1"
}

# inside COMMAND: in the disk of the machine, which is down.
inside() {
	DEBIAN_DISK=$disk "$repo/tools/debian-chroot.sh" --root bash -O extglob -c "$1"
}

# machine STAGE [FOLDER]: boots it, or the copy of it that is there. With several
# CPUs that are emulated, guests in the machine die now and then.
machine() {
	local folder=${2:-$work}
	RKSM=0 VM_GUESTS=1 VM_CPUS=1 RKSM_RUN=$(steps "$1") VM_ROOT=$folder VM_DISK=$folder/root.img \
		VM_LOG=$logs/$1.kernel.log VM_TIMEOUT=900 run "$1" "$repo/tools/vm.sh" debian >"$logs/$1.out"
}

# copy NAME: makes one, for what is done beside the rest.
copy() {
	mkdir "$work/$1"
	cp --sparse=always --reflink=auto "$disk" "$work"/{vmlinuz,initrd.img} "$work/$1/"
}

# kernel FLAVOUR: which kernel the machine boots with from now on.
kernel() {
	inside "for file in vmlinuz initrd.img; do
			cp /boot/\$file-$kernel_series.+([!-])-$1 '$work'/\$file && chmod 644 '$work'/\$file || exit
		done"
}

# took STAGE SECONDS: ends it all after a failure: the next stage needs this one.
took() {
	say "  $1: $((SECONDS - $2)) s"
	[ "$failed" = 0 ] || end
}

# apart STAGE: with the machine down.
apart() {
	local start=$SECONDS
	cases "$1" < <(run "$1" inside "$(steps "$1")")
	took "$1" "$start"
}

# judge STAGE: what a machine has printed, and the kernel in it.
judge() {
	local log=$logs/$1.kernel.log
	cases "$1" <"$logs/$1.out"
	if /usr/bin/python3 -B "$repo/tools/check/klog.py" "$log" >"$log.bad"; then
		result "ok $1: the kernel's log has no complaint"
	else
		result "not ok $1: the kernel's log has a complaint: $(head -n 1 "$log.bad")"
	fi
}

booted() {
	local start=$SECONDS
	machine "$1"
	judge "$1"
	took "$1" "$start"
}

# secure: on a copy, a kernel that is locked down, then Secure Boot, without DKMS's
# key and with it.
secure() {
	local disk=$work/secure/root.img
	VM_KOPT=lockdown=integrity machine locked "$work/secure"
	export VM_UEFI=$work/secure/uefi
	machine refused "$work/secure"
	run enroll inside "$(steps enroll)" >"$logs/enroll.out"
	machine enrolled "$work/secure"
}

apart current
kernel cloud-amd64
booted shipped
apart install
booted installed
booted enabled
copy idle
copy secure
disk=$work/secure/root.img apart uefi
machine idle "$work/idle" &
secure &
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
apart second
apart refuse
kernel amd64
booted other
apart purge
start=$SECONDS
wait
trap - EXIT
judge idle
judge locked
judge refused
cases enroll <"$logs/enroll.out"
judge enrolled
took "what was done beside that" "$start"
end
