# SPDX-License-Identifier: GPL-2.0
"""A program on a screen of tmux."""

import contextlib
import subprocess

from daemons import said
from machine import Unexpected, wait_for

TMUX = ("tmux", "-L", "check")


class Screen:
    def __init__(self, command, columns, rows):
        said(*TMUX, "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), command)

    @staticmethod
    def lines():
        return said(*TMUX, "capture-pane", "-p").splitlines()

    @staticmethod
    def press(*keys):
        said(*TMUX, "send-keys", *keys)

    def wait_for(self, found):
        """Until `found` likes the lines that are shown."""
        try:
            wait_for(lambda: found(self.lines()))
        except Unexpected as error:
            raise Unexpected("\n".join([f"{error}:", *self.lines()])) from error

    @staticmethod
    def has_ended():
        """tmux ends with the last program."""
        return subprocess.run([*TMUX, "has-session"], capture_output=True, check=False).returncode != 0


@contextlib.contextmanager
def screen(command, columns=80, rows=24):
    try:
        yield Screen(command, columns, rows)
    finally:
        subprocess.run([*TMUX, "kill-server"], capture_output=True, check=False)
