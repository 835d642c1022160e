// SPDX-License-Identifier: GPL-2.0

//! Walks over page tables.
//!
//! A walk is bounded by what there is to look at, not by addresses: where nothing is mapped it takes
//! no time, and it ends when it has come by so many page tables that the mmap lock has been held for
//! long enough.
//!
//! C header: `include/linux/pagewalk.h`

use super::{
    entry::{Pmd, Pte},
    table::{Entry, HugeEntry, Table, TABLE_SPAN},
};
use core::{mem, ops::Range};
use kernel::{bindings, ffi, mm::virt::VmaRef, page::PAGE_SIZE, prelude::*};

/// How many entries of page tables one walk comes by, each table counting for some more.
///
/// For each entry a `struct page` is looked at: with those fetched ahead a full table takes about 20 us on
/// a machine of today, so that a walk takes a third of a millisecond at the worst.
const ENTRIES: u32 = 16 * 512;

/// What coming by a table counts for, apart from its entries.
const TABLE: u32 = 8;

/// How many entries are between the one whose `struct page` is being fetched and the one that is
/// looked at: as many as memory that takes 100 ns needs, at 10 to 20 ns for each.
const AHEAD: usize = 8;

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    End,
}

/// What is done on a walk.
pub(super) trait Visitor {
    /// Whether the parts of huge pages are visited.
    const HUGE: bool;

    /// Whether what a present entry maps is visited, as far as the entry tells. Where it is not, the
    /// page is not looked at either, which is likely in no cache.
    fn wants(pte: Pte) -> bool;

    /// Whether content is going to be read, so that it is worth fetching.
    fn reads(&self) -> bool {
        false
    }

    /// Called in order of address, under the page table lock.
    fn visit(&mut self, address: usize, entry: &Entry<'_>) -> Go;
}

/// A walk over one or several VMAs, in order of address.
pub(super) struct Walk<V> {
    visitor: V,
    tables: u32,
    /// Entries of tables that the walk may still come by.
    left: u32,
    /// Where to go on, once the walk was ended.
    next: usize,
}

impl<V: Visitor> Walk<V> {
    /// Neither callback makes the walk do anything that it would not do without it; huge pages are
    /// split for a `pte_entry` only.
    const OPS: bindings::mm_walk_ops = bindings::mm_walk_ops {
        pud_entry: Some(pud_entry::<V>),
        pmd_entry: Some(pmd_entry::<V>),
        walk_lock: bindings::page_walk_lock_PGWALK_RDLOCK,
        ..pin_init::zeroed()
    };

    pub(super) fn new(visitor: V) -> Self {
        Self {
            visitor,
            tables: 0,
            left: ENTRIES,
            next: 0,
        }
    }

    pub(super) fn visitor(&self) -> &V {
        &self.visitor
    }

    /// How many page tables and huge pages the walk has come by, and tables of the level above.
    pub(super) fn tables(&self) -> u32 {
        self.tables
    }

    /// The same in full page tables: how much of the walk's time was spent.
    pub(super) fn full_tables(&self) -> u32 {
        (ENTRIES - self.left).div_ceil(512 + TABLE)
    }

    /// Goes over `vma`, from `from` on where that lies within. Where the walk has ended, if not at
    /// the end of the VMA.
    pub(super) fn over(&mut self, vma: &VmaRef, from: usize) -> Option<usize> {
        let (start, end) = (from.max(vma.start()), vma.end());
        let private: *mut Self = self;
        // SAFETY: The VMA is valid, its mmap lock is held for reading, and a range outside of it is
        // refused. `private` is what `OPS` expects, and not used by us meanwhile.
        let ended = unsafe {
            bindings::walk_page_range_vma(vma.as_ptr(), start, end, &Self::OPS, private.cast())
        };
        (ended > 0).then_some(self.next)
    }

    fn end_at(&mut self, next: usize) -> Go {
        self.next = next;
        Go::End
    }

    /// Comes by so many entries of one more table.
    fn spend(&mut self, entries: usize) {
        self.tables += 1;
        // A table has no more than fit.
        self.left = self.left.saturating_sub(TABLE + entries as u32);
    }

    /// Comes by a table of page tables, which may be empty, where it maps `range`.
    fn come_by_tables(&mut self, range: Range<usize>) -> Go {
        if self.left == 0 {
            return self.end_at(range.start);
        }
        self.spend(range.len().div_ceil(TABLE_SPAN));
        Go::On
    }

    /// Visits what one entry for a page table maps.
    ///
    /// # Safety
    ///
    /// `pmdp` is the entry for `range` in the page tables that `vma` lies in.
    unsafe fn come_by(
        &mut self,
        vma: &VmaRef,
        pmdp: *mut bindings::pmd_t,
        range: Range<usize>,
    ) -> Go {
        let Range { start, end } = range;
        // SAFETY: The contract is the caller's.
        let ended = unsafe { self.visit_all(vma, pmdp, range) };
        self.spend((ended.unwrap_or(end) - start) / PAGE_SIZE);
        match ended {
            Some(next) => self.end_at(next),
            None if self.left == 0 => self.end_at(end),
            None => Go::On,
        }
    }

