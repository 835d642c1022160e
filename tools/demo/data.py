# SPDX-License-Identifier: GPL-2.0
"""What the guests hold in memory, so that their answers can be checked."""

import random

MIB = 1 << 20


def shared():
    """The file of the image: the same in every guest."""
    return random.Random("rksm demo").randbytes(16 * MIB)


def disk():
    """What the disk of a guest holds that has one."""
    return random.Random("rksm demo, disk").randbytes(16 * MIB)


def own(name):
    """What guest/init makes of a guest's name: in no other guest."""
    return "".join(f"{name} {number}\n" for number in range(1000000, 1262144)).encode()


def zero():
    return bytes(4 * MIB)
