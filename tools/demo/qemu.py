# SPDX-License-Identifier: GPL-2.0
"""A QEMU/KVM guest whose memory is open to merging, and which answers lines with lines."""

import socket
import subprocess
import time

from failed import Failed

KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 kunit.enable=0"
# Under emulation on a busy machine; far more than they take.
BOOT_SECONDS = 300
ANSWER_SECONDS = 180


class Qemu:
    def __init__(self, name, kernel, image, logs, mib, options, devices=()):
        self.name = name
        self.started = time.monotonic()
        self.log = logs / f"guest-{name}.log"
        self.errors = logs / f"guest-{name}.qemu.log"
        self.port, theirs = socket.socketpair()
        command = ["qemu-system-x86_64", "-name", f"guest-{name}"]
        command += ["-machine", "pc,mem-merge=on", "-accel", "kvm", "-cpu", "qemu64"]
        command += ["-m", str(mib), "-nodefaults", "-no-reboot"]
        command += ["-display", "none", "-monitor", "none"]
        command += ["-kernel", str(kernel), "-initrd", str(image), "-append", f"{KERNEL_OPTIONS} {options}"]
        command += ["-serial", f"file:{self.log}", *devices]
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

    def line(self, seconds=ANSWER_SECONDS):
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
