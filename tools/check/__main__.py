# SPDX-License-Identifier: GPL-2.0
"""make check: builds everything, runs every test, counts single test cases."""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import in_tree
import kernel_tests
import klog
import ktap
import rust_source
import skips
import style
from skips import kind_of

REPO = Path(__file__).resolve().parent.parent.parent
LOGS = REPO / "build/log"
KERNEL_LOG = "kernel.log"
# The debug kernel is slow: it runs while the others are built and run. Debian's takes long, too.
KERNELS = ("debug", "uml-debug", "debian", "uml")
# With --full as well: what others have between them, the one in which most locks
# sleep, and another architecture.
KERNELS_FULL = (*KERNELS, "plain", "debian-rt-amd64", "arm64")
# User-Mode Linux is twenty times as fast as what is emulated: all but attack is there, with
# the kernel's own checks. The others have what needs them, and all with --full.
SHORT = ("debug", "debian", "uml")
MACHINES_AT_ONCE = 2
# For the host, each in a folder of its own.
PROGRAMS = ("bench", "rksmctl", "tmpfs-dedup")
TORTURE_SECONDS, TORTURE_SECONDS_FULL = 40, 600
# How many of a test's rounds are done there, in percent: all with --full.
ROUNDS = {"debug": 10, "plain": 50, "debian": 50, "uml": 25, "uml-debug": 20}
# Seconds after which a machine is stuck; several times what it needs.
TIMEOUT = {"plain": 1800, "debug": 4000, "uml": 1200, "debian": 2400, "arm64": 3600}
TIMEOUT_DROP_IN = 1800
# How many mutants of those that run on User-Mode Linux are tried, by turns: all of all with --full.
MUTANTS = 3
# With more than one CPU, User-Mode Linux flushes no TLB but its own: whatever
# write-protects a page, in-tree KSM too, loses writes of the others.
# The kernel's test of migration wants three, and nodes are to be equal.
CPUS = {"plain": "4", "debug": "2", "uml": "1", "debian": "2", "arm64": "2"}
# Migration needs a node to go to.
NUMA = {"plain": "2", "debug": "2", "uml": "1", "debian": "2", "arm64": "2"}
# User-Mode Linux: so much that the module lies far off from the kernel.
MEM = {"plain": "2G", "debug": "3G", "uml": "3G", "debian": "2G", "arm64": "2G"}
# One block, to be taken out of the machine.
DIMM = {"plain": "128M", "debug": "128M", "uml": "", "debian": "128M", "arm64": ""}


def say(text):
    print(f"check: {text}", flush=True)


