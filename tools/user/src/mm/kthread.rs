// SPDX-License-Identifier: GPL-2.0

//! Threads.

pub(crate) fn cond_resched() {}
