// SPDX-License-Identifier: GPL-2.0

//! References to an `anon_vma`, which is how a merged page finds the page tables that map it.
//!
//! C header: `include/linux/rmap.h`

use core::ptr::NonNull;
use kernel::{bindings, page::PAGE_SIZE, types::NotThreadSafe};

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

    /// That of an anonymous folio. `None`: it is mapped no more.
    ///
    /// # Safety
    ///
    /// `folio` is valid, and locked.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    pub(super) unsafe fn of(folio: *mut bindings::folio) -> Option<Self> {
        // SAFETY: It is valid and locked, says the caller.
        let anon_vma = unsafe { bindings::folio_get_anon_vma(folio) };
        // INVARIANT: The reference is given to us.
        NonNull::new(anon_vma).map(Self)
    }

    pub(super) fn is(&self, other: NonNull<bindings::anon_vma>) -> bool {
        self.0 == other
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

    /// Locks against all who walk the tree of VMAs. May sleep.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    pub(super) fn write_lock(&self) -> AnonVmaWriteGuard<'_> {
        // SAFETY: Our reference keeps it alive.
        unsafe { bindings::anon_vma_lock_write(self.0.as_ptr()) };
        // INVARIANT: We just locked it.
        AnonVmaWriteGuard {
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

impl Clone for AnonVma {
    fn clone(&self) -> Self {
        // SAFETY: Our reference keeps it alive.
        unsafe { Self::get(self.0) }
    }
}

/// How the reverse map knows the pages of a VMA: by an `anon_vma`, and an index there that is so far
/// off from the number of the page in the address space.
///
/// What is split off from a VMA is of the same region, and a VMA that moves is of another.
#[derive(Clone)]
pub(crate) struct Region {
    pub(super) anon_vma: AnonVma,
    offset: usize,
}

impl Region {
    /// The region in which the page at `address` has the index `index`.
    pub(super) fn new(anon_vma: AnonVma, address: usize, index: usize) -> Self {
        Self {
            anon_vma,
            offset: index.wrapping_sub(address / PAGE_SIZE),
        }
    }

    /// The index of the page at `address`.
    pub(super) fn index(&self, address: usize) -> usize {
        (address / PAGE_SIZE).wrapping_add(self.offset)
    }

    /// Whether both are one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.anon_vma.0 == other.anon_vma.0 && self.offset == other.offset
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

/// The write lock of an `anon_vma`.
///
/// # Invariants
///
/// The lock is held for writing, and this owns it.
#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
pub(super) struct AnonVmaWriteGuard<'a> {
    anon_vma: &'a AnonVma,
    _nts: NotThreadSafe,
}

#[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
impl Drop for AnonVmaWriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::anon_vma_unlock_write(self.anon_vma.0.as_ptr()) };
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
