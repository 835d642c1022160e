// SPDX-License-Identifier: GPL-2.0

//! Replacing what a page table entry maps.
//!
//! A merge is one critical section under the page table lock, and one TLB flush:
//!
//! 1. [`MappedPage`]: the entry is locked and maps the page.
//! 2. [`FrozenPage`]: the entry is cleared and the TLB flushed. Nobody can write to the page any
//!    more, and nobody but its mappings, the swap cache and we hold a reference, so nobody else
//!    will.
//! 3. Only now the content is compared, and the entry is given its new value, or its old one back.
//!
//! Dropping a `FrozenPage` gives the old one back.
//!
//! C headers: `include/linux/pgtable.h`, `include/linux/rmap.h`

use super::{
    ksm_folio::{KsmFolio, LockedKsm, StableNode},
    notifier::Invalidation,
    page::{AnonPage, LockedPage},
    page_bytes::PageView,
    vma::MergeableVma,
    walk,
};
use core::ptr::NonNull;
use kernel::{bindings, sync::Arc};

/// Finds the page that `vma` maps at `address`, if it is an anonymous one.
pub(crate) fn page_at(vma: &MergeableVma<'_>, address: usize) -> Option<AnonPage> {
    let mut found = pin_init::zeroed::<bindings::folio_walk>();
    // SAFETY: The VMA is valid and its mmap lock held.
    let folio = unsafe { bindings::folio_walk_start(&mut found, vma.as_ptr(), address, 0) };
    if folio.is_null() {
        return None;
    }
    let page = NonNull::new(found.page)
        // SAFETY: The walk holds the page table lock, so the page is live.
        .filter(|page| unsafe { walk::mergeable(*page) })
        // SAFETY: It is anonymous, and the VMA maps it at `address` under that lock.
        .map(|page| unsafe { walk::take(vma.as_ptr(), page, address) });
    // SAFETY: The walk found something, and so holds its locks.
    unsafe { bindings::folio_walk_end(&mut found, vma.as_ptr()) };
    page
}

/// A locked page table entry that maps a page whose folio is locked.
///
/// # Invariants
///
/// `walk` holds the lock of the entry that maps `page` at the address of `span`.
pub(crate) struct MappedPage<'a> {
    walk: bindings::folio_walk,
    span: &'a Invalidation<'a>,
    page: &'a AnonPage,
}

impl<'a> MappedPage<'a> {
    /// Locks the entry. `None`: it does not map the page, or not by an entry of its own, or
    /// userfaultfd watches it, whose mark on the entry must survive.
    pub(crate) fn lock(span: &'a Invalidation<'a>, locked: &'a LockedPage<'a>) -> Option<Self> {
        let mut walk = pin_init::zeroed::<bindings::folio_walk>();
        let vma = span.vma().as_ptr();
        // SAFETY: The VMA is valid and its mmap lock held.
        let folio = unsafe { bindings::folio_walk_start(&mut walk, vma, span.address(), 0) };
        if folio.is_null() {
            return None;
        }
        // INVARIANT: The walk found something, and so holds the lock; what, is looked at next.
        let this = Self {
            walk,
            span,
            page: locked.page(),
        };
        let own_entry = this.walk.level == bindings::folio_walk_level_FW_LEVEL_PTE;
        if !own_entry || this.walk.page != this.page.as_ptr() {
            return None;
        }
        // SAFETY: Pure function of the value.
        if unsafe { bindings::pte_uffd(this.entry()) } {
            return None;
        }
        Some(this)
    }

    fn entry(&self) -> bindings::pte_t {
        // SAFETY: `lock` found an entry of the lowest level.
        unsafe { self.walk.__bindgen_anon_2.pte }
    }

    fn slot(&self) -> *mut bindings::pte_t {
        // SAFETY: `lock` found an entry of the lowest level.
        unsafe { self.walk.__bindgen_anon_1.ptep }
    }

    fn vma(&self) -> *mut bindings::vm_area_struct {
        self.span.vma().as_ptr()
    }

    fn set(&self, entry: bindings::pte_t) {
        let mm = self.span.vma().mm().as_raw();
        // SAFETY: The entry is locked and cleared, and `entry` maps a page that the caller
        // accounted for.
        unsafe { bindings::set_pte_at(mm, self.span.address(), self.slot(), entry) };
    }

