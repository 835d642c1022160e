#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# debian-guest.sh RUN PLACE...: runs inside the `debian` machine, where all of
# the host is beneath /run/vm/host. Shows the PLACEs where they are on the host,
# keeps in memory what is written to them, but for the logs; then runs the
# command of the folder RUN, or a shell.

set -e
host=/run/vm/host
run=$1
shift
set -a
# shellcheck source=/dev/null
. "$host$run/env"
set +a

mkdir -p /run/vm/writes
mount -t tmpfs tmpfs /run/vm/writes
number=0
for place; do
	number=$((number + 1))
	mkdir -p "/run/vm/writes/$number/upper" "/run/vm/writes/$number/work" "$place"
	mount -t overlay overlay "$place" \
		-o "lowerdir=$host$place,upperdir=/run/vm/writes/$number/upper,workdir=/run/vm/writes/$number/work"
done
mount --bind "$host$RKSM_LOGS" "$RKSM_LOGS"
mount -o remount,bind,ro "$host"

if [ -s "$run/cmd" ]; then
	exec bash "$RKSM_REPO/tools/guest.sh" "$run"
fi
stty cols "${COLUMNS:-80}" rows "${LINES:-24}"
exec "$run/shell"