    /// Where the visitor has ended the walk, if it has.
    ///
    /// # Safety
    ///
    /// As for [`Walk::come_by`].
    unsafe fn visit_all(
        &mut self,
        vma: &VmaRef,
        pmdp: *mut bindings::pmd_t,
        range: Range<usize>,
    ) -> Option<usize> {
        // SAFETY: The entry is valid, says the caller.
        let pmd = Pmd::new(unsafe { bindings::pmdp_get_lockless(pmdp) });
        if !pmd.present() {
            return None;
        }
        if pmd.leaf() {
            if !V::HUGE {
                return None;
            }
            // It may become a page table until it is locked.
            // SAFETY: The contract is the caller's.
            if let Some(huge) = unsafe { HugeEntry::lock(vma, pmdp, &range) } {
                return self.visit_each(huge.pages(range));
            }
        }
        // SAFETY: The contract is the caller's.
        let table = unsafe { Table::lock(vma, pmdp, &range) }?;
        self.visit_each(table.entries(range, V::wants))
    }

    /// As above, for what `entries` gives.
    fn visit_each<'t>(
        &mut self,
        entries: impl Iterator<Item = (usize, Entry<'t>)>,
    ) -> Option<usize> {
        let reads = self.visitor.reads();
        let fetched = entries.inspect(|(_, entry)| {
            if let Entry::Page { page, .. } = entry {
                page.prefetch();
                if reads {
                    page.prefetch_content();
                }
            }
        });
        let visit = |(address, entry)| match self.visitor.visit(address, &entry) {
            Go::On => None,
            Go::End => Some(address + PAGE_SIZE),
        };
        find_map_behind(fetched, visit)
    }
}

/// Calls `f` with what `items` gives, each [`AHEAD`] items later, until it returns something.
fn find_map_behind<T, R>(
    items: impl Iterator<Item = T>,
    mut f: impl FnMut(T) -> Option<R>,
) -> Option<R> {
    let mut waiting: [Option<T>; AHEAD] = [const { None }; AHEAD];
    let last = core::iter::repeat_with(|| None).take(AHEAD);
    // `pin_init` has another `chain`.
    let mut items = Iterator::chain(items.map(Some), last).enumerate();
    items.find_map(|(index, item)| {
        #[expect(clippy::indexing_slicing, reason = "in range whatever the number")]
        let due = mem::replace(&mut waiting[index % AHEAD], item);
        due.and_then(&mut f)
    })
}

/// Called by the page walk at a table of the level above page tables.
///
/// # Safety
///
/// The `private` of `walk` is a `Walk<V>`, which nobody else uses.
unsafe extern "C" fn pud_entry<V: Visitor>(
    _pudp: *mut bindings::pud_t,
    address: ffi::c_ulong,
    end: ffi::c_ulong,
    walk: *mut bindings::mm_walk,
) -> ffi::c_int {
    // SAFETY: The page walk passes a valid `walk`.
    let private = unsafe { (*walk).private };
    // SAFETY: It is what `over` gave it.
    let this = unsafe { &mut *private.cast::<Walk<V>>() };
    (this.come_by_tables(address..end) == Go::End).into()
}

/// Called by the page walk at a page table or a huge page.
///
/// # Safety
///
/// As for [`pud_entry`].
unsafe extern "C" fn pmd_entry<V: Visitor>(
    pmdp: *mut bindings::pmd_t,
    address: ffi::c_ulong,
    end: ffi::c_ulong,
    walk: *mut bindings::mm_walk,
) -> ffi::c_int {
    // SAFETY: The page walk passes a valid `walk`.
    let private = unsafe { (*walk).private };
    // SAFETY: It is what `over` gave it.
    let this = unsafe { &mut *private.cast::<Walk<V>>() };
    // SAFETY: The walk is over one valid VMA.
    let vma = unsafe { (*walk).vma };
    // SAFETY: As above, and `over` was called with its mmap lock held.
    let vma = unsafe { VmaRef::from_raw(vma) };
    // SAFETY: The page walk passes the entry for the range.
    (unsafe { this.come_by(vma, pmdp, address..end) } == Go::End).into()
}

#[kunit_tests(rksm_pagewalk)]
mod tests {
    use super::*;

    #[test]
    fn all_come_in_order() {
        for count in [0, 1, AHEAD - 1, AHEAD, AHEAD + 1, 5 * AHEAD + 3] {
            let mut next = 0;
            let wrong = find_map_behind(0..count, |item| {
                next += 1;
                (item + 1 != next).then_some(item)
            });
            assert_eq!(wrong, None);
            assert_eq!(next, count);
        }
    }

    #[test]
    fn each_comes_so_much_later() {
        let given = core::cell::Cell::new(0);
        let items = (0..3 * AHEAD).inspect(|item| given.set(item + 1));
        let late = find_map_behind(items, |item| {
            let expected = (item + AHEAD + 1).min(3 * AHEAD);
            (given.get() != expected).then_some(item)
        });
        assert_eq!(late, None);
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut calls = 0;
        let found = find_map_behind(0..100, |item| {
            calls += 1;
            (item == 41).then_some(item)
        });
        assert_eq!(found, Some(41));
        assert_eq!(calls, 42);
    }
}
