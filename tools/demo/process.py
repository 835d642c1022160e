# SPDX-License-Identifier: GPL-2.0
"""The process with known duplicates, as the demo sees it from outside."""

import json
import subprocess
import sys
from pathlib import Path

from failed import Failed


class Process:
    def __init__(self, logs):
        self.log = logs / "duplicates.log"
        with self.log.open("wb") as errors:
            self.child = subprocess.Popen(
                [sys.executable, Path(__file__).parent / "duplicates"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def answer(self):
        line = self.child.stdout.readline()
        if not line:
            raise Failed(f"the process ended with status {self.child.wait()}", self.log)
        return json.loads(line)

    def ask(self, command):
        try:
            print(command, file=self.child.stdin, flush=True)
        except BrokenPipeError:
            pass  # answer() says how it ended
        return self.answer()

    def zero_pages(self):
        """How many of its pages the kernel counts as merged with the zero page."""
        text = Path(f"/proc/{self.child.pid}/ksm_stat").read_text()
        return int(dict(line.split()[:2] for line in text.splitlines())["ksm_zero_pages"])

    def merging_pages(self):
        """How many of its pages the kernel counts as merged with others."""
        return int(Path(f"/proc/{self.child.pid}/ksm_merging_pages").read_text())

    def check(self):
        """All its memory is what it wrote."""
        result = self.ask("verify")
        if result["wrong"]:
            wrong = result["wrong"]
            raise Failed(
                f"{len(wrong)} of its {result['pages']} pages are wrong: {wrong[:8]}", self.log
            )
        return result["pages"]

    def stop(self):
        self.child.stdin.close()
        if status := self.child.wait(30):
            raise Failed(f"the process ended with status {status}", self.log)

    def kill(self):
        self.child.kill()
        self.child.wait()
