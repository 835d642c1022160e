// SPDX-License-Identifier: GPL-2.0

//! Merging one page: with a merged page, or with another page.
//!
//! Everything that could stop a merge is looked at before anything is changed; see
//! [`pte`](crate::mm::pte) for the moment of the change itself. Nothing here waits for a page that
//! somebody else has locked: the scanner comes by again.

use crate::{
    checksum::Sums,
    intrusive::items::Item,
    mm::{
        ksm_folio::{KsmFolio, LockedKsm, StableNode},
        module::ModulePin,
        notifier::Invalidation,
        page::AnonPage,
        pte::{self, FrozenPage, MappedPage},
        trace,
        vma::MergeableVma,
    },
    stable_tree::StableTree,
};
use kernel::{prelude::*, sync::Arc};

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Merged,
    /// It was written to meanwhile.
    Changed,
    /// Somebody uses it in a way that forbids it to be merged now.
    Busy,
    /// It is not mapped there any more.
    Gone,
    /// There was no memory for a record.
    NoMemory,
}

impl Outcome {
    /// The same as the tracepoints have it.
    fn result(self) -> Result {
        match self {
            Self::Merged => Ok(()),
            Self::Changed => Err(EAGAIN),
            Self::Busy => Err(EBUSY),
            Self::Gone => Err(ENOENT),
            Self::NoMemory => Err(ENOMEM),
        }
    }
}

/// Traces that `page`, which is that of `item`, was to be replaced or to become a merged page.
pub(crate) fn trace_one_page(item: &Item, page: &AnonPage, outcome: Outcome) {
    let (mm, address) = (item.mm().mm(), item.address());
    trace::merge_one_page(mm, address, page.pfn(), outcome.result());
}

