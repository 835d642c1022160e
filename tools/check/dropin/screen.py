# SPDX-License-Identifier: GPL-2.0
"""The screen of tmux, with one program on it."""

import contextlib
import subprocess

from daemons import said
from machine import Unexpected, wait_for

TMUX = ("tmux", "-L", "check")


def lines():
    return said(*TMUX, "capture-pane", "-p").splitlines()


def press(*keys):
    said(*TMUX, "send-keys", *keys)


def shows(found):
    """Waits until `found` likes the lines that are shown."""
    try:
        wait_for(lambda: found(lines()))
    except Unexpected as error:
        raise Unexpected("\n".join([f"{error}:", *lines()])) from error


def has_ended():
    """tmux ends with the last program."""
    return subprocess.run([*TMUX, "has-session"], capture_output=True, check=False).returncode != 0


@contextlib.contextmanager
def running(command, columns=80, rows=24):
    said(*TMUX, "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), command)
    try:
        yield
    finally:
        subprocess.run([*TMUX, "kill-server"], capture_output=True, check=False)