    /// Takes away all access to the page.
    ///
    /// `None`, and all is as before: somebody holds a reference through which the page may be
    /// written, such as direct I/O in flight or a pinned page.
    pub(crate) fn freeze(self) -> Option<FrozenPage<'a>> {
        let (vma, address) = (self.vma(), self.span.address());
        // SAFETY: Pure function of the value.
        let pfn = unsafe { bindings::pte_pfn(self.entry()) };
        // SAFETY: The VMA is valid and maps `pfn` at `address`.
        unsafe { bindings::flush_cache_page(vma, address, pfn) };
        // The flush comes before the count: a `get_user_pages_fast` that takes no lock either sees
        // the entry gone, or its reference is counted below.
        // SAFETY: The entry is present and locked, and secondary MMUs were told.
        let entry = unsafe { bindings::ptep_clear_flush(vma, address, self.slot()) };
        let frozen = FrozenPage {
            mapped: self,
            entry,
            restore: true,
        };
        // The folio lock keeps it in or out of the swap cache.
        let all = frozen.mapped.page.is_all_accounted_for();
        all.then_some(frozen)
    }
}

impl Drop for MappedPage<'_> {
    fn drop(&mut self) {
        let vma = self.span.vma().as_ptr();
        // SAFETY: By the type invariant the walk holds its locks.
        unsafe { bindings::folio_walk_end(&mut self.walk, vma) };
    }
}

/// A page that nobody can write to, for as long as its entry is clear.
///
/// # Invariants
///
/// The entry is locked and clear, its old value is `entry`, and the TLB holds no copy of it.
pub(crate) struct FrozenPage<'a> {
    mapped: MappedPage<'a>,
    entry: bindings::pte_t,
    restore: bool,
}

