// SPDX-License-Identifier: GPL-2.0

//! Frames that nobody maps yet, and what they become.
//!
//! C header: `include/linux/gfp.h`, `include/linux/highmem.h`

use super::{
    ksm_folio::{KsmFolio, LockedKsm, Tie},
    page::{AnonPage, LockedPage},
};
use core::ptr::NonNull;
use kernel::{bindings, prelude::*};

/// For a page of user space. Nothing is reclaimed for it and nobody is woken, and reserves stay: what is taken
/// so is no more than what lies idle, whoever has it taken. Until it is merged the frame cannot be moved, so it
/// is none of memory from which all must be movable.
const GFP: bindings::gfp_t = bindings::GFP_HIGHUSER & !bindings::__GFP_RECLAIM
    | bindings::__GFP_THISNODE
    | bindings::__GFP_NOMEMALLOC;

/// A page that nobody else knows of.
///
/// # Invariants
///
/// Owns the only reference to the folio, which has one page, is locked by nobody, and is on no list.
pub(crate) struct Frame(NonNull<bindings::folio>);

// SAFETY: Nobody else refers to the folio.
unsafe impl Send for Frame {}

impl Frame {
    /// One of NUMA node `nid`, if there is one to be had at once.
    pub(crate) fn new(nid: i32) -> Option<Self> {
        // SAFETY: Without a nodemask, and for a node that has had memory, which `nid` names.
        let folio = unsafe { bindings::__folio_alloc_node(GFP | __GFP_NOWARN.as_raw(), 0, nid) };
        // INVARIANT: Allocated just now.
        NonNull::new(folio).map(Self)
    }

    /// The frame that [`Frame::into_raw`] gave away.
    ///
    /// # Safety
    ///
    /// `folio` came from there, and this is done once.
    pub(super) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: As it was.
        Self(folio)
    }

    pub(super) fn into_raw(self) -> *mut bindings::folio {
        let folio = self.0.as_ptr();
        core::mem::forget(self);
        folio
    }

    fn page(&self) -> *mut bindings::page {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_page(self.0.as_ptr(), 0) }
    }

    /// The number of the frame.
    pub(crate) fn pfn(&self) -> usize {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_pfn(self.0.as_ptr()) }
    }

    /// Whether the hardware found it to be bad.
    pub(crate) fn is_poisoned(&self) -> bool {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::PageHWPoison(self.page()) != 0 }
    }

    /// Copies the content of `page`, which `vma` maps at `address`. False: the hardware could not read it.
    ///
    /// # Safety
    ///
    /// `vma` is valid.
    pub(super) unsafe fn copy(
        &self,
        page: &AnonPage,
        vma: *mut bindings::vm_area_struct,
        address: usize,
    ) -> bool {
        // SAFETY: Both pages are valid, as `page` and our reference keep them, and so is the VMA.
        let left =
            unsafe { bindings::copy_mc_user_highpage(self.page(), page.as_ptr(), address, vma) };
        left == 0
    }

    /// Makes it a merged page, that of `tie`, charged to whom `old` is, which it takes the place of.
    ///
    /// # Safety
    ///
    /// Its content was copied from the page of `old`, which is about to be unmapped from `index`, and has not
    /// changed since. The node of `tie` is kept until the folio was locked again and its mark cleared.
    unsafe fn become_ksm(self, tie: &Tie, old: &LockedPage<'_>, index: usize) -> KsmFolio {
        let folio = self.0.as_ptr();
        // SAFETY: Nobody else knows of the folio.
        unsafe { bindings::__folio_set_swapbacked(folio) };
        // SAFETY: As above; its content is there.
        unsafe { bindings::__folio_mark_uptodate(folio) };
        // SAFETY: As above, so that it is locked by this.
        let _locked = unsafe { bindings::folio_trylock(folio) };
        // SAFETY: The reference goes over; the folio is locked, and the rest is the caller's contract.
        let ksm = unsafe { KsmFolio::from_frame(self, tie, index) };
        // It was charged to somebody before, who has both for a moment: no limit stands in the way.
        // SAFETY: Both folios are locked and anonymous, and the new one is not charged.
        unsafe { bindings::mem_cgroup_replace_folio(old.page().folio(), folio) };
        ksm
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to drop.
        unsafe { bindings::folio_put(self.0.as_ptr()) };
    }
}

/// A reference to what was just made a merged page, kept by whoever made it.
///
/// A frame that was drawn goes to the LRU at the end only: on its way there it has a reference more, which
/// would keep the page from being made an ordinary one again.
pub(crate) struct NewKsm {
    ksm: KsmFolio,
    is_listed: bool,
}

impl NewKsm {
    /// One that was an anonymous page, and is where those are.
    pub(super) fn converted(ksm: KsmFolio) -> Self {
        Self {
            ksm,
            is_listed: true,
        }
    }

    /// Makes `frame` a merged page.
    ///
    /// # Safety
    ///
    /// As for [`Frame::become_ksm`]. The folio is locked then, by the caller.
    pub(super) unsafe fn drawn(
        frame: Frame,
        tie: &Tie,
        old: &LockedPage<'_>,
        index: usize,
    ) -> Self {
        Self {
            // SAFETY: The contract is the caller's.
            ksm: unsafe { frame.become_ksm(tie, old, index) },
            is_listed: false,
        }
    }

    pub(super) fn ksm(&self) -> &KsmFolio {
        &self.ksm
    }

    /// The lock that [`NewKsm::drawn`] has left.
    ///
    /// # Safety
    ///
    /// It is given to nobody else.
    pub(super) unsafe fn locked(&self) -> LockedKsm<'_> {
        // SAFETY: The folio is locked, as `drawn` left it, and nobody else has the lock.
        unsafe { LockedKsm::of_locked(&self.ksm) }
    }
}

impl Drop for NewKsm {
    fn drop(&mut self) {
        if !self.is_listed {
            // SAFETY: Our reference keeps the folio valid, and it has been on no list so far.
            unsafe { bindings::folio_add_lru(self.ksm.folio().as_ptr()) };
        }
    }
}
