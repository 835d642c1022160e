#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh [KERNEL...]: all tests; ends with one line that counts them.

. "$(dirname "$0")/lib.sh"

"$repo/tools/packages.sh" git perl python3 shellcheck make libnuma-dev
exec /usr/bin/python3 -B "$repo/tools/check" "$@"
