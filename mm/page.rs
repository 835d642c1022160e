// SPDX-License-Identifier: GPL-2.0

//! One anonymous page that some process maps, and the lock of its folio.
//!
//! C header: `include/linux/page-flags.h`, `include/linux/pagemap.h`

use super::{ksm_folio::FolioLock, page_bytes::PageView};
use core::ptr::NonNull;
use kernel::{bindings, types::NotThreadSafe};

/// Where a page was when it was looked at. It may have been moved or freed since.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) pfn: usize,
    /// The address of its folio, to be compared and for nothing else.
    pub(crate) folio: usize,
    /// The NUMA node.
    pub(crate) nid: i32,
}

/// A counted reference to the folio of an anonymous page.
///
/// `kernel::page::Page` owns its page and frees it; this one only keeps a mapped page from going
/// away.
///
/// # Invariants
///
/// Owns a reference to the folio that `page` is in, which is anonymous.
pub(crate) struct AnonPage {
    page: NonNull<bindings::page>,
}

// SAFETY: A reference to a folio may be dropped on any thread.
unsafe impl Send for AnonPage {}

impl AnonPage {
    /// Takes a reference to the folio of `page`.
    ///
    /// # Safety
    ///
    /// `page` is in a live anonymous folio, which cannot be freed during the call.
    pub(super) unsafe fn get(page: NonNull<bindings::page>) -> Self {
        // SAFETY: `page` is valid, says the caller.
        let folio = unsafe { bindings::page_folio(page.as_ptr()) };
        // SAFETY: The folio is live, says the caller.
        unsafe { bindings::folio_get(folio) };
        // INVARIANT: The reference was just taken.
        Self { page }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// The folio that the page is in now. A split moves the page to one of its own.
    pub(super) fn folio(&self) -> *mut bindings::folio {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::page_folio(self.page.as_ptr()) }
    }

    /// Maps the content while `f` runs. It may change meanwhile.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&PageView<'_>) -> R) -> R {
        // SAFETY: Our reference keeps the page valid.
        unsafe { PageView::with(self.page.as_ptr(), f) }
    }

    /// Where it is, for when no reference is held.
    pub(crate) fn place(&self) -> Place {
        Place {
            pfn: self.pfn(),
            folio: self.folio() as usize,
            nid: self.nid(),
        }
    }

    /// The number of its frame.
    pub(crate) fn pfn(&self) -> usize {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::page_to_pfn(self.page.as_ptr()) }
    }

    /// The NUMA node that the page lies on.
    pub(crate) fn nid(&self) -> i32 {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::page_to_nid(self.page.as_ptr()) }
    }

    /// Whether the page is mapped more than once, as it is after a fork.
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_mapcount(self.folio()) > 1 }
    }

    /// Whether somebody refers to the page beside those that map it, the swap cache and the caller,
    /// whose only reference this is: it cannot be merged then. Of a large folio, to whose other pages
    /// the caller may refer too, it is only said whether it is pinned. Holds for the moment.
    pub(crate) fn is_in_use(&self) -> bool {
        match self.is_large() {
            // SAFETY: Our reference keeps the folio valid.
            true => unsafe { bindings::folio_maybe_dma_pinned(self.folio()) },
            false => !self.is_all_accounted_for(),
        }
    }

    /// Whether no reference to the folio is unaccounted for: one for each mapping, one for each page in the
    /// swap cache, and ours.
    pub(super) fn is_all_accounted_for(&self) -> bool {
        let folio = self.folio();
        // SAFETY: Our reference keeps the folio valid.
        let accounted_for = unsafe { bindings::folio_expected_ref_count(folio) };
        // SAFETY: As above.
        let references = unsafe { bindings::folio_ref_count(folio) };
        accounted_for + 1 == references
    }

    /// Whether the page is part of a larger folio, which must be split before the page is merged.
    pub(crate) fn is_large(&self) -> bool {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_test_large(self.folio()) }
    }

    /// The address of the large folio that it is part of, to be compared and for nothing else.
    pub(crate) fn large_folio(&self) -> Option<usize> {
        self.is_large().then(|| self.folio() as usize)
    }

    /// Whether the owner gave tags to the page's memory. They belong to it as its content does, and what
    /// other pages are merged with has none.
    pub(super) fn has_tags(&self) -> bool {
        // SAFETY: Our reference keeps the page valid, and no anonymous page is one of hugetlbfs.
        unsafe { bindings::page_has_tags(self.page.as_ptr()) }
    }

    /// Whether the page is a merged one.
    pub(crate) fn is_ksm(&self) -> bool {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_test_ksm(self.folio()) }
    }

    /// Locks the folio unless somebody else has it locked: the scanner never waits for a page.
    pub(crate) fn try_lock(&self) -> Option<LockedPage<'_>> {
        // SAFETY: Our reference keeps the folio valid.
        if !unsafe { bindings::folio_trylock(self.folio()) } {
            return None;
        }
        // INVARIANT: We just locked it.
        Some(LockedPage {
            page: self,
            _nts: NotThreadSafe,
        })
    }
}

impl Drop for AnonPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to drop.
        unsafe { bindings::folio_put(self.folio()) };
    }
}

/// The lock of a page's folio.
///
/// # Invariants
///
/// The folio that `page` is in is locked, and this owns the lock.
pub(crate) struct LockedPage<'p> {
    page: &'p AnonPage,
    _nts: NotThreadSafe,
}

impl<'p> LockedPage<'p> {
    pub(super) fn page(&self) -> &'p AnonPage {
        self.page
    }

    /// Whether the folio is anonymous still: truncation never applies to it, but a page may have
    /// been freed and reused before our reference was taken.
    pub(crate) fn is_anon(&self) -> bool {
        // SAFETY: The reference keeps the folio valid.
        unsafe { bindings::folio_test_anon(self.page.folio()) }
    }

    /// That its folio is locked.
    pub(crate) fn lock(&self) -> FolioLock<'_> {
        // SAFETY: A folio is never null.
        let folio = unsafe { NonNull::new_unchecked(self.page.folio()) };
        // SAFETY: Locked by the type invariant, for as long as this is borrowed.
        unsafe { FolioLock::of(folio) }
    }

    /// Gives up the lock, which somebody else owns from now on.
    pub(super) fn keep_locked(self) {
        core::mem::forget(self);
    }
}

impl Drop for LockedPage<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::folio_unlock(self.page.folio()) };
    }
}
