#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# debian-tools.sh: makes a Debian 13 in the cache that has the tools with which
# people watch and steer KSM, as Debian packages them, and prints the folder. In it
# is what debian-root.sh leaves in one for the test machine.

. "$(dirname "$0")/lib.sh"

packages=(prometheus-node-exporter ksmtuned libvirt-daemon-system libvirt-clients pcp atop
	trace-cmd bpftrace tmux)

root=$("$repo/tools/debian-root.sh")
out=$cache/debian-tools-$(hash_of "$0" <<<"$root")
new=$out.new

# What is installed is started when the machine boots.
# shellcheck disable=SC2016 # for the inner shell
install='set -e
	printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get -y --no-install-recommends install "$@"
	apt-get clean
	rm -r /usr/sbin/policy-rc.d /var/lib/apt/lists
	/usr/lib/systemd/systemd-update-done'

make_disk() {
	rm -rf "$new"
	mkdir "$new"
	cp "$root/vmlinuz" "$root/initrd.img" "$new"
	cp --sparse=always --reflink=auto "$root/root.img" "$new"
	DEBIAN_DISK=$new/root.img "$repo/tools/debian-chroot.sh" --root \
		bash -c "$install" install "${packages[@]}"
}

if [ ! -e "$out" ]; then
	lock debian-tools
	if [ ! -e "$out" ]; then
		[ ${#as_root[@]} = 0 ] || sudo -v
		step debian-tools "installing Debian's tools for KSM in a copy of it (1 minute)" make_disk
		mv "$new" "$out"
	fi
fi
echo "$out"
