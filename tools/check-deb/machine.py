# SPDX-License-Identifier: GPL-2.0
"""The stages that need the running kernel."""

import json
import lzma
import os
import re
import time
from pathlib import Path
from typing import ClassVar

import guest
import proof
from common import CONF, LOGS, SERIES, SETTINGS, STAGE, VERSION, WORK, Failed
from common import call, check, in_order, modules, must
from guest import Guest
from ksm import MM, PAGE, Ksm
from process import Process

RELEASE = os.uname().release
MODULES = "/usr/lib/rksm/modules"
SHARED_PAGES = len(guest.data.shared()) // PAGE
MERGE_SECONDS = 200
LOCKDOWN = Path("/sys/kernel/security/lockdown")
REFUSALS = {
    "locked": "the kernel is locked down without Secure Boot, and does not trust DKMS's key: "
    "boot without lockdown= and module.sig_enforce, or with Secure Boot and that key enrolled",
    "refused": "Secure Boot is on, and the kernel refuses the modules until DKMS's key is enrolled: "
    "mokutil --import /var/lib/dkms/mok.pub, then reboot and confirm",
}
UNSIGNED = "the kernel takes only signed modules, and DKMS did not sign these: "
UNSIGNED += "dpkg-reconfigure rksm-dkms builds them anew, and says why where it cannot sign"


def loaded():
    return [name for name in ("rksm_hooks", "rksm") if Path("/sys/module", name).exists()]


def is_the_kernels_own(run=0):
    """Page merging is in-tree KSM's, and its run knob stands where rksm's did."""
    check(not loaded(), f"loaded: {loaded()}")
    folder = MM / "ksm"
    check(folder.is_dir(), f"{folder} is not there")
    check(not (MM / "rksm").exists(), f"{MM}/rksm is there")
    now = (folder / "run").read_text()
    check(now == f"{run}\n", f"{folder}/run is {now}, not {run}")


def is_rksms():
    """Page merging is rksm's."""
    check(loaded() == ["rksm_hooks", "rksm"], f"loaded: {loaded()}")
    check((MM / "rksm").is_dir(), f"{MM}/rksm is not there")
    ours, theirs = (Ksm(name).read("sleep_millisecs") for name in ("rksm", "ksm"))
    check(ours == theirs, f"sleep_millisecs is {ours} in {MM}/rksm and {theirs} in {MM}/ksm")
    check(Path("/sys/kernel/livepatch/rksm_hooks/enabled").read_text() == "1\n", "the livepatch is not enabled")


def unit(state, enabled):
    """What systemd says of the unit."""
    said = call("systemctl", "is-active", "rksm")[1], call("systemctl", "is-enabled", "rksm")[1]
    check(said == (state, enabled), f"rksm.service is {said[0]} and {said[1]}, not {state} and {enabled}")


def settings():
    ksm = Ksm("rksm")
    return {knob: ksm.read(knob) for knob in SETTINGS}


# Of each boot.


def is_up():
    """the system is up, and nothing of it has failed"""
    status, state = call("systemctl", "is-system-running", "--wait")
    failed = call("systemctl", "list-units", "--failed", "--plain", "--no-legend")[1]
    check(status == 0, f"it is {state}: {failed}")


# As it is shipped.


def nothing_is_there():
    """page merging is the kernel's own, and nothing knows rksm"""
    is_the_kernels_own()
    check(call("modinfo", "rksm")[0] != 0, "modinfo knows rksm")
    check(call("rksmctl")[0] == 127, "rksmctl is there")


# With the package.


def is_off():
    """the service is off until asked for, and nothing is loaded"""
    unit("inactive", "disabled")
    is_the_kernels_own()


def modinfo():
    """modinfo says which version the modules are, and for which kernel"""
    for name in ("rksm", "rksm_hooks"):
        said = must("modinfo", "-F", "version", name)
        check(said == VERSION, f"{name} is of version '{said}'")
        said = must("modinfo", "-F", "vermagic", name)
        check(said.split()[0] == RELEASE, f"{name} is for '{said}'")


def modprobe():
    """modprobe rksm loads both modules, and merges nothing yet"""
    must("modprobe", "rksm")
    is_rksms()
    check(settings()["run"] == 0, f"run is {settings()['run']}")


def status():
    """rksmctl says who merges pages"""
    said = must("rksmctl", "status")
    check(said.startswith("Merging by     rksm: "), f"it says: {said}")


