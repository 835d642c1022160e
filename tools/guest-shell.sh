#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The interactive shell of the test machine: loads the module, then is a bash.

set -a
# shellcheck source=/dev/null
. "$(dirname "$0")/env"
set +a
if [ "$RKSM" != 0 ]; then
	insmod "$RKSM_KO" || echo "vm: insmod $RKSM_KO failed; dmesg says why" >&2
fi
cd "$RKSM_REPO" || exit 125
exec bash -i
