# SPDX-License-Identifier: GPL-2.0

import json
from pathlib import Path

from machine import expect, rksmctl

CONF = Path("/etc/rksm.conf")


def states(said):
    return {finding["check"]: finding["state"] for finding in json.loads(said)}


def case_finds_what_is_loaded_in_order():
    for user in ("root", "nobody"):
        said = rksmctl("doctor", "--json", user=user)
        found = states(said)
        for check in ("kernel", "provider", "livepatch", "settings", "other tools"):
            expect(found[check] == "ok", f"{user}: {check}: {said}")
        expect("problem" not in found.values(), said)


def case_finds_wrong_settings():
    expect(not CONF.exists(), f"{CONF} is there")
    CONF.write_text("run=3\n", encoding="ascii")
    try:
        expect("/etc/rksm.conf:1: run takes 0 to 2" in rksmctl("doctor", status=1), "they are taken for right")
    finally:
        CONF.unlink()
