# SPDX-License-Identifier: GPL-2.0
"""What is left of an output when all is left out that another run prints differently."""

import re

# In this order. N stands for a figure.
MASKS = (
    # A chart of top, a line of a map, and where that line is.
    (r"[▁▂▃▄▅▆▇█]+", ""),
    (r"^ {4}[#0fx.-]{1,64}$", "MAP"),
    (r"\b[0-9a-f]+000-[0-9a-f]+000\b", "RANGE"),
    # Which of Debian's kernels it is.
    (r"-(cloud-|rt-)?amd64\b", "-FLAVOUR"),
    # How far it is in a pass is chance.
    (r"^(Next pass) .*", r"\1"),
    # 12 345, 0.5, -3 and 1.5G; several in a row count as one, since a gap between two
    # columns looks like that between thousands.
    (r"(?<![\w-])-(?=\d)", ""),
    (r"\d+(\.\d+)*([KMGTk](?![A-Za-z]))?", "N"),
    (r"N( +N)+\b", "N"),
    (r"\bN (KiB|MiB|GiB|TiB)\b", "N bytes"),
    (r"\bN (ms|s|min|h|days)\b( N (s|min|h)\b)*", "N seconds"),
    (r"\s+", " "),
)
# What it prints is settings, and all of them are ours.
EXACT = ("rksmctl tune",)


def without(command, line):
    if not command.text.startswith(EXACT):
        for pattern, instead in MASKS:
            line = re.sub(pattern, instead, line)
    return line.strip()


def masked(command):
    """The lines that must be the same again."""
    return [without(command, line) for line in command.output]
