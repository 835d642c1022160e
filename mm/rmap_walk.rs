// SPDX-License-Identifier: GPL-2.0

//! Walking everything that maps a merged page, for reclaim, migration and memory failure.

use super::{anon_vma::AnonVmaGuard, ksm_folio::StableNode, kthread};
use crate::intrusive::items::Item;
use kernel::bindings;

/// Which of the VMAs under an rmap_item's `anon_vma` a round looks at.
#[derive(Clone, Copy, PartialEq)]
enum Round {
    /// That of the rmap_item's own mm: where the page most likely is.
    Own,
    /// Those of mms forked from it, which the scanner may not have come to yet.
    Forked,
}

/// Whether a walk goes on.
#[derive(PartialEq)]
enum Step {
    Continue,
    Stop,
}

/// Calls what `control` says for each VMA that may map `folio`.
///
/// The walk is bounded: a stable node has at most `max_page_sharing` sharers and their forks, and
/// only VMAs that cover the one page index are looked at.
///
/// # Safety
///
/// `folio` is locked and a merged one; `control` is valid and used by nobody else.
pub(super) unsafe fn walk(folio: *mut bindings::folio, control: *mut bindings::rmap_walk_control) {
    // SAFETY: The folio is locked, says the caller.
    let Some(node) = (unsafe { StableNode::of_locked(folio) }) else {
        return;
    };
    for round in [Round::Own, Round::Forked] {
        // SAFETY: The folio is locked, says the caller.
        for sharer in unsafe { node.sharers() } {
            kthread::cond_resched();
            // SAFETY: The contract is the caller's.
            if unsafe { visit(folio, control, sharer, round) } == Step::Stop {
                return;
            }
        }
    }
}

/// # Safety
///
/// As for [`walk`].
unsafe fn visit(
    folio: *mut bindings::folio,
    control: *mut bindings::rmap_walk_control,
    sharer: &Item,
    round: Round,
) -> Step {
    let anon_vma = &sharer.region().anon_vma;
    let guard = match anon_vma.try_read_lock() {
        Some(guard) => guard,
        // SAFETY: `control` is valid.
        None if unsafe { (*control).try_lock } => {
            // SAFETY: As above.
            unsafe { (*control).contended = true };
            return Step::Stop;
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
    sharer: &Item,
    round: Round,
    guard: &AnonVmaGuard<'_>,
) -> Step {
    // SAFETY: `control` is valid, and constant but for `contended`, which is not read again.
    let control = unsafe { &*control };
    let (rmap_one, arg) = (control.rmap_one, control.arg);
    let Some(rmap_one) = rmap_one else {
        return Step::Stop;
    };
    let (mm, address) = (sharer.mm().mm().as_raw(), sharer.address());
    for vma in guard.vmas(sharer.region().index(address)) {
        kthread::cond_resched();
        // SAFETY: The guard keeps `vma` valid. Its bounds may be read under the `anon_vma` lock.
        let bounds = unsafe { (*vma).__bindgen_anon_1.__bindgen_anon_1 };
        // SAFETY: The guard keeps `vma` valid.
        let own = unsafe { (*vma).vm_mm } == mm;
        let covers = (bounds.vm_start..bounds.vm_end).contains(&address);
        if !covers || own != (round == Round::Own) {
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
            return Step::Stop;
        }
        // SAFETY: `folio` is locked.
        if control.done.is_some_and(|done| unsafe { done(folio) } != 0) {
            return Step::Stop;
        }
    }
    Step::Continue
}