class Check:
    def __init__(self, full):
        self.full = full
        self.results = ktap.Results()
        self.summary = []
        self.started = time.monotonic()
        # Who has something to say says all of it.
        self.speaking = threading.RLock()

    def report(self, what, results, log=None):
        """Adds a suite's results to the total and shows what failed."""
        with self.speaking:
            skips.judge(results)
            self.results.add(results)
            line = f"{what}: {len(results.passed)} passed, {len(results.failed)} failed"
            if results.skipped:
                line += f", {len(results.skipped)} skipped"
            say(line)
            self.summary.append(line)
            for name in results.failed:
                print(f"    FAILED {name}", flush=True)
            for name in results.skipped:
                print(f"    skipped {name}", flush=True)
            if log and results.failed:
                if log.suffix == ".ktap":
                    self.complain(ktap.why(read(log)))
                print(f"    log: {log}", flush=True)

    def rules(self):
        results = ktap.Results()
        for rule in style.CHECKS:
            complaints = list(rule(REPO))
            self.complain(complaints)
            results.case(rule.__name__, not complaints)
        self.report("rules of the house", results)

    def patches(self, source):
        results = ktap.Results()
        for name, complaints in style.checkpatch(REPO, source):
            self.complain(complaints)
            results.case(name, not complaints)
        self.report("patches", results)

    def clippy(self, name):
        log = LOGS / "clippy.log"
        results = ktap.Results()
        results.case("clippy", run_logged([str(REPO / "tools/clippy.sh"), name], log) == 0)
        self.report("clippy", results, log)

    def programs(self):
        """Those for the host. Whether the benchmark runs is seen on User-Mode Linux."""
        results = ktap.Results()
        log = LOGS / "programs.log"
        for program in PROGRAMS:
            for what in ("clippy", "test", ""):
                command = [str(REPO / "tools/cargo.sh"), program, *what.split()]
                results.case(f"{program}/{what or 'build'}", run_logged(command, log) == 0)
                if results.failed:
                    break
        self.report("programs", results, log)

    def package(self):
        """It builds, and what it does to a module's relocations is right."""
        results = ktap.Results()
        log = LOGS / "package.log"
        results.case("package/build", run_logged([str(REPO / "tools/deb.sh")], log) == 0)
        self.report("package", results, log)
        self.script("klp", "klp-test.sh", "klp relocations")

    def scripts(self):
        """What is fetched has moved on; a script is stopped half way; a machine does not stop."""
        self.script("archive", "archive-test.sh", "what is fetched")
        self.script("vm", "vm_test.py", "runner of the machines")

    def script(self, name, program, what):
        log = LOGS / f"{name}-test.log"
        good = run_logged([str(REPO / "tools" / program)], log) == 0
        results = ktap.Results()
        for how, case in re.findall(r"^(ok|not ok) (\S+)", read(log), re.MULTILINE):
            results.case(case, how == "ok")
        results.case(f"{name}/its end", good)
        self.report(what, results, log)

    def life_of_the_package(self):
        """On a system of its own, from its installation to its removal."""
        log = LOGS / "check-deb.log"
        good = run_logged([str(REPO / "tools/check-deb.sh")], log) == 0
        results = ktap.Results()
        for how, name in re.findall(r"^(ok|not ok) \d+ (.*)$", read(log), re.MULTILINE):
            results.case(f"check-deb/{name}", how == "ok")
        results.case("check-deb/its end", good)
        self.report("life of the package", results, log)

    def user(self):
        """What needs no kernel, with debug assertions and sanitizers."""
        results = ktap.Results()
        log = LOGS / "user.log"
        script = str(REPO / "tools/user-test.sh")
        results.case("user/clippy", run_logged([script, "clippy"], log) == 0)
        if results.passed:
            good = run_logged([script], log) == 0
            text = read(log)
            for name, how in re.findall(r"^test (\S+) \.\.\. (ok|FAILED)", text, re.MULTILINE):
                results.case(f"user/{name}", how == "ok")
            if not good:
                # It may have died before it said so of any test.
                results.failed = results.failed or ["user/its end"]
                self.complain(re.findall(r"^SEED=.*|panicked at .*\n.*|ERROR: .*", text, re.MULTILINE)[:20])
        self.report("in user space", results, log)

    @staticmethod
    def complain(complaints):
        for text in complaints:
            print("    " + text.rstrip().replace("\n", "\n    "), flush=True)

    def run(self, names):
        """Builds one kernel after the other; the tests of one run meanwhile, and so does
        what needs no machine when all are built."""
        with ThreadPoolExecutor(MACHINES_AT_ONCE) as machines:
            booted = []

            def start(machine, *args):
                booted.append(machines.submit(self.judged, machine, *args))

            source = None
            for name in names:
                if built := self.build(name):
                    start(self.boot, *built)
                    if kind_of(name) != "debian":
                        source = source or (name, built[1])
                    if name == "uml":
                        start(self.mutants, built[1], "uml", *["user"] * self.full)
                    if name == "uml-debug" and self.full:
                        start(self.mutants, built[1], "uml-debug")
                    if name == "plain":
                        start(partial(self.demo, SHARED="1"), "demo-shared", "plain")
                    if name == "debian":
                        if self.full:
                            start(self.mutants, built[1], "debian")
                        start(self.demo, "demo", "debian")
                        start(self.drop_in, built[1])
                        if self.full:
                            start(self.guests, built[1])
            self.scripts()
            self.user()
            self.package()
            self.programs()
            if source:
                self.clippy(source[0])
                self.patches(source[1])
        for machine in booted:
            machine.result()

    def judged(self, machine, *args):
        """Runs a machine, and judges what it left as soon as it is done."""
        judge = machine(*args)
        with self.speaking:
            judge()

    def build(self, name):
        """One kernel, its module and its tests: (name, source, tests)."""
        say(f"{name}: build")
        results = ktap.Results()
        built = subprocess.run([REPO / "tools/build.sh", name], stdout=sys.stderr, check=False)
        results.case(f"{name}/build", built.returncode == 0)
        self.report(f"{name}: build", results)
        if built.returncode:
            return None
        if kind_of(name) == "debian":
            # The tests need a source of the same series; the kernel comes from a package.
            fetched = subprocess.run([REPO / "tools/source.sh"], stdout=subprocess.PIPE, text=True, check=True)
            source = Path(fetched.stdout.strip())
            self.needs(name, "rksmctl")
        else:
            source = Path((REPO / "build" / name / "ksrc").read_text().strip())
        if name == "uml":
            self.needs(name, "bench")
            self.needs(name, "tmpfs-dedup")
        tests = self.build_tests(name, source)
        self.keep(name)
        return (name, source, tests) if tests else None

    @staticmethod
    def built(name):
        return REPO / "build/check" / name

    def keep(self, name):
        """A machine loads the module again and again, and somebody may build another meanwhile."""
        kept, programs = self.built(name), [f"build/{program}" for program in ("rksm-bench", "rksmctl", "tmpfs-dedup")]
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for file in (*(f"build/{name}/{file}" for file in ("kernel", "rksm.ko", "rksm_hooks.ko")), *programs):
            if (REPO / file).exists():
                shutil.copy(REPO / file, kept)

    def needs(self, name, program):
        """Builds a program for the host, which runs in the machine too."""
        log, results = LOGS / f"{program}.log", ktap.Results()
        results.case(f"{name}/{program}", run_logged([str(REPO / "tools/cargo.sh"), program], log) == 0)
        self.report(f"{name}: build of {program}", results, log)

    def set_of(self, name):
        """Which tests run there, as selftests/Makefile calls them."""
        tests = name if name.startswith("uml") else kind_of(name)
        return f"{tests}-short" if tests in SHORT and not self.full else tests

    def build_tests(self, name, source):
        tests, log = REPO / "build" / name / "tests", LOGS / f"tests-{name}.log"
        command = [str(REPO / "tools/check/build-tests.sh"), str(source), str(tests), self.set_of(name)]
        good = run_logged(command, log) == 0
        results = ktap.Results()
        results.case(f"{name}/build of the tests", good)
        self.report(f"{name}: build of the tests", results, log)
        return tests if good else None

    def boot(self, name, source, tests):
        say(f"{name}: boot and run the tests")
        out, kind = LOGS / f"check-{name}", kind_of(name)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        env = dict(os.environ, VM_LOG=str(out / KERNEL_LOG), RKSM="1", VM_MEM=MEM[kind])
        env["VM_BUILT"] = str(self.built(name))
        seconds = TORTURE_SECONDS_FULL if self.full else TORTURE_SECONDS
        timeout = TIMEOUT[kind] + 2 * seconds
        env |= {"VM_CPUS": CPUS[kind], "VM_NUMA": NUMA[kind], "VM_DIMM": DIMM[kind]}
        env |= {"VM_TIMEOUT": str(timeout)}
        providers = kernel_tests.plan(self.set_of(name))
        if "in-tree" in providers and not self.full and (kept := self.kept(name)).exists():
            shutil.copy(kept, out / "kernel-tests-in-tree.ktap")
            providers.remove("in-tree")
        rounds = 100 if self.full else ROUNDS.get(name, 100)
        env["RKSM_RUN"] = (
            f"TORTURE_SECONDS={seconds} KSM_ROUNDS={rounds} "
            f"tools/check/guest.sh '{out}' '{source}' '{tests}' {self.set_of(name)} {' '.join(providers)}"
        )
        started = time.monotonic()
        status = subprocess.run([REPO / "tools/vm.sh", name], env=env, check=False).returncode
        say(f"{name}: the machine ran for {time.monotonic() - started:.0f} s")
        return partial(self.judge, name, source, out, status)

    def demo(self, name, kernel, **settings):
        say(f"{name}: boot and run it")
        log = LOGS / f"check-{name}/{name}.log"
        env = dict(os.environ, VM_BUILT=str(self.built(kernel)), **settings)
        status = run_logged([str(REPO / "tools/demo.sh"), kernel], log, env=env)

        def judge():
            results = ktap.Results()
            for how, step in re.findall(r"^(ok|FAIL) +([^,(]*[^,( ])", read(log), re.MULTILINE):
                results.case(f"{name}/{step}", how == "ok")
            results.case(f"{name}/its end (status {status})", status == 0)
            self.report(name, results, log)

        return judge

    def guests(self, source):
        say("guests: one attacks another")
        return self.one_suite("guests", source, lambda found: [str(REPO / "tools/guests.sh"), str(found)])

    def drop_in(self, source):
        """Debian's own tools, with each provider of page merging."""
        say("drop-in: boot with Debian's tools for KSM")
        built = self.built("debian")
        run = f"/usr/bin/python3 -B tools/check/dropin {built}/rksm_hooks.ko {built}/rksm.ko {built}/rksmctl"
        boot = 'VM_ROOT=$("$0/debian-tools.sh") && export VM_ROOT && RKSM_RUN=$1 exec "$0/vm.sh" debian'
        return self.one_suite(
            "drop-in",
            source,
            lambda found: ["bash", "-c", boot, str(REPO / "tools"), f"{run} >'{found}'"],
            RKSM="0",
            VM_GUESTS="1",
            VM_TIMEOUT=str(TIMEOUT_DROP_IN),
        )

    def mutants(self, source, *kernels):
        """Whether the tests find out where a protection is missing."""
        name = f"mutants-{kernels[0]}"
        say(f"{name}: build and run them")
        found, log = LOGS / f"check-{name}.ktap", LOGS / f"check-{name}.log"
        chosen = [f"--kernel={kernel}" for kernel in kernels]
        chosen += [] if self.full else [f"--turn={MUTANTS}"]
        with found.open("w") as out, log.open("w") as err:
            command = ["/usr/bin/python3", "-B", REPO / "tools/check/mutants", *chosen]
            status = subprocess.run(command, stdout=out, stderr=err, check=False).returncode

        def judge():
            results = ktap.parse(read(found), source, name)
            results.case(f"{name}/its end (status {status})", status == 0)
            self.report(name, results, found)

        return judge

    def one_suite(self, name, source, command, **settings):
        """A machine that runs one suite, which leaves KTAP in the file that `command` is made for."""
        out = LOGS / f"check-{name}"
        shutil.rmtree(out, ignore_errors=True)
        found, kernel_log, log = out / f"{name}.ktap", out / KERNEL_LOG, out / "machine.log"
        env = dict(os.environ, VM_LOG=str(kernel_log), VM_BUILT=str(self.built("debian")), **settings)
        status = run_logged(command(found), log, env=env)

        def judge():
            results = ktap.parse(read(found), source, name)
            results.case(f"{name}/the machine ran to its end (status {status})", status == 0)
            self.kernel_log(name, kernel_log, results)
            self.report(name, results, found if found.exists() else log)

        return judge

    def judge(self, name, source, out, status):
        """What the machine left behind."""
        kernel_log = out / KERNEL_LOG
        results = ktap.Results()
        results.case(f"{name}/the machine ran to its end (status {status})", status == 0)
        self.report(f"{name}: machine", results, kernel_log)
        if kind_of(name) != "debian":
            # Debian's kernel has no KUnit.
            self.kunit(name, out, source)
        self.kernel_tests(name, out, source)
        self.selftests(name, out, source)
        self.in_tree(name, out)
        if (REPO / "build" / name / "tests/shared").exists():
            shared = out / "shared-tests.ktap"
            results = ktap.parse(read(shared), source, f"{name}/shared")
            self.report(f"{name}: the kernel's tests of files in memory", results, shared)
        if name == "uml":
            self.bench_ran(name, out)
            tool = out / "tmpfs-dedup.ktap"
            self.report(f"{name}: tmpfs-dedup", ktap.parse(read(tool), source, f"{name}/tmpfs-dedup"), tool)
        if kind_of(name) == "debian":
            hooks = out / "hooks.ktap"
            self.report(f"{name}: livepatch", ktap.parse(read(hooks), source, f"{name}/hooks"), hooks)
            tool = out / "rksmctl.ktap"
            self.report(f"{name}: rksmctl", ktap.parse(read(tool), source, f"{name}/rksmctl"), tool)
            shown = out / "documents.ktap"
            results = ktap.parse(read(shown), source, f"{name}/documents")
            self.report(f"{name}: what the documents show", results, shown)
        self.aftermath(name, out, kernel_log)

    def kunit(self, name, out, source):
        """Each case that the source has must have run: with the wrong kernel
        configuration KUnit drops suites without a word."""
        results = ktap.Results()
        for suite, cases in rust_source.expected_cases(REPO).items():
            path = out / "kunit" / suite
            text = path.read_text() if path.exists() else ""
            found = ktap.parse(text, source, f"{name}/kunit") if text else ktap.Results()
            results.add(found)
            ran = {case.rsplit("/", 1)[-1] for case in found.passed + found.failed + found.skipped}
            results.failed += [f"{name}/kunit/{suite}/{case}: did not run" for case in cases - ran]
        self.report(f"{name}: KUnit", results, out / KERNEL_LOG)

    @staticmethod
    def kept(name):
        build = REPO / "build" / name
        return kernel_tests.kept(build / "kernel", build / "tests/kernel")

    def kernel_tests(self, name, out, source):
        """What fails in-tree counts as well: no fault of rksm's, but without it
        there is nothing to compare with."""
        providers = kernel_tests.plan(self.set_of(name))
        path = {provider: out / f"kernel-tests-{provider}.ktap" for provider in providers}
        results = {
            provider: kernel_tests.judge(read(path[provider]), source, f"{name}/{provider}")
            for provider in providers
        }
        if "in-tree" in results:
            if not results["in-tree"].failed and not self.kept(name).exists():
                self.kept(name).parent.mkdir(exist_ok=True)
                shutil.copy(path["in-tree"], self.kept(name))
            lost = kernel_tests.without_races(results["in-tree"])
            self.complain(f"{case}: in-tree KSM lost the race this time" for case in lost)
            kernel_tests.compare(results["rksm"], results["in-tree"])
        for provider in providers:
            self.report(f"{name}: the kernel's tests, {provider}", results[provider], path[provider])

    def selftests(self, name, out, source):
        """`make run_tests` succeeds whatever happens: only what it says counts,
        and each program that was built must have said something."""
        path = out / "selftests.ktap"
        text = read(path)
        results = ktap.parse(ktap.from_kselftest(text), source, name)
        for program in sorted((REPO / "build" / name / "tests").iterdir()):
            ended = re.search(rf"^(not )?ok \d+ selftests: .*: {program.name}\b", text, re.MULTILINE)
            if program.is_file() and os.access(program, os.X_OK) and not ended:
                results.failed.append(f"{name}/{program.name}: did not run to its end")
        results.failed += skips.outdated(results, name)
        self.report(f"{name}: selftests", results, path)

    def in_tree(self, name, out):
        """What in-tree KSM makes of our tests, where some are listed: one result a program."""
        path = out / "in-tree.ktap"
        text, results = read(path), ktap.Results()
        for program, listed in in_tree.expected(in_tree.machine(self.set_of(name))).items():
            wrong = list(in_tree.judge(text, program, listed))
            self.complain(wrong)
            results.case(f"{name}/in-tree/{program}", not wrong)
        if len(results):
            self.report(f"{name}: selftests, in-tree", results, path)

    def bench_ran(self, name, out):
        results = ktap.Results()
        said = read(out / "bench").splitlines()
        results.case(f"{name}/a small run", said[-1:] == ["ok"])
        if results.failed:
            self.complain(said[-5:])
        command = [REPO / "build/rksm-bench", "report", out / "bench.jsonl", "--out", out / "bench.report"]
        log = out / "bench.report.log"
        good = run_logged(command, log) == 0
        charts = ("growth.svg", "merging-guests.svg", "merging-half-duplicates.svg")
        good &= all("</svg>" in read(out / "bench.report" / chart) for chart in charts)
        results.case(f"{name}/its report", good)
        self.report(f"{name}: benchmark", results, log)

    def aftermath(self, name, out, kernel_log):
        """The module unloads, nothing leaked, the kernel had no complaints."""
        results = ktap.Results()
        unload = read(out / "unload").strip()
        results.case(f"{name}/unload", unload == "ok")
        if unload != "ok":
            self.complain(unload.splitlines()[:20])
        if name.endswith("debug"):
            leaks = out / "kmemleak"
            results.case(f"{name}/kmemleak", leaks.exists() and not read(leaks).strip())
            self.complain(read(leaks).splitlines()[:20])
        self.kernel_log(name, kernel_log, results)
        self.report(f"{name}: aftermath", results, kernel_log)

    def kernel_log(self, name, path, results):
        bad = klog.findings(path)
        results.case(f"{name}/kernel log", not bad)
        if bad:
            self.complain(bad[:20] + klog.first_report(path))

    def end(self):
        results = self.results
        if self.full:
            print("summary:", *self.summary, sep="\n    ", flush=True)
        # Whoever sees only the end of a long log sees these.
        for name in results.failed:
            print(f"    FAILED {name}", flush=True)
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        say(f"took {minutes} min {seconds} s; logs are in {LOGS}")
        line = f"{len(results.passed)} passed, {len(results.failed)} failed"
        if results.skipped:
            line += f", {len(results.skipped)} skipped"
        print(line, flush=True)
        return 1 if results.failed or not results.passed else 0


