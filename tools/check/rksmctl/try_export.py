# SPDX-License-Identifier: GPL-2.0

import signal
import subprocess
import urllib.error
import urllib.request

import machine
from machine import expect, holder, number, rksmctl, scan, set_knob, stop, wait_for
from servant import servant


def figures(text):
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(figure) for name, figure in (line.rsplit(" ", 1) for line in lines)}


def case_exports_what_is_merged():
    scan()
    with holder(1000) as process:
        wait_for(lambda: number("pages_shared") + number("pages_sharing") == 1000)
        stop()
        metrics = figures(rksmctl("export"))
        expect(metrics["ksm_sharing_bytes"] == 4096 * number("pages_sharing"), metrics)
        expect(metrics["ksm_scanned_pages_total"] == number("pages_scanned"), metrics)
        name = f'ksm_process_merged_bytes{{pid="{process.pid}",command="python3",guest=""}}'
        expect(metrics[name] == 4096 * 1000, metrics)
        expect(metrics['ksm_processes{state="hidden"}'] == 0, metrics)


def rename(name):
    return f"open('/proc/self/comm', 'wb').write({name})"


def case_a_process_of_any_name():
    with servant("memory = private(10)", "ask(memory)", rename(b"\xff\x1b[2J")) as process:
        name = f'{{pid="{process.pid}",command="\ufffd\ufffd[2J",guest=""}}'
        text = rksmctl("export")
        expect(name in text, text)


def case_a_process_with_such_a_name_is_no_scanner():
    set_knob("run", 0)
    before = figures(rksmctl("export"))["ksm_scanner_cpu_seconds_total"]
    busy = "import time", "while time.process_time() < 2: pass"
    with servant(rename(b"rksmd"), *busy):
        after = figures(rksmctl("export"))["ksm_scanner_cpu_seconds_total"]
    expect(after - before < 1, f"{after - before} s of CPU time")


def case_answers_over_http():
    command = [machine.RKSMCTL, "export", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        url = server.stderr.readline().split()[2].rstrip(";")
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        expect("ksm_run" in figures(text), text)
        try:
            urllib.request.urlopen(url + "x", timeout=60)
        except urllib.error.HTTPError as error:
            expect(error.code == 404, error)
        else:
            raise machine.Unexpected("what is not there is found")
        server.send_signal(signal.SIGTERM)
        expect(server.wait(30) == 0, "it does not end well")
