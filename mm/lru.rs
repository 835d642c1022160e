// SPDX-License-Identifier: GPL-2.0

//! The lists in which CPUs collect pages for the LRU.

use kernel::bindings;

/// Empties them all. May sleep.
pub(crate) fn drain_all() {
    // SAFETY: Always allowed where sleeping is.
    unsafe { bindings::lru_add_drain_all() };
}

/// Empties those of this CPU.
pub(crate) fn drain() {
    // SAFETY: Always allowed where no spinlock is held, which callers see to.
    unsafe { bindings::lru_add_drain() };
}
