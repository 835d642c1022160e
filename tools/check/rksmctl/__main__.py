#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""rksmctl RKSMCTL: what rksmctl does to a running kernel. Runs in the test machine, as
root, with rksm loaded; prints KTAP."""

import sys
from pathlib import Path

import machine
import runner


def main():
    machine.RKSMCTL = Path(sys.argv[1]).absolute()
    runner.run([(name, machine.isolated(case)) for name, case in runner.cases(Path(__file__).parent)])


if __name__ == "__main__":
    main()
