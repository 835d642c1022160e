# SPDX-License-Identifier: GPL-2.0
"""Says what the demo does, step by step, and what went wrong."""

import time
from contextlib import contextmanager
from pathlib import Path

import kernel_log
from failed import Failed


class Report:
    def __init__(self, console, log):
        self.console = console
        self.log = log  # the kernel's: where to look when a step names no log of its own
        self.started = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.started

    @contextmanager
    def step(self, name):
        """One step. The body may append details to the list it gets."""
        begin, details = time.monotonic(), []
        try:
            yield details
        except Exception as error:
            kernel_log.save(self.log)
            log = getattr(error, "log", None) or self.log
            self.say(f"FAIL  {name}: {error}", style="bold red")
            self.say(end_of(log), style=None)
            self.say(f"demo: step '{name}' failed; its log is {log}", style="bold red")
            if isinstance(error, (Failed, OSError)):
                raise SystemExit(1) from None
            raise
        text = ", ".join([name, *details])
        self.say(f"ok    {text} ({time.monotonic() - begin:.1f} s)", style="green")

    def say(self, text, style=None):
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def end_of(log, lines=25):
    """The last lines of a log, for a reader who cannot open it any more."""
    try:
        text = Path(log).read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(f"      | {line}" for line in text[-lines:])
