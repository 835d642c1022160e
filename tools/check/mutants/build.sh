#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# build.sh KERNEL PROGRAM...: builds module and test programs in the copy of the tree in
# which this lies, into its folder build/KERNEL. uml-debug is for mutants of the kernel,
# without the module: that kernel is built in a cache of the copy's own, where nobody
# takes it for another.

. "$(dirname "$0")/../../lib.sh"
. "$repo/tools/env.sh"

name=$1
shift
if [ "$name" = uml-debug ]; then
	own=$repo/build/cache/rksm
	mkdir -p "$own"
	ln -sfn "$toolchain" "$own/${toolchain##*/}"
	if [ ! -e "$own/linux.git" ] && [ -e "$cache/linux.git" ]; then
		(
			lock source
			rm -rf "$own/linux.git.new"
			cp -a "$cache/linux.git" "$own/linux.git.new"
		)
		# What it knows of the tree beside it is not so here.
		rm -f "$own/linux.git.new"/index
		mv "$own/linux.git.new" "$own/linux.git"
	fi
	XDG_CACHE_HOME=${own%/*} "$repo/tools/build.sh" "$name" kernel
else
	"$repo/tools/build.sh" "$name"
fi
if of_debian "$name"; then
	source=$("$repo/tools/source.sh")
else
	source=$(<"$repo/build/$name/ksrc")
fi
mkdir -p "$repo/build/$name/tests"
make_selftests "$name" -s KSRC="$source" OUTPUT="$repo/build/$name/tests" SET="$name" TESTS="$*"
