# SPDX-License-Identifier: GPL-2.0
"""The knobs and counters of page merging in sysfs."""

from dataclasses import dataclass
from pathlib import Path

MM = Path("/sys/kernel/mm")
PAGE = 4096
MIB = 1 << 20


@dataclass(frozen=True)
class Counters:
    pages_shared: int
    pages_sharing: int
    pages_unshared: int
    pages_volatile: int
    ksm_zero_pages: int
    general_profit: int
    full_scans: int

    @property
    def merged(self):
        """Pages whose owners now share one."""
        return self.pages_shared + self.pages_sharing + self.ksm_zero_pages

    @property
    def saved_mib(self):
        """Memory that is free because of it."""
        return (self.pages_sharing + self.ksm_zero_pages) * PAGE / MIB


class Ksm:
    """One directory of knobs: rksm's, or that of the in-tree KSM."""

    def __init__(self, name):
        self.path = MM / name

    def write(self, knob, value):
        (self.path / knob).write_text(f"{value}\n")

    def set(self, knobs):
        for knob, value in knobs.items():
            self.write(knob, value)

    def scan_every_page(self):
        """Where the scanner can skip pages that never merged, do not let it:
        the counters would look settled with pages still to come."""
        if (self.path / "smart_scan").exists():
            self.write("smart_scan", 0)

    def read(self, counter):
        return int((self.path / counter).read_text())

    def counters(self):
        return Counters(**{name: self.read(name) for name in Counters.__dataclass_fields__})
