# SPDX-License-Identifier: GPL-2.0
"""The rules of the house that a machine can check. No kernel needed, but for
checkpatch, which comes with its source."""

import re
import subprocess
import sys
from pathlib import Path

import rust_source

sys.path.append(str(Path(__file__).parent / "mutants"))

# Only now it is found.
import mutant

# Where unsafe code may stand: the layer over C, and the intrusive containers.
UNSAFE_ALLOWED = ("mm/", "intrusive/")
UNSAFE = re.compile(r"\bunsafe\b|\bbindings::|\*(mut|const)\s+[A-Za-z_(\[]")
MACHINE = re.compile(
    r"/(root|home|work)/\w|\b(deb|snapshot|security|ftp)\.debian\.org|static\.crates|files\.pythonhosted"
)
# What checkpatch says of every header that defines trace events.
TRACE_HEADER = "EXPORT_SYMBOL,FILE_PATH_CHANGES,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT"
# The source comes without its history: nobody there knows what a patch repairs.
NO_HISTORY = "UNKNOWN_COMMIT_ID"
# What it says of any list that is a macro.
LIST_MACRO = "COMPLEX_MACRO,MACRO_ARG_UNUSED,MULTISTATEMENT_MACRO_USE_DO_WHILE,TRAILING_SEMICOLON"
# A test case in C, and how documents name one, or say how many there are.
CASE = re.compile(r"^(?:(?:\w+_)?TEST(?:_F|_F_TIMEOUT)?|ATTACK)\((?:\w+, *)?(\w+)[,)]", re.MULTILINE)
CITED_CASE = re.compile(r"`(\w+)\.(?!(?:rs|[ch]|ko|py|conf)`)(\w+)`")
# What else is named like one.
NO_CASES = {"program.case", "vm.max_map_count", "module.sig_enforce", "memory.current", "memory.low",
            "machine.slice", "Mem.ShareForceSalting", "kernfs_node.active", "ksm_ops.records"}
CITED_NUMBER = re.compile(r"`(\w+)`,?\s+\(?(\d+)\s+cases?\)")
TODO = re.compile(r"SAFETY:\s*TODO", re.IGNORECASE)
MAX_LINES = 550
# What a kernel may be configured for, and whether rksm was tried there.
CONFIGS = {
    "SRCARCH=x86 CONFIG_64BIT=y CONFIG_X86_64=y": True,
    "SRCARCH=um CONFIG_64BIT=y CONFIG_X86_64=y CONFIG_UML=y": True,
    "SRCARCH=arm64 CONFIG_64BIT=y CONFIG_ARM64=y CONFIG_ARM64_4K_PAGES=y": True,
    "SRCARCH=arm64 CONFIG_64BIT=y CONFIG_ARM64=y CONFIG_ARM64_16K_PAGES=y": False,
    "SRCARCH=riscv CONFIG_64BIT=y CONFIG_RISCV=y": False,
    "SRCARCH=x86 CONFIG_X86_32=y": False,
}


def matches(pattern, text, name, why):
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield f"{name}:{number}: {why}: {line.strip()}"