def read(path):
    return path.read_text(errors="replace") if path.exists() else ""


def run_logged(command, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, **options).returncode


def why_not():
    """What would end in the middle of it."""
    for path in (REPO / "build", *(REPO / "build").glob("*"), *LOGS.glob("*")):
        if not os.access(path, os.W_OK):
            return f"{path} belongs to another user: remove it, or be that one"
    listed = subprocess.run(["git", "-C", REPO, "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        return f"the rules are for the files that git knows: {listed.stderr.strip()}"
    return None


def main():
    parser = argparse.ArgumentParser(prog="check", description=__doc__)
    more = "everything on the debug kernel, a longer torture, arm64, and check-deb"
    parser.add_argument("--full", action="store_true", help=more)
    parser.add_argument("kernels", nargs="*", help="plain, debug, uml, uml-debug, debian, debian-FLAVOUR, arm64")
    args = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    if why := why_not():
        say(why)
        return 1
    with (LOGS / "check.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another make check is running in {REPO}")
            return 1
        check = Check(args.full)
        check.rules()
        check.run(args.kernels or (KERNELS_FULL if args.full else KERNELS))
        if args.full:
            check.script("configs", "check/configs.sh", "other kernels")
            check.life_of_the_package()
        return check.end()


if __name__ == "__main__":
    sys.exit(main())
