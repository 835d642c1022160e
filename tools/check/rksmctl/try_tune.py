# SPDX-License-Identifier: GPL-2.0

from pathlib import Path

from machine import expect, holder, knob, knobs, rksmctl, set_knob, wait_for

CONF = Path("/etc/rksm.conf")
# Enough of a unit to be enabled and started.
UNIT = Path("/etc/systemd/system/rksm.service")
UNIT_TEXT = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""
WANTED = UNIT.parent / "multi-user.target.wants/rksm.service"


def case_profiles_are_taken():
    for profile in ("gentle", "aggressive", "auto", "balanced", "off"):
        rksmctl("tune", profile)
        expect(knob("run") == ("0" if profile == "off" else "1"), f"{profile}: run is {knob('run')}")
        expect((knob("advisor_mode") == "scan-time") == (profile == "auto"), f"{profile}: {knob('advisor_mode')}")
    expect(knob("pages_to_scan") == "1000", f"off has changed pages_to_scan: {knob('pages_to_scan')}")


def case_pages_to_scan_without_the_advisor():
    for profile, pages in (("gentle", "500"), ("balanced", "1000")):
        rksmctl("tune", "auto", f"advisor_min_pages_to_scan={pages}", f"advisor_max_pages_to_scan={pages}")
        wait_for(lambda pages=pages: knob("pages_to_scan") == pages)
        rksmctl("tune", profile)
        expect(knob("pages_to_scan") == pages, f"{profile}: pages_to_scan is {knob('pages_to_scan')}")


def case_all_or_nothing():
    rksmctl("tune", "auto", "use_zero_pages=0")
    with holder(1000):
        wait_for(lambda: int(knob("pages_sharing")) >= 900)
        before = {name: value for name, value in knobs().items() if name != "pages_to_scan"}
        asked = ("advisor_mode=none", "pages_to_scan=77", "max_page_sharing=300", "run=0")
        said = rksmctl("tune", *asked, status=1)
        expect("max_page_sharing=300 is refused, and all knobs are as they were" in said, said)
        expect("pages are merged: write 2 to run first" in said, said)
        after = {name: value for name, value in knobs().items() if name != "pages_to_scan"}
        expect(after == before, f"they are {after}, and were {before}")
        # run goes first where it makes room for the others.
        rksmctl("tune", *asked[:3], "run=2")
        expect(knob("max_page_sharing") == "300" and knob("run") == "2", knobs())


def case_shows_without_root():
    expect("Nothing is set" in rksmctl("tune", "gentle", "--dry-run", user="nobody"), "nobody cannot look")
    before = knobs()
    said = rksmctl("tune", "pages_to_scan=4321", user="nobody", status=1)
    expect("needs root" in said and knobs() == before, said)


def case_saves_and_forgets():
    rksmctl("tune", "--save", status=2)
    UNIT.write_text(UNIT_TEXT, encoding="ascii")
    try:
        rksmctl("tune", "gentle", "scanners=2", "--save")
        expect(WANTED.is_symlink(), "the unit is not enabled")
        set_knob("pages_to_scan", 1)
        set_knob("scanners", 1)
        rksmctl("tune", "--load", CONF)
        expect((knob("pages_to_scan"), knob("scanners")) == ("500", "2"), knobs())
        rksmctl("tune", "--forget")
        expect(not WANTED.is_symlink() and "\nrun=1\n" in CONF.read_text(encoding="ascii"), "it is not forgotten")
    finally:
        for path in (UNIT, CONF, WANTED):
            path.unlink(missing_ok=True)
