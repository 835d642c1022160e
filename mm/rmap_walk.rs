// SPDX-License-Identifier: GPL-2.0

//! Walking everything that maps a merged page, for reclaim, migration and memory failure.

use super::{
    address_space::AddressSpace,
    anon_vma::{AnonVmaGuard, Region},
    ksm_folio::{FolioLock, Tie},
    kthread,
};
use core::{ops::ControlFlow, ptr::NonNull};
use kernel::{bindings, page::PAGE_SIZE};

/// One that shares a merged page: where the page was mapped when it was merged.
pub(crate) struct Sharer<'s> {
    pub(crate) space: &'s AddressSpace,
    pub(crate) region: &'s Region,
    pub(crate) address: usize,
}

/// Who knows the sharers of a merged page.
///
/// # Safety
///
/// `sharers` is sound to call with any tie that a locked folio's mark names.
pub(crate) unsafe trait Sharers {
    /// Calls `f` for each one that shares the page of `tie`, until that breaks off.
    ///
    /// # Safety
    ///
    /// `lock` is that of the folio that is tied to `tie`.
    unsafe fn sharers(
        tie: &Tie,
        lock: &FolioLock<'_>,
        f: &mut dyn FnMut(Sharer<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()>;
}

/// Which of the VMAs under an rmap_item's `anon_vma` a round looks at.
#[derive(Clone, Copy, PartialEq)]
enum Round {
    /// That of the rmap_item's own mm: where the page most likely is.
    Own,
    /// Those of mms forked from it, which the scanner may not have come to yet.
    Forked,
}

/// Calls what `control` says for each VMA that may map `folio`.
///
/// The walk is bounded: a stable node has at most `max_page_sharing` sharers and their forks, and
/// only VMAs that cover the one page index are looked at.
///
/// # Safety
///
/// `folio` is locked and a merged one; `control` is valid and used by nobody else.
pub(super) unsafe fn walk<S: Sharers>(
    folio: *mut bindings::folio,
    control: *mut bindings::rmap_walk_control,
) {
    // SAFETY: The folio is locked, says the caller.
    let Some(tie) = (unsafe { Tie::of_locked(folio) }) else {
        return;
    };
    let Some(folio) = NonNull::new(folio) else {
        return;
    };
    // SAFETY: The folio is locked until this returns, says the caller.
    let lock = unsafe { FolioLock::of(folio) };
    for round in [Round::Own, Round::Forked] {
        let mut each = |sharer: Sharer<'_>| {
            kthread::cond_resched();
            // SAFETY: The contract is the caller's.
            unsafe { visit(folio.as_ptr(), control, &sharer, round) }
        };
        // SAFETY: The lock is that of the folio of `tie`.
        if unsafe { S::sharers(tie, &lock, &mut each) }.is_break() {
            return;
        }
    }
}

/// # Safety
///
/// As for [`walk`].
unsafe fn visit(
    folio: *mut bindings::folio,
    control: *mut bindings::rmap_walk_control,
    sharer: &Sharer<'_>,
    round: Round,
) -> ControlFlow<()> {
    let anon_vma = &sharer.region.anon_vma;
    let guard = match anon_vma.try_read_lock() {
        Some(guard) => guard,
        // SAFETY: `control` is valid.
        None if unsafe { (*control).try_lock } => {
            // SAFETY: As above.
            unsafe { (*control).contended = true };
            return ControlFlow::Break(());
        }
        None => anon_vma.read_lock(),
    };
    // SAFETY: The contract is the caller's.
    unsafe { visit_vmas(folio, control, sharer, round, &guard) }
}

/// # Safety
///
/// As for [`walk`]; `guard` is that of the sharer's `anon_vma`.
unsafe fn visit_vmas(
    folio: *mut bindings::folio,
    control: *mut bindings::rmap_walk_control,
    sharer: &Sharer<'_>,
    round: Round,
    guard: &AnonVmaGuard<'_>,
) -> ControlFlow<()> {
    // SAFETY: `control` is valid, and constant but for `contended`, which is not read again.
    let control = unsafe { &*control };
    let (rmap_one, arg) = (control.rmap_one, control.arg);
    let Some(rmap_one) = rmap_one else {
        return ControlFlow::Break(());
    };
    let index = sharer.region.index(sharer.address);
    for vma in guard.vmas(index) {
        kthread::cond_resched();
        // SAFETY: The guard keeps `vma` valid.
        let bounds = unsafe { &raw const (*vma).__bindgen_anon_1.__bindgen_anon_1 };
        // SAFETY: As above. They may be read under the `anon_vma` lock.
        let bounds = unsafe { bounds.read() };
        // An `mm_struct` that came to lie where a gone one was counts as the sharer's own, and is
        // visited in that round and no other.
        // SAFETY: The guard keeps `vma` valid.
        let own = sharer.space.is_at(unsafe { (*vma).vm_mm });
        if own != (round == Round::Own) {
            continue;
        }
        // SAFETY: The guard keeps `vma` valid.
        let first = unsafe { bindings::linear_anon_page_index(vma, bounds.vm_start) };
        // It may have been moved while the page was in swap. The index has moved with it.
        let address = bounds.vm_start + index.saturating_sub(first) * PAGE_SIZE;
        if address >= bounds.vm_end {
            continue;
        }
        let invalid = match control.invalid_vma {
            // SAFETY: The callback takes any VMA that the guard keeps valid.
            Some(invalid) => unsafe { invalid(vma, arg) },
            None => false,
        };
        if invalid {
            continue;
        }
        // SAFETY: `folio` is locked, `vma` valid and covers the address.
        if !unsafe { rmap_one(folio, vma, address, arg) } {
            return ControlFlow::Break(());
        }
        // SAFETY: `folio` is locked.
        if control.done.is_some_and(|done| unsafe { done(folio) } != 0) {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}
