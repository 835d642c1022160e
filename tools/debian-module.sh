#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# debian-module.sh OUT: builds rksm_hooks.ko and rksm.ko for the kernel of the
# `debian` machine into the folder OUT, as the package does on a user's.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"

mkdir -p "$1"
out=$(realpath "$1")
root=$("$repo/tools/debian-root.sh")
release=$(basename "$root"/tree/lib/modules/*)
top=$out/src
new=$out/src.new
rm -rf "$new"
series=$(series_of "$release")
[ "$series" = "$kernel_series" ] ||
	say "Debian's kernel is $release: rksm was made for $kernel_series, and nobody tried it there. It goes on if patch and hooks fit"
"$repo/tools/dkms-source.sh" "$new" "$series"
# What has not changed keeps its date, and is not compiled again.
mkdir -p "$top"
(cd "$new" && find . -type f) | while read -r file; do
	cmp -s "$new/$file" "$top/$file" || (cd "$new" && cp --parents "$file" "$top")
done
# What was laid out before and is not any more goes; what was built stays.
(cd "$new" && find . -type f | sort) >"$out/src.now"
[ ! -e "$out/src.list" ] || comm -23 "$out/src.list" "$out/src.now" | (cd "$top" && xargs -r rm -f)
mv "$out/src.now" "$out/src.list"
rm -rf "$new"

# What rustc has to know of the kernel depends on these.
# shellcheck disable=SC2119 # all comes by its input
key=$(cd "$top" && find kernel.patch dkms/{build,common.sh,top.mk,rust.mk} kernel/tree/{include,rust} \
	-type f -exec cat {} + | hash_of)
lock debian-objects
RKSM_WORK=$cache/debian-objects-$(basename "$root")-$key
step debian-module "building the modules for Debian's $release (2 minutes, then seconds)" \
	"$repo/tools/debian-chroot.sh" env RKSM_WORK="$RKSM_WORK" "$top/dkms/build" "$release"
cp "$top"/rksm_hooks.ko "$top"/rksm.ko "$out/"
cmp -s "$root/vmlinuz" "$out/kernel" || cp "$root/vmlinuz" "$out/kernel"
