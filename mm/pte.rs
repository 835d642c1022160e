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
    entry::Pte,
    frame::{Frame, NewKsm},
    ksm_folio::{KsmFolio, LockedKsm, Tie},
    notifier::Invalidation,
    page::{AnonPage, LockedPage},
    page_bytes::PageView,
    table::FolioWalk,
    vma::MergeableVma,
};
use core::mem::ManuallyDrop;
use kernel::bindings;

/// An anonymous page that was found at an address.
pub(crate) struct Found {
    pub(crate) page: AnonPage,
    /// A userfaultfd's mark is on the entry, which must not be changed.
    pub(crate) watched: bool,
}

/// Finds the page that `vma` maps at `address`, if it is an anonymous one.
pub(crate) fn page_at(vma: &MergeableVma<'_>, address: usize) -> Option<Found> {
    let walk = FolioWalk::start(vma.vma(), address)?;
    let page = walk.page()?.take()?;
    let watched = walk.is_watched();
    Some(Found { page, watched })
}

/// A locked page table entry that maps a page whose folio is locked.
///
/// # Invariants
///
/// `walk` holds the lock of the entry that maps the page of `locked` at the address of `span`. That is at
/// `slot`, and its value was `entry` when it was locked.
pub(crate) struct MappedPage<'a> {
    _walk: FolioWalk<'a>,
    slot: *mut bindings::pte_t,
    entry: Pte,
    span: &'a Invalidation<'a>,
    /// Dropped after the entry's lock.
    locked: LockedPage<'a>,
}

impl<'a> MappedPage<'a> {
    /// Locks the entry. `None`: it does not map the page, or not by an entry of its own, or
    /// userfaultfd watches it, whose mark on the entry must survive.
    pub(crate) fn lock(span: &'a Invalidation<'a>, locked: LockedPage<'a>) -> Option<Self> {
        let page = locked.page();
        let walk = FolioWalk::start(span.vma().vma(), span.address())?;
        let (entry, slot) = walk.entry()?;
        if walk.page()?.as_ptr() != page.as_ptr() || entry.uffd() {
            return None;
        }
        // INVARIANT: As was just seen; an entry whose lock is held is changed by nobody else.
        Some(Self {
            _walk: walk,
            slot,
            entry,
            span,
            locked,
        })
    }

    fn page(&self) -> &'a AnonPage {
        self.locked.page()
    }

    fn vma(&self) -> *mut bindings::vm_area_struct {
        self.span.vma().as_ptr()
    }

    fn set(&self, entry: Pte) {
        let mm = self.span.vma().mm().as_raw();
        // SAFETY: The entry is locked and cleared, and `entry` maps a page that the caller
        // accounted for.
        unsafe { bindings::set_pte_at(mm, self.span.address(), self.slot, entry.raw()) };
    }

    /// Takes away all access to the page.
    ///
    /// `None`, and all is as before: somebody holds a reference through which the page may be
    /// written, such as direct I/O in flight or a pinned page; or its memory was given tags since it was
    /// looked at, as a guest's may be when it comes by.
    pub(crate) fn freeze(self) -> Option<FrozenPage<'a>> {
        let (vma, address) = (self.vma(), self.span.address());
        // SAFETY: The VMA is valid and maps the frame at `address`.
        unsafe { bindings::flush_cache_page(vma, address, self.entry.pfn()) };
        // The flush comes before the count: a `get_user_pages_fast` that takes no lock either sees
        // the entry gone, or its reference is counted below.
        // SAFETY: The entry is present and locked, and secondary MMUs were told.
        let entry = unsafe { bindings::ptep_clear_flush(vma, address, self.slot) };
        // INVARIANT: Cleared and flushed just now. Its value is read as it is cleared: the hardware
        // may have noted a write since it was locked.
        let frozen = FrozenPage {
            mapped: self,
            entry: Pte::new(entry),
        };
        // The folio lock keeps it in or out of the swap cache.
        let page = frozen.mapped.page();
        let ours = page.is_all_accounted_for() && !page.has_tags();
        ours.then_some(frozen)
    }
}

/// A page that nobody can write to, for as long as its entry is clear.
///
/// # Invariants
///
/// The entry is locked and clear, its old value is `entry`, and the TLB holds no copy of it.
pub(crate) struct FrozenPage<'a> {
    mapped: MappedPage<'a>,
    entry: Pte,
}

