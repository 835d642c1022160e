// SPDX-License-Identifier: GPL-2.0

//! Collecting the pages of a range, many for each visit to a page table.
//!
//! C header: `include/linux/pagewalk.h`

use super::{ksm_folio::Mark, page::AnonPage, vma::MergeableVma};
use core::{ops::Range, ptr::NonNull};
use kernel::{bindings, ffi, page::PAGE_SIZE, prelude::*};

/// What is mapped at an address.
pub(crate) enum Mapping {
    /// An anonymous page.
    Page(AnonPage),
    /// A merged page. It is not referenced: most often the scanner has nothing to do there, and a
    /// reference would stop it from being migrated.
    Ksm(Mark),
    /// The zero page, which was put there in place of a page full of zeroes.
    KsmZero,
    /// A small page on its way to another frame. It will be there again in a moment, and what is
    /// known of it will hold.
    Moving,
}

/// One address and what it maps.
pub(crate) struct Visit {
    pub(crate) address: usize,
    pub(crate) mapping: Mapping,
}

/// Pages found by one walk.
///
/// Its capacity is fixed: nothing is allocated under a page table lock.
pub(crate) struct Batch {
    visits: KVec<Visit>,
    room: usize,
}

/// How many pages one walk collects. Enough that the locks taken for a walk cost little for each
/// page, and little enough that the references held do not disturb reclaim.
pub(crate) const BATCH_PAGES: usize = 64;

/// How much address space one walk may cover, so that the mmap lock is never held long: at the
/// worst, where every page table is there and full of pages not to be merged, this takes about a
/// millisecond.
const WALK_SPAN: usize = 1 << 30;

impl Batch {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            visits: KVec::with_capacity(BATCH_PAGES, GFP_KERNEL)?,
            room: BATCH_PAGES,
        })
    }

    /// Fills the batch with what is mapped in `vma` from `from` on, at most `room` pages, and
    /// returns the address up to which the walk is complete.
    pub(crate) fn fill(&mut self, vma: &MergeableVma<'_>, from: usize, room: usize) -> usize {
        self.visits.clear();
        self.room = room.min(BATCH_PAGES);
        let end = vma.end().min(from.saturating_add(WALK_SPAN));
        if from >= end || self.room == 0 {
            return from;
        }
        let batch: *mut Batch = self;
        // SAFETY: The VMA is valid, its mmap lock is held for reading, the range lies inside it, and
        // `batch` is what `OPS` expects.
        let full =
            unsafe { bindings::walk_page_range_vma(vma.as_ptr(), from, end, &OPS.0, batch.cast()) };
        let next = match self.visits.last() {
            Some(last) if full > 0 => last.address + PAGE_SIZE,
            _ => end,
        };
        // `next` pops from the end.
        self.visits.reverse();
        next
    }

    /// The addresses that were found mapped, in order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = usize> + '_ {
        self.visits.iter().rev().map(|visit| visit.address)
    }

    /// Takes out the next page in order of address.
    pub(crate) fn next(&mut self) -> Option<Visit> {
        self.visits.pop()
    }

    /// The ordinary pages that were not taken out yet, in order, and where they are.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (usize, &AnonPage)> {
        self.visits
            .iter()
            .rev()
            .filter_map(|visit| match &visit.mapping {
                Mapping::Page(page) => Some((visit.address, page)),
                _ => None,
            })
    }

    /// Lets go of the pages that lie in one folio with `page`, which are not visited then: a
    /// reference more than those that are accounted for would stop it from being merged.
    pub(crate) fn let_go(&mut self, page: &AnonPage) {
        self.visits.retain(|visit| match &visit.mapping {
            Mapping::Page(other) => !other.shares_folio_with(page),
            _ => true,
        });
    }

    /// Lets go of all pages that were not taken out.
    pub(crate) fn clear(&mut self) {
        self.visits.clear();
    }

    fn is_full(&self) -> bool {
        self.visits.len() >= self.room
    }

    fn push(&mut self, address: usize, mapping: Mapping) {
        let visit = Visit { address, mapping };
        // There is room: the callers look at `is_full` first.
        let _ = self.visits.push_within_capacity(visit);
    }
}

/// What a walk calls.
pub(super) struct Ops(pub(super) bindings::mm_walk_ops);

// SAFETY: The operations are never written.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::mm_walk_ops {
    pmd_entry: Some(pmd_entry),
    walk_lock: bindings::page_walk_lock_PGWALK_RDLOCK,
    ..pin_init::zeroed()
});

