#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# source.sh [pristine]: puts Debian's kernel source with our patches into the
# cache, and prints its folder; pristine: the source as it comes. Only files
# whose content changes get a new time stamp, so that a build after a changed
# patch compiles what it must and no more.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"

pristine=$cache/linux-$kernel_series-$kernel_suite
tree=$cache/linux
patches=("$repo"/kernel/{upstream,patches}/*.patch)
[ -e "${patches[0]}" ] || patches=()
# Files of our own, by their paths in the kernel tree.
ours=$repo/kernel/tree
mapfile -t own < <(cd "$ours" && find . -type f -printf '%P\n' | sort)

# The suite is read through an apt configuration of our own, so that the
# machine's own sources and package lists stay as they are.
fetch() {
	local apt=$cache/apt package
	rm -rf "$apt"
	mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/empty" "$apt/deb"
	: >"$apt/status"
	archive "$uri" "$kernel_suite" >"$apt/sources.list"
	cat >"$apt/apt.conf" <<-EOF
		Dir::State "$apt/state";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt/cache";
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "$apt/empty";
		Dir::Etc::preferences "$apt/empty/none";
		Dir::Etc::preferencesparts "$apt/empty";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		APT::Update::Post-Invoke-Success { "true"; };
	EOF
	apt-get -c "$apt/apt.conf" -o APT::Update::Error-Mode=any update
	cd "$apt/deb"
	apt-get -c "$apt/apt.conf" download "linux-source-$kernel_series"
	package=$(echo ./*.deb)
	rm -rf "$pristine"
	mkdir "$pristine"
	dpkg-deb --fsys-tarfile "$package" |
		tar -xO "./usr/src/linux-source-$kernel_series.tar.xz" |
		tar -xJ -C "$pristine" --strip-components=1
	dpkg-deb -f "$package" Version >"$pristine.version"
	rm -rf "$apt"
}

# The files that some patches touch, as paths in the kernel tree.
touched() {
	[ $# = 0 ] || sed -n 's,^\(---\|+++\) [ab]/\([^\t]*\).*,\2,p' "$@"
}

# Applies the patches to copies of the files they touch, then brings those
# files, and what earlier patches had touched, into the tree.
update() {
	local work=$cache/linux-update file
	rm -rf "$work"
	mkdir "$work"
	[ -e "$tree" ] || {
		echo "copying the tree"
		cp -al "$pristine" "$tree.new"
		mv "$tree.new" "$tree"
		: >"$tree.touched"
	}
	{ touched "${patches[@]}"; printf '%s\n' "${own[@]}"; } | sort -u >"$work.now"
	while read -r file; do
		[ ! -e "$pristine/$file" ] || (cd "$pristine" && cp -p --parents "$file" "$work")
	done <"$work.now"
	for file in "${patches[@]}"; do
		echo "applying ${file##*/}"
		patch -d "$work" -p1 --no-backup-if-mismatch -F0 <"$file" || return
	done
	cp -r "$ours/." "$work"
	sort -u "$work.now" "$tree.touched" >"$work.all"
	# Should this be stopped half way, the next run restores these all the same.
	cp "$work.all" "$tree.touched"
	while read -r file; do
		if grep -qxF "$file" "$work.now"; then
			place "$work/$file" "$tree/$file"
		else
			place "$pristine/$file" "$tree/$file"
		fi
	done <"$work.all"
	cp "$work.now" "$tree.touched"
	rm -rf "$work" "$work.now" "$work.all"
}

# The tree shares unpatched files with the pristine one by hard links: never
# write into one, put a new file in its place.
place() {
	if [ ! -e "$1" ]; then
		rm -f "$2"
	elif ! cmp -s "$1" "$2"; then
		echo "updating $2"
		mkdir -p "${2%/*}"
		cp "$1" "$2.rksm-new"
		chmod --reference="$1" "$2.rksm-new"
		mv "$2.rksm-new" "$2"
	fi
}

lock source
if [ ! -e "$pristine.version" ]; then
	"$repo/tools/packages.sh" debian-archive-keyring xz-utils patch
	uri=$(mirror)
	step source "fetching Linux $kernel_series from Debian (150 MB; about 2 minutes)" fetch
fi
stamp=$(hash_of "$pristine.version" "${patches[@]}" "${own[@]/#/$ours/}" < <(printf '%s\n' "${own[@]}"))
if [ "$(cat "$tree.stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -f "$tree.stamp"
	step patch "applying ${#patches[@]} patches to Linux $(cat "$pristine.version")" update
	echo "$stamp" >"$tree.stamp"
fi
echo "$tree"
