# SPDX-License-Identifier: GPL-2.0
"""Counts test cases in KTAP text, with the kernel's own parser."""

import re
import sys


class Results:
    """Names of the single test cases, by how they ended."""

    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def case(self, name, good):
        (self.passed if good else self.failed).append(name)

    def __len__(self):
        return len(self.passed) + len(self.failed) + len(self.skipped)


def from_kselftest(text):
    """What kselftest's runner prints, as KTAP that the parser nests: the
    runner puts '# ' before the lines of a test program, where KTAP indents,
    and `make run_tests` writes no header over them all."""
    return "KTAP version 1\n" + re.sub(r"^# ", "  ", text, flags=re.MULTILINE)


def why(text, at_most=8):
    """What was printed of each case that failed: the lines since the one before."""
    said = []
    for line in (each.removeprefix("# ").strip() for each in text.splitlines()):
        if line.startswith("not ok"):
            yield from said[-at_most:]
            yield line
        if line.startswith(("ok ", "not ok ")):
            said = []
        else:
            said.append(line)


def parse(text, source, prefix):
    """`source` is the kernel tree whose parser is used."""
    path = str(source / "tools/testing/kunit")
    if path not in sys.path:
        sys.dont_write_bytecode = True
        sys.path.insert(0, path)
    import kunit_parser  # pylint: disable=import-outside-toplevel
    import kunit_printer  # pylint: disable=import-outside-toplevel

    results = Results()
    test = kunit_parser.parse_run_tests(text.splitlines(), kunit_printer.Printer(print=False))
    if test.subtests:
        for sub in test.subtests:
            collect(kunit_parser.TestStatus, sub, prefix, results)
    else:
        results.failed.append(f"{prefix}: no tests")
    return results


def short(name):
    """kselftest names a program 'selftests: FOLDER: PROGRAM'."""
    return re.sub(r"^selftests: .*: ", "", name)


def collect(status, test, prefix, results):
    name = f"{prefix}/{short(test.name) or 'a test that ended early'}"
    before = len(results.failed)
    for sub in test.subtests:
        collect(status, sub, name, results)
    if test.subtests and test.status in (status.SUCCESS, status.SKIPPED):
        return
    if test.subtests:
        # A program may fail after all its cases passed: that counts too.
        if len(results.failed) == before:
            results.failed.append(name)
    elif test.status == status.SUCCESS:
        results.passed.append(name)
    elif test.status == status.SKIPPED:
        results.skipped.append(name)
    else:
        results.failed.append(name)