/// Collects what one entry of a page middle directory maps. Returns 1 to end the walk.
///
/// # Safety
///
/// Called by the page walk with a `walk` whose `private` is a [`Batch`].
unsafe extern "C" fn pmd_entry(
    pmdp: *mut bindings::pmd_t,
    address: ffi::c_ulong,
    end: ffi::c_ulong,
    walk: *mut bindings::mm_walk,
) -> ffi::c_int {
    // SAFETY: The walk passes what `fill` gave it, which nobody else uses meanwhile.
    let batch = unsafe { &mut *(*walk).private.cast::<Batch>() };
    // SAFETY: The walk is over one valid VMA.
    let vma = unsafe { (*walk).vma };
    // SAFETY: The page walk guarantees a valid entry.
    let pmd = unsafe { bindings::pmdp_get_lockless(pmdp) };
    // SAFETY: Pure functions of the value.
    if !unsafe { bindings::pmd_present(pmd) } {
        return 0;
    }
    // SAFETY: As above.
    if unsafe { bindings::pmd_leaf(pmd) } {
        // SAFETY: The entry is valid, says the page walk.
        if let Some(full) = unsafe { collect_huge(batch, vma, pmdp, address, end) } {
            return full.into();
        }
    }
    // SAFETY: As above.
    unsafe { collect_table(batch, vma, pmdp, address, end) }.into()
}

/// Collects the small pages of a huge one. `None`: it is a page table now.
///
/// # Safety
///
/// `vma` is valid with its mmap lock held; `pmdp` is its entry for `[address, end)`.
unsafe fn collect_huge(
    batch: &mut Batch,
    vma: *mut bindings::vm_area_struct,
    pmdp: *mut bindings::pmd_t,
    address: usize,
    end: usize,
) -> Option<bool> {
    // SAFETY: `vma` is valid.
    let mm = unsafe { (*vma).vm_mm };
    // SAFETY: `pmdp` is an entry of `mm`.
    let lock = unsafe { bindings::pmd_lock(mm, pmdp) };
    // SAFETY: The entry is locked.
    let pmd = unsafe { bindings::pmdp_get(pmdp) };
    // SAFETY: Pure function of the value.
    let present = unsafe { bindings::pmd_present(pmd) };
    // SAFETY: As above.
    let huge = present && unsafe { bindings::pmd_leaf(pmd) };
    let full = huge.then(|| {
        // SAFETY: `pmd` is what `vma` maps around `address`.
        let page = unsafe { normal_page_pmd(vma, address, pmd) };
        let Some(first) = NonNull::new(page) else {
            return false;
        };
        let index = (address / PAGE_SIZE) % bindings::PTRS_PER_PTE as usize;
        // SAFETY: The entry maps as many pages as a page table, which are one folio.
        let page = unsafe { first.add(index) };
        // SAFETY: The entry is locked, and maps `page` at `address`.
        unsafe { collect_span(batch, vma, page, address, end) }
    });
    // SAFETY: Locked above.
    unsafe { bindings::spin_unlock(lock) };
    full
}

/// # Safety
///
/// `pmd` is a huge entry of `vma`, read under its lock.
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
unsafe fn normal_page_pmd(
    vma: *mut bindings::vm_area_struct,
    address: usize,
    pmd: bindings::pmd_t,
) -> *mut bindings::page {
    // SAFETY: The caller's contract is the function's.
    unsafe { bindings::vm_normal_page_pmd(vma, address, pmd) }
}

/// # Safety
///
/// None: there are no huge entries.
#[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
unsafe fn normal_page_pmd(
    _vma: *mut bindings::vm_area_struct,
    _address: usize,
    _pmd: bindings::pmd_t,
) -> *mut bindings::page {
    core::ptr::null_mut()
}

/// Collects the pages from `page` on, which map `[address, end)`.
///
/// # Safety
///
/// `vma` maps them and their entry is locked; they lie in one folio.
unsafe fn collect_span(
    batch: &mut Batch,
    vma: *mut bindings::vm_area_struct,
    page: NonNull<bindings::page>,
    address: usize,
    end: usize,
) -> bool {
    // SAFETY: The page is mapped.
    if !unsafe { mergeable(page) } {
        return false;
    }
    for (index, address) in (address..end).step_by(PAGE_SIZE).enumerate() {
        // SAFETY: The folio has that many pages, and `struct page`s of one folio are in a row.
        let page = unsafe { page.add(index) };
        // SAFETY: `vma` is valid and maps the page at `address`.
        batch.push(address, Mapping::Page(unsafe { take(vma, page, address) }));
        if batch.is_full() {
            return true;
        }
    }
    false
}

