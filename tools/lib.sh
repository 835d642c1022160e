# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the build scripts share: places, messages, steps, locks.
# shellcheck disable=SC2034 # used by those who source this

set -euo pipefail
# What our make was given is not meant for the makes that are called from here.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rksm
mkdir -p "$cache/log"

say() {
	echo "rksm: $*" >&2
}

die() {
	say "$*"
	exit 1
}

# What root does is done by sudo for everybody else.
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

# A hash of the named files' contents and of the text on standard input.
hash_of() {
	{
		cat
		[ $# = 0 ] || cat -- "$@"
	} | sha256sum | cut -c1-16
}

# step NAME WHAT COMMAND...: runs a long command with its output in a log,
# shows that it lives, and says where to look if it fails.
step() {
	local name=$1 what=$2
	shift 2
	local log=$cache/log/$name.log start=$SECONDS status=0 pid
	say "$what"
	# A process group of its own, so that all of it can be stopped.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	set +m
	pid=$!
	# shellcheck disable=SC2064
	trap "kill -- -$pid 2>/dev/null; exit 130" INT TERM
	# It must not keep a lock from whoever comes next.
	ticker "$pid" "$log" 9>&- &
	local tick=$!
	wait "$pid" || status=$?
	trap - INT TERM
	kill "$tick" 2>/dev/null || :
	wait "$tick" 2>/dev/null || :
	if [ "$status" != 0 ]; then
		say "FAILED: $what (status $status). The end of $log:"
		tail -n 15 "$log" >&2
		say "step '$name' failed; its log is $log"
		exit 1
	fi
	say "  done in $((SECONDS - start)) s"
}

# A line that ticks on a terminal; elsewhere one line every half minute.
ticker() {
	local pid=$1 log=$2 seconds=0 last
	while sleep 1 && kill -0 "$pid" 2>/dev/null; do
		seconds=$((seconds + 1))
		last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c1-50) || :
		if [ -t 2 ]; then
			printf '\r\033[K  %d:%02d  %s' $((seconds / 60)) $((seconds % 60)) "$last" >&2
		elif [ $((seconds % 30)) = 0 ]; then
			printf '  %d:%02d  %s\n' $((seconds / 60)) $((seconds % 60)) "$last" >&2
		fi
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

# Waits for the named lock and holds it until the script ends.
lock() {
	exec 9>"$cache/$1.lock"
	flock -n 9 && return
	say "waiting for another make that holds $cache/$1.lock"
	flock 9
}

# in_use FOLDER [SUDO...]: notes that this part of the cache is, and removes those that
# differ in the hash at the end of its name and were not for a month.
in_use() {
	local old
	touch "$1"
	for old in "${1%-*}"-????????????????; do
		[ -n "$(find "$old" -maxdepth 0 -mtime +30)" ] || continue
		say "removing $old, which nobody used for a month"
		# Half of one must not be taken for it.
		"${@:2}" mv -T "$old" "$old.old"
		"${@:2}" rm -rf --one-file-system "$old.old"
	done
}

# of_debian KERNEL: whether that is one of Debian's own, `debian` or
# `debian-FLAVOUR`. What is called afterwards has to do with that flavour.
of_debian() {
	case $1 in
	debian) export DEBIAN_FLAVOUR=cloud-amd64 ;;
	debian-*) export DEBIAN_FLAVOUR=${1#debian-} ;;
	*) return 1 ;;
	esac
}

# of_uml KERNEL: whether that is User-Mode Linux, with or without checks.
of_uml() {
	case $1 in
	uml | uml-debug) ;;
	*) return 1 ;;
	esac
}

# series_of NAME: 7.3 for 7.3.4+deb13-amd64, whatever stands before it.
series_of() {
	sed -n 's/^[^0-9]*\([0-9]\+\.[0-9]\+\)\..*/\1/p' <<<"$1"
}
