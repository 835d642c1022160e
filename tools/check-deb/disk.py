# SPDX-License-Identifier: GPL-2.0
"""The stages in which packages come and go: in the disk, at the host's speed."""

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import files
from common import BACKPORTS, CONF, SERIES, SETTINGS, STABLE, VERSION, WORK, Failed
from common import check, in_order, is_built, is_not_built, must, packages, refused

ARCHIVES = Path(os.environ["DEB_ARCHIVES"])
PACKAGES_OF_OURS = f"./build/rksm-dkms_{VERSION}_all.deb", f"./build/rksm-tools_{VERSION}_amd64.deb"
SOURCE = f"linux-source-{SERIES}"
UEFI = WORK / "secure/uefi"
# Of shim's variables.
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
FILES, PACKAGES = WORK / "files.json", WORK / "packages.json"
CLOUD, OTHER, THIRD = "cloud-amd64", "amd64", "rt-amd64"


def apt(*words):
    must("apt-get", "-y", "-o", f"Dir::Cache::Archives={ARCHIVES}", *words)
    in_order()


def release(flavour):
    """The kernel of the series and a flavour whose headers are installed."""
    names = (path.name for path in Path("/lib/modules").iterdir())
    found = [name for name in names if re.fullmatch(rf"{SERIES}\.[^-]*-{flavour}", name)]
    check(len(found) == 1, f"of the flavour {flavour} there are {found}")
    return found[0]


@functools.cache
def old_headers():
    """The package of headers of Debian's first kernel."""
    said = must("apt-cache", "show", f"linux-headers-{CLOUD}/{STABLE}")
    return re.search(r"^Depends:.*\b(linux-headers-\d\S*)", said, re.MULTILINE)[1]


def is_current():
    """the system is the archive's of today"""
    # mmdebstrap keeps programs from being started by these; a user has neither.
    Path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
    real = Path("/usr/sbin/start-stop-daemon.REAL")
    if real.exists():
        real.replace("/usr/sbin/start-stop-daemon")
    apt("update")
    # apt looks at names and sizes of what it has fetched before.
    known = set()
    for path in Path("/var/lib/apt/lists").glob("*_Packages"):
        known.update(re.findall(r"^SHA256: (\w+)$", path.read_text(), re.MULTILINE))
    for path in ARCHIVES.glob("*.deb"):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() not in known:
                path.unlink()
    apt("install", f"linux-image-{CLOUD}/{BACKPORTS}")


def install():
    """apt installs the packages and what they need"""
    files.save(FILES)
    PACKAGES.write_text(json.dumps(sorted(packages())))
    apt("install", f"linux-headers-{CLOUD}/{BACKPORTS}", *PACKAGES_OF_OURS)


def builds():
    """the modules are built for the kernel"""
    is_built(release(CLOUD))


def debian_uefi():
    """there is a machine with Secure Boot and Microsoft's keys, which boots Debian's shim and GRUB"""
    apt("install", "--no-install-recommends", "ovmf", "python3-virt-firmware")
    boot = UEFI / "esp/EFI/BOOT"
    boot.mkdir(parents=True)
    shutil.copy("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", UEFI / "code.fd")
    shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.ms.fd", UEFI / "vars.fd")
    # The machine is not always root's.
    (UEFI / "vars.fd").chmod(0o666)
    with tempfile.TemporaryDirectory() as folder:
        # Installed they would want to be at work on this machine.
        for package, file, name in (
            ("shim-signed", "shim/shimx64.efi.signed", "BOOTX64.EFI"),
            ("grub-efi-amd64-signed", "grub/x86_64-efi-signed/grubx64.efi.signed", "grubx64.efi"),
        ):
            must("env", "-C", folder, "apt-get", "download", package)
            [archive] = Path(folder).glob(f"{package}_*.deb")
            must("dpkg-deb", "-x", archive, folder)
            shutil.copy(Path(folder) / "usr/lib" / file, boot / name)


def enroll():
    """shim is given DKMS's key, as it gives it to itself after mokutil --import"""
    certificate = UEFI / "mok.pem"
    must("openssl", "x509", "-in", "/var/lib/dkms/mok.pub", "-out", certificate)
    must("virt-fw-vars", "--inplace", UEFI / "vars.fd", "--add-mok", SHIM, certificate)


def hooks():
    """a second kernel comes, and DKMS builds the modules for it by itself"""
    apt("install", f"linux-image-{OTHER}/{BACKPORTS}", f"linux-headers-{OTHER}/{BACKPORTS}")
    is_built(release(OTHER))
    is_built(release(CLOUD))


def old_kernel():
    """DKMS passes over the headers of a kernel of another series"""
    package = old_headers()
    apt("install", package)
    name = package.removeprefix("linux-headers-")
    is_not_built(name, f"rksm: this is made for Linux {re.escape(SERIES)}, not for {re.escape(name)}")