/// Takes a reference to `page`, whose content can be read from then on.
///
/// # Safety
///
/// `page` is anonymous, and `vma` maps it at `address` under a held page table lock.
pub(super) unsafe fn take(
    vma: *mut bindings::vm_area_struct,
    page: NonNull<bindings::page>,
    address: usize,
) -> AnonPage {
    // A cache that is indexed by virtual address may hold lines that memory does not have yet.
    // SAFETY: `vma` is valid and maps `page` at `address`.
    unsafe { bindings::flush_anon_page(vma, page.as_ptr(), address) };
    // SAFETY: `page` is live.
    unsafe { bindings::flush_dcache_page(page.as_ptr()) };
    // SAFETY: `page` is live and its folio anonymous.
    unsafe { AnonPage::get(page) }
}

/// Collects what a page table maps. True: the batch is full.
///
/// # Safety
///
/// As for [`collect_huge`].
unsafe fn collect_table(
    batch: &mut Batch,
    vma: *mut bindings::vm_area_struct,
    pmdp: *mut bindings::pmd_t,
    address: usize,
    end: usize,
) -> bool {
    let collect = |address, pte| {
        // SAFETY: `pte` was read under its lock.
        if let Some(mapping) = unsafe { mapping_of(vma, address, pte) } {
            batch.push(address, mapping);
        }
        batch.is_full()
    };
    // SAFETY: The contract is the caller's.
    unsafe { until(vma, pmdp, address..end, collect) }
}

/// Calls `f` with each address and entry of a page table, under its lock, until that returns true,
/// which is returned. There is nothing to call it with where there is no page table.
///
/// # Safety
///
/// `vma` is valid with its mmap lock held; `pmdp` is its entry for `range`.
pub(super) unsafe fn until(
    vma: *mut bindings::vm_area_struct,
    pmdp: *mut bindings::pmd_t,
    range: Range<usize>,
    mut f: impl FnMut(usize, bindings::pte_t) -> bool,
) -> bool {
    let mut lock = core::ptr::null_mut();
    // SAFETY: `vma` is valid.
    let mm = unsafe { (*vma).vm_mm };
    // SAFETY: `pmdp` is the entry of `mm` for the first address.
    let table = unsafe { bindings::pte_offset_map_lock(mm, pmdp, range.start, &mut lock) };
    if table.is_null() {
        return false;
    }
    let ended = range
        .step_by(PAGE_SIZE)
        .enumerate()
        .any(|(index, address)| {
            // SAFETY: The range lies within the span of one table.
            let ptep = unsafe { table.add(index) };
            // SAFETY: The table is mapped and locked.
            f(address, unsafe { bindings::ptep_get(ptep) })
        });
    // SAFETY: Mapped and locked above.
    unsafe { bindings::pte_unmap_unlock(table, lock) };
    ended
}

/// What `pte` maps, if it concerns us.
///
/// # Safety
///
/// `pte` is what `vma` maps at `address`, under the page table lock.
unsafe fn mapping_of(
    vma: *mut bindings::vm_area_struct,
    address: usize,
    pte: bindings::pte_t,
) -> Option<Mapping> {
    // SAFETY: Pure function of the value.
    if !unsafe { bindings::pte_present(pte) } {
        // SAFETY: As above.
        let entry = unsafe { bindings::softleaf_from_pte(pte) };
        // SAFETY: As above.
        return unsafe { bindings::softleaf_is_migration(entry) }.then_some(Mapping::Moving);
    }
    // SAFETY: Pure function of the value.
    if unsafe { bindings::is_ksm_zero_pte(pte) } {
        return Some(Mapping::KsmZero);
    }
    // SAFETY: The contract is the caller's.
    let page = NonNull::new(unsafe { bindings::vm_normal_page(vma, address, pte) })?;
    // SAFETY: The lock keeps the page mapped, and so live.
    if !unsafe { mergeable(page) } {
        return None;
    }
    // SAFETY: As above.
    let folio = unsafe { bindings::page_folio(page.as_ptr()) };
    // SAFETY: As above.
    if let Some(mark) = unsafe { Mark::of_ksm(folio) } {
        return Some(Mapping::Ksm(mark));
    }
    // SAFETY: `vma` is valid and maps the page at `address`.
    Some(Mapping::Page(unsafe { take(vma, page, address) }))
}

/// # Safety
///
/// `page` is live.
pub(super) unsafe fn mergeable(page: NonNull<bindings::page>) -> bool {
    // SAFETY: `page` is live.
    let folio = unsafe { bindings::page_folio(page.as_ptr()) };
    // SAFETY: So is its folio.
    let anon = unsafe { bindings::folio_test_anon(folio) };
    // SAFETY: As above.
    anon && !unsafe { bindings::folio_is_zone_device(folio) }
}
