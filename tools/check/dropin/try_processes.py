# SPDX-License-Identifier: GPL-2.0
"""Who has processes merged."""

import contextlib
import sys

from daemons import said, systemctl
from machine import HOLDER, expect, merged_pages, passes, says, scan, wait_for
from merging import PAGES, guest

# Of 32 MiB.
GUEST_PAGES = 8000


def case_qemu(_group):
    scan()
    with guest(32, "on") as asks, guest(32, "off") as does_not:
        wait_for(lambda: merged_pages(asks.pid) > GUEST_PAGES)
        passes(1)
        expect(merged_pages(does_not.pid) == 0, f"{merged_pages(does_not.pid)} pages of mem-merge=off are merged")


@contextlib.contextmanager
def unit(merge):
    """A service that does not ask for merging itself: its process."""
    name = f"check-{merge}.service"
    said("systemd-run", "--unit", name, "-p", f"MemoryKSM={merge}", sys.executable, "-c", HOLDER, str(PAGES), "equal", "unasked")
    try:
        yield int(said("systemctl", "show", "--value", "-p", "MainPID", name))
    finally:
        systemctl("stop", name)


def case_systemd(_group):
    scan()
    with unit("yes") as asks, unit("no") as does_not:
        wait_for(lambda: merged_pages(asks) >= PAGES * 9 // 10)
        passes(1)
        expect(says(asks, "ksm_merge_any: yes") and says(does_not, "ksm_merge_any: no"), "the unit is not what it should be")
        expect(merged_pages(does_not) == 0, f"{merged_pages(does_not)} pages of MemoryKSM=no are merged")


DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <memoryBacking>{sharing}<allocation mode='immediate'/></memoryBacking>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
"""


@contextlib.contextmanager
def domain(name, sharing):
    virsh = ("virsh", "-c", "qemu:///system")
    said(*virsh, "create", "/dev/stdin", "--paused", input=DOMAIN.format(name=name, sharing=sharing))
    try:
        yield int(said("pgrep", "-f", f"^/usr/bin/qemu-system-x86_64 -name guest={name},"))
    finally:
        said(*virsh, "destroy", name)


def case_libvirt(_group):
    scan()
    with domain("asks", "") as asks, domain("does-not", "<nosharepages/>") as does_not:
        wait_for(lambda: merged_pages(asks) > GUEST_PAGES)
        expect(says(does_not, "ksm_mergeable: no"), "<nosharepages/> does nothing")
