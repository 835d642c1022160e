# SPDX-License-Identifier: GPL-2.0
"""What the kernel said: kept for who looks for a fault, searched for bad news."""

import re
import subprocess

from failed import Failed

BAD = re.compile(
    r"WARNING:|BUG:|BUG at|Oops|INFO: (task|rcu)|general protection|Call Trace|"
    r"Bad page|Bad rss-counter|refcount_t|rust_kernel: panicked"
)


def save(path):
    path.write_text(subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout)


def check(path):
    save(path)
    bad = [line for line in path.read_text().splitlines() if BAD.search(line)]
    if bad:
        raise Failed(f"it has {len(bad)}, the first: {bad[0]}", path)
