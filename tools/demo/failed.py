# SPDX-License-Identifier: GPL-2.0


class Failed(Exception):
    """A step did not hold; the message says why."""

    def __init__(self, why, log=None):
        super().__init__(why)
        self.log = log
