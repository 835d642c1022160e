// SPDX-License-Identifier: GPL-2.0

//! Merging one page: with a merged page, with another page, or with the zero page.
//!
//! All of this happens with the books closed, until a merge is entered there. Everything that could stop
//! a merge is looked at before anything is changed; see [`pte`](crate::mm::pte) for the moment of the
//! change itself. Nothing here waits for a page or an address space that somebody else has locked: the
//! scanner comes by again.

use crate::{
    books::Books,
    engine::Engine,
    intrusive::{candidates::Claim, item::ItemRef, stable_node::StableNode},
    mm::{
        account,
        address_space::{AddressSpace, Away, LiveMm},
        anon_vma::Region,
        ksm_folio::{KsmFolio, LockedKsm},
        notifier::Invalidation,
        page::{AnonPage, LockedPage},
        pte::{self, FrozenPage, MappedPage},
        sole, trace,
        vma::MergeableVma,
    },
    stable_tree::Match,
    tally::Tally,
    work::{Look, Work},
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

impl From<Away> for Outcome {
    fn from(away: Away) -> Self {
        match away {
            Away::Busy => Self::Busy,
            Away::Gone => Self::Gone,
        }
    }
}

/// What became of a page and a candidate.
pub(crate) enum Paired {
    /// They were merged, or one is on its own as a merged page.
    Done,
    /// The page could not be merged, and the candidate stays one.
    NotNow(Claim),
    /// The candidate could not be merged.
    GivesWay(Claim),
}

/// A page that can be merged, as far as can be told by looking, and where it is mapped.
struct Spot<'l> {
    vma: MergeableVma<'l>,
    address: usize,
    page: AnonPage,
}

impl<'l> Spot<'l> {
    /// Looks at what `live` maps at `address`. A VMA that has come in the place of another may map another
    /// page there, which is not of `region`.
    fn look(
        live: &'l LiveMm<'l>,
        address: usize,
        region: Option<&Region>,
    ) -> Result<Self, Outcome> {
        let (vma, found) = Self::find(live, address, region)?;
        if found.page.is_ksm() {
            return Err(Outcome::Gone);
        }
        if found.watched || found.page.is_in_use() {
            return Err(Outcome::Busy);
        }
        Ok(Self {
            vma,
            address,
            page: found.page,
        })
    }

    fn find(
        live: &'l LiveMm<'l>,
        address: usize,
        region: Option<&Region>,
    ) -> Result<(MergeableVma<'l>, pte::Found), Outcome> {
        let vma = MergeableVma::at(live, address).ok_or(Outcome::Gone)?;
        if !region.is_some_and(|region| vma.is_of(region)) {
            return Err(Outcome::Gone);
        }
        let found = pte::page_at(&vma, address).ok_or(Outcome::Gone)?;
        Ok((vma, found))
    }

    /// Locks the page, which is a folio of its own then.
    fn lock(&self) -> Result<LockedPage<'_>, Outcome> {
        let locked = self.page.try_lock().ok_or(Outcome::Busy)?;
        if !locked.is_anon() {
            return Err(Outcome::Gone);
        }
        match locked.split() {
            true => Ok(locked),
            false => Err(Outcome::Busy),
        }
    }

    /// Freezes the page, which is locked, and lets `f` decide what becomes of it.
    fn freeze<R>(
        &self,
        locked: &LockedPage<'_>,
        f: impl FnOnce(FrozenPage<'_>) -> Result<R, Outcome>,
    ) -> Result<R, Outcome> {
        let span = Invalidation::start(&self.vma, self.address);
        let mapped = MappedPage::lock(&span, locked).ok_or(Outcome::Gone)?;
        let frozen = mapped.freeze().ok_or(Outcome::Busy)?;
        f(frozen)
    }

    /// Maps the merged page `target` instead.
    fn replace(&self, target: &LockedKsm<'_>) -> Result<(), Outcome> {
        if target.is_poisoned() {
            return Err(Outcome::Busy);
        }
        let locked = self.lock()?;
        self.freeze(&locked, |frozen| {
            let equal = frozen.if_equal(target).ok_or(Outcome::Changed)?;
            equal.replace().then_some(()).ok_or(Outcome::Busy)
        })
    }

    /// Makes sure that nobody else maps the page, by a copy where somebody does. A large page that is
    /// mapped by many entries looks like a shared one.
    fn unshared(self) -> Result<Self, Outcome> {
        if !self.page.is_shared() {
            return Ok(self);
        }
        self.vma.unshare(self.address).or(Err(Outcome::NoMemory))?;
        let page = pte::page_at(&self.vma, self.address)
            .ok_or(Outcome::Gone)?
            .page;
        Ok(Self { page, ..self })
    }
}

