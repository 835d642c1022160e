#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# packages.sh PACKAGE...: installs the Debian packages among these that are
# missing. A machine that has them all is not touched.

. "$(dirname "$0")/lib.sh"

missing=()
for package in "$@"; do
	state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || :)
	[ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} != 0 ] || exit 0

[ ${#as_root[@]} = 0 ] || command -v sudo >/dev/null ||
	die "these Debian packages are missing, and installing them needs root or sudo: ${missing[*]}"
apt_get() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "$@"
}

say "Debian packages that are missing and will be installed: ${missing[*]}"
[ ${#as_root[@]} = 0 ] || sudo -v
for package in "${missing[@]}"; do
	if ! apt-cache show "$package" >/dev/null 2>&1; then
		step apt-update "reading Debian's package lists" apt_get update
		break
	fi
done
step apt-install "installing ${#missing[@]} packages" \
	apt_get install -y --no-install-recommends "${missing[@]}"
