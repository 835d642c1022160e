// SPDX-License-Identifier: GPL-2.0

//! References to an `anon_vma`, which is how a merged page finds the page tables that map it.
//!
//! C header: `include/linux/rmap.h`

use core::ptr::NonNull;
use kernel::{bindings, types::NotThreadSafe};

/// A counted reference to an `anon_vma`.
///
/// # Invariants
///
/// Owns a reference.
pub(crate) struct AnonVma(NonNull<bindings::anon_vma>);

// SAFETY: The reference count is atomic and everything else is behind the `anon_vma`'s lock.
unsafe impl Send for AnonVma {}
// SAFETY: As above.
unsafe impl Sync for AnonVma {}

impl AnonVma {
    /// # Safety
    ///
    /// `anon_vma` is live for the duration of the call.
    pub(super) unsafe fn get(anon_vma: NonNull<bindings::anon_vma>) -> Self {
        // SAFETY: It is live, says the caller.
        unsafe { bindings::get_anon_vma(anon_vma.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self(anon_vma)
    }

    /// Locks against changes of the tree of VMAs. May sleep.
    pub(super) fn read_lock(&self) -> AnonVmaGuard<'_> {
        // SAFETY: Our reference keeps it alive.
        unsafe { bindings::anon_vma_lock_read(self.0.as_ptr()) };
        // INVARIANT: We just locked it.
        AnonVmaGuard {
            anon_vma: self,
            _nts: NotThreadSafe,
        }
    }

    pub(super) fn try_read_lock(&self) -> Option<AnonVmaGuard<'_>> {
        // SAFETY: Our reference keeps it alive.
        if unsafe { bindings::anon_vma_trylock_read(self.0.as_ptr()) } == 0 {
            return None;
        }
        // INVARIANT: We just locked it.
        Some(AnonVmaGuard {
            anon_vma: self,
            _nts: NotThreadSafe,
        })
    }
}

impl Drop for AnonVma {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to drop.
        unsafe { bindings::put_anon_vma(self.0.as_ptr()) };
    }
}

/// The read lock of an `anon_vma`.
///
/// # Invariants
///
/// The lock is held for reading, and this owns it.
pub(super) struct AnonVmaGuard<'a> {
    anon_vma: &'a AnonVma,
    _nts: NotThreadSafe,
}

impl AnonVmaGuard<'_> {
    /// The VMAs that may map the page with index `index`.
    pub(super) fn vmas(&self, index: usize) -> Vmas<'_> {
        // SAFETY: The lock is held by the type invariant.
        let next =
            unsafe { bindings::anon_rmap_tree_iter_first(self.anon_vma.0.as_ptr(), index, index) };
        Vmas {
            _guard: self,
            next,
            index,
        }
    }
}

impl Drop for AnonVmaGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::anon_vma_unlock_read(self.anon_vma.0.as_ptr()) };
    }
}

/// An iterator over VMAs, each valid while the guard is held.
pub(super) struct Vmas<'g> {
    _guard: &'g AnonVmaGuard<'g>,
    next: *mut bindings::anon_vma_chain,
    index: usize,
}

impl Iterator for Vmas<'_> {
    type Item = *mut bindings::vm_area_struct;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_null() {
            return None;
        }
        let chain = self.next;
        // SAFETY: The interval tree gave `chain`, and its lock is held.
        self.next = unsafe { bindings::anon_rmap_tree_iter_next(chain, self.index, self.index) };
        // SAFETY: As above.
        Some(unsafe { (*chain).vma })
    }
}
