#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""guests KERNEL IMAGE LOGS: one QEMU guest attacks another. Runs in the debian machine, as root, with
rksm loaded and one CPU; prints KTAP."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "rksmctl"), str(HERE.parents[1] / "demo")]

# Only now they are found.
import machine
import runner
import tenants


def main():
    tenants.KERNEL, tenants.IMAGE, tenants.LOGS = map(Path, sys.argv[1:4])
    tenants.LOGS.mkdir(parents=True, exist_ok=True)
    runner.run([(name, machine.isolated(case)) for name, case in runner.cases(HERE)])


if __name__ == "__main__":
    main()
