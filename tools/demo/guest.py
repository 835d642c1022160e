# SPDX-License-Identifier: GPL-2.0
"""A guest of the demo, and what it should answer."""

import hashlib
import select
import time
from pathlib import Path

import data
from failed import Failed
from ksm import PAGE
from qemu import ANSWER_SECONDS, Qemu

MEMORY_MIB = 128


class Guest(Qemu):
    def __init__(self, name, kernel, image, logs, devices=(), disk=b""):
        self.up = False
        self.disk = disk
        self.shared = bytearray(data.shared())
        self.own = data.own(name) + data.zero()
        super().__init__(name, kernel, image, logs, MEMORY_MIB, f"demo.guest={name}", devices)

    def is_up(self):
        """Has it said that it is ready? Does not wait for it."""
        if not self.up and select.select([self.port], [], [], 0)[0]:
            self.expect(f"ready {self.name}", self.line(ANSWER_SECONDS))
            self.up = True
        return self.up

    def write(self, offset, text):
        """Have the guest change its copy of what all guests have."""
        self.ask(f"write {offset} {text}")
        self.expect(f"write {offset} done", self.line())
        self.shared[offset : offset + len(text)] = text.encode()

    def check_sharing(self):
        """At the least, the file that all have must be merged."""
        wanted = len(self.shared) // PAGE
        merging = int(Path(f"/proc/{self.qemu.pid}/ksm_merging_pages").read_text())
        if merging < wanted:
            raise Failed(f"guest {self.name} has {merging} merged pages, less than {wanted}")
        return merging

    def checksum(self, nonce):
        digest = hashlib.sha256(f"{nonce}\n".encode())
        digest.update(self.shared)
        digest.update(self.own)
        digest.update(self.disk)
        return digest.hexdigest()


def check_all(guests):
    """Every guest reads all its data and says the right checksum of it.

    The time is in the question, so no answer can be an old one."""
    nonce = time.time_ns()
    for guest in guests:
        guest.ask(f"sum {nonce}")
    for guest in guests:
        guest.expect(f"sum {nonce} {guest.checksum(nonce)}", guest.line())
