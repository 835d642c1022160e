# SPDX-License-Identifier: GPL-2.0
"""The states of the machine in which the documents' commands run. Each is entered, and is
left when the document ends."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import machine
from guest import guest

MODULES = Path(__file__).parents[3] / "dkms/modules"
RKSM_KO = Path(os.environ["RKSM_KO"]).resolve()
HOOKS_KO = RKSM_KO.with_name("rksm_hooks.ko")
# For modprobe, which finds no module that is not in the kernel's own folder.
MODPROBE = Path("/etc/modprobe.d/documents.conf")
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# The guests, and the numbers that the documents know their processes by.
GUESTS = {"web-1": 4711, "web-2": 4731, "db-1": 4751, "db-2": 4771}
# Those that they have instead.
numbers = {}
MIB = 1 << 20
# What all guests hold, and where.
IMAGE = {1 * MIB: "/vmlinuz", 32 * MIB: "/initrd.img"}
OWN = 96 * MIB


def defaults():
    """All knobs are as they come, and nothing is merged."""
    machine.set_knob("run", 2)
    # It has pages_to_scan as its own.
    machine.set_knob("advisor_mode", "none")
    knobs = machine.knobs()
    for line in machine.rksmctl("tune").splitlines():
        name, _, default, *_ = [*line.split(), "", "", ""]
        # That of run is last.
        if name in knobs and name != "run" and machine.knob(name) != default:
            machine.set_knob(name, default)
    machine.set_knob("run", 0)


@contextlib.contextmanager
def bare():
    """As before rksm is loaded, which `modprobe rksm` does."""
    MODPROBE.write_text(f"install rksm insmod {HOOKS_KO} && insmod {RKSM_KO}\n", encoding="ascii")
    subprocess.run([MODULES, "unload"], check=True)
    try:
        yield
    finally:
        MODPROBE.unlink()
        for module in (HOOKS_KO, RKSM_KO):
            if not Path("/sys/module", module.stem).exists():
                subprocess.run(["insmod", module], check=True)


@contextlib.contextmanager
def small_pages():
    """Without huge pages. Whether one is to be had is chance, and a split one has its zeroes
    as zero pages, whatever use_zero_pages says. PREEMPT_RT has none."""
    if not HUGE.exists():
        yield
        return
    before = machine.chosen(HUGE)
    HUGE.write_text("never", encoding="ascii")
    try:
        yield
    finally:
        HUGE.write_text(before, encoding="ascii")


@contextlib.contextmanager
def guests():
    """Four guests of one image. Emulated in an emulated machine, to boot them takes minutes;
    instead QEMU puts into their memory what a boot loader does: Debian's kernel and initrd,
    and something of their own. They do not run."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(small_pages())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, (name, pid) in enumerate(GUESTS.items()):
            own = folder / name
            # A part that no other page is equal to, and one that has less in it to be merged
            # than that of the guest before: in which order they are listed is no chance.
            own.write_bytes(os.urandom(2 * MIB) + os.urandom(MIB) * (len(GUESTS) + 1 - number))
            options = ["-name", name, "-m", "128"]
            for address, file in (IMAGE | {OWN: own}).items():
                options += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
            # Unless somebody has it, that is the number of the next process.
            Path("/proc/sys/kernel/ns_last_pid").write_text(f"{pid - 1}", encoding="ascii")
            numbers[pid] = stack.enter_context(guest(*options)).pid
        yield


@contextlib.contextmanager
def first_pass():
    """Those guests, and a scanner that takes some seconds to look at them."""
    with guests():
        machine.set_knob("use_zero_pages", 1)
        machine.set_knob("pages_to_scan", 700)
        machine.set_knob("run", 1)
        yield


STATES = {"bare": bare, "guests": guests, "first-pass": first_pass}


COUNTERS = "pages_shared", "pages_sharing", "ksm_zero_pages", "pages_unshared", "pages_volatile"


def counters():
    return [machine.knob(name) for name in COUNTERS]


def settled(before):
    """Waits until a whole pass has changed nothing, if anything is scanned; returns the
    counters. If they are as they were `before`, when that was waited for last, they still are."""
    if not machine.RKSM.exists() or machine.knob("run") != "1":
        return None
    if counters() == before:
        return before
    while True:
        passes = machine.number("full_scans")
        machine.wait_for(lambda passes=passes: machine.number("full_scans") > passes)
        now = counters()
        if now == before:
            return now
        before = now
