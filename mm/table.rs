// SPDX-License-Identifier: GPL-2.0

//! Page tables under their locks, and what they map while those are held.
//!
//! C header: `include/linux/pgtable.h`, `include/linux/pagewalk.h`

use super::{
    entry::{Pmd, Pte},
    fetch::fetch,
    ksm_folio::Mark,
    page::AnonPage,
    page_bytes::PageView,
};
use core::{marker::PhantomData, ops::Range, ptr::NonNull};
use kernel::{bindings, mm::virt::VmaRef, page::PAGE_SIZE, prelude::*, unsafe_precondition_assert};

/// The address space that one page table maps.
pub(super) const TABLE_SPAN: usize = bindings::PTRS_PER_PTE as usize * PAGE_SIZE;

/// A page that a page table entry maps, while the lock of the entry is held.
///
/// # Invariants
///
/// `vma` maps `page` at `address`, and for `'t` the lock of the entry is held, so that the page is
/// live.
#[derive(Clone, Copy)]
pub(super) struct LivePage<'t> {
    vma: &'t VmaRef,
    address: usize,
    page: NonNull<bindings::page>,
    _lock: PhantomData<&'t ()>,
}

impl<'t> LivePage<'t> {
    /// # Safety
    ///
    /// `vma` maps `page` at `address` by an entry whose lock is held for `'t`.
    unsafe fn new(vma: &'t VmaRef, address: usize, page: NonNull<bindings::page>) -> Self {
        unsafe_precondition_assert!((vma.start()..vma.end()).contains(&address));
        // INVARIANT: As the caller says.
        Self {
            vma,
            address,
            page,
            _lock: PhantomData,
        }
    }

    /// Has the `struct page` fetched, which is going to be looked at in a moment.
    pub(super) fn prefetch(&self) {
        fetch(self.page.as_ptr());
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    pub(super) fn folio(&self) -> *mut bindings::folio {
        // SAFETY: The page is live by the type invariant.
        unsafe { bindings::page_folio(self.page.as_ptr()) }
    }

    /// Whether it is an anonymous page, which may be a merged one.
    pub(super) fn is_mergeable(&self) -> bool {
        let folio = self.folio();
        // SAFETY: The folio is live by the type invariant.
        let anon = unsafe { bindings::folio_test_anon(folio) };
        // SAFETY: As above.
        anon && !unsafe { bindings::folio_is_zone_device(folio) }
    }

    /// Has the beginning of its content fetched, which is going to be read in a moment.
    pub(super) fn prefetch_content(&self) {
        // SAFETY: The page is live by the type invariant.
        unsafe { PageView::with(self.page.as_ptr(), |content| content.prefetch(0)) };
    }

    /// Whether its first words are zeroes: what is read of it is one line of the cache.
    pub(super) fn begins_with_zeroes(&self) -> bool {
        self.flush();
        // SAFETY: The page is live by the type invariant.
        unsafe { PageView::with(self.page.as_ptr(), |content| content.begins_with_zeroes()) }
    }

    /// Whether it is part of a larger folio.
    pub(super) fn is_large(&self) -> bool {
        // SAFETY: The folio is live by the type invariant.
        unsafe { bindings::folio_test_large(self.folio()) }
    }

    /// The mark of a merged page.
    pub(super) fn mark(&self) -> Option<Mark> {
        // SAFETY: The folio is live by the type invariant.
        unsafe { Mark::of_ksm(self.folio()) }
    }

    /// How many entries map the folio.
    pub(super) fn mapcount(&self) -> i32 {
        // SAFETY: The folio is live by the type invariant.
        unsafe { bindings::folio_mapcount(self.folio()) }
    }

    /// Whether it can be no merged page, since its owner gave tags to its memory. Whoever shares a merged
    /// page may do so later: it stays one.
    fn is_tagged(&self) -> bool {
        // SAFETY: The page is live by the type invariant.
        let tags = unsafe { bindings::page_has_tags(self.page.as_ptr()) };
        tags && self.mark().is_none()
    }

    /// Takes a reference to the page, whose content can be read from then on. `None`: it is not an
    /// anonymous one, or has tags.
    pub(super) fn take(&self) -> Option<AnonPage> {
        if !self.is_mergeable() || self.is_tagged() {
            return None;
        }
        self.flush();
        // SAFETY: The page is live by the type invariant, and its folio is anonymous: it stays so while it is
        // mapped.
        Some(unsafe { AnonPage::get(self.page) })
    }

    /// A cache that is indexed by virtual address may hold lines that memory does not have yet.
    fn flush(&self) {
        let page = self.page.as_ptr();
        // SAFETY: The VMA is valid and maps the page at `address`, by the type invariant.
        unsafe { bindings::flush_anon_page(self.vma.as_ptr(), page, self.address) };
        // SAFETY: The page is live by the type invariant.
        unsafe { bindings::flush_dcache_page(page) };
    }
}

/// What an address maps.
pub(super) enum Entry<'t> {
    /// A page, of whatever kind. `watched`: a userfaultfd has marked the entry.
    Page { page: LivePage<'t>, watched: bool },
    /// The zero page, in place of a page full of zeroes.
    KsmZero,
    /// Something small on its way to another frame.
    Moving,
}

/// Whether all of `range`, which is not empty, is mapped by one page table.
fn is_within_one_table(range: &Range<usize>) -> bool {
    range.start < range.end && range.start / TABLE_SPAN == (range.end - 1) / TABLE_SPAN
}

/// A page table, mapped and locked.
///
/// # Invariants
///
/// `first` is the entry of `vma` for the address that the table was locked for, and `lock` is its
/// lock, which is held.
pub(super) struct Table<'v> {
    vma: &'v VmaRef,
    first: *mut bindings::pte_t,
    lock: *mut bindings::spinlock_t,
}

