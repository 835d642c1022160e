# SPDX-License-Identifier: GPL-2.0

import signal

from machine import RKSM, Skipped, expect, holder, number, says, scan, unloaded, wait_for
from terminal import terminal


def merged(pages):
    wait_for(lambda: number("pages_sharing") >= pages)


def case_shows_processes_in_any_size():
    scan()
    with holder(1000) as process, terminal("top", "--interval", "2") as top:
        merged(900)
        top.wait_for("rksm: scans and merges")
        top.wait_for(f"{process.pid} python3")
        top.wait_for(" 1000 ")
        top.resize(40, 10)
        top.wait_for("    PID COMMAND           MERGED  PROFIT")
        wait_for(lambda: top.screen()[9].startswith("q quit  ? help"))
        top.resize(160, 50)
        top.wait_for("CGROUP")
        wait_for(lambda: top.screen()[49].startswith("q quit  ? help"))
        expect(sum("q quit" in line for line in top.screen()) == 1, top.screen())
        top.press("?")
        top.wait_for("any key goes back")
        top.press("xq")
        top.ends_well()


def case_goes_on_when_rksm_goes_and_comes():
    scan()
    # What has happened is said for five looks.
    with holder(1000), terminal("top", "--interval", "2") as top:
        merged(900)
        top.wait_for("rksm: scans and merges")
        with unloaded():
            top.wait_for("rksm was unloaded")
            top.wait_for("the kernel's own KSM: ")
        top.wait_for("rksm was loaded")
        top.wait_for("rksm: stopped")
        top.process.send_signal(signal.SIGTERM)
        top.ends_well()


def case_enrols_and_releases():
    if not (RKSM / "enrol").exists():
        raise Skipped("this rksm has no file enrol")
    scan()
    with holder(1000, "equal", "unasked") as process, terminal("top", "--interval", "2") as top:
        top.wait_for("rksm: scans and merges")
        top.press(f"a/{process.pid}\r")
        top.wait_for(f"{process.pid} python3")
        top.press("e")
        top.wait_for(f"enrol {process.pid} (python3)?")
        top.press("y")
        top.wait_for(f"{process.pid} is enrolled")
        expect(says(process.pid, "ksm_merge_any: yes"), "it is not enrolled")
        merged(900)
        top.press("ry")
        top.wait_for(f"{process.pid} is released")
        expect(says(process.pid, "ksm_merge_any: no"), "it is not released")
        top.press("q")
        top.ends_well()


def case_says_what_needs_root():
    with holder(100), terminal("top", "--interval", "0.3", user="nobody") as top:
        top.wait_for("rksm: ")
        top.wait_for("needs root")
        top.press("\x03")
        top.ends_well()
