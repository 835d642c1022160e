# SPDX-License-Identifier: GPL-2.0

import signal
import subprocess
from pathlib import Path

import machine
from machine import expect, holder, knob, knobs, number, rksmctl, set_knob, wait_for
from stuck import stuck

# What sets the knobs for rksm.service.
MODULES = Path(__file__).parents[3] / "dkms/modules"
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
    advisors = {"auto": "scan-time", "pressure": "pressure"}
    for profile in ("gentle", "aggressive", "auto", "pressure", "balanced", "off"):
        rksmctl("tune", profile)
        expect(knob("run") == ("0" if profile == "off" else "1"), f"{profile}: run is {knob('run')}")
        expect(knob("advisor_mode") == advisors.get(profile, "none"), f"{profile}: {knob('advisor_mode')}")
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
        wait_for(lambda: number("pages_sharing") >= 900)
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


def case_nothing_stays_of_what_is_refused():
    set_knob("pages_to_scan", 1234)
    set_knob("run", 1)
    memory = ("memory = private(1000)", "fill(memory, lambda page: 1)", "ask(memory)")
    before = knobs()
    merged = "while int(open('/sys/kernel/mm/rksm/pages_sharing').read()) < 900: time.sleep(0.1)"
    with stuck(*memory, "import time", merged) as process:
        # A signal ends the wait for it.
        command = [machine.RKSMCTL, "tune", "sleep_millisecs=30", "run=2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tune:
            wait_for(lambda: knob("run") != "1")
            tune.send_signal(signal.SIGINT)
            said = tune.communicate(timeout=60)[0]
        expect("run=2 is refused, and all knobs are as they were" in said and tune.returncode == 1, said)
        expect(knobs() == before, f"they are {knobs()}, and were {before}")
        # The kernel gives up after ten seconds.
        CONF.write_text("advisor_mode=scan-time\nrun=2\n", encoding="ascii")
        try:
            done = subprocess.run([MODULES, "apply"], capture_output=True, text=True, timeout=60, check=False)
        finally:
            CONF.unlink()
        expect("run=2 is refused, and everything is as it was: " in done.stderr, done.stderr)
        expect(knobs() == before, f"they are {knobs()}, and were {before}")
        process.let_go()


def case_marks_in_any_order():
    # Each time one of them has to go first.
    for low, high in ((80, 90), (5, 11), (10, 20)):
        CONF.write_text(f"advisor_free_high={high}\nadvisor_free_low={low}\n", encoding="ascii")
        try:
            subprocess.run([MODULES, "apply"], timeout=60, check=True)
        finally:
            CONF.unlink()
        expect((number("advisor_free_low"), number("advisor_free_high")) == (low, high), knobs())


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