impl<'a> FrozenPage<'a> {
    /// The content, which does not change.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&PageView<'_>) -> R) -> R {
        self.mapped.page().read(f)
    }

    /// The proof that the content is just that of `target`. `None`: it is not, and the page is
    /// given back.
    pub(crate) fn if_equal<'t>(self, target: &'t LockedKsm<'t>) -> Option<EqualPage<'a, 't>> {
        let (page, other) = (self.mapped.page().as_ptr(), target.page());
        // Where memory has tags, a page that is tagged is like no other.
        // SAFETY: The references that `self` and `target` have keep both pages valid.
        let equal = unsafe { bindings::memcmp_pages(page, other) } == 0;
        // INVARIANT: Just compared, and neither changes while it is frozen or merged.
        equal.then_some(EqualPage {
            frozen: self,
            target,
        })
    }

    /// The proof that the page is full of zeroes. `None`: it is not, and is given back.
    pub(crate) fn if_zero(self) -> Option<ZeroPage<'a>> {
        let zero = self.read(|content| content.is_zero());
        // INVARIANT: Just seen, and it does not change while it is frozen.
        zero.then_some(ZeroPage { frozen: self })
    }

    /// Makes the page itself a merged one, that of `tie`, whose node the caller keeps until the page is in the
    /// books or an ordinary one again. It stays locked; `place` is where the reference to it is kept.
    ///
    /// It must be mapped only here. Others may never have asked for merging: nobody would find
    /// their mapping again, neither to unmerge it nor to swap it out.
    pub(crate) fn become_ksm<'k>(
        self,
        tie: &Tie,
        place: &'k mut Option<NewKsm>,
    ) -> Option<LockedKsm<'k>> {
        let page = self.mapped.page();
        if page.is_shared() || !self.give_up_exclusive() {
            return None;
        }
        self.keep_dirty();
        // SAFETY: The page is a folio of its own, as an entry of its own maps it and nobody else does; it is
        // locked, not exclusive any more, and its entry is clear.
        let ksm = unsafe { KsmFolio::convert(page, tie) };
        let new = place.insert(NewKsm::converted(ksm));
        self.mapped.set(self.entry.wrprotect().mkclean());
        let MappedPage { locked, .. } = self.into_mapped();
        // SAFETY: `new` is what the page was just made.
        Some(unsafe { LockedKsm::from_page(locked, new) })
    }

    /// Makes `frame` the merged page instead, which takes the page's place with its content. The rest is as for
    /// [`FrozenPage::become_ksm`].
    pub(crate) fn become_ksm_in<'k>(
        self,
        frame: Frame,
        tie: &Tie,
        place: &'k mut Option<NewKsm>,
    ) -> Option<LockedKsm<'k>> {
        let page = self.mapped.page();
        if page.is_shared() {
            return None;
        }
        let (vma, address) = (self.mapped.vma(), self.mapped.span.address());
        // SAFETY: The VMA is valid.
        let copied = unsafe { frame.copy(page, vma, address) };
        if !copied || !self.give_up_exclusive() {
            return None;
        }
        self.keep_dirty();
        // SAFETY: The VMA is valid and maps the page.
        let index = unsafe { bindings::linear_anon_page_index(vma, address) };
        // SAFETY: The content was copied from the page, which cannot change while it is frozen, and which
        // nobody else maps.
        let new = unsafe { NewKsm::drawn(frame, tie, &self.mapped.locked, index) };
        let new = place.insert(new);
        // SAFETY: It is left locked, for us.
        let locked = unsafe { new.locked() };
        self.map_instead(&locked);
        Some(locked)
    }

    /// Maps a merged page instead, which has the content of this one.
    fn map_instead(self, target: &LockedKsm<'_>) {
        let (folio, page) = (target.folio(), target.page());
        let (vma, address) = (self.mapped.vma(), self.mapped.span.address());
        // SAFETY: `target` holds a reference.
        unsafe { bindings::folio_get(folio) };
        // SAFETY: The page is a merged one, so its content and exclusivity allow further
        // mappings; the reference taken above is the mapping's.
        unsafe { bindings::folio_add_anon_rmap_pte(folio, page, vma, address, 0) };
        // SAFETY: `target` keeps the page valid.
        let pfn = unsafe { bindings::page_to_pfn(page) };
        let entry = self.entry_for(pfn);
        self.finish(entry);
    }

    /// What is left when the entry has got another value than the old one.
    fn into_mapped(self) -> MappedPage<'a> {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped.
        unsafe { core::ptr::read(&this.mapped) }
    }

    /// Notes that no process alone may use the page. Fails where the page is pinned.
    fn give_up_exclusive(&self) -> bool {
        let page = self.mapped.page();
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
        if self.entry.dirty() {
            // SAFETY: Our reference keeps the folio valid.
            unsafe { bindings::folio_mark_dirty(self.mapped.page().folio()) };
        }
    }

    /// An entry for the frame `pfn` in place of the old one. The protection of a private mapping
    /// never has the write bit.
    fn entry_for(&self, pfn: usize) -> Pte {
        // SAFETY: The VMA is valid; its protection does not change under the mmap lock.
        Pte::from_pfn(pfn, unsafe { (*self.mapped.vma()).vm_page_prot })
    }

    /// Ends the mapping of the old page, in favour of `entry`.
    fn finish(self, entry: Pte) {
        let page = self.mapped.page();
        let folio = page.folio();
        self.mapped.set(match self.entry.soft_dirty() {
            true => entry.mksoft_dirty(),
            false => entry,
        });
        let mapped = self.into_mapped();
        // SAFETY: The old entry mapped `page`, and is no more.
        unsafe { bindings::folio_remove_rmap_pte(folio, page.as_ptr(), mapped.vma()) };
        // SAFETY: Our reference keeps the folio valid.
        if !unsafe { bindings::folio_mapped(folio) } {
            // SAFETY: The folio is locked: `mapped` owns its lock.
            unsafe { bindings::folio_free_swap(folio) };
        }
        // SAFETY: The reference that the mapping held.
        unsafe { bindings::folio_put(folio) };
    }
}

