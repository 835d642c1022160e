#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds build/rksm-dkms_VERSION_all.deb: the source of both modules, and what
# builds them on Debian for its own kernel; and build/rksm-tools_VERSION_amd64.deb:
# rksmctl, completion for shells, manual pages.

. "$(dirname "$0")/lib.sh"
. "$repo/tools/versions.sh"

"$repo/tools/packages.sh" dpkg-dev debhelper

version=$(<"$repo/VERSION")
work=$repo/build/deb
top=$work/rksm-$version
rm -rf "$work"
mkdir -p "$top"

# fill FILE...: puts in what is said in one place only.
fill() {
	sed -i "s/@VERSION@/$version/g; s/@SERIES@/$kernel_series/g; s/@SERIES_RE@/${kernel_series//./\\\\.}/g" "$@"
}

package() {
	"$repo/tools/dkms-source.sh" "$top/src"
	cp "$repo/dkms/dkms.conf.in" "$top/src/dkms.conf"
	cp -r "$repo"/dkms/{modules,rksm.conf,debian} "$repo/docs" "$top/"
	cp "$program" "$top/rksmctl"
	"$program" generate "$top/generated"
	fill "$top/src/dkms.conf" "$top"/debian/rksm-dkms.* "$top/debian/control"
	cat >"$top/debian/changelog" <<-END
		rksm ($version) UNRELEASED; urgency=medium

		  * See the history of the repository.

		 -- rksm developers <rksm@localhost>  $(date -R -d "@$SOURCE_DATE_EPOCH")
	END
	cd "$top"
	dpkg-buildpackage -b --no-sign
}

# The same source gives the same package, byte for byte.
SOURCE_DATE_EPOCH=$(git -C "$repo" log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
program=$("$repo/tools/cargo.sh" rksmctl)
step deb "building the packages rksm-dkms and rksm-tools $version" package
rm -f "$repo"/build/rksm-{dkms,tools}_*.deb
for name in "rksm-dkms_${version}_all.deb" "rksm-tools_${version}_amd64.deb"; do
	mv "$work/$name" "$repo/build/"
	say "build/$name"
done
rm -rf "$work"