/// Runs `f` on the VMA that maps the page of `item`, if there is one that is mergeable. One that has
/// come in its place may map another page there, which is not of the same region.
pub(crate) fn with_vma<R>(item: &Item, f: impl FnOnce(&MergeableVma<'_>) -> R) -> Option<R> {
    let live = item.mm().enter()?;
    let vma = MergeableVma::at(&live, item.address())?;
    vma.is_of(item.region()).then(|| f(&vma))
}

/// The page of `item`, if it is an anonymous one.
pub(crate) fn page_of(item: &Item) -> Option<AnonPage> {
    with_vma(item, |vma| pte::page_at(vma, item.address())).flatten()
}

/// Freezes the page of `item`, and lets `f` decide what becomes of it.
pub(crate) fn freeze<R>(
    vma: &MergeableVma<'_>,
    item: &Item,
    page: &AnonPage,
    f: impl FnOnce(FrozenPage<'_>) -> Result<R, Outcome>,
) -> Result<R, Outcome> {
    let locked = page.try_lock().ok_or(Outcome::Busy)?;
    if !locked.is_anon() {
        return Err(Outcome::Gone);
    }
    if !locked.split() {
        return Err(Outcome::Busy);
    }
    let span = Invalidation::start(vma, item.address());
    let mapped = MappedPage::lock(&span, &locked).ok_or(Outcome::Gone)?;
    let frozen = mapped.freeze().ok_or(Outcome::Busy)?;
    f(frozen)
}

/// Maps the merged page `ksm` of `node` in place of `page`, which is that of `item`.
pub(crate) fn into_ksm(
    stable: &mut StableTree,
    node: &Arc<StableNode>,
    ksm: &KsmFolio,
    item: &Item,
    page: &AnonPage,
) -> Outcome {
    let outcome = with_vma(item, |vma| -> Result<Outcome, Outcome> {
        let target = ksm.try_lock(node).ok_or(Outcome::Busy)?;
        if target.is_poisoned() {
            return Err(Outcome::Busy);
        }
        freeze(vma, item, page, |frozen| {
            if !target.read(|content| frozen.content_is(content)) {
                return Err(Outcome::Changed);
            }
            frozen.replace(&target).then_some(()).ok_or(Outcome::Busy)
        })?;
        share(stable, node, &target, item)
    })
    .unwrap_or(Err(Outcome::Gone))
    .unwrap_or_else(|why| why);
    let (mm, address) = (item.mm().mm(), item.address());
    trace::merge_with_ksm_page(mm, address, page.pfn(), node.pfn(), outcome.result());
    outcome
}

/// Records that `item` maps the page of `node`. It can only fail for an item that has a place in a
/// tree, which those that get here have left.
fn share(
    stable: &mut StableTree,
    node: &Arc<StableNode>,
    locked: &LockedKsm<'_>,
    item: &Item,
) -> Result<Outcome, Outcome> {
    let shared = stable.share(node, locked, item);
    shared.then_some(Outcome::Merged).ok_or(Outcome::Busy)
}

/// Records that `item` maps the merged page `page` of `node`: a fork left it there, or swap-in.
pub(crate) fn adopt(
    stable: &mut StableTree,
    node: &Arc<StableNode>,
    item: &Item,
    page: &AnonPage,
) -> Outcome {
    with_vma(item, |vma| -> Result<Outcome, Outcome> {
        let mapped = pte::page_at(vma, item.address()).is_some_and(|now| now.is(page));
        let ksm = node
            .folio()
            .filter(|ksm| mapped && ksm.is(page))
            .ok_or(Outcome::Gone)?;
        let locked = ksm.try_lock(node).ok_or(Outcome::Busy)?;
        share(stable, node, &locked, item)
    })
    .unwrap_or(Err(Outcome::Gone))
    .unwrap_or_else(|why| why)
}

/// Merges the page of `item` with that of `other`, a candidate until now that has this checksum.
///
/// That of the candidate becomes a merged page, with its one sharer, and `page` is then merged into
/// it as into any other. Where that fails, the first is given back. `None`: the candidate's page is
/// not what it was.
pub(crate) fn two(
    stable: &mut StableTree,
    sums: &Sums<'_>,
    checksum: u64,
    (item, page): (&Item, &AnonPage),
    (other, other_page): (&Item, AnonPage),
) -> Option<Outcome> {
    if page.shares_folio_with(&other_page) {
        // Each holds a reference that keeps the folio from being split for the other. Split it
        // now; the two are merged when the scanner comes by again.
        drop(other_page);
        if let Some(locked) = page.try_lock() {
            locked.split();
        }
        return Some(Outcome::Busy);
    }
    // To be read when it is locked and can change no more, which takes a while.
    other_page.read(|content| content.prefetch_all());
    let made = make_ksm(stable, sums, checksum, other, &other_page);
    trace_one_page(
        other,
        &other_page,
        made.as_ref().err().copied().unwrap_or(Outcome::Merged),
    );
    let (node, ksm) = match made {
        Ok(made) => made,
        Err(Outcome::Changed | Outcome::Gone) => return None,
        Err(why) => return Some(why),
    };
    // Where the first was copied, the copy may lie on another NUMA node.
    let outcome = match sums.may_meet(ksm.nid(), page.nid()) {
        true => into_ksm(stable, &node, &ksm, item, page),
        false => Outcome::Busy,
    };
    if outcome != Outcome::Merged {
        stable.unshare(other);
        // Ours would be one reference too many for the page to be given back without a copy.
        drop((ksm, other_page));
        // Without memory for a copy, or where the process is busy with its address space, the page
        // stays a merged one with one mapping, which the scanner finds again.
        let _ = unmerge(other);
    }
    Some(outcome)
}

/// Makes the page of `item` a merged page, which it alone shares.
///
/// A page that a fork left in several address spaces is not made one, but a copy of it: the others
/// may never have asked for merging. They keep the page, and if they asked, theirs is merged with
/// the copy in its turn.
fn make_ksm(
    stable: &mut StableTree,
    sums: &Sums<'_>,
    checksum: u64,
    item: &Item,
    page: &AnonPage,
) -> Result<(Arc<StableNode>, KsmFolio), Outcome> {
    let node = ModulePin::new().and_then(StableNode::new);
    let node = node.or(Err(Outcome::NoMemory))?;
    with_vma(item, |vma| {
        let copy = match page.is_shared() {
            true => unshared(sums, checksum, vma, item, page)?,
            false => None,
        };
        let page = copy.as_ref().unwrap_or(page);
        let ksm = freeze(vma, item, page, |frozen| {
            // The node stands under this checksum for good.
            if frozen.read(|content| sums.checksum(content)) != checksum {
                return Err(Outcome::Changed);
            }
            frozen.become_ksm(&node).ok_or(Outcome::Busy)
        })?;
        stable.insert(sums, checksum, &node, &ksm);
        // Our reference keeps the folio from moving, so the lock is that of the node's folio.
        let locked = ksm.lock(&node).ok_or(Outcome::Busy)?;
        share(stable, &node, &locked, item)?;
        drop(locked);
        Ok((node, ksm))
    })
    .unwrap_or(Err(Outcome::Gone))
}

/// Gives the owner of `item` a page of its own, which is returned, in place of `page`. `None`: it has
/// that already. A large page that is mapped by many entries looks like a shared one.
fn unshared(
    sums: &Sums<'_>,
    checksum: u64,
    vma: &MergeableVma<'_>,
    item: &Item,
    page: &AnonPage,
) -> Result<Option<AnonPage>, Outcome> {
    // Nothing is copied in vain for a page that is not what it was.
    if page.read(|content| sums.checksum(content)) != checksum {
        return Err(Outcome::Changed);
    }
    vma.unshare(item.address()).or(Err(Outcome::NoMemory))?;
    let now = pte::page_at(vma, item.address()).ok_or(Outcome::Gone)?;
    Ok(Some(now).filter(|now| !now.is(page)))
}

/// Gives the owner of `item` a copy of its own, if it maps a merged page.
///
/// # Errors
///
/// `ENOMEM`: no page for the copy.
pub(crate) fn unmerge(item: &Item) -> Result {
    with_vma(item, |vma| vma.unmerge(item.address())).unwrap_or(Ok(()))
}
