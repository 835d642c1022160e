# SPDX-License-Identifier: GPL-2.0
"""What the kernel said: kept for who looks for a fault, searched for bad news."""

import subprocess
import sys
from pathlib import Path

from failed import Failed

sys.path.append(str(Path(__file__).resolve().parent.parent / "check"))
import klog


def save(path):
    path.write_text(subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout)


def check(path):
    save(path)
    bad = klog.findings(path)
    if bad:
        raise Failed(f"it has {len(bad)}, the first: {bad[0]}", path)