fn trace_one_page(space: &AddressSpace, address: usize, page: &AnonPage, outcome: Outcome) {
    trace::merge_one_page(space.id(), address, page.pfn(), outcome.result());
}

impl Engine {
    /// Maps a merged page in place of the page of `item`, which is like it.
    pub(crate) fn join(&self, tally: &mut Tally, item: ItemRef<'_>, found: Match) {
        let Match { node, folio } = found;
        let outcome = self.try_join(tally, item, &node, &folio);
        if outcome != Outcome::Merged {
            self.ledger.open().expect_no_more(&node);
        }
    }

    fn try_join(
        &self,
        tally: &mut Tally,
        item: ItemRef<'_>,
        node: &Arc<StableNode>,
        folio: &KsmFolio,
    ) -> Outcome {
        let (space, address) = (item.space(), item.address());
        let live = match space.try_enter() {
            Ok(live) => live,
            Err(away) => return away.into(),
        };
        let spot = match Spot::look(&live, address, item.region()) {
            Ok(spot) => spot,
            Err(why) => return why,
        };
        let joined = folio.try_lock(node.tie()).ok_or(Outcome::Busy);
        let joined = joined.and_then(|target| {
            spot.replace(&target)?;
            let mut books = self.ledger.open();
            node.expect_no_more(&books.token);
            // The item has been plain since it was looked up.
            books.share(node, target.lock(), item, tally);
            Ok(())
        });
        let outcome = joined.err().unwrap_or(Outcome::Merged);
        let (pfn, ksm) = (spot.page.pfn(), node.tie().pfn());
        trace::merge_with_ksm_page(space.id(), address, pfn, ksm, outcome.result());
        outcome
    }

    /// Records that `item` maps a merged page: a fork left it there, or swap-in.
    pub(crate) fn adopt(&self, tally: &mut Tally, item: ItemRef<'_>) {
        let Ok(live) = item.space().try_enter() else {
            return;
        };
        let Ok((_vma, found)) = Spot::find(&live, item.address(), item.region()) else {
            return;
        };
        let Some(locked) = found.page.try_lock() else {
            return;
        };
        let mut books = self.ledger.open();
        if let Some(node) = StableNode::of(&found.page, &books.token) {
            books.share(&node, &locked.lock(), item, tally);
        }
    }

    /// Maps the zero page in place of the page of `item`, if it is full of zeroes.
    pub(crate) fn place_zero(&self, item: ItemRef<'_>) -> Outcome {
        let (space, address) = (item.space(), item.address());
        let live = match space.try_enter() {
            Ok(live) => live,
            Err(away) => return away.into(),
        };
        let spot = match Spot::look(&live, address, item.region()) {
            Ok(spot) => spot,
            Err(why) => return why,
        };
        let placed = spot.lock().and_then(|locked| {
            spot.freeze(&locked, |frozen| {
                let zero = frozen.if_zero().ok_or(Outcome::Changed)?;
                zero.replace().then_some(()).ok_or(Outcome::Busy)
            })
        });
        let outcome = placed.err().unwrap_or(Outcome::Merged);
        trace_one_page(space, address, &spot.page, outcome);
        outcome
    }

