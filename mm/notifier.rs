// SPDX-License-Identifier: GPL-2.0

//! Telling secondary MMUs that a page table entry is about to change.
//!
//! C header: `include/linux/mmu_notifier.h`

use super::vma::MergeableVma;
use kernel::{bindings, page::PAGE_SIZE, types::Opaque};

/// The span during which a KVM guest or a device cannot use one page through its own page table.
///
/// # Invariants
///
/// `range` was initialised and its start announced; its end was not.
pub(crate) struct Invalidation<'v> {
    range: Opaque<bindings::mmu_notifier_range>,
    vma: &'v MergeableVma<'v>,
    address: usize,
}

impl<'v> Invalidation<'v> {
    /// Announces that the entry at `address`, which lies in `vma`, is about to be cleared. May
    /// sleep.
    pub(crate) fn start(vma: &'v MergeableVma<'v>, address: usize) -> Self {
        let range = Opaque::uninit();
        let mm = vma.mm().as_raw();
        // SAFETY: `range` is writable and `mm` is live, since its mmap lock is held.
        unsafe {
            bindings::mmu_notifier_range_init(
                range.get(),
                bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR,
                0,
                mm,
                address,
                address + PAGE_SIZE,
            )
        };
        let this = Self {
            range,
            vma,
            address,
        };
        // SAFETY: `range` was just initialised; it does not move between start and end in a way
        // that matters, since notifiers keep no pointer to it.
        unsafe { bindings::mmu_notifier_invalidate_range_start(this.range.get()) };
        // INVARIANT: Announced just now.
        this
    }

    pub(super) fn vma(&self) -> &'v MergeableVma<'v> {
        self.vma
    }

    pub(super) fn address(&self) -> usize {
        self.address
    }
}

impl Drop for Invalidation<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the start was announced and the end was not.
        unsafe { bindings::mmu_notifier_invalidate_range_end(self.range.get()) };
    }
}
