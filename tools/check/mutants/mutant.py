# SPDX-License-Identifier: GPL-2.0
"""What a mutant is: a patch that takes one protection away, beneath a few fields that say
which, and who finds out."""

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What they run on; on the last, if it is the kernel that they change.
CHANGED = "uml-debug"
KERNELS = ("user", "uml", "debian", CHANGED)
# What may be seen of a mutant: a case fails, the kernel complains, the machine dies, or a
# case does not come back.
SIGNS = ("fails", "complains", "dies", "hangs")
FIELDS = ("Rows", "Kernel", "Run", "Expect")
# How long a machine may take, and how long one that is to hang: the `debian` machine may be an emulated one.
SECONDS, SECONDS_HANGS = 400, {"user": 60, "uml": 60, "debian": 200, CHANGED: 60}
# Rows of docs/known-races.md begin so, and those that go on with the one above.
ROW = re.compile(r"^\| (\d*) \|")
# What those say that have no mutant.
UNSHOWN = re.compile(r"\bArgument\b|\bNo mutant\b")


class Malformed(Exception):
    """The patch is no mutant; the message says why."""


@dataclass(frozen=True)
class Mutant:
    """One patch, and what its fields say."""

    name: str
    path: Path
    rows: tuple
    kernel: str
    run: str
    signs: tuple

    @classmethod
    def read(cls, path):
        head = path.read_text().partition("\n--- ")[0]
        fields = dict(re.findall(r"^([A-Z][a-z]+): (.*)$", head, re.MULTILINE))
        missing = [name for name in FIELDS if name not in fields]
        if missing:
            raise Malformed(f"{path.name} has no {', '.join(missing)}")
        signs = tuple(fields["Expect"].split(" or "))
        if fields["Kernel"] not in KERNELS or not set(signs) <= set(SIGNS):
            raise Malformed(f"{path.name}: Kernel is one of {KERNELS}, Expect of {SIGNS}")
        if (fields["Kernel"] == CHANGED) != (path.parent != HERE):
            raise Malformed(f"{path.name}: {CHANGED} is for those of the kernel, and for no others")
        rows = tuple(fields["Rows"].split())
        return cls(path.stem, path, rows, fields["Kernel"], fields["Run"], signs)

    @property
    def seconds(self):
        return SECONDS_HANGS[self.kernel] if "hangs" in self.signs else SECONDS

    def is_named(self, names):
        """By its name, the beginning of it, or a row's number."""
        return any(self.name.startswith(name) or name in self.rows for name in names)


def of_tree():
    return sorted(HERE.glob("*.patch"))


def of_kernel():
    """Of its source with all patches."""
    return sorted(HERE.glob("kernel/*.patch"))


def every():
    return [Mutant.read(path) for path in of_tree() + of_kernel()]


def by_turns(mutants, commit, number):
    """So many of them, always the same for a commit."""
    return sorted(mutants, key=lambda m: hashlib.sha256(f"{commit} {m.name}".encode()).digest())[:number]


def does_not_apply(path, tree):
    """Why, if it does not."""
    command = ["git", "-C", tree, "apply", "--check", path]
    applied = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{path.name} does not apply: {applied.stderr.strip()}" if applied.returncode else None


def complaints(repo):
    """What is not in order among the mutants: one that does not apply to the tree, a row of
    docs/known-races.md that neither has one nor says why there is none."""
    named = set()
    for path in of_tree() + of_kernel():
        try:
            named.update(Mutant.read(path).rows)
        except Malformed as why:
            yield str(why)
    yield from filter(None, (does_not_apply(path, repo) for path in of_tree()))
    row = ""
    for line in (repo / "docs/known-races.md").read_text().splitlines():
        if found := ROW.match(line):
            row = found[1] or row
            if row not in named and not UNSHOWN.search(line):
                yield f"docs/known-races.md: row {row} has no mutant, and does not say why"
