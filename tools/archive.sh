# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced after lib.sh: reads suites of Debian's archive through an apt
# configuration of our own, so that the machine's own sources and package lists
# stay as they are.
# shellcheck disable=SC2034,SC2154 # lib.sh knows the places

# The archive that this machine's apt uses for Debian itself, as its package lists
# say. No other place is ever named; a disc in a drive is none that everybody has.
mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' 'Label: Debian' 'Component: main' | grep -v '^cdrom:' |
		sed 's/^http/0 &/; t; s/^/1 /' | sort -u | sed -n '1s/^. //p' | grep .
}

# find_mirror: the same, as uri.
find_mirror() {
	uri=$(mirror) || {
		rm -f "$cache/lists-read"
		"$repo/tools/packages.sh" --lists
		uri=$(mirror) || die "apt knows no Debian archive with a 'main' component: see sources.list(5)"
	}
}

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# archive URI SUITE: as a line for apt.
archive() {
	echo "deb [signed-by=$debian_keyring] $1 $2 main"
}

# read_suite FOLDER URI SUITE: what suite_apt works on from now on. Fails if there
# is no such suite.
read_suite() {
	apt=$1
	rm -rf "$apt"
	mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/empty" "$apt/deb"
	: >"$apt/status"
	archive "$2" "$3" >"$apt/sources.list"
	cat >"$apt/apt.conf" <<-END
		Dir::State "$apt/state";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt/cache";
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "$apt/empty";
		Dir::Etc::preferences "$apt/empty/none";
		Dir::Etc::preferencesparts "$apt/empty";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		APT::Update::Post-Invoke-Success { "true"; };
	END
	suite_apt apt-get -o APT::Update::Error-Mode=any update
}

# suite_apt PROGRAM ARGUMENT...
suite_apt() {
	"$1" -c "$apt/apt.conf" "${@:2}"
}

# The series of kernel sources in the suite, the oldest first.
series_offered() {
	suite_apt apt-cache pkgnames linux-source- |
		sed -n 's/^linux-source-\([0-9]*\.[0-9]*\)$/\1/p' | sort -V
}

# later SERIES OTHER: whether OTHER comes after it.
later() {
	[ "$1" != "$2" ] && [ "$(printf '%s\n' "$@" | sort -V | tail -n 1)" = "$2" ]
}

# For mmdebstrap: how to get through to the archive is what this machine's apt was told.
mmdebstrap_options() {
	apt-config dump | grep -i '^Acquire::https\?::.*proxy' | sed 's/^/--aptopt=/' || :
}
