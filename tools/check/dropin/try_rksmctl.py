# SPDX-License-Identifier: GPL-2.0
"""rksmctl top, on the screen that one has over ssh."""

import machine
import screen
from machine import expect, holder, scan
from merging import PAGES

PROVIDER = {"ksm": "the kernel's own KSM: ", "rksm": "rksm: "}


def shown(group, user):
    scan()
    with holder(PAGES, user=user) as process, screen.running(f"runuser -u {user} -- {machine.RKSMCTL} top"):

        def is_whole(lines):
            text = "\n".join(lines)
            return PROVIDER[group] in text and f"{process.pid} python3" in text and lines[23].startswith("q quit")

        screen.shows(is_whole)
        text = "\n".join(screen.lines())
        expect(("needs root" in text) == (user == "nobody"), text)
        screen.press("q")
        machine.wait_for(screen.has_ended)


def case_top_as_root(group):
    shown(group, "root")


def case_top_as_user(group):
    shown(group, "nobody")
