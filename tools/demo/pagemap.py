# SPDX-License-Identifier: GPL-2.0
"""Which physical page stands behind a page of this process (needs root)."""

import os
import struct
from dataclasses import dataclass

PAGE = 4096
PRESENT = 1 << 63
PFN_MASK = (1 << 55) - 1
KPF_KSM = 1 << 21
KPF_ZERO_PAGE = 1 << 24


@dataclass(frozen=True)
class Frame:
    pfn: int
    ksm: bool
    zero: bool


class Pagemap:
    def __init__(self):
        self.pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
        self.flags = os.open("/proc/kpageflags", os.O_RDONLY)

    def frame(self, address):
        """The page frame at an address that has one."""
        entry = word(self.pagemap, address // PAGE)
        if not entry & PRESENT:
            raise LookupError(f"no page at {address:#x}")
        pfn = entry & PFN_MASK
        flags = word(self.flags, pfn)
        return Frame(pfn, bool(flags & KPF_KSM), bool(flags & KPF_ZERO_PAGE))


def word(fd, index):
    return struct.unpack("Q", os.pread(fd, 8, index * 8))[0]