impl Drop for FrozenPage<'_> {
    fn drop(&mut self) {
        // Nothing but access was taken away.
        self.mapped.set(self.entry);
    }
}

/// A page that has the same content as a merged page.
///
/// # Invariants
///
/// The content of `frozen` is that of `target`, and stays so.
pub(crate) struct EqualPage<'a, 't> {
    frozen: FrozenPage<'a>,
    target: &'t LockedKsm<'t>,
}

impl EqualPage<'_, '_> {
    /// Maps the merged page instead. False, and the page is given back: it is pinned.
    #[must_use]
    pub(crate) fn replace(self) -> bool {
        let Self { frozen, target } = self;
        if !frozen.give_up_exclusive() {
            return false;
        }
        frozen.keep_dirty();
        // The last one that mapped it may have freed it with MADV_FREE, which leaves it clean for
        // reclaim to drop. Now somebody needs it. The lock keeps reclaim out.
        // SAFETY: `target` holds a reference.
        unsafe { bindings::folio_mark_dirty(target.folio()) };
        frozen.map_instead(target);
        true
    }
}

/// A page that is full of zeroes.
///
/// # Invariants
///
/// The content of `frozen` is zeroes, and stays so.
pub(crate) struct ZeroPage<'a> {
    frozen: FrozenPage<'a>,
}

impl ZeroPage<'_> {
    /// Maps the zero page instead. False, and the page is given back: it is pinned.
    ///
    /// The dirty bit is how the kernel tells these zero pages from those of a read fault; it
    /// counts them by it, and counts them down when the entry goes.
    #[must_use]
    pub(crate) fn replace(self) -> bool {
        let Self { frozen } = self;
        if !frozen.give_up_exclusive() {
            return false;
        }
        frozen.keep_dirty();
        let mm = frozen.mapped.span.vma().mm().as_raw();
        // SAFETY: Pure function of the address.
        let pfn = unsafe { bindings::zero_page_pfn(frozen.mapped.span.address()) };
        let entry = frozen.entry_for(pfn).mkspecial().mkdirty();
        // SAFETY: `mm` is live, and the entry is about to map a zero page.
        unsafe { bindings::ksm_map_zero_page(mm) };
        // The zero page is not anonymous; `folio_remove_rmap_pte` leaves this count to its caller.
        // SAFETY: `mm` is live, and one of its anonymous pages is about to go.
        unsafe { bindings::dec_mm_counter(mm, bindings::MM_ANONPAGES as i32) };
        frozen.finish(entry);
        true
    }
}