def forget():
    """rksmctl tune --save, and --forget takes it back"""
    shipped = CONF.read_text()
    must("rksmctl", "tune", "--save")
    unit("active", "enabled")
    check(CONF.read_text() != shipped, f"{CONF} is as it was")
    must("rksmctl", "tune", "--forget")
    unit("active", "disabled")
    check(CONF.read_text() == shipped, f"{CONF} is not as it was shipped")
    is_rksms()


def save():
    """rksmctl tune --save keeps what is set, for the next boot"""
    old = settings()
    check(not set(old.items()) & set(SETTINGS.items()), f"some of it is set already: {old}")
    Ksm("rksm").set(SETTINGS)
    must("rksmctl", "tune", "--save")
    unit("active", "enabled")
    lines = CONF.read_text().splitlines()
    missing = [line for line in (f"{knob}={value}" for knob, value in SETTINGS.items()) if line not in lines]
    check(not missing, f"{CONF} lacks {missing}")


def unload():
    """where nothing is merged, it goes at once"""
    must(MODULES, "unload", "--keep-merged")
    is_the_kernels_own(SETTINGS["run"])
    must("systemctl", "stop", "rksm")
    unit("inactive", "enabled")


# With the unit enabled.


def is_loaded():
    """the unit has loaded it, with the saved settings"""
    unit("active", "enabled")
    is_rksms()
    check(settings() == SETTINGS, f"they are {settings()}")


def doctor():
    """rksmctl doctor finds everything in order"""
    findings = json.loads(must("rksmctl", "doctor", "--json"))
    wrong = [finding for finding in findings if finding["state"] != "ok"]
    check(not wrong, f"it finds {wrong}")


class Guests:
    """Two of the demo's, of one image; and what is to be done when they are gone."""

    all: ClassVar = []
    advice: ClassVar = []

    @classmethod
    def merged(cls):
        return [int(Path(f"/proc/{each.qemu.pid}/ksm_merging_pages").read_text()) for each in cls.all]

    @classmethod
    def kill(cls):
        for each in cls.all:
            each.kill()


def share():
    """two QEMU guests share what came with their image"""
    ksm = Ksm("rksm")
    check(ksm.counters().merged == 0, f"pages are merged before: {ksm.counters()}")
    for name in ("a", "b"):
        Guests.all.append(Guest(name, f"/boot/vmlinuz-{RELEASE}", WORK / "guest.img", LOGS))
    for each in Guests.all:
        while not each.is_up():
            each.check_boot_time()
            time.sleep(0.5)
    end = time.monotonic() + MERGE_SECONDS
    while not min(Guests.merged()) >= SHARED_PAGES <= ksm.read("pages_sharing"):
        why = f"the guests have {Guests.merged()} merged pages, not {SHARED_PAGES} each: {ksm.counters()}"
        check(time.monotonic() < end, why)
        time.sleep(0.5)


def content():
    """all that the guests have in memory is right"""
    guest.check_all(Guests.all)


def write():
    """one writes to what both share, and each has what is its own"""
    for offset in range(0, 1 << 20, 1 << 16):
        Guests.all[0].write(offset, f"written by a at {offset}")
    guest.check_all(Guests.all)


def went_down():
    """the machine went down in order before, and rksm with it"""
    log = must("journalctl", "--boot=-1", "--unit=rksm", "--output=cat")
    for text in ("Stopping rksm.service", "Stopped rksm.service"):
        check(text in log, f"the journal has no '{text}': {log}")
    check("Failed" not in log and "rksm: " not in log, f"the journal says: {log}")


def remove_idle():
    """apt remove, with nothing merged, unloads the modules"""
    is_rksms()
    remove()
    is_the_kernels_own(SETTINGS["run"])
    is_stopped()


def is_stopped():
    check(call("systemctl", "is-active", "rksm")[1] == "inactive", "systemd takes the unit for active")


def remove_merged():
    """apt remove, with pages merged, leaves the modules and says what unloads them"""
    said = remove()
    is_rksms()
    check(settings()["run"] == 1, "run is not 1 any more")
    guest.check_all(Guests.all)
    Guests.advice = re.findall(r"^rksm: .* until: (.*)$", said, re.MULTILINE)
    check(len(Guests.advice) == 1, f"it does not say until when: {said}")


def follow():
    """what it says unloads them, and the guests have what they had"""
    must("sh", "-c", *Guests.advice)
    is_the_kernels_own(SETTINGS["run"])
    is_stopped()
    guest.check_all(Guests.all)


