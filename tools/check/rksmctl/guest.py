# SPDX-License-Identifier: GPL-2.0
"""A guest of QEMU."""

import contextlib
import shutil
import subprocess

from machine import Skipped, expect


@contextlib.contextmanager
def guest(*options):
    """QEMU with a machine that has not been started: its memory is there."""
    program = shutil.which("qemu-system-x86_64")
    if not program:
        raise Skipped("no QEMU here")
    command = [program, "-S", "-nodefaults", "-display", "none", "-qmp", "stdio", "-m", "64", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            expect("QMP" in process.stdout.readline(), "QEMU does not start")
            # It greets before it has made the machine, and answers after that.
            process.stdin.write('{"execute": "qmp_capabilities"}\n')
            process.stdin.flush()
            expect("return" in process.stdout.readline(), "QEMU makes no machine")
            yield process
        finally:
            process.kill()