impl<'v> Table<'v> {
    /// Locks the page table for `range`. `None`: there is none, or no more.
    ///
    /// # Safety
    ///
    /// `pmdp` is the entry for `range` in the page tables that `vma` lies in.
    pub(super) unsafe fn lock(
        vma: &'v VmaRef,
        pmdp: *mut bindings::pmd_t,
        range: &Range<usize>,
    ) -> Option<Self> {
        unsafe_precondition_assert!(is_within_one_table(range));
        let mut lock = core::ptr::null_mut();
        // SAFETY: `pmdp` is the entry for the address, says the caller.
        let first = unsafe {
            bindings::pte_offset_map_lock(vma.mm().as_raw(), pmdp, range.start, &mut lock)
        };
        if first.is_null() {
            return None;
        }
        // INVARIANT: It was just locked.
        Some(Self { vma, first, lock })
    }

    /// What `range` maps, which is the one that the table was locked for; of what is present, only
    /// that for which `wants` says so.
    pub(super) fn entries(
        &self,
        range: Range<usize>,
        wants: fn(Pte) -> bool,
    ) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let addresses = range.step_by(PAGE_SIZE).enumerate();
        addresses.filter_map(move |(index, address)| {
            // SAFETY: The range lies within the span of the table.
            let ptep = unsafe { self.first.add(index) };
            // SAFETY: The table is mapped and locked.
            let pte = Pte::new(unsafe { bindings::ptep_get(ptep) });
            match pte.present() {
                true if wants(pte) => Some((address, self.present(address, pte)?)),
                true => None,
                false => pte.is_migration().then_some((address, Entry::Moving)),
            }
        })
    }

    /// What `pte` maps, which was read from the entry for `address` and is present.
    fn present(&self, address: usize, pte: Pte) -> Option<Entry<'_>> {
        if pte.is_ksm_zero() {
            return Some(Entry::KsmZero);
        }
        // SAFETY: The VMA is valid and maps `pte` at `address`.
        let page = unsafe { bindings::vm_normal_page(self.vma.as_ptr(), address, pte.raw()) };
        let page = NonNull::new(page)?;
        Some(Entry::Page {
            // SAFETY: The entry maps the page, and is locked while `self` is there.
            page: unsafe { LivePage::new(self.vma, address, page) },
            watched: pte.uffd(),
        })
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        // SAFETY: Mapped and locked by the type invariant.
        unsafe { bindings::pte_unmap_unlock(self.first, self.lock) };
    }
}

/// An entry that maps a huge page, locked.
///
/// # Invariants
///
/// `pmd` is the value of the entry of `vma` for the range that it was locked for, and maps a huge
/// page; `lock` is the entry's lock, which is held.
pub(super) struct HugeEntry<'v> {
    vma: &'v VmaRef,
    pmd: Pmd,
    lock: *mut bindings::spinlock_t,
}

impl<'v> HugeEntry<'v> {
    /// Locks the entry for `range`. `None`: it maps no huge page, or no more.
    ///
    /// # Safety
    ///
    /// As for [`Table::lock`].
    pub(super) unsafe fn lock(
        vma: &'v VmaRef,
        pmdp: *mut bindings::pmd_t,
        range: &Range<usize>,
    ) -> Option<Self> {
        unsafe_precondition_assert!(is_within_one_table(range));
        // SAFETY: `pmdp` is an entry of the address space.
        let lock = unsafe { bindings::pmd_lock(vma.mm().as_raw(), pmdp) };
        // INVARIANT: It was just locked; what it maps is looked at next.
        let this = Self {
            vma,
            // SAFETY: The entry is locked.
            pmd: Pmd::new(unsafe { bindings::pmdp_get(pmdp) }),
            lock,
        };
        (this.pmd.present() && this.pmd.leaf()).then_some(this)
    }

