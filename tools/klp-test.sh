#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# klp-test.sh: what dkms/klp-post-link makes of a module, and what it refuses.
# Needs a C compiler, libelf and binutils; takes a second.
# shellcheck disable=SC2317 # the tests are called by their names

set -euo pipefail
export LC_ALL=C
repo=$(cd "$(dirname "$0")/.." && pwd)
"$repo/tools/packages.sh" gcc libc6-dev libelf-dev binutils
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cc=${CC:-gcc}
"$cc" -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -o klp "$repo/dkms/klp-post-link.c" -lelf

# Relocations of text and data, two to one symbol, and one that stays.
cat >module.c <<'END'
extern int exported(void), hidden(void), twice_there(void);
extern int hidden_data;
static const char license[] __attribute__((section(".modinfo"), used)) = "license=GPL";
int (*pointer)(void) = hidden;
int module(void);
int module(void)
{
	return exported() + hidden() + hidden() + hidden_data + twice_there();
}
END
"$cc" -c -g -O1 -fno-pic -mcmodel=kernel -mno-red-zone -o module.ko module.c
printf '%s\n' '# a comment' hidden 'hidden_data	# another' twice_there,2 >list
printf '%s\n' 'ffffffff81000000 T hidden' 'ffffffff81000010 t twice_there' 'ffffffff81000020 D hidden_data' \
	'ffffffff81000030 t twice_there' 'ffffffffc0000000 t hidden	[other]' >map

failed=0
result() {
	if [ "$1" = 0 ]; then
		echo "ok $2"
	else
		echo "not ok $2"
		failed=1
	fi
}

# has FILE PATTERN COUNT: that many lines of the file match.
has() {
	local count
	count=$(grep -cE -- "$2" "$1" || :)
	[ "$count" = "$3" ] || {
		echo "# $count lines and not $3 match $2 in:"
		sed 's/^/# /' "$1"
		return 1
	}
}

converts() {
	cp module.ko new.ko
	./klp new.ko list map >/dev/null || return
	readelf -SW new.ko >sections
	readelf -sW new.ko >symbols
	readelf -rW new.ko >relocations
	sed -n '/\.klp\.rela/,$p' relocations >moved
	has sections '\.klp\.rela\.vmlinux\.\.text +RELA .* 18 +AIo ' 1 &&
	has sections '\.klp\.rela\.vmlinux\.\.data(\.rel)? +RELA .* 18 +AIo ' 1 &&
	has symbols 'OS \[0xff20\] \.klp\.sym\.vmlinux\.hidden,0$' 1 &&
	has symbols 'OS \[0xff20\] \.klp\.sym\.vmlinux\.hidden_data,0$' 1 &&
	has symbols 'OS \[0xff20\] \.klp\.sym\.vmlinux\.twice_there,2$' 1 &&
	has symbols ' UND exported$' 1 &&
	has symbols ' UND (hidden|hidden_data|twice_there)$' 0 &&
	has moved '\.klp\.sym\.vmlinux\.' 5 &&
	has relocations 'R_X86_64_NONE' 5 &&
	has relocations 'R_X86_64_(PLT|PC)32 .* exported' 1
}

# What is there already is all the same afterwards, byte by byte.
keeps_the_rest() {
	local section
	for section in .text .modinfo .debug_info; do
		objcopy -O binary --only-section="$section" --set-section-flags "$section=alloc" module.ko old.bin
		objcopy -O binary --only-section="$section" --set-section-flags "$section=alloc" new.ko new.bin
		cmp -n "$(stat -c %s old.bin)" old.bin new.bin || return
	done
	readelf -p .modinfo new.ko >modinfo
	has modinfo 'license=GPL$' 1 && has modinfo 'livepatch=Y$' 1
}

marks_it_once() {
	local livepatch='livepatch=Y\0'
	sed "s/license=GPL/&\\\\0$livepatch/" module.c >marked.c
	"$cc" -c -fno-pic -mcmodel=kernel -o marked.ko marked.c
	./klp marked.ko list map >/dev/null
	readelf -p .modinfo marked.ko >modinfo
	has modinfo 'livepatch=Y$' 1
}

# An object for arm64, as far as this is concerned.
arm64() {
	cp module.ko arm64.ko
	printf '\267' | dd of=arm64.ko bs=1 seek=18 conv=notrunc status=none
	./klp arm64.ko list map >/dev/null
	readelf -rW arm64.ko >relocations
	has relocations ' 0000000000000000 R_AARCH64_NONE' 5
}

takes_optional_ones() {
	cp module.ko new.ko
	printf '?%s\n' hidden unused twice_there,2 >optional
	./klp new.ko optional map >/dev/null || return
	readelf -sW new.ko >symbols
	has symbols ' \.klp\.sym\.vmlinux\.(hidden,0|twice_there,2)$' 2 &&
	has symbols 'unused' 0 && has symbols ' UND hidden_data$' 1
}

needs_no_symbols() {
	cp module.ko new.ko
	./klp new.ko list >/dev/null
}

# refuses WHAT SENTENCE [ARGUMENTS]: says so in one line, and changes nothing.
refuses() {
	local sentence=$1 status=0
	shift
	[ -e bad.ko ] || cp module.ko bad.ko
	cp bad.ko before.ko
	./klp bad.ko "$@" >out 2>&1 || status=$?
	[ "$status" = 1 ] && [ "$(wc -l <out)" = 1 ] && has out "^klp-post-link: $sentence" 1 &&
		cmp -s bad.ko before.ko && [ ! -e bad.ko.klp-new ]
}

refuses_all() {
	echo exported >l && refuses 'the kernel has no symbol exported' l map || return
	echo '?exported' >l && refuses 'the kernel has no symbol exported' l map || return
	echo twice_there >l && refuses 'the kernel has 2 symbols called twice_there, and l does not say which' l map || return
	echo twice_there,3 >l && refuses 'the kernel has 2 symbols called twice_there, and l names number 3' l map || return
	echo unused >l && refuses 'l names unused, which bad.ko does not use' l || return
	echo hidden,0 >l && refuses 'l:1: the position of hidden is no number' l map || return
	echo hidden,x >l && refuses 'l:1: the position of hidden is no number' l map || return
	echo hidden hidden_data >l && refuses 'l:1: more than one symbol' l map || return
	printf 'hidden\nhidden\n' >l && refuses 'l:2: hidden is there twice' l map || return
	echo module >l && refuses 'bad.ko has a symbol module of its own' l || return
	echo '# none' >l && refuses 'l names no symbol' l map || return
	: >empty && refuses 'empty has no symbols' list empty || return
	refuses 'cannot read nowhere' nowhere map || return
	refuses 'cannot read nowhere' list nowhere || return
	cp new.ko bad.ko && refuses 'bad.ko has livepatch symbols already' list map || return
	cp list bad.ko && refuses 'bad.ko is no module' list map || return
	cp klp bad.ko && refuses 'bad.ko is no module of a 64-bit kernel' list map || return
	cp module.ko bad.ko
	printf '\363' | dd of=bad.ko bs=1 seek=18 conv=notrunc status=none
	refuses 'bad.ko is for neither x86-64 nor arm64' list map || return
	rm bad.ko
	head -c 2000 module.ko >bad.ko && refuses 'bad.ko' list map
}

for name in converts keeps_the_rest marks_it_once arm64 takes_optional_ones needs_no_symbols refuses_all; do
	status=0
	"$name" || status=$?
	result "$status" "klp/$name"
done
exit "$failed"
