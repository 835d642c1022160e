# SPDX-License-Identifier: GPL-2.0
"""Who follows the tracepoints. Those of each provider are in its own group, and begin with its name."""

import re
import signal
import subprocess
import tempfile
from pathlib import Path

from daemons import said
from machine import expect, passes, scan
from merging import merged


def events(group):
    return [f"{group}_{name}" for name in ("start_scan", "stop_scan", "merge_with_ksm_page")]


def a_whole_pass():
    """With its end, and with pages that it merges."""
    with merged():
        scan()
        passes(1)


def case_trace_cmd(group):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.dat")
        said("trace-cmd", "start", "-e", group)
        a_whole_pass()
        said("trace-cmd", "stop")
        said("trace-cmd", "extract", "-o", file)
        report = said("trace-cmd", "report", file)
        for event in events(group):
            expect(f" {event}: " in report, f"no {event}: {report[-2000:]}")
        said("trace-cmd", "reset")


def case_bpftrace(group):
    probes = " ".join(f"tracepoint:{group}:{event} {{ @{event} = count(); }}" for event in events(group))
    command = ["bpftrace", "-B", "line", "-e", f'BEGIN {{ printf("ready\\n"); }} {probes}']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tracer:
        for line in tracer.stdout:
            if line == "ready\n":
                break
        a_whole_pass()
        tracer.send_signal(signal.SIGINT)
        counts = dict(re.findall(r"^@(\w+): (\d+)$", tracer.communicate(timeout=120)[0], re.MULTILINE))
    expect(all(int(counts.get(event, 0)) for event in events(group)), counts)
