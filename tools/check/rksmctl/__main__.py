#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""rksmctl RKSMCTL: what rksmctl does to a running kernel. Runs in the test machine, as
root, with rksm loaded; prints KTAP. Each function case_*() of each file here is a case."""

import importlib
import sys
import traceback
from pathlib import Path

import machine


def cases():
    for path in sorted(Path(__file__).parent.glob("try_*.py")):
        module = importlib.import_module(path.stem)
        for name, case in vars(module).items():
            if name.startswith("case_"):
                yield f"{path.stem.removeprefix('try_')}.{name.removeprefix('case_')}", case


def main():
    machine.RKSMCTL = Path(sys.argv[1]).absolute()
    found = list(cases())
    print(f"TAP version 13\n1..{len(found)}")
    for number, (name, case) in enumerate(found, 1):
        try:
            with machine.as_it_was():
                case()
            print(f"ok {number} {name}", flush=True)
        except machine.Skipped as why:
            print(f"ok {number} {name} # SKIP {why}", flush=True)
        except Exception:  # whatever it is, the other cases have their turn
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
            print(f"not ok {number} {name}", flush=True)


if __name__ == "__main__":
    main()
