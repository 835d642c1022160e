#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""dropin HOOKS MODULE RKSMCTL: the tools with which people watch and steer KSM, as Debian
packages them, with in-tree KSM, then with rksm, then with in-tree KSM again. What runs all the
time, as ksmtuned does, goes on meanwhile. Runs in the machine that has those tools, as root,
without rksm; prints KTAP."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rksmctl"))

# Only now they are found.
import daemons
import machine
import runner

KSM = Path("/sys/kernel/mm/ksm")
UNLOAD = HERE.parents[2] / "dkms/modules"


def load():
    for module in sys.argv[1:3]:
        subprocess.run(["insmod", module], check=True)


def unload():
    subprocess.run([UNLOAD, "unload"], check=True)


def stay():
    pass


# The name in the cases; which tracepoints there are; how it comes to be the provider.
PHASES = (("in-tree", "ksm", stay), ("rksm", "rksm", load), ("in-tree_again", "ksm", unload))


def phase(name, group, arrive, cases):
    """The cases of one provider. The first has it arrive."""
    has_arrived = False

    def run(case):
        nonlocal has_arrived
        if not has_arrived:
            arrive()
            has_arrived = True
        with machine.as_it_was():
            case(group)

    return [(f"{name}.{title}", lambda case=case: run(case)) for title, case in cases]


def main():
    machine.RKSMCTL = Path(sys.argv[3]).absolute()
    # The tools know no other.
    machine.RKSM = KSM
    cases = list(runner.cases(HERE))
    daemons.start()
    runner.run([case for how in PHASES for case in phase(*how, cases)])


if __name__ == "__main__":
    main()
