# SPDX-License-Identifier: GPL-2.0
"""What an administrator has configured, and what runs all the time."""

import re
import subprocess
from pathlib import Path

from machine import expect

NODE_EXPORTER = Path("/etc/default/prometheus-node-exporter")
KSMTUNED = Path("/etc/ksmtuned.conf")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# ksmtuned has KSM merge where less than its threshold is free: less than this much
# above it. A guest that takes twice as much makes the difference.
SPARE_MIB = 200


def systemctl(*words):
    subprocess.run(["systemctl", *words], check=True)


def said(*command, **options):
    """What a tool prints; it must end well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    expect(done.returncode == 0, f"{command}: status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def memory():
    """What /proc/meminfo has, in KiB."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def threshold():
    """In percent of all memory, as ksmtuned takes it."""
    kib = memory()
    free = kib["MemFree"] + kib["Buffers"] + kib["Cached"] - SPARE_MIB * 1024
    return free * 100 // kib["MemTotal"]


def available():
    """The same of what programs could have."""
    kib = memory()
    return (kib["MemAvailable"] - SPARE_MIB * 1024) * 100 // kib["MemTotal"]


def start():
    NODE_EXPORTER.write_text('ARGS="--collector.ksmd"\n', encoding="ascii")
    systemctl("restart", "prometheus-node-exporter")
    # It looks when it is told to, as it can be when a guest starts or ends.
    KSMTUNED.write_text(f"KSM_MONITOR_INTERVAL=86400\nKSM_THRES_COEF={threshold()}\n", encoding="ascii")
    systemctl("restart", "ksmtuned")
    # A huge page that is full of zeroes has no pages when it has been split.
    HUGE_PAGES.write_text("never\n", encoding="ascii")
