# SPDX-License-Identifier: GPL-2.0
"""Memory that is merged, and processes that have it merged."""

import contextlib
import subprocess
from pathlib import Path

from machine import expect, holder, knob, set_knob, wait_for

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


@contextlib.contextmanager
def guest(mib, merge):
    """QEMU with a guest that has not been started; all of its memory is there, and zero."""
    command = ["qemu-system-x86_64", "-enable-kvm", "-cpu", "qemu64", "-S", "-nodefaults", "-display", "none"]
    command += ["-machine", f"q35,mem-merge={merge},memory-backend=m", "-qmp", "stdio", "-m", f"{mib}M"]
    command += ["-object", f"memory-backend-ram,id=m,size={mib}M,prealloc=on"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            expect("QMP" in process.stdout.readline(), "QEMU does not start")
            yield process
        finally:
            process.kill()
