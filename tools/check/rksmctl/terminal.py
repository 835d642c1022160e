# SPDX-License-Identifier: GPL-2.0
"""A terminal with rksmctl in it, and what is on its screen."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time

import machine
from machine import expect

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Terminal:
    def __init__(self, args, columns=80, rows=24, user=None):
        self.ours, self.theirs = pty.openpty()
        self.written = ""
        self.before = termios.tcgetattr(self.theirs)
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            [machine.RKSMCTL, *args],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            user=user,
            start_new_session=True,
            # It becomes the session's terminal, whose size is told by a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        data = b""
        with contextlib.suppress(OSError):
            while more := os.read(self.ours, 65536):
                data += more
                self.written = data.decode(errors="ignore")

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def screen(self):
        """What is shown after all that was written: text, where it goes, and what is wiped."""
        wide, high = 300, 100
        cells = [[" "] * wide for _ in range(high)]
        row = column = at = 0
        text = self.written
        while at < len(text):
            control = CONTROL.match(text, at)
            if control:
                numbers, kind = control.groups()
                if kind == "G":
                    column = int(numbers) - 1
                elif kind == "H":
                    row, column = (int(number) - 1 for number in (numbers or "1;1").split(";"))
                elif kind == "J":
                    cells = [[" "] * wide for _ in range(high)]
                elif kind == "K":
                    cells[row][column:] = [" "] * (wide - column)
                at = control.end()
            elif text[at] in "\r\n":
                row, column = (row, 0) if text[at] == "\r" else (row + 1, column)
                at += 1
            else:
                cells[row][min(column, wide - 1)] = text[at]
                column += 1
                at += 1
        return ["".join(line[: self.columns]) for line in cells[: self.rows]]

    def wait_for(self, what, seconds=60, ended=False):
        """Until that is on the screen; `ended`: the process need not run any more."""
        end = time.monotonic() + seconds
        while not any(what in line for line in self.screen()):
            shown = "\n".join(self.screen())
            expect(ended or self.process.poll() is None, f"it ended: {shown}")
            expect(time.monotonic() < end, f"no '{what}' in\n{shown}")
            time.sleep(0.1)

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def ends_well(self):
        """With status 0, and the terminal as it was."""
        expect(self.process.wait(30) == 0, f"status {self.process.returncode}: {self.written[-300:]}")
        end = time.monotonic() + 10
        while LEAVE not in self.written and time.monotonic() < end:
            time.sleep(0.1)
        expect(self.written.rfind(LEAVE) > self.written.rfind(ENTER) >= 0, "the other screen is left")
        expect(self.written.rfind(SHOW_CURSOR) > self.written.rfind(HIDE_CURSOR) >= 0, "no cursor")
        expect(termios.tcgetattr(self.theirs) == self.before, "the terminal is set otherwise")


@contextlib.contextmanager
def terminal(*args, **options):
    it = Terminal(args, **options)
    try:
        yield it
    finally:
        it.process.kill()
        it.process.wait()
        os.close(it.theirs)
