# SPDX-License-Identifier: GPL-2.0
"""The blocks of a document that are run: commands, and what each of them prints."""

import re
from dataclasses import dataclass, field

FENCE, CONSOLE = "```", "```console"
HEADING = re.compile(r"#+ (.+)")
STATE = re.compile(r"<!-- state: ([\w-]+) -->")
# Who types it: root, or somebody.
COMMAND = re.compile(r"[#$] (.+)")


@dataclass
class Command:
    line: str
    output: list = field(default_factory=list)

    @property
    def text(self):
        return self.line[2:]

    @property
    def is_roots(self):
        return self.line.startswith("#")


@dataclass
class Block:
    name: str
    # The state of the machine that it starts in, if it is another than before.
    state: str
    # Its lines in the document, without the fences.
    first: int
    end: int
    commands: list


def find(lines):
    """All blocks of these lines that are to be run."""
    heading = state = ""
    names = set()
    block = fence = None
    for number, line in enumerate(lines):
        if fence is None and line.startswith(FENCE):
            fence = line
            if line == CONSOLE:
                block = Block(one_more(heading, names), state, number + 1, number + 1, [])
                state = ""
        elif line == FENCE:
            if block:
                block.end = number
                yield block
            block = fence = None
        elif block:
            read(block, line)
        elif fence is None and (match := HEADING.fullmatch(line)):
            heading = match[1]
        elif fence is None and (match := STATE.fullmatch(line)):
            state = match[1]
    if block:
        raise ValueError(f"{block.name}: the block does not end")


def one_more(name, names):
    """The name, with a number behind it unless it is the first such."""
    number, wanted = 1, name
    while wanted in names:
        number += 1
        wanted = f"{name}, {number}"
    names.add(wanted)
    return wanted


def read(block, line):
    if COMMAND.fullmatch(line) and not is_of_a_map(line):
        block.commands.append(Command(line))
    elif block.commands:
        block.commands[-1].output.append(line)
    else:
        raise ValueError(f"{block.name}: '{line}' comes before any command")


def is_of_a_map(line):
    """`rksmctl pages` has a sign and its meaning in a line: '# merged   4 000 pages'."""
    return line.startswith("# merged ")


def replaced(lines, blocks):
    """The document with what the blocks' commands print now."""
    for block in reversed(blocks):
        new = [line for command in block.commands for line in (command.line, *command.output)]
        lines[block.first : block.end] = new
    return lines
