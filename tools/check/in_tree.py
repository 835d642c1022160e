# SPDX-License-Identifier: GPL-2.0
"""in_tree.py KIND: what runs with in-tree KSM on such machines, as commands. What it
fails of our tests is exactly what is listed: so the tests are known to tell, and
docs/comparison.md to be right."""

import re
import sys
from pathlib import Path

LIST = Path(__file__).with_name("in-tree.list")


def expected(kind):
    """{program: the cases that it fails, each with its mark}"""
    lines = (line.split() for line in LIST.read_text().splitlines() if not line.startswith("#"))
    return {line[1]: line[2:] for line in lines if line and line[0] == kind}


def machine(tests):
    """The machine of the list on which that set of tests runs."""
    return tests.removesuffix("-short")


def marked(cases, mark):
    return {case[1:] for case in cases if case.startswith(mark)}


def judge(text, program, listed):
    """What is wrong with how one program ended."""
    part = re.search(rf"((?:^  .*\n)+)^ok \d+ {program}$", text, re.MULTILINE)
    said = re.findall(r"^  (ok|not ok) \d+ (\S+)$", part[1] if part else "", re.MULTILINE)
    if not said:
        yield f"{program}: did not run to its end"
        return
    now_and_then = marked(listed, "?")
    failing = {case for case in listed if case[0] not in "?!"}
    failed = {case for how, case in said if how == "not ok"}
    for case in sorted(failed - failing - now_and_then):
        yield f"{program}/{case}: in-tree KSM fails it, which is not listed"
    for case in sorted(failing - failed):
        yield f"{program}/{case}: in-tree KSM does not fail it"


def main():
    for program, listed in expected(sys.argv[1]).items():
        left_out = (f"-T {case.partition('.')[2]}" for case in sorted(marked(listed, "!")))
        print(program, *left_out)


if __name__ == "__main__":
    main()