impl FrozenPage<'_> {
    /// Whether the page's content is just that of `other`, which does not change either.
    pub(crate) fn content_is(&self, other: &PageView<'_>) -> bool {
        self.mapped.page.read(|content| content.is_equal(other))
    }

    /// Whether the page is full of zeroes.
    pub(crate) fn is_zero(&self) -> bool {
        self.mapped.page.read(|content| content.is_zero())
    }

    /// Gives up that the owner alone may use the page. Fails where the page is pinned.
    fn give_up_exclusive(&self) -> bool {
        let page = self.mapped.page;
        // SAFETY: Our reference keeps the page valid, and it is anonymous.
        if unsafe { bindings::PageAnonExclusive(page.as_ptr()) } == 0 {
            return true;
        }
        // SAFETY: The page is exclusive, its entry is locked and was cleared.
        unsafe { bindings::folio_try_share_anon_rmap_pte(page.folio(), page.as_ptr()) == 0 }
    }

    /// Carries what the hardware noted in the entry over to the folio. Reclaim would otherwise drop
    /// a swap cache page that is newer than its copy in swap.
    fn keep_dirty(&self) {
        // SAFETY: Pure function of the value.
        if unsafe { bindings::pte_dirty(self.entry) } {
            // SAFETY: Our reference keeps the folio valid.
            unsafe { bindings::folio_mark_dirty(self.mapped.page.folio()) };
        }
    }

    fn protection(&self) -> bindings::pgprot_t {
        // SAFETY: The VMA is valid; its protection does not change under the mmap lock.
        unsafe { (*self.mapped.vma()).vm_page_prot }
    }

    /// Ends the mapping of the old page, in favour of `entry`.
    fn finish(mut self, entry: bindings::pte_t) {
        let page = self.mapped.page;
        let folio = page.folio();
        // SAFETY: Pure function of the value.
        let entry = match unsafe { bindings::pte_soft_dirty(self.entry) } {
            // SAFETY: As above.
            true => unsafe { bindings::pte_mksoft_dirty(entry) },
            false => entry,
        };
        self.mapped.set(entry);
        self.restore = false;
        // SAFETY: The old entry mapped `page`, and is no more.
        unsafe { bindings::folio_remove_rmap_pte(folio, page.as_ptr(), self.mapped.vma()) };
        // SAFETY: Our reference keeps the folio valid.
        if !unsafe { bindings::folio_mapped(folio) } {
            // SAFETY: The folio is locked: `MappedPage` borrows its lock.
            unsafe { bindings::folio_free_swap(folio) };
        }
        // SAFETY: The reference that the mapping held.
        unsafe { bindings::folio_put(folio) };
    }

    /// Maps the merged page `target` instead, which the caller found to be equal.
    pub(crate) fn replace(self, target: &LockedKsm<'_>) -> bool {
        if !self.give_up_exclusive() {
            return false;
        }
        self.keep_dirty();
        let (folio, page) = (target.folio(), target.page());
        let (vma, address) = (self.mapped.vma(), self.mapped.span.address());
        // SAFETY: `target` holds a reference.
        unsafe { bindings::folio_get(folio) };
        // The last one that mapped it may have freed it with MADV_FREE, which leaves it clean for
        // reclaim to drop. Now somebody needs it. The lock keeps reclaim out.
        // SAFETY: `target` holds a reference.
        unsafe { bindings::folio_mark_dirty(folio) };
        // SAFETY: The page is a merged one, so its content and exclusivity allow further
        // mappings; the reference taken above is the mapping's.
        unsafe { bindings::folio_add_anon_rmap_pte(folio, page, vma, address, 0) };
        // SAFETY: `target` keeps the page valid.
        let pfn = unsafe { bindings::page_to_pfn(page) };
        // SAFETY: Pure function of the values. The protection of a private mapping never has the
        // write bit.
        let entry = unsafe { bindings::pfn_pte(pfn, self.protection()) };
        self.finish(entry);
        true
    }

    /// Maps the zero page instead, for a page that the caller found to be full of zeroes.
    ///
    /// The dirty bit is how the kernel tells these zero pages from those of a read fault; it
    /// counts them by it, and counts them down when the entry goes.
    pub(crate) fn replace_with_zero(self) -> bool {
        if !self.give_up_exclusive() {
            return false;
        }
        self.keep_dirty();
        let mm = self.mapped.span.vma().mm().as_raw();
        // SAFETY: Pure function of the address.
        let pfn = unsafe { bindings::zero_page_pfn(self.mapped.span.address()) };
        // SAFETY: Pure function of the values.
        let entry = unsafe { bindings::pfn_pte(pfn, self.protection()) };
        // SAFETY: As above.
        let entry = unsafe { bindings::pte_mkspecial(entry) };
        // SAFETY: As above.
        let entry = unsafe { bindings::pte_mkdirty(entry) };
        // SAFETY: `mm` is live, and the entry is about to map a zero page.
        unsafe { bindings::ksm_map_zero_page(mm) };
        // The zero page is not anonymous; `folio_remove_rmap_pte` leaves this count to its caller.
        // SAFETY: `mm` is live, and one of its anonymous pages is about to go.
        unsafe { bindings::dec_mm_counter(mm, bindings::MM_ANONPAGES as i32) };
        self.finish(entry);
        true
    }

    /// The content, which does not change.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&PageView<'_>) -> R) -> R {
        self.mapped.page.read(f)
    }

    /// Makes the page itself a merged one, that of `node`.
    ///
    /// It must be mapped only here. Others may never have asked for merging: nobody would find
    /// their mapping again, neither to unmerge it nor to swap it out.
    pub(crate) fn become_ksm(mut self, node: &Arc<StableNode>) -> Option<KsmFolio> {
        if self.mapped.page.is_shared() || !self.give_up_exclusive() {
            return None;
        }
        self.keep_dirty();
        let ksm = KsmFolio::convert(self.mapped.page, node);
        // SAFETY: Pure function of the value.
        let entry = unsafe { bindings::pte_wrprotect(self.entry) };
        // SAFETY: As above.
        let entry = unsafe { bindings::pte_mkclean(entry) };
        self.mapped.set(entry);
        self.restore = false;
        Some(ksm)
    }
}

impl Drop for FrozenPage<'_> {
    fn drop(&mut self) {
        if self.restore {
            // Nothing but access was taken away.
            self.mapped.set(self.entry);
        }
    }
}
