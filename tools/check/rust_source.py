# SPDX-License-Identifier: GPL-2.0
"""Reads the module's Rust source as far as the checks need it."""

import re

STRING_OR_COMMENT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\[^\n]+?|[^'\\\n])'""", re.DOTALL
)
SUITE = re.compile(r"#\[kunit_tests\((\w+)\)\]")
CASE = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn\s+(\w+)")


def files(repo):
    """Every Rust file of the module."""
    skipped = {"build", "tools", ".git"}
    for path in sorted(repo.rglob("*.rs")):
        if not skipped & set(path.relative_to(repo).parts):
            yield path


def code(text):
    """The text with comments and the insides of strings blanked out, every
    character and line where it was."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return STRING_OR_COMMENT.sub(blank, text)


def block_end(text, start):
    """Where the first brace block at or after `start` ends."""
    depth = 0
    for at in range(text.index("{", start), len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return at + 1
    return len(text)


def suites(text):
    """(suite, first, last) for each KUnit module, as positions in the text."""
    for match in SUITE.finditer(text):
        yield match.group(1), match.start(), block_end(text, match.end())


def expected_cases(repo):
    """{suite: set of cases} that the source says must run."""
    found = {}
    for path in files(repo):
        text = code(path.read_text())
        for suite, first, last in suites(text):
            found[suite] = set(CASE.findall(text[first:last]))
    return found


def without_tests(text):
    """Code without its KUnit modules, every line where it was."""
    text = code(text)
    for _, first, last in reversed(list(suites(text))):
        text = text[:first] + re.sub(r"[^\n]", " ", text[first:last]) + text[last:]
    return text
