// SPDX-License-Identifier: GPL-2.0

//! What a process sees of its merging in `/proc/PID/ksm_stat`.

use kernel::{
    bindings,
    mm::Mm,
    sync::atomic::{Atomic, Relaxed},
};

/// Changes the counts of `mm`. Readers may see one count changed and the other not yet.
pub(crate) fn add(mm: &Mm, items: isize, merging: isize) {
    let mm = mm.as_raw();
    // SAFETY: `mm` is live.
    let ksm_rmap_items = unsafe { &raw mut (*mm).__bindgen_anon_1.ksm_rmap_items };
    // SAFETY: As above.
    let ksm_merging_pages = unsafe { &raw mut (*mm).__bindgen_anon_1.ksm_merging_pages };
    for (field, change) in [(ksm_rmap_items, items), (ksm_merging_pages, merging)] {
        if change != 0 {
            // SAFETY: The field is valid. Whoever else writes it for an address space that is enrolled
            // here does so by this function, and readers read it whole.
            let count = unsafe { Atomic::<isize>::from_ptr(field.cast()) };
            count.add(change, Relaxed);
        }
    }
}

/// Whether merging has placed zero pages in `mm`.
pub(crate) fn has_zero_pages(mm: &Mm) -> bool {
    // SAFETY: `mm` is live.
    let count = unsafe { &raw mut (*mm.as_raw()).__bindgen_anon_1.ksm_zero_pages };
    // SAFETY: The field is an atomic of the kernel's.
    unsafe { Atomic::<isize>::from_ptr(count.cast()) }.load(Relaxed) != 0
}

/// How many zero pages merging has placed in all.
pub(crate) fn zero_pages() -> i64 {
    let count = &raw mut bindings::ksm_zero_pages;
    // SAFETY: The kernel's counter is a valid atomic for ever.
    unsafe { Atomic::<i64>::from_ptr(count.cast()) }.load(Relaxed)
}