def no_rust():
    """a kernel without CONFIG_RUST is refused"""
    name = release(CLOUD)
    with tempfile.TemporaryDirectory() as folder:
        headers = Path(folder) / "headers"
        shutil.copytree(Path(f"/lib/modules/{name}/build").resolve(), headers, symlinks=True)
        config = headers / ".config"
        text = config.read_text()
        check("\nCONFIG_RUST=y\n" in text, f"{name} has no CONFIG_RUST itself")
        config.write_text(text.replace("\nCONFIG_RUST=y\n", "\n# CONFIG_RUST is not set\n"))
        wanted = rf"rksm: {re.escape(name)} was built without support for Rust \(CONFIG_RUST\)"
        refused(name, wanted, KDIR=headers)


def other_rustc():
    """a kernel that another rustc has built is refused"""
    name = release(CLOUD)
    ours = must("rustc", "--version")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "rustc"
        program.write_text("#!/bin/sh\necho rustc 1.99.0\n")
        program.chmod(0o755)
        wanted = f"rksm: {name} was built with another rustc: '{ours}', and here is 'rustc 1.99.0'"
        refused(name, re.escape(wanted), RUSTC=program)


def no_headers():
    """a kernel without headers is refused"""
    name = f"{SERIES}.99-none"
    refused(name, rf"rksm: the headers of {name} are not in \S+: apt install linux-headers-{name}")


def source_version():
    return must("dpkg-query", "-W", "-f", "${Version}", SOURCE)


def other_source():
    """DKMS passes over a kernel whose source is of another version"""
    real = source_version()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        top = Path(folder) / "package"
        (top / "DEBIAN").mkdir(parents=True)
        (top / "usr/src").mkdir(parents=True)
        (top / f"usr/src/{SOURCE}.tar.xz").write_text("of a later version\n")
        control = f"Package: {SOURCE}\nVersion: {real}+later\nArchitecture: all\n"
        control += "Maintainer: nobody <nobody@localhost>\nDescription: of a later version\n"
        (top / "DEBIAN/control").write_text(control)
        must("dpkg-deb", "--root-owner-group", "--build", top, f"{folder}/source.deb")
        apt("install", f"{folder}/source.deb")
    apt("install", f"linux-headers-{THIRD}/{BACKPORTS}")
    name = release(THIRD)
    wanted = f"rksm: {name} is of Debian's version {real}, and {SOURCE} is {real}+later: both must be the same"
    is_not_built(name, re.escape(wanted))


def source_comes():
    """when its source has come, the modules are built for it"""
    apt("install", "--allow-downgrades", f"{SOURCE}/{BACKPORTS}")
    is_built(release(THIRD))


def is_removed():
    """apt remove has left the settings, and nothing else"""
    check(f"pages_to_scan={SETTINGS['pages_to_scan']}" in CONF.read_text(), f"{CONF} is not what was saved")
    left = [*Path("/usr/src").glob("rksm*"), *Path("/var/lib/dkms").glob("rksm*")]
    left += [*Path("/usr/bin").glob("rksm*"), *Path("/usr/lib").glob("rksm*")]
    left += [*Path("/usr/lib/systemd/system").glob("rksm*"), *Path("/usr/share").rglob("*rksmctl*")]
    left += [*Path("/lib/modules").rglob("rksm*"), *Path("/usr/share/doc").glob("rksm*")]
    check(not left, f"there is {', '.join(map(str, left))}")


def purge():
    """apt purge takes the settings as well, and what was installed with it goes"""
    apt("purge", "rksm-dkms", "rksm-tools")
    check(not CONF.exists(), f"{CONF} is there")
    given = [f"linux-headers-{flavour}" for flavour in (CLOUD, OTHER, THIRD)] + [f"linux-image-{OTHER}"]
    # apt takes no kernel away by itself, nor the headers of one that stays.
    old = old_headers()
    kept = [f"linux-image-{release(OTHER)}", old.replace("headers", "image"), old, f"linux-headers-{release(CLOUD)}"]
    apt("purge", *given, *kept)
    # It would keep what something that stays only suggests, as apt does dpkg-dev.
    apt("autoremove", "--purge", "-o", "APT::AutoRemove::SuggestsImportant=false")
    before = set(json.loads(PACKAGES.read_text()))
    check(packages() == before, f"these packages differ: {packages() ^ before}")


def as_it_was():
    """no file is other than before"""
    found = files.compare(FILES)
    if found:
        raise Failed("; ".join(found[:40]) + f" ({len(found)} in all)")


STAGES = {
    "current": (is_current,),
    "install": (install, builds),
    "second": (hooks,),
    "uefi": (debian_uefi,),
    "enroll": (enroll,),
    "refuse": (old_kernel, no_rust, other_rustc, no_headers, other_source, source_comes),
    "purge": (is_removed, purge, as_it_was),
}
