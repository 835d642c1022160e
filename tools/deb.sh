#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds build/rksm-dkms_VERSION_all.deb: the source of both modules, and what
# builds them on Debian for its own kernel.

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
	cp -r "$repo"/dkms/{rksmctl,rksm.conf,debian} "$repo/docs" "$top/"
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
step deb "building the package rksm-dkms $version" package
rm -f "$repo"/build/rksm-dkms_*_all.deb
mv "$work/rksm-dkms_${version}_all.deb" "$repo/build/"
rm -rf "$work"
say "build/rksm-dkms_${version}_all.deb"
