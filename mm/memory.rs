// SPDX-License-Identifier: GPL-2.0

//! The machine's memory.

use kernel::bindings;

/// How many pages the kernel has to give out, free or not.
pub(crate) fn total_pages() -> usize {
    let pages = &raw const bindings::_totalram_pages;
    // SAFETY: The kernel's counter is there for ever.
    let pages = unsafe { &raw const (*pages).counter };
    // SAFETY: As above, and it is read whole.
    let pages = unsafe { pages.read_volatile() };
    usize::try_from(pages).unwrap_or(0)
}

/// How many of them programs could have without swapping: `MemAvailable` of `/proc/meminfo`.
pub(crate) fn available_pages() -> usize {
    // SAFETY: It adds up counters.
    let pages = unsafe { bindings::si_mem_available() };
    usize::try_from(pages).unwrap_or(0)
}

/// How many NUMA nodes there can be: their numbers are below that.
pub(crate) fn nodes() -> i32 {
    // SAFETY: It reads a number that is constant after boot.
    let nodes = unsafe { bindings::nr_nodes() };
    nodes as i32
}