    /// Makes a merged page out of the page of a candidate, and maps it in place of that of `item`, which
    /// looks like it.
    pub(crate) fn pair(
        &self,
        tally: &mut Tally,
        item: ItemRef<'_>,
        claim: Claim,
        work: &Work,
        look: Look,
    ) -> Paired {
        let Ok(node) = StableNode::new() else {
            return Paired::NotNow(claim);
        };
        let (space, address) = (item.space(), item.address());
        let (other_space, other_address) = (claim.space().clone(), claim.address());
        let Ok(other_live) = other_space.try_enter() else {
            return Paired::GivesWay(claim);
        };
        let Ok(other) = Spot::look(&other_live, other_address, claim.region()) else {
            return Paired::GivesWay(claim);
        };
        let own_live = match Arc::ptr_eq(space, &other_space) {
            true => None,
            false => match space.try_enter() {
                Ok(live) => Some(live),
                Err(_) => {
                    return Paired::NotNow(claim);
                }
            },
        };
        let live = own_live.as_ref().unwrap_or(&other_live);
        let Ok(own) = Spot::look(live, address, item.region()) else {
            return Paired::NotNow(claim);
        };
        let sums = self.sums();
        if !sums.may_meet(other.page.nid(), own.page.nid()) {
            return Paired::GivesWay(claim);
        }
        // A fork left one page in two address spaces; or the candidate would have to be split, for which
        // a first look is too little.
        if other.page.is(&own.page) || look == Look::First && other.page.is_large() {
            return Paired::NotNow(claim);
        }
        if other.page.shares_folio_with(&own.page) {
            // Each holds a reference that keeps the folio from being split for the other. It is split now;
            // the two are merged when the scanner comes by again.
            let Spot { page, .. } = other;
            drop(page);
            let _split = own.lock();
            return Paired::NotNow(claim);
        }
        // To be read when it is locked and can change no more, which takes a while.
        other.page.read(|content| content.prefetch_all());
        let other = match other.unshared() {
            Ok(other) => other,
            Err(_) => return Paired::GivesWay(claim),
        };
        self.merge_pair(tally, (item, &own), (claim, &other), &node, work)
    }

    fn merge_pair(
        &self,
        tally: &mut Tally,
        (item, own): (ItemRef<'_>, &Spot<'_>),
        (claim, other): (Claim, &Spot<'_>),
        node: &Arc<StableNode>,
        work: &Work,
    ) -> Paired {
        let space = claim.space().clone();
        let made = self.make_ksm(other, node, work.checksum);
        let outcome = made.as_ref().err().copied().unwrap_or(Outcome::Merged);
        trace_one_page(&space, other.address, &other.page, outcome);
        let Ok((ksm, locked)) = made else {
            return Paired::GivesWay(claim);
        };
        let Some(locked) = LockedKsm::from_page(locked, &ksm) else {
            return Paired::GivesWay(claim);
        };
        // Where the candidate's page was copied, the copy may lie on another NUMA node.
        let joined = match self.sums().may_meet(ksm.nid(), own.page.nid()) {
            true => own.replace(&locked),
            false => Err(Outcome::Busy),
        };
        let outcome = joined.err().unwrap_or(Outcome::Merged);
        let (pfn, ksm_pfn) = (own.page.pfn(), node.tie().pfn());
        trace::merge_with_ksm_page(
            item.space().id(),
            own.address,
            pfn,
            ksm_pfn,
            outcome.result(),
        );
        // Two references are ours: that of the spot, and that of `ksm`.
        if joined.is_err() && sole::undo(&other.vma, other.address, &locked, 2) {
            drop(locked);
            // Whoever has seen the mark of the node has the books open: the node goes after that.
            drop(self.ledger.open());
            return Paired::NotNow(claim);
        }
        let mut books = self.ledger.open();
        let Books {
            stable,
            candidates,
            token,
        } = &mut *books;
        stable.insert(&self.sums(), work.checksum, node, &ksm, token);
        let taken = candidates.take_out(claim);
        if stable
            .share_claimed(node, locked.lock(), taken, token)
            .is_ok()
        {
            account::add_to(&other.vma, 1);
        }
        if joined.is_ok() && stable.share(node, locked.lock(), item, token) {
            tally.merging += 1;
        }
        Paired::Done
    }

    /// Makes the page of `spot` a merged page, which stays locked.
    ///
    /// A page that a fork left in several address spaces is not made one, but a copy of it: the others
    /// may never have asked for merging. They keep the page, and if they asked, theirs is merged with
    /// the copy in its turn.
    fn make_ksm<'s>(
        &self,
        spot: &'s Spot<'_>,
        node: &Arc<StableNode>,
        checksum: u64,
    ) -> Result<(KsmFolio, LockedPage<'s>), Outcome> {
        let sums = self.sums();
        let locked = spot.lock()?;
        let ksm = spot.freeze(&locked, |frozen| {
            // The node stands under this checksum for good.
            if frozen.read(|content| sums.checksum(content)) != checksum {
                return Err(Outcome::Changed);
            }
            frozen.become_ksm(node.tie()).ok_or(Outcome::Busy)
        })?;
        Ok((ksm, locked))
    }
}
