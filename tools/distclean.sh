#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# distclean.sh: removes what was built here, and the cache that all clones share.

. "$(dirname "$0")/lib.sh"

say "removing $repo/build and $cache"
[ ! -e "$repo/build/log/check.lock" ] || flock -n "$repo/build/log/check.lock" true || die "make check is running here"
# Debian's files are root's.
"${as_root[@]}" rm -rf --one-file-system "$repo/build" "$cache"
