// SPDX-License-Identifier: GPL-2.0

//! Splitting a large folio, so that its pages can be merged one by one.
//!
//! The kernel's own `split_huge_page()` has the zero page take the place of each part that is full of zeroes,
//! whatever `use_zero_pages` says. It counts those for nobody, and nothing gives them back. So the steps
//! of a split are taken here one by one, and each part is mapped again as it was. What the kernel splits for
//! reasons of its own is not our concern.
//!
//! C headers: `include/linux/huge_mm.h`, `include/linux/rmap.h`

use super::page::LockedPage;

#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
use super::{anon_vma::AnonVma, lru};
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
use kernel::bindings;

/// Makes the page, which is an anonymous one, a folio of its own. May sleep.
///
/// Lock and reference go with the page. False: somebody else refers to the folio, or deals with it.
pub(crate) fn make_small(locked: &LockedPage<'_>) -> bool {
    !locked.page().is_large() || split(locked)
}

/// There are no large folios.
#[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
fn split(_locked: &LockedPage<'_>) -> bool {
    false
}

#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
fn split(locked: &LockedPage<'_>) -> bool {
    let page = locked.page();
    // SAFETY: The lock keeps the folio valid.
    let written = unsafe { bindings::folio_test_writeback(page.folio()) };
    if written || !page.is_all_accounted_for() {
        return false;
    }
    let Some(isolated) = Isolated::new(locked) else {
        return false;
    };
    // SAFETY: The folio is valid and locked.
    let anon_vma = unsafe { AnonVma::of(page.folio()) };
    let split = anon_vma.is_some_and(|anon_vma| {
        // Nobody else takes down or makes mappings of the folio by its reverse map.
        let _guard = anon_vma.write_lock();
        // SAFETY: The lock just taken is that of the folio's `anon_vma`.
        unsafe { isolated.split() }
    });
    isolated.put_back();
    isolated.count(split);
    split
}

/// How the reverse map is walked here.
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
const LOCKED: bindings::ttu_flags = bindings::ttu_flags_TTU_RMAP_LOCKED;

/// How a folio is unmapped: huge entries become page tables, and the TLB is flushed once, later.
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
const UNMAP: bindings::ttu_flags = LOCKED
    | bindings::ttu_flags_TTU_SPLIT_HUGE_PMD
    | bindings::ttu_flags_TTU_SYNC
    | bindings::ttu_flags_TTU_BATCH_FLUSH;

/// A large folio that was taken off the LRU, or what it was split into.
///
/// # Invariants
///
/// `first` is the first of `pages` pages that were one folio when `locked` was taken. All folios that they are in
/// now are locked by us, referenced by us once, and on no LRU, until [`Isolated::put_back`].
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
struct Isolated<'l> {
    locked: &'l LockedPage<'l>,
    first: *mut bindings::page,
    pages: usize,
}

#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
impl<'l> Isolated<'l> {
    /// `None`: the folio is not on the LRU, so that somebody else refers to it.
    fn new(locked: &'l LockedPage<'l>) -> Option<Self> {
        let folio = locked.page().folio();
        // SAFETY: The lock keeps the folio valid.
        if !unsafe { bindings::folio_isolate_lru(folio) } {
            return None;
        }
        // The reference that came with it is one too many for a split. That of `locked` stands for it.
        // SAFETY: The reference just taken, which is not the last.
        unsafe { bindings::folio_put(folio) };
        // INVARIANT: Just isolated; the lock and its reference are those of `locked`.
        Some(Self {
            locked,
            // A folio begins with its first page.
            first: folio.cast(),
            // SAFETY: As above.
            pages: unsafe { bindings::folio_nr_pages(folio) },
        })
    }

    /// The folios that the pages are in now, from the first on.
    fn parts(&self) -> impl Iterator<Item = *mut bindings::folio> + '_ {
        let step = match self.locked.page().is_large() {
            true => self.pages,
            false => 1,
        };
        let first = self.first;
        (0..self.pages).step_by(step).map(move |index| {
            // SAFETY: The `struct page`s of what was one folio are in a row.
            unsafe { first.add(index) }.cast()
        })
    }

    /// Splits it into single pages, each mapped where and as it was. False: it is as before, since somebody
    /// refers to it.
    ///
    /// # Safety
    ///
    /// The caller holds the write lock of the folio's `anon_vma`.
    unsafe fn split(&self) -> bool {
        let folio = self.locked.page().folio();
        // SAFETY: The folio is locked and referenced, and the lock of its reverse map is held.
        unsafe { bindings::try_to_migrate(folio, UNMAP) };
        // SAFETY: Always allowed.
        unsafe { bindings::try_to_unmap_flush() };
        // A stack that exec() is about to move stays mapped.
        // SAFETY: The lock keeps the folio valid.
        let split = !unsafe { bindings::folio_mapped(folio) }
            // SAFETY: It is an anonymous folio, locked, not mapped, and on no LRU. Where there are more references
            // than ours, this does nothing.
            && unsafe { bindings::folio_split_unmapped(folio, 0) } == 0;
        // INVARIANT: Of each folio that this makes the lock and a reference are ours.
        for part in self.parts() {
            // SAFETY: By the type invariant it is locked and referenced. The lock of its reverse map is
            // held; whoever comes upon what stands for its mappings waits for the folio's lock.
            unsafe { bindings::remove_migration_ptes(part, part, LOCKED) };
        }
        split
    }

    /// Lets go of all but the folio that the page of `locked` is in, and has all be on the LRU.
    fn put_back(&self) {
        let own = self.locked.page().folio();
        for part in self.parts() {
            // SAFETY: By the type invariant it is on no LRU, and referenced.
            unsafe { bindings::folio_add_lru(part) };
            if part == own {
                continue;
            }
            // SAFETY: By the type invariant it is locked and referenced.
            if !unsafe { bindings::folio_mapped(part) } {
                // SAFETY: As above.
                unsafe { bindings::folio_free_swap(part) };
            }
            // SAFETY: As above.
            unsafe { bindings::folio_unlock(part) };
            // SAFETY: The reference is ours.
            unsafe { bindings::folio_put(part) };
        }
        // Until they are on the LRU, this CPU refers to some of them, so that they cannot be merged.
        lru::drain();
    }

    /// Counts in `/proc/vmstat` what became of a huge page.
    fn count(&self, split: bool) {
        // As many pages as a page table has entries.
        if self.pages != bindings::PTRS_PER_PTE as usize {
            return;
        }
        let event = match split {
            true => bindings::vm_event_item_THP_SPLIT_PAGE,
            false => bindings::vm_event_item_THP_SPLIT_PAGE_FAILED,
        };
        // SAFETY: Always allowed.
        unsafe { bindings::count_vm_event(event) };
    }
}
