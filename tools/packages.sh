#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# packages.sh PACKAGE...: installs the Debian packages among these that are
# missing. A machine that has them all is not touched. packages.sh --lists: reads
# apt's package lists, if that was not done here for a day.

. "$(dirname "$0")/lib.sh"

apt_get() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "$@"
}

# What lists of weeks ago name is often not there any more.
lists() {
	step apt-update "reading Debian's package lists" apt_get update
	touch "$cache/lists-read"
}

old() {
	[ -z "$(find "$cache/lists-read" -mmin -1440 2>/dev/null)" ]
}

may_be_root() {
	[ ${#as_root[@]} = 0 ] || command -v sudo >/dev/null
}

if [ "${1:-}" = --lists ]; then
	old || exit 0
	may_be_root || die "reading Debian's package lists needs root or sudo"
	lists
	exit
fi

missing=()
state=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || :)
for package in "$@"; do
	grep -qxF "$package installed" <<<"$state" || missing+=("$package")
done
[ ${#missing[@]} != 0 ] || exit 0
may_be_root || die "these Debian packages are missing, and installing them needs root or sudo: ${missing[*]}"

say "Debian packages that are missing and will be installed: ${missing[*]}"
[ ${#as_root[@]} = 0 ] || sudo -v
if old || ! apt-cache show "${missing[@]}" >/dev/null 2>&1; then
	lists
fi
for package in "${missing[@]}"; do
	apt-cache show "$package" >/dev/null 2>&1 ||
		die "apt knows no package $package: are Debian's main and security suites, of Debian 12 or 13, among its sources?"
done
step apt-install "installing ${#missing[@]} packages" \
	apt_get install -y --no-install-recommends "${missing[@]}"