def tracked(repo):
    listing = subprocess.run(
        ["git", "-C", repo, "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    for name in listing.stdout.split("\0"):
        path = repo / name
        if name and path.is_file():
            yield name, path


def unsafe_stays_in_its_layer(repo):
    for path in rust_source.files(repo):
        name = str(path.relative_to(repo))
        if not name.startswith(UNSAFE_ALLOWED):
            text = rust_source.without_tests(path.read_text())
            yield from matches(UNSAFE, text, name, "unsafe code outside of mm/ and intrusive/")


def imports(text):
    """The modules of the crate that a file's `use crate::…` name, at their first level."""
    for block in re.findall(r"\buse crate::([^;]*);", text):
        depth, name = 0, ""
        for char in block.strip("{} \n") if block.startswith("{") else block.split("::")[0]:
            depth += (char == "{") - (char == "}")
            if char == "," and depth == 0:
                yield name.strip().split("::")[0]
                name = ""
            elif depth == 0 or name:
                name += char if depth == 0 else ""
        if name.strip():
            yield name.strip().split("::")[0]


def the_floor_knows_nothing_above(repo):
    """What the layer over C imports of the crate is part of that layer."""
    for path in rust_source.files(repo):
        name = str(path.relative_to(repo))
        if name.startswith("mm/"):
            above = re.compile(r"\bcrate::(?!mm\b|LocalModule\b)\w+")
            text = rust_source.without_tests(path.read_text())
            yield from matches(above, text, name, "the floor imports from above")


def no_imports_go_in_circles(repo):
    """Files of the algorithm; the folders count as one each."""
    graph = {}
    for path in rust_source.files(repo):
        place = path.relative_to(repo)
        node = place.parts[0] if len(place.parts) > 1 else place.stem
        text = rust_source.without_tests(path.read_text())
        graph.setdefault(node, set()).update(set(imports(text)) - {node})
    done = set()

    def visit(node, way):
        if node in way:
            yield "imports go in a circle: " + " -> ".join([*way[way.index(node) :], node])
        elif node not in done:
            for other in sorted(graph.get(node, ())):
                yield from visit(other, [*way, node])
            done.add(node)

    for node in sorted(graph):
        yield from visit(node, [])


def safety_is_argued(repo):
    for path in rust_source.files(repo):
        yield from matches(TODO, path.read_text(), path.relative_to(repo), "no argument")


def files_are_small(repo):
    for path in rust_source.files(repo):
        lines = len(path.read_text().splitlines())
        if lines > MAX_LINES:
            yield f"{path.relative_to(repo)}: {lines} lines: what grows past {MAX_LINES} is two ideas"


def names_no_machine(repo):
    for name, path in tracked(repo):
        text = path.read_text(errors="replace")
        yield from matches(MACHINE, text, name, "names a place of one machine")


def scripts_are_clean(repo):
    scripts = []
    for name, path in tracked(repo):
        first = path.open("rb").readline(200)
        if re.match(rb"#!.*\b(ba)?sh\b", first) or name.endswith(".sh"):
            scripts.append(name)
    yield from run(["shellcheck", *scripts], repo)


def python_is_clean(repo):
    made = subprocess.run([repo / "tools/venv.sh"], capture_output=True, text=True, check=False)
    if made.returncode:
        yield made.stderr
        return
    programs = [name for name, path in tracked(repo) if re.match(rb"#!.*python", path.open("rb").readline(200))]
    names = {*programs, *(name for name, _ in tracked(repo) if name.endswith(".py"))}
    ruff = [made.stdout.strip() + "/bin/ruff", "check", "--no-cache", "--output-format=concise", "--config=tools/ruff.toml"]
    yield from run([*ruff, *sorted(names)], repo)


def builds_only_where_it_was_tried(repo):
    for config, tried in CONFIGS.items():
        command = ["make", "-n", "-f", "Kbuild", "CONFIG_MODULES=y", *config.split()]
        said = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False).stderr
        if ("rksm was tried on" in said) == tried:
            yield f"Kbuild: {config}: {'refused' if tried else 'not refused'}"


def rust_is_formatted(repo):
    yield from run([str(repo / "tools/fmt.sh"), "--check"], repo)


def blocks_say_what_they_are(repo):
    """A block without an info string might be one whose commands nobody runs:
    tools/check/documents runs those of `console`."""
    for name, path in tracked(repo):
        if name.endswith(".md"):
            fences = [line for line in enumerate(path.read_text().splitlines(), 1) if line[1].startswith("```")]
            for number, fence in fences[::2]:
                if fence == "```":
                    yield f"{name}:{number}: a block without an info string: console, sh or text"


# In tools/demo/run: the name of a step, and in live.py, that of a column.
STEP = re.compile(r'\.step\(f?"(.+?)"\)')
COLUMN = re.compile(r'^    "(.+?)": lambda', re.MULTILINE)


def the_demo_prints_what_readme_shows(repo):
    """But for figures: each line of a step, and no step is missing."""
    shown = (repo / "README.md").read_text().splitlines()
    steps = STEP.findall((repo / "tools/demo/run").read_text())
    ended = r"(, .+)? \(\d+\.\d s\)"
    patterns = [re.compile("ok    " + re.sub(r"\\\{.+?\\\}", ".+", re.escape(step)) + ended) for step in steps]
    lines = [line for line in shown if line.startswith("ok    ")]
    for line in lines:
        if not any(pattern.fullmatch(line) for pattern in patterns):
            yield f"README.md: the demo has no such step: {line}"
    for step, pattern in zip(steps, patterns, strict=True):
        if not any(pattern.fullmatch(line) for line in lines):
            yield f"README.md: a step of the demo is missing: {step}"
    if " ".join(COLUMN.findall((repo / "tools/demo/live.py").read_text())) not in shown:
        yield "README.md: the demo's table has other columns"


def each_protection_has_a_mutant(repo):
    """Or docs/known-races.md says why not; and each mutant applies to the tree as it is."""
    yield from mutant.complaints(repo)


def documents_cite_what_there_is(repo):
    """`program.case` and `program` (3 cases), as the documents have them."""
    cases = {path.stem: CASE.findall(path.read_text()) for path in repo.glob("selftests/*.c")}
    for document in [repo / "README.md", *sorted(repo.glob("docs/*.md")), *sorted(repo.glob("kernel/*/*.md"))]:
        text = document.read_text()
        for program, case in CITED_CASE.findall(text):
            if f"{program}.{case}" not in NO_CASES and case not in cases.get(program, ()):
                yield f"{document.name}: `{program}.{case}`: there is no such case"
        for program, number in CITED_NUMBER.findall(text):
            have = len(cases.get(program, ()))
            if have != int(number):
                yield f"{document.name}: `{program}` has {have} cases, not {number}"


def run(command, repo):
    result = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    if result.returncode:
        yield result.stdout + result.stderr


CHECKS = (
    unsafe_stays_in_its_layer,
    the_floor_knows_nothing_above,
    no_imports_go_in_circles,
    safety_is_argued,
    files_are_small,
    names_no_machine,
    scripts_are_clean,
    python_is_clean,
    builds_only_where_it_was_tried,
    rust_is_formatted,
    blocks_say_what_they_are,
    the_demo_prints_what_readme_shows,
    each_protection_has_a_mutant,
    documents_cite_what_there_is,
)


# What a kernel is patched with: faults of its own first, which are mended for themselves.
PATCHES = ("kernel/upstream", "kernel/patches", "kernel/shared")

# Files of our own that go into a kernel.
KERNEL_FILES = ("kernel/tree", "kernel/livepatch")


def checkpatch(repo, source):
    """(name, complaints) for each patch, and each file of our own; for each mutant of the kernel, whether it
    applies."""
    patches = [patch for folder in PATCHES for patch in (repo / folder).glob("*.patch")]
    for patch in sorted(patches):
        command = ["perl", "scripts/checkpatch.pl", "--strict", "--terse", "--no-summary",
                   f"--ignore={NO_HISTORY}", str(patch)]
        yield f"checkpatch/{patch.parent.name}/{patch.name}", list(run(command, source))
    files = [file for folder in KERNEL_FILES for file in (repo / folder).rglob("*.[ch]")]
    for file in sorted(files):
        command = ["perl", "scripts/checkpatch.pl", "--terse", "--no-summary", "--file", str(file)]
        if "trace" in file.name or "trace" in file.parts:
            command.append(f"--ignore={TRACE_HEADER}")
        elif "SEAMS(" in file.read_text():
            command.append(f"--ignore={LIST_MACRO}")
        yield f"checkpatch/{file.relative_to(repo)}", list(run(command, source))
    for path in mutant.of_kernel():
        why = mutant.does_not_apply(path, source)
        yield f"mutants/{path.stem}", [why] if why else []