    /// The small pages that `range` maps, which is the one that the entry was locked for.
    pub(super) fn pages(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let first = self.first(range.start).filter(LivePage::is_mergeable);
        let watched = watches_any(self.vma);
        let pages = range.step_by(PAGE_SIZE).enumerate();
        pages.map_while(move |(index, address)| {
            // SAFETY: The folio has that many pages, and `struct page`s of one folio are in a row.
            let page = unsafe { first?.page.add(index) };
            // SAFETY: The entry maps the page, and is locked while `self` is there.
            let page = unsafe { LivePage::new(self.vma, address, page) };
            Some((address, Entry::Page { page, watched }))
        })
    }

    /// The small page at `address`, which is the start of the range.
    fn first(&self, address: usize) -> Option<LivePage<'_>> {
        let page = NonNull::new(self.normal_page(address))?;
        let index = (address % TABLE_SPAN) / PAGE_SIZE;
        // SAFETY: The entry maps as many pages as a page table, which are in one folio.
        let page = unsafe { page.add(index) };
        // SAFETY: The entry maps the page, and is locked while `self` is there.
        Some(unsafe { LivePage::new(self.vma, address, page) })
    }

    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    fn normal_page(&self, address: usize) -> *mut bindings::page {
        // SAFETY: The VMA is valid and maps `pmd` around `address`.
        unsafe { bindings::vm_normal_page_pmd(self.vma.as_ptr(), address, self.pmd.raw()) }
    }

    /// There are no huge entries.
    #[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
    fn normal_page(&self, _address: usize) -> *mut bindings::page {
        core::ptr::null_mut()
    }
}

impl Drop for HugeEntry<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by the type invariant.
        unsafe { bindings::spin_unlock(self.lock) };
    }
}

/// Whether a userfaultfd may have marked entries of `vma`.
fn watches_any(vma: &VmaRef) -> bool {
    let watching = 1_u64 << bindings::VMA_UFFD_WP_BIT | 1_u64 << bindings::VMA_UFFD_RWP_BIT;
    vma.flags() as u64 & watching != 0
}

/// The entry that maps a page at one address, locked.
///
/// # Invariants
///
/// `walk` found a page of `vma` at `address`, and holds the lock of its entry.
pub(super) struct FolioWalk<'v> {
    walk: bindings::folio_walk,
    vma: &'v VmaRef,
    address: usize,
}

impl<'v> FolioWalk<'v> {
    /// Locks the entry of `vma` for `address`, which lies within. `None`: it maps no page.
    pub(super) fn start(vma: &'v VmaRef, address: usize) -> Option<Self> {
        let mut walk = pin_init::zeroed();
        // SAFETY: The VMA is valid and its mmap lock held.
        let folio = unsafe { bindings::folio_walk_start(&mut walk, vma.as_ptr(), address, 0) };
        if folio.is_null() {
            return None;
        }
        // INVARIANT: The walk found something, and so holds its locks.
        Some(Self { walk, vma, address })
    }

    pub(super) fn page(&self) -> Option<LivePage<'_>> {
        let page = NonNull::new(self.walk.page)?;
        // SAFETY: The walk found the page there, and its lock is held while `self` is there.
        Some(unsafe { LivePage::new(self.vma, self.address, page) })
    }

    /// The entry and its place. `None`: it is that of a huge page.
    pub(super) fn entry(&self) -> Option<(Pte, *mut bindings::pte_t)> {
        if self.walk.level != bindings::folio_walk_level_FW_LEVEL_PTE {
            return None;
        }
        // SAFETY: The walk found an entry of the lowest level.
        let pte = Pte::new(unsafe { self.walk.__bindgen_anon_2.pte });
        // SAFETY: As above.
        Some((pte, unsafe { self.walk.__bindgen_anon_1.ptep }))
    }

    /// Whether a userfaultfd has marked the entry, or may have marked that of a huge page.
    pub(super) fn is_watched(&self) -> bool {
        match self.entry() {
            Some((pte, _)) => pte.uffd(),
            None => watches_any(self.vma),
        }
    }
}

impl Drop for FolioWalk<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the walk holds its locks.
        unsafe { bindings::folio_walk_end(&mut self.walk, self.vma.as_ptr()) };
    }
}

#[kunit_tests(rksm_table)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_one_table() {
        let table = 7 * TABLE_SPAN;
        assert!(is_within_one_table(&(table..table + TABLE_SPAN)));
        assert!(is_within_one_table(
            &(table + PAGE_SIZE..table + 2 * PAGE_SIZE)
        ));
        assert!(!is_within_one_table(&(table..table)));
        assert!(!is_within_one_table(
            &(table - PAGE_SIZE..table + PAGE_SIZE)
        ));
    }
}
