#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# source.sh: puts a kernel source with our patches into the cache, and prints its
# folder. KERNEL_SOURCE is a tarball of one, or a tree; otherwise it is Debian's.
#
# Git puts it there, with its own files beside the tree. Only files whose content
# changes are written, so that a build after a changed patch compiles what it must
# and no more. A tree that somebody has stopped half way is put right in the same way.
# shellcheck disable=SC2030,SC2031 # what git is told is for that subshell

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"
. "$repo/tools/archive.sh"

tree=$cache/linux
shopt -s nullglob
patches=("$repo"/kernel/{upstream,patches,shared}/*.patch)
shopt -u nullglob
# Files of our own, by their paths in the kernel tree.
ours=$repo/kernel/tree
mapfile -t own < <(cd "$ours" && find . -type f -printf '%P\n' | sort)

# What the user's own git is set to must not matter here.
export GIT_DIR=$tree.git GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1

# Debian's source of the series that we know, or of what came after it.
fetch() {
	local uri suite offered newest found_in package
	series=
	find_mirror
	for suite in "${kernel_suites[@]}"; do
		read_suite "$cache/apt-source" "$uri" "$suite" || {
			echo "The archive has no suite $suite, or it cannot be read."
			continue
		}
		offered=$(series_offered)
		if grep -qxF "$kernel_series" <<<"$offered"; then
			series=$kernel_series
			break
		fi
		newest=$(tail -n 1 <<<"$offered")
		if [ -z "$series" ] && later "$kernel_series" "$newest"; then
			series=$newest
			found_in=$suite
		fi
	done
	[ -n "$series" ] || {
		echo "None of Debian's suites ${kernel_suites[*]} has linux-source-$kernel_series or one after it, or none"
		echo "could be read (see above). Get the source of Linux $kernel_series from where you can, and say"
		echo "KERNEL_SOURCE=<tarball or folder>; or have apt use an archive that has it: see sources.list(5)."
		return 1
	}
	[ "$series" = "$kernel_series" ] || [ "$suite" = "$found_in" ] || read_suite "$cache/apt-source" "$uri" "$found_in"
	cd "$apt/deb"
	suite_apt apt-get download "linux-source-$series"
	package=$(echo ./*.deb)
	mkdir "$apt/linux"
	dpkg-deb --fsys-tarfile "$package" |
		tar -xO "./usr/src/linux-source-$series.tar.xz" |
		tar -xJ -C "$apt/linux" --strip-components=1
	take_in "$apt/linux" debian
	# It need not be written twice; update does the rest.
	[ -e "$tree" ] || mv "$apt/linux" "$tree"
	dpkg-deb -f "$package" Version >"$GIT_DIR/debian.version"
	# With this it is complete.
	echo "$kernel_series" >"$GIT_DIR/debian.for"
	rm -rf "$apt"
}

unpack() {
	local new=$cache/linux-unpacked
	rm -rf "$new"
	mkdir "$new"
	tar -xf "$KERNEL_SOURCE" -C "$new" --strip-components=1
	take_in "$new" own
	rm -rf "$new"
	echo "$key" >"$GIT_DIR/own.key"
}

# take_in FOLDER NAME: its files become the source of that name. In a clone of git's
# they are what that knows, and what is new.
take_in() (
	cd "$1"
	[ -e Makefile ] || {
		echo "${KERNEL_SOURCE:-$1} is no kernel source: it has no Makefile"
		return 1
	}
	export GIT_INDEX_FILE=$GIT_DIR/index-$2 GIT_WORK_TREE=$1
	rm -f "$GIT_INDEX_FILE.lock"
	if [ -e .git ]; then
		env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE git -c safe.directory='*' \
			ls-files -z --cached --others --exclude-standard | sort -zu >"$GIT_INDEX_FILE.now"
		git ls-files -z | sort -z | comm -z -23 - "$GIT_INDEX_FILE.now" |
			git update-index -z --force-remove --stdin
		git update-index -z --add --remove --stdin <"$GIT_INDEX_FILE.now"
	else
		git add --all --force .
	fi
	git update-ref "refs/source/$2" "$(git write-tree)"
)

# Puts patches and files together in an index of its own, then has the tree follow.
update() {
	local patch new
	rm -f "$GIT_DIR"/index*.lock
	(
		export GIT_INDEX_FILE=$GIT_DIR/index-new
		git read-tree "$base"
		for patch in "${patches[@]}"; do
			echo "applying ${patch##*/}"
			git apply --cached --verbose "$patch" && continue
			echo "not as it is: with one line of context less"
			git apply --cached --verbose -C2 "$patch" && continue
			echo "${patch##*/} does not apply to $version: above are the file, and the line in the"
			echo "patch's own source, of the part that does not. rksm was made for Linux $kernel_series: give its"
			echo "source as KERNEL_SOURCE=<tarball or folder>, or bring the patch up to date."
			exit 1
		done
		printf '%s\n' "${own[@]}" | GIT_WORK_TREE=$ours git -C "$ours" update-index --add --stdin
		git write-tree >"$GIT_DIR/new"
	)
	new=$(<"$GIT_DIR/new")
	mkdir -p "$tree"
	cd "$tree"
	[ -e "$GIT_DIR/index" ] || git read-tree "$new"
	# What is right already keeps its time stamp.
	git update-index -q --refresh || :
	git clean -ffdxq
	git read-tree --reset -u "$new"
}

