# SPDX-License-Identifier: GPL-2.0
"""The live table of the counters, until they settle."""

import time

from rich import box
from rich.live import Live
from rich.table import Table

from failed import Failed
from ksm import MIB

# Settled: nothing merged or unmerged over this many full scans. A running
# guest writes to a page now and then; so much is still settled.
QUIET_SCANS = 3
JITTER = 1 / 1000
GIVE_UP_SECONDS = 400

LOOK_SECONDS = 0.5
ROW_SECONDS = 3
ROWS = 12

COLUMNS = {
    "seconds": lambda s, c: f"{s:.0f}",
    "scans": lambda s, c: f"{c.full_scans}",
    "shared": lambda s, c: f"{c.pages_shared}",
    "sharing": lambda s, c: f"{c.pages_sharing}",
    "zero pages": lambda s, c: f"{c.ksm_zero_pages}",
    "unshared": lambda s, c: f"{c.pages_unshared}",
    "volatile": lambda s, c: f"{c.pages_volatile}",
    "saved MiB": lambda s, c: f"{c.saved_mib:.1f}",
    "profit MiB": lambda s, c: f"{c.general_profit / MIB:.1f}",
}


def cells(seconds, counters):
    return [text(seconds, counters) for text in COLUMNS.values()]


class Settling:
    """Are the counters still moving?"""

    def __init__(self):
        self.base = None

    def settled(self, counters):
        if self.base is None or self.moved(counters):
            self.base = counters
        return counters.merged > 0 and counters.full_scans - self.base.full_scans > QUIET_SCANS

    def moved(self, counters):
        allowed = self.base.merged * JITTER
        return any(
            abs(getattr(counters, name) - getattr(self.base, name)) > allowed
            for name in ("pages_shared", "pages_sharing", "ksm_zero_pages")
        )


class Lines:
    """For a log or a pipe: one line every few seconds."""

    def __init__(self, console):
        self.console = console
        self.last = None

    def __enter__(self):
        self.line(COLUMNS)
        return self

    def __exit__(self, *_):
        pass

    def show(self, seconds, counters, final=False):
        if final or self.last is None or seconds - self.last >= ROW_SECONDS:
            self.last = seconds
            self.line(cells(seconds, counters))

    def line(self, texts):
        line = " ".join(f"{text:>{len(column)}}" for column, text in zip(COLUMNS, texts, strict=True))
        self.console.print(line, highlight=False, soft_wrap=True)


class Screen:
    """For a terminal: a table in place, its last row always the newest."""

    def __init__(self, console):
        self.rows = []
        self.live = Live(console=console, auto_refresh=False)

    def __enter__(self):
        self.live.start()
        return self

    def __exit__(self, *_):
        self.live.stop()

    def show(self, seconds, counters, final=False):
        if len(self.rows) < 2 or self.rows[-1][0] - self.rows[-2][0] >= ROW_SECONDS:
            self.rows.append((seconds, counters))
        else:
            self.rows[-1] = (seconds, counters)
        table = Table(title="settled" if final else "merging", box=box.SIMPLE_HEAD, padding=0)
        for column in COLUMNS:
            table.add_column(column, justify="right", no_wrap=True)
        for row in self.rows[-ROWS:]:
            table.add_row(*cells(*row), style="bold" if row is self.rows[-1] else None)
        self.live.update(table, refresh=True)


def watch(ksm, console, all_up):
    """Show the counters until everybody is up and they settle; returns them."""
    started, settling = time.monotonic(), Settling()
    with (Screen if console.is_terminal else Lines)(console) as view:
        while True:
            seconds, up, counters = time.monotonic() - started, all_up(), ksm.counters()
            settled = up and settling.settled(counters)
            view.show(seconds, counters, final=settled)
            if settled:
                return counters
            if seconds > GIVE_UP_SECONDS:
                raise Failed(f"the counters still move after {GIVE_UP_SECONDS} s: {counters}")
            time.sleep(LOOK_SECONDS)
