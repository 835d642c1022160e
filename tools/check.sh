#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh [KERNEL...]: all tests; ends with one line that counts them.

. "$(dirname "$0")/lib.sh"

"$repo/tools/packages.sh" git perl python3 python3-venv shellcheck make libnuma-dev xz-utils debian-archive-keyring
# Two machines at once, and what is built beside them.
kernels=${*#--full}
[ -n "${kernels// /}" ] || kernels='debug uml-debug uml debian'
shm=0
[[ " $kernels " != *" uml"* ]] || shm=3072
# shellcheck disable=SC2086 # each is a word
"$repo/tools/needs.sh" 7000 $shm toolchain source tools programs $kernels
exec /usr/bin/python3 -B "$repo/tools/check" "$@"
