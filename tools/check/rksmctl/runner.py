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


def result(how, number, name, said=()):
    """One case, behind what there is to be said of it."""
    print("".join(f"# {line}\n" for line in said), end="")
    print(f"{how} {number} {name}", flush=True)


def run(found):
    print(f"TAP version 13\n1..{len(found)}")
    for number, (name, case) in enumerate(found, 1):
        try:
            case()
            result("ok", number, name)
        except Skipped as why:
            result("ok", number, f"{name} # SKIP {why}")
        except Exception:  # noqa: BLE001 whatever it is, the other cases have their turn
            result("not ok", number, name, traceback.format_exc().splitlines())
