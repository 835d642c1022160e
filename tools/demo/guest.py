# SPDX-License-Identifier: GPL-2.0
"""A QEMU/KVM guest whose memory is open to merging, and what it should answer."""

import hashlib
import select
import socket
import subprocess
import time
from pathlib import Path

import data
from failed import Failed
from ksm import PAGE

MEMORY_MIB = 128
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 kunit.enable=0"
# Under emulation on a busy machine; far more than they take.
BOOT_SECONDS = 300
ANSWER_SECONDS = 180


class Guest:
    def __init__(self, name, kernel, image, logs):
        self.name = name
        self.up = False
        self.started = time.monotonic()
        self.log = logs / f"guest-{name}.log"
        self.errors = logs / f"guest-{name}.qemu.log"
        self.shared = bytearray(data.shared())
        self.own = data.own(name) + data.zero()
        self.port, theirs = socket.socketpair()
        command = ["qemu-system-x86_64", "-name", f"guest-{name}"]
        command += ["-machine", "pc,mem-merge=on", "-accel", "kvm", "-cpu", "qemu64"]
        command += ["-m", str(MEMORY_MIB), "-nodefaults", "-no-reboot"]
        command += ["-display", "none", "-monitor", "none"]
        command += ["-kernel", str(kernel), "-initrd", str(image), "-append", f"{KERNEL_OPTIONS} demo.guest={name}"]
        command += ["-serial", f"file:{self.log}"]
        command += ["-chardev", f"socket,id=port,fd={theirs.fileno()}", "-serial", "chardev:port"]
        with theirs, self.errors.open("wb") as errors:
            self.qemu = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[theirs.fileno()],
            )
        self.lines = self.port.makefile("rw", newline="\n")

    def line(self, seconds):
        """The guest's next line, or why there is none."""
        self.port.settimeout(seconds)
        try:
            text = self.lines.readline()
        except TimeoutError:
            raise Failed(f"guest {self.name} was silent for {seconds} s", self.log) from None
        except OSError:
            text = ""
        if not text:
            raise self.ended()
        return text.strip()

    def ended(self):
        """QEMU is gone, for a reason of its own or because the guest's kernel panicked."""
        why = f"QEMU of guest {self.name} ended with status {self.qemu.wait()}"
        return Failed(why, self.errors if self.errors.stat().st_size else self.log)

    def is_up(self):
        """Has it said that it is ready? Does not wait for it."""
        if not self.up and select.select([self.port], [], [], 0)[0]:
            self.expect(f"ready {self.name}", self.line(ANSWER_SECONDS))
            self.up = True
        return self.up

    def check_boot_time(self):
        if self.qemu.poll() is not None:
            raise self.ended()
        if time.monotonic() - self.started > BOOT_SECONDS:
            raise Failed(f"guest {self.name} is not up after {BOOT_SECONDS} s", self.log)

    def ask(self, command):
        try:
            self.lines.write(command + "\n")
            self.lines.flush()
        except OSError:
            raise self.ended() from None

    def expect(self, wanted, answer):
        if answer != wanted:
            raise Failed(f"guest {self.name} says '{answer}' instead of '{wanted}'", self.log)

    def write(self, offset, text):
        """Have the guest change its copy of what all guests have."""
        self.ask(f"write {offset} {text}")
        self.expect(f"write {offset} done", self.line(ANSWER_SECONDS))
        self.shared[offset : offset + len(text)] = text.encode()

    def check_sharing(self):
        """At the least, the file that all have must be merged."""
        wanted = len(self.shared) // PAGE
        merging = int(Path(f"/proc/{self.qemu.pid}/ksm_merging_pages").read_text())
        if merging < wanted:
            raise Failed(f"guest {self.name} has {merging} merged pages, less than {wanted}")
        return merging

    def stop(self):
        self.ask("off")
        try:
            status = self.qemu.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"guest {self.name} did not power off", self.log) from None
        if status:
            raise self.ended()

    def kill(self):
        self.qemu.kill()
        self.qemu.wait()

    def checksum(self, nonce):
        digest = hashlib.sha256(f"{nonce}\n".encode())
        digest.update(self.shared)
        digest.update(self.own)
        return digest.hexdigest()


def check_all(guests):
    """Every guest reads all its data and says the right checksum of it.

    The time is in the question, so no answer can be an old one."""
    nonce = time.time_ns()
    for guest in guests:
        guest.ask(f"sum {nonce}")
    for guest in guests:
        guest.expect(f"sum {nonce} {guest.checksum(nonce)}", guest.line(ANSWER_SECONDS))
