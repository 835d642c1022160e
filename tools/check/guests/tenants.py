# SPDX-License-Identifier: GPL-2.0
"""Guests of two tenants, each below a slice of its own, as libvirt and systemd have them."""

import contextlib
from pathlib import Path

from machine import expect, wait_for
from qemu import BOOT_SECONDS, Qemu

KERNEL = IMAGE = LOGS = None  # set by __main__
CGROUPS = Path("/sys/fs/cgroup/machine.slice")
MIB = 224


class Tenant(Qemu):
    def __init__(self, name):
        super().__init__(name, KERNEL, IMAGE, LOGS, MIB, "")
        self.cgroup = CGROUPS / f"machine-{name}.slice/guest.scope"
        self.cgroup.mkdir(parents=True, exist_ok=True)
        (self.cgroup / "cgroup.procs").write_text(str(self.qemu.pid))

    def do(self, command):
        """What it answers with."""
        self.ask(command)
        words = self.line().split()
        expect(words and words[-1] == "done", f"{command}: guest {self.name} says {words}")
        return [int(word) for word in words[:-1]]

    def faults(self):
        """Minor faults of all threads."""
        stat = Path(f"/proc/{self.qemu.pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[7])


def with_memory():
    """What makes slices that memory is counted for."""
    for folder in (CGROUPS.parent, CGROUPS):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text("+memory")


@contextlib.contextmanager
def guests(*names):
    with_memory()
    # The machine has just booted: the module is loaded when it is.
    wait_for(Path("/dev/kvm").exists)
    running = []
    try:
        for name in names:
            running.append(Tenant(name))
            (running[-1].cgroup.parent / "cgroup.subtree_control").write_text("+memory")
        for guest in running:
            guest.expect("ready", guest.line(BOOT_SECONDS))
        yield running
        for guest in running:
            guest.stop()
    finally:
        for guest in running:
            guest.kill()
