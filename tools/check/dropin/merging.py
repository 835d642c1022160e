# SPDX-License-Identifier: GPL-2.0
"""Memory that is merged, and processes that have it merged."""

import contextlib
from pathlib import Path

import guest as qemu
from machine import holder, knob, set_knob, wait_for

PAGES = 1000


def number(name):
    return int(knob(name))


def scan():
    set_knob("pages_to_scan", 5000)
    set_knob("run", 1)


@contextlib.contextmanager
def merged():
    """A process with merged pages, and nothing that changes any more."""
    scan()
    with holder(PAGES):
        wait_for(lambda: number("pages_sharing") >= PAGES * 9 // 10)
        set_knob("run", 0)
        yield


def merged_pages(pid):
    return int(Path(f"/proc/{pid}/ksm_merging_pages").read_text(encoding="ascii"))


def says(pid, what):
    return f"\n{what}\n" in Path(f"/proc/{pid}/ksm_stat").read_text(encoding="ascii")


def passes(count):
    """Whatever there was when it was called has been looked at so often."""
    first = number("full_scans")
    wait_for(lambda: number("full_scans") > first + count)


def guest(mib, merge):
    """All of its memory is there, and zero."""
    memory = f"memory-backend-ram,id=m,size={mib}M,prealloc=on"
    machine = f"q35,mem-merge={merge},memory-backend=m"
    # ksmtuned knows no other.
    return qemu.guest("-enable-kvm", "-cpu", "qemu64", "-machine", machine, "-m", f"{mib}M", "-object", memory)
