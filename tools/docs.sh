#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# docs.sh: runs the commands that the documents show, in the `debian` machine,
# and puts into them what is printed now. `git diff` has what has changed.

. "$(dirname "$0")/lib.sh"

"$repo/tools/build.sh" debian
"$repo/tools/cargo.sh" rksmctl >&2
# Of what the machine writes only this folder outlives it.
written=$repo/build/log/documents
rm -rf "$written"
# Two nodes, as in make check.
export VM_NUMA=2
printf -v RKSM_RUN '/usr/bin/python3 -B tools/check/documents build/rksmctl --write %q' "$written"
export RKSM_RUN
"$repo/tools/vm.sh" debian
cp -r "$written/." "$repo"
