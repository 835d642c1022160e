#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""documents RKSMCTL [--write FOLDER]: runs the commands that the documents show, and
compares what they print, but for figures. Runs in the test machine, as root, with rksm
loaded; prints KTAP. With --write the documents are in FOLDER afterwards, with what was
printed in them."""

import argparse
import difflib
import re
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]
sys.path.append(str(HERE.parent / "rksmctl"))

import blocks
import figures
import machine
import states
from runner import result
from terminal import terminal

COMMAND_SECONDS = 60
COLUMNS, ROWS = 80, 24


def documents():
    return [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]


class Runner:
    """Runs the commands as whoever types them does."""

    def __init__(self, folder):
        folder.chmod(0o755)
        (folder / "rksmctl").symlink_to(machine.RKSMCTL)
        path = f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.settled = None
        self.environment = {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/", "TERM": "dumb"}

    def run(self, command):
        """The lines that it prints."""
        text = command.text
        for documented, number in states.numbers.items():
            text = re.sub(rf"\b{documented}\b", str(number), text)
        user = None if command.is_roots else "nobody"
        words = shlex.split(text)
        if words[:2] == ["rksmctl", "top"]:
            return self.screen(words[1:], user)
        self.settled = states.settled(self.settled)
        done = subprocess.run(
            ["bash", "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=user,
            env=self.environment,
            cwd="/",
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return [line.rstrip() for line in done.stdout.splitlines()]

    def screen(self, args, user):
        """What it shows when nothing changes any more."""
        with terminal(*args, columns=COLUMNS, rows=ROWS, user=user) as top:
            top.wait_for("PID")
            self.settled = states.settled(self.settled)
            # It looks once more, and has drawn that: also where a look takes long.
            time.sleep(3 * interval(args) + 1)
            before, shown = None, top.screen()
            while shown != before:
                time.sleep(0.1)
                before, shown = shown, top.screen()
            top.press("q")
            top.ends_well()
        lines = [line.rstrip() for line in shown]
        # A document needs no empty half of a screen; the last line has the keys.
        while lines[-3:-1] == ["", ""]:
            del lines[-2]
        return lines


def interval(args):
    """The seconds between two looks of top."""
    return float(args[args.index("--interval") + 1]) if "--interval" in args else 2.0


def run(block, runner):
    """The block with what its commands print now, and in what that differs."""
    differences = []
    now = []
    for command in block.commands:
        now.append(blocks.Command(command.line, runner.run(command)))
        before, after = figures.masked(command), figures.masked(now[-1])
        if before != after:
            differences.append(command.line)
            differences += difflib.unified_diff(before, after, "documented", "printed", lineterm="", n=0)
    block.commands = now
    return differences


class Suite:
    def __init__(self, runner, write):
        self.runner = runner
        self.write = write
        self.number = 0
        self.failed = 0

    def document(self, path, lines, found):
        """In one state of the machine, which goes on from block to block."""
        name = path.relative_to(REPO)
        with machine.as_it_was(), ExitStack() as stack:
            states.defaults()
            good = True
            for block in found:
                title = f"{name}: {block.name}"
                if good:
                    good = self.block(title, block, stack)
                else:
                    self.result("not ok", title, ["what comes before it could not be done"])
        if self.write:
            to = self.write / name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text("\n".join(blocks.replaced(lines, found)) + "\n", encoding="utf-8")

    def block(self, name, block, stack):
        """Whether the machine is in the state in which the block leaves it."""
        try:
            if block.state:
                stack.enter_context(states.STATES[block.state]())
            said = run(block, self.runner)
        except Exception:  # noqa: BLE001 whatever it is, the other documents have their turn
            self.result("not ok", name, traceback.format_exc().splitlines())
            return False
        self.result("not ok" if said and not self.write else "ok", name, said)
        return True

    def result(self, how, name, said):
        self.number += 1
        self.failed += how != "ok"
        result(how, self.number, name, said)


def main():
    parser = argparse.ArgumentParser(prog="documents", description=__doc__)
    parser.add_argument("rksmctl", type=Path)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    machine.RKSMCTL = args.rksmctl.absolute()

    found = []
    for path in documents():
        lines = path.read_text(encoding="utf-8").splitlines()
        if these := list(blocks.find(lines)):
            found.append((path, lines, these))
    print(f"TAP version 13\n1..{sum(len(these) for *_, these in found)}")
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(Runner(Path(folder)), args.write)
        for document in found:
            suite.document(*document)
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
