#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh plain|debug|uml|uml-debug|arm64: builds that test kernel in the cache if anything
# it is made from has changed, and prints the folder it was built in.
# kernel.sh no-ksm|no-memcg|no-numa: the same, but only what the patches touch, of
# a kernel that lacks something. It boots nowhere.
# build.sh and check/configs.sh call it, with the build lock held.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

name=$1
build=$cache/build-$name
config=$repo/kernel/config
arch=x86
image=bzImage
minutes=9
case $name in
plain) fragments=("$config/base.config") ;;
debug) fragments=("$config/base.config" "$config/checks.config" "$config/debug.config") minutes=11 ;;
uml) fragments=("$config/uml.config") arch=um image=vmlinux minutes=3 ;;
uml-debug)
	fragments=("$config/uml.config" "$config/checks.config" "$config/uml-debug.config")
	arch=um image=vmlinux minutes=5
	;;
arm64) fragments=("$config/arm64.config") arch=arm64 image=Image minutes=9 ;;
no-ksm | no-memcg) fragments=("$config/uml.config" "$config/$name.config") arch=um image='' ;;
no-numa) fragments=("$config/base.config" "$config/$name.config") image='' ;;
*) die "KERNEL=$name: there are plain, debug, uml, uml-debug and arm64" ;;
esac
goals=("$image" modules)
[ "$image" ] || goals=(prepare kernel/fork.o mm/ rust/)

kmake() {
	make -C "$source" O="$build" ARCH=$arch LLVM="-$llvm" -j"$(nproc)" "$@"
}

# Everything that no fragment asks for is off. Of a symbol that two fragments
# set, the last one counts.
configure() {
	local merged=$build/rksm.config
	mkdir -p "$build"
	awk '{ name = $0 ~ /^# CONFIG_/ ? $2 : $1; sub(/=.*/, "", name) }
	     name ~ /^CONFIG_/ { if (!(name in line)) order[++n] = name; line[name] = $0 }
	     END { for (i = 1; i <= n; i++) print line[order[i]] }' "${fragments[@]}" >"$merged"
	kmake KCONFIG_ALLCONFIG="$merged" KCONFIG_CONFIG="$build/.config.new" allnoconfig || return
	asked_for "$merged" "$build/.config.new" || return
	# An unchanged configuration keeps its time stamp.
	if cmp -s "$build/.config.new" "$build/.config"; then
		rm "$build/.config.new"
	else
		mv "$build/.config.new" "$build/.config"
	fi
}

# Kconfig drops what cannot be had without a word.
asked_for() {
	local line status=0
	while read -r line; do
		case $line in
		\#*) line=${line#\# }; line=${line%% *}
			! grep -q "^$line=" "$2" || { echo "$line was to be off, and is on"; status=1; } ;;
		*) grep -qxF "$line" "$2" || { echo "$line was asked for, and is not so"; status=1; } ;;
		esac
	done <"$1"
	return $status
}

# The tools that the stamp must change with.
tool_versions() {
	rustc --version --verbose
	bindgen --version
	"clang-$llvm" --version
	"ld.lld-$llvm" --version
}

source=$("$repo/tools/source.sh")
made_from() {
	tool_versions | hash_of "$source.stamp" "${fragments[@]}" "$repo/tools/kernel.sh"
}
stamp=$(made_from)
if [ "$(cat "$build/rksm.stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -f "$build/rksm.stamp"
	step "config-$name" "configuring the $name kernel" configure
	step "kernel-$name" "building the $name kernel (about $minutes minutes from nothing on two cores)" \
		kmake "${goals[@]}"
	# The source is the cache's, for all clones.
	[ "$(made_from)" = "$stamp" ] ||
		die "another clone has changed the kernel source while the $name kernel was built: run this again"
	echo "$stamp" >"$build/rksm.stamp"
fi
echo "$build"
