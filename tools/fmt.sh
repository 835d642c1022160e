#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# fmt.sh [--check]: formats the Rust source as the kernel does.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/env.sh"

cd "$repo"
mapfile -d '' -t files < <(git ls-files -z --cached --others --exclude-standard '*.rs')
rustfmt --color never --config-path "$repo" "$@" "${files[@]}"
