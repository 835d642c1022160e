#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Prints the folder of the Python environment that holds virtme-ng, made in
# the cache when it is not there.

. "$(dirname "$0")/lib.sh"

python=/usr/bin/python3
venv=$cache/venv-$($python --version | hash_of "$repo/tools/requirements.txt")

if [ ! -e "$venv/.complete" ]; then
	lock venv
	if [ ! -e "$venv/.complete" ]; then
		rm -rf "$venv"
		step venv-create "making a Python environment" $python -m venv "$venv"
		step venv-install "installing virtme-ng into it" \
			"$venv/bin/pip" install --disable-pip-version-check --cache-dir "$cache/pip" -r "$repo/tools/requirements.txt"
		touch "$venv/.complete"
	fi
fi
echo "$venv"
