# SPDX-License-Identifier: GPL-2.0
"""Runs cases, and says in KTAP what came of them."""

import importlib
import traceback

from machine import Skipped


def cases(folder):
    """Each function case_*() of each file try_*.py there: its name, and the function."""
    for path in sorted(folder.glob("try_*.py")):
        module = importlib.import_module(path.stem)
        for name, case in vars(module).items():
            if name.startswith("case_"):
                yield f"{path.stem.removeprefix('try_')}.{name.removeprefix('case_')}", case


def run(found):
    print(f"TAP version 13\n1..{len(found)}")
    for number, (name, case) in enumerate(found, 1):
        try:
            case()
            print(f"ok {number} {name}", flush=True)
        except Skipped as why:
            print(f"ok {number} {name} # SKIP {why}", flush=True)
        except Exception:  # whatever it is, the other cases have their turn
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
            print(f"not ok {number} {name}", flush=True)
