# SPDX-License-Identifier: GPL-2.0

import json
import signal
import subprocess
import tempfile
from pathlib import Path

import machine
from machine import expect, holder, number, rksmctl, scan, unloaded, wait_for
from terminal import terminal


def case_records_while_the_provider_changes():
    scan()
    with tempfile.TemporaryDirectory() as folder, holder(1000):
        file = Path(folder, "recording")
        command = [machine.RKSMCTL, "record", "--interval", "0.2", file]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
            wait_for(lambda: number("pages_sharing") >= 900)

            def lines():
                return file.read_text(encoding="ascii").splitlines() if file.exists() else []

            def has(what):
                return any(what in line for line in lines())

            wait_for(lambda: has('"pages_sharing":99'))
            with unloaded():
                wait_for(lambda: has('"reading":{"provider":"in-tree"'))
            count = len(lines())
            wait_for(lambda: len(lines()) > count + 3)
            recorder.send_signal(signal.SIGINT)
            expect(recorder.wait(30) == 0, "it does not end well")
        for line in lines():
            json.loads(line)
        report = rksmctl("report", file)
        expect("merging by the kernel's own KSM" in report, report)
        expect("merging by rksm" in report, report)
        rksmctl("report", file, "--html", Path(folder, "page.html"))
        expect("<svg" in Path(folder, "page.html").read_text(encoding="utf-8"), "no charts")
        expect("exists" in rksmctl("record", file, status=2), "it overwrites")


def case_shows_that_it_lives():
    with tempfile.TemporaryDirectory() as folder:
        args = ["record", "--interval", "0.2", str(Path(folder, "recording"))]
        with terminal(*args) as recorder:
            recorder.wait_for("Ctrl-C ends it")
            lines = [line for line in recorder.screen() if line.strip()]
            expect(len(lines) == 1, lines)
            recorder.press("\x03")
            expect(recorder.process.wait(30) == 0, "it does not end well")
            recorder.wait_for("; rksmctl report ", ended=True)


def case_says_that_the_disk_is_full():
    expect("No space left" in rksmctl("record", "/dev/full", "--force", status=1), "why is not said")