"$repo/tools/packages.sh" git xz-utils
lock source
[ -e "$GIT_DIR/HEAD" ] || {
	rm -rf "$GIT_DIR" "$GIT_DIR.new"
	git -c init.defaultBranch=none init -q --bare "$GIT_DIR.new"
	# To pack better, or to wait for the disk, would take longer than it saves.
	git --git-dir="$GIT_DIR.new" config core.compression 1
	git --git-dir="$GIT_DIR.new" config core.fsync none
	mv "$GIT_DIR.new" "$GIT_DIR"
}
export GIT_WORK_TREE=$tree
if [ -z "${KERNEL_SOURCE:-}" ]; then
	name=debian
	if [ "$(cat "$GIT_DIR/debian.for" 2>/dev/null)" != "$kernel_series" ]; then
		"$repo/tools/packages.sh" debian-archive-keyring
		step source "fetching Linux $kernel_series from Debian (150 MB; about 3 minutes)" fetch
	fi
	version="Debian's Linux $(<"$GIT_DIR/debian.version")"
elif [ -d "$KERNEL_SOURCE" ]; then
	name=own version="the Linux in $KERNEL_SOURCE"
	rm -f "$GIT_DIR/own.key"
	step source "reading $version" take_in "$(realpath "$KERNEL_SOURCE")" own
elif [ -f "$KERNEL_SOURCE" ]; then
	name=own version="the Linux of $KERNEL_SOURCE"
	key=$(stat -c '%n %s %Y' "$KERNEL_SOURCE")
	[ "$(cat "$GIT_DIR/own.key" 2>/dev/null)" = "$key" ] || step source "unpacking $version" unpack
else
	die "KERNEL_SOURCE=$KERNEL_SOURCE: there is no such file or folder"
fi
base=$(git rev-parse "refs/source/$name")
stamp=$(hash_of "${patches[@]}" "${own[@]/#/$ours/}" < <(printf '%s\n' "$base" "${own[@]}"))
if [ "$(cat "$tree.stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -f "$tree.stamp"
	series=$(git show "$base:Makefile" | awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3 }')
	[ "$series" = "$kernel_series" ] ||
		say "this is Linux $series: rksm was made for $kernel_series, and nobody tried it there. It goes on if the patches apply"
	step patch "applying ${#patches[@]} patches to $version" update
	echo "$stamp" >"$tree.stamp"
fi
echo "$tree"