def remove():
    said = must("apt-get", "-y", "remove", "rksm-dkms", "rksm-tools")
    check(call("modinfo", "rksm")[0] != 0, "modinfo still knows rksm")
    check(call("rksmctl")[0] == 127, "rksmctl is still there")
    in_order()
    return said


# Where the kernel takes only what a key that it trusts has signed.


def lockdown():
    """What it is down to."""
    return re.search(r"\[(\w+)\]", LOCKDOWN.read_text())[1]


def enforces():
    """It loads only signed modules, whether it is locked down or not."""
    return Path("/sys/module/module/parameters/sig_enforce").read_text() == "Y\n"


def is_locked():
    """the kernel is locked down by its command line, without Secure Boot"""
    check((lockdown(), enforces()) == ("integrity", False), f"it is {lockdown()}, {enforces()}")


def is_secure():
    """Secure Boot is on, and has locked the kernel down"""
    check((lockdown(), enforces()) == ("integrity", True), f"it is {lockdown()}, {enforces()}")
    check("secureboot: Secure boot enabled" in must("dmesg"), "the kernel's log has nothing of it")


def fails(why, *command, run=0):
    """What the unit calls does, says why in this one sentence, and leaves nothing loaded."""
    done = call(MODULES, *command)
    check(done == (1, f"rksm: {why}"), f"modules {' '.join(command)} ends with {done[0]}: {done[1]}")
    is_the_kernels_own(run)


def refuses():
    """it is said in one sentence why the modules are refused, and how not, and nothing is loaded"""
    fails(REFUSALS[STAGE], "load")
    fails(REFUSALS[STAGE], "check")


def unit_fails():
    """the unit has failed with that sentence, and nothing else has"""
    unit("failed", "enabled")
    log = must("journalctl", "--boot", "--unit=rksm", "--output=cat")
    check(f"rksm: {REFUSALS[STAGE]}" in log.splitlines(), f"the journal says: {log}")
    failed = must("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    check(len(failed.splitlines()) == 1, f"failed: {failed}")


def apt_says():
    """the package says so when it is done"""
    # It has the same done when the kernel's source comes.
    must("dpkg-trigger", "--no-await", f"/usr/src/linux-source-{SERIES}.tar.xz")
    said = must("dpkg", "--triggers-only", "rksm-dkms").splitlines()
    check(f"rksm: built, but {REFUSALS[STAGE]}" in said[1:], f"it says {said}")
    in_order()


def merge():
    """what a process has twice is merged, and it can write to that"""
    process = Process(LOGS)
    try:
        process.answer()
        end = time.monotonic() + MERGE_SECONDS
        while True:
            try:
                proof.merged_as_known(process)
                break
            except Failed:
                if time.monotonic() > end:
                    raise
            time.sleep(0.5)
        proof.writers_get_copies(process)
        process.check()
        process.stop()
    finally:
        process.kill()


def confidential():
    """it does so as well under lockdown=confidentiality, loaded there"""
    must(MODULES, "unload")
    LOCKDOWN.write_text("confidentiality")
    check(lockdown() == "confidentiality", f"it is {lockdown()}")
    must(MODULES, "load")
    is_rksms()
    merge()


def half():
    """where rksm alone is refused, rksm_hooks does not stay either"""
    must(MODULES, "unload")
    path = next(path for path in modules(RELEASE) if path.name.startswith("rksm."))
    signed = path.read_bytes()
    enabled = "livepatch: enabling patch 'rksm_hooks'"
    before = must("dmesg").count(enabled)
    # A signature is one at the very end only.
    path.write_bytes(lzma.compress(lzma.decompress(signed) + b"\0", check=lzma.CHECK_CRC32))
    # In-tree KSM goes on with what rksm did.
    fails(UNSIGNED, "load", run=1)
    check(must("dmesg").count(enabled) == before + 1, "rksm_hooks was not loaded in between")
    path.write_bytes(signed)
    must(MODULES, "load")
    is_rksms()


SHARING = (share, content, write)
STAGES = {
    "shipped": (is_up, nothing_is_there),
    "installed": (is_up, is_off, modinfo, modprobe, status, forget, save, unload),
    "enabled": (is_up, is_loaded, doctor, *SHARING),
    "other": (is_up, went_down, is_loaded, *SHARING, remove_merged, follow),
    "locked": (is_locked, refuses, unit_fails, apt_says),
    "refused": (is_secure, refuses, unit_fails, apt_says),
    "enrolled": (is_up, is_secure, is_loaded, merge, confidential, half),
    "idle": (is_up, is_loaded, remove_idle),
}
