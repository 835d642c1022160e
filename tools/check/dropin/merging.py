# SPDX-License-Identifier: GPL-2.0
"""Memory that is merged, and guests that have it merged."""

import contextlib

import guest as qemu
from machine import holder, number, scan, stop, wait_for

PAGES = 1000


@contextlib.contextmanager
def merged():
    """A process with merged pages, and nothing that changes any more."""
    scan()
    with holder(PAGES):
        wait_for(lambda: number("pages_sharing") >= PAGES * 9 // 10)
        stop()
        yield


def guest(mib, merge):
    """All of its memory is there, and zero."""
    memory = f"memory-backend-ram,id=m,size={mib}M,prealloc=on"
    machine = f"q35,mem-merge={merge},memory-backend=m"
    # ksmtuned knows no other.
    return qemu.guest("-enable-kvm", "-cpu", "qemu64", "-machine", machine, "-m", f"{mib}M", "-object", memory)
