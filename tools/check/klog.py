# SPDX-License-Identifier: GPL-2.0
"""Searches a kernel log for what must not be in one; as a program too, which
prints it, and fails if there is any."""

import re
import sys
from pathlib import Path

# Fault injection prints a stack trace of its own, so "Call Trace" alone says
# nothing; every report below has a head line.
BAD = re.compile(
    r"WARNING: |\bBUG: |\bBUG at |Oops|general protection fault|Kernel panic|"
    r"INFO: (task|rcu|trying|possible)|rcu: INFO|self-detected stall|detected stalls|"
    r"soft lockup|hard LOCKUP|possible (circular|recursive|irq)|suspicious RCU|"
    r"inconsistent lock state|sleeping function called|scheduling while atomic|"
    r"Bad page|Bad rss-counter|bad: scheduling|corrupted page table|refcount_t: |"
    r"list_(add|del) corruption|ODEBUG: |UBSAN: |KASAN: |unreferenced object|"
    r"kmemleak: \d+ new suspected|[Mm]emory leak detector disabled|Memory pool empty|"
    r"Bad swap (file|offset)|rust_kernel: panicked|panicked at|"
    r"DEBUG_LOCKS_WARN_ON|unexpected IRQ trap"
)


# What stands beneath a head line: registers, and the call trace.
REPORT_LINES = 40


def findings(path):
    """The head lines of all reports in the log; that there is none is one."""
    if not Path(path).exists():
        return [f"there is no kernel log {path}"]
    with open(path, encoding="utf-8", errors="replace") as log:
        return [line.rstrip() for line in log if BAD.search(line)]


def first_report(path):
    """The first head line and what follows it."""
    if not Path(path).exists():
        return []
    with open(path, encoding="utf-8", errors="replace") as log:
        lines = [line.rstrip() for line in log]
    start = next((at for at, line in enumerate(lines) if BAD.search(line)), len(lines))
    return lines[start : start + REPORT_LINES]


if __name__ == "__main__":
    found = findings(sys.argv[1])
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
