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
    huge::HugePage,
    intrusive::{candidates::Claim, item::ItemRef, stable_node::StableNode},
    mm::{
        account,
        address_space::{AddressSpace, Away, LiveMm},
        anon_vma::Region,
        frame::NewKsm,
        frame_pool::Drawn,
        ksm_folio::{KsmFolio, LockedKsm},
        lru,
        notifier::Invalidation,
        page::{AnonPage, LockedPage, Place},
        pte::{self, FrozenPage, MappedPage},
        sole, split, trace,
        vma::MergeableVma,
    },
    stable_tree::Match,
    tally::Tally,
    work::{Look, Work},
};
use kernel::{prelude::*, sync::Arc};

/// Why a page was not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmerged {
    /// It was written to meanwhile.
    Changed,
    /// Somebody uses it in a way that forbids it to be merged now.
    Busy,
    /// It is not mapped there any more.
    Gone,
    /// There was no memory for a record, or for a copy.
    NoMemory,
    /// There was no frame to be drawn.
    NoFrame,
}

/// What was done, as the tracepoints have it.
fn result<T>(done: &Result<T, Unmerged>) -> Result {
    Err(match done {
        Ok(_) => return Ok(()),
        Err(Unmerged::Changed) => EAGAIN,
        Err(Unmerged::Busy) => EBUSY,
        Err(Unmerged::Gone) => ENOENT,
        Err(Unmerged::NoMemory | Unmerged::NoFrame) => ENOMEM,
    })
}

impl From<Away> for Unmerged {
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

/// Why a page and a candidate are not merged now.
enum Unfit {
    /// It is the candidate's fault.
    Candidate,
    /// The candidate may do for another page.
    Both,
    /// They lie in one folio, which has to be split first.
    OneFolio,
    /// The candidate's huge page is not to be split by others, and the other page's is to be.
    TwoFolios,
    /// There is no frame to be drawn on this NUMA node, where the candidate's page is.
    NoFrame(i32),
}

/// A page that can be merged, as far as can be told by looking, and where it is mapped.
struct Spot<'l> {
    vma: MergeableVma<'l>,
    address: usize,
    page: AnonPage,
}

impl<'l> Spot<'l> {
    /// Runs `f` on what `space` maps at `address`, with its mmap lock held, which is tried. Only one is held
    /// at a time: nobody waits for what is done for somebody else.
    fn with<R>(
        space: &AddressSpace,
        address: usize,
        region: Option<&Region>,
        f: impl FnOnce(Spot<'_>) -> R,
    ) -> Result<R, Unmerged> {
        let live = space.try_enter()?;
        Ok(f(Spot::look(&live, address, region)?))
    }

    /// The same for the page of `item`.
    fn of<R>(item: ItemRef<'_>, f: impl FnOnce(Spot<'_>) -> R) -> Result<R, Unmerged> {
        Self::with(item.space(), item.address(), item.region(), f)
    }

    /// Looks at what `live` maps at `address`. A VMA that has come in the place of another may map another
    /// page there, which is not of `region`.
    fn look(
        live: &'l LiveMm<'l>,
        address: usize,
        region: Option<&Region>,
    ) -> Result<Self, Unmerged> {
        let (vma, found) = Self::find(live, address, region)?;
        if found.page.is_ksm() {
            return Err(Unmerged::Gone);
        }
        if found.watched || found.page.is_in_use() {
            return Err(Unmerged::Busy);
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
    ) -> Result<(MergeableVma<'l>, pte::Found), Unmerged> {
        let vma = MergeableVma::at(live, address).ok_or(Unmerged::Gone)?;
        if !region.is_some_and(|region| vma.is_of(region)) {
            return Err(Unmerged::Gone);
        }
        let found = pte::page_at(&vma, address).ok_or(Unmerged::Gone)?;
        Ok((vma, found))
    }

    /// Locks and freezes the page, a folio of its own then, and lets `f` decide what becomes of it.
    fn freeze<R>(
        &self,
        f: impl FnOnce(FrozenPage<'_>) -> Result<R, Unmerged>,
    ) -> Result<R, Unmerged> {
        let locked = lock_alone(&self.page)?;
        let span = Invalidation::start(&self.vma, self.address);
        let mapped = MappedPage::lock(&span, locked).ok_or(Unmerged::Gone)?;
        let frozen = mapped.freeze().ok_or(Unmerged::Busy)?;
        f(frozen)
    }

    /// Maps the merged page `target` instead.
    fn replace(&self, target: &LockedKsm<'_>) -> Result<(), Unmerged> {
        if target.is_poisoned() {
            return Err(Unmerged::Busy);
        }
        self.freeze(|frozen| {
            let equal = frozen.if_equal(target).ok_or(Unmerged::Changed)?;
            equal.replace().then_some(()).ok_or(Unmerged::Busy)
        })
    }

    /// Makes sure that nobody else maps the page, by a copy where somebody does. A large page that is
    /// mapped by many entries looks like a shared one.
    fn unshare(&mut self) -> Result<(), Unmerged> {
        if self.page.is_shared() {
            self.vma.unshare(self.address).or(Err(Unmerged::NoMemory))?;
            let found = pte::page_at(&self.vma, self.address);
            self.page = found.ok_or(Unmerged::Gone)?.page;
        }
        Ok(())
    }
}

/// Locks a page, which is a folio of its own then.
fn lock_alone(page: &AnonPage) -> Result<LockedPage<'_>, Unmerged> {
    let locked = page.try_lock().ok_or(Unmerged::Busy)?;
    if !locked.is_anon() {
        return Err(Unmerged::Gone);
    }
    match split::make_small(&locked) {
        true => Ok(locked),
        false => Err(Unmerged::Busy),
    }
}

fn trace_one_page<T>(
    space: &AddressSpace,
    address: usize,
    page: &AnonPage,
    done: &Result<T, Unmerged>,
) {
    trace::merge_one_page(space.id(), address, page.pfn(), result(done));
}

fn trace_join(
    space: &AddressSpace,
    address: usize,
    page: &AnonPage,
    node: &StableNode,
    done: &Result<(), Unmerged>,
) {
    let (pfn, ksm) = (page.pfn(), node.tie().pfn());
    trace::merge_with_ksm_page(space.id(), address, pfn, ksm, result(done));
}

impl Engine {
    /// Maps a merged page in place of the page of `item`, which is like it.
    pub(crate) fn join(&self, tally: &mut Tally, item: ItemRef<'_>, found: Match) {
        let Match { node, folio } = found;
        if self.try_join(tally, item, &node, &folio).is_err() {
            self.ledger.open().expect_no_more(&node);
        }
    }

    fn try_join(
        &self,
        tally: &mut Tally,
        item: ItemRef<'_>,
        node: &Arc<StableNode>,
        folio: &KsmFolio,
    ) -> Result<(), Unmerged> {
        Spot::of(item, |spot| {
            let target = folio.try_lock(node.tie()).ok_or(Unmerged::Busy);
            let joined = target.and_then(|target| {
                spot.replace(&target)?;
                let mut books = self.ledger.open();
                node.expect_no_more(&books.token);
                // The item has been plain since it was looked up.
                books.share(node, target.lock(), item, tally);
                Ok(())
            });
            trace_join(item.space(), spot.address, &spot.page, node, &joined);
            joined
        })?
    }

    /// Records that `item` maps a merged page: a fork left it there, or swap-in. One of another domain, which
    /// was about to be mapped when the address space left that, is given back.
    pub(crate) fn adopt(&self, tally: &mut Tally, item: ItemRef<'_>) {
        let Ok(live) = item.space().try_enter() else {
            return;
        };
        let Ok((vma, found)) = Spot::find(&live, item.address(), item.region()) else {
            return;
        };
        let Some(locked) = found.page.try_lock() else {
            return;
        };
        let mut books = self.ledger.open();
        let Some(node) = StableNode::of(&found.page, &books.token) else {
            return;
        };
        let sums = self.sums_of(item.space());
        if found.page.read(|content| sums.own(&node, content)) {
            books.share(&node, &locked.lock(), item, tally);
            return;
        }
        drop(books);
        drop(locked);
        // Where that cannot be now, the scanner comes by again.
        let _given_back = vma.unshare(item.address());
    }

    /// Maps the zero page in place of the page of `item`, if it is full of zeroes.
    pub(crate) fn place_zero(&self, item: ItemRef<'_>) -> Result<(), Unmerged> {
        Spot::of(item, |spot| {
            let placed = spot.freeze(|frozen| {
                let zero = frozen.if_zero().ok_or(Unmerged::Changed)?;
                zero.replace().then_some(()).ok_or(Unmerged::Busy)
            });
            trace_one_page(item.space(), spot.address, &spot.page, &placed);
            placed
        })?
    }

    /// Makes a merged page out of the page of a candidate, and maps it in place of that of `item`, which
    /// looks like it.
    ///
    /// The two address spaces are entered one after the other. Both pages are looked at first, so that the
    /// candidate is not changed for one that cannot be merged with it.
    pub(crate) fn pair(
        &self,
        tally: &mut Tally,
        item: ItemRef<'_>,
        claim: Claim,
        work: &Work,
        look: Look,
        huge: &mut HugePage,
    ) -> Paired {
        // What may wait for memory comes before all locks.
        let Ok(node) = StableNode::new() else {
            return Paired::NotNow(claim);
        };
        // No reference is kept: it would keep a folio from being split in which both are.
        let Ok(own) = Spot::of(item, |own| own.page.place()) else {
            return Paired::NotNow(claim);
        };
        if self.settings.draws_frames() {
            self.frames.prepare(own.nid);
        }
        let mut ksm = None;
        let made = Spot::with(claim.space(), claim.address(), claim.region(), |other| {
            self.fits(item, &claim, &other.page, own, look)?;
            self.lets_go(item, &other.page, work, huge)?;
            if other.page.place().folio == own.folio {
                return Err(Unfit::OneFolio);
            }
            let nid = other.page.nid();
            let made = self.make_ksm(claim.space(), other, &node, work.checksum, &mut ksm);
            made.map_err(|why| match why {
                Unmerged::NoFrame => Unfit::NoFrame(nid),
                _ => Unfit::Candidate,
            })
        });
        let made = made.unwrap_or(Err(Unfit::Candidate));
        match made {
            Ok(locked) => self.join_new(tally, item, claim, &node, locked, work),
            Err(Unfit::Candidate) => Paired::GivesWay(claim),
            Err(Unfit::Both) => Paired::NotNow(claim),
            Err(Unfit::NoFrame(nid)) => {
                // It may be the first one there.
                self.frames.prepare(nid);
                Paired::NotNow(claim)
            }
            // It is split now; the two are merged when the scanner comes by again.
            Err(Unfit::OneFolio) => {
                Self::split(item);
                Paired::NotNow(claim)
            }
            Err(Unfit::TwoFolios) => {
                Self::split(item);
                Paired::GivesWay(claim)
            }
        }
    }

    /// Splits the huge page in which the page of `item` is, if that is possible now.
    fn split(item: ItemRef<'_>) {
        let _split = Spot::of(item, |own| lock_alone(&own.page).is_ok());
    }

    /// Whether the huge pages in which the page of `item` and that of a candidate may be are to be split for
    /// them. A candidate in one that is not gives way: so it is looked up in its own turn, and counts for its own
    /// huge page.
    fn lets_go(
        &self,
        item: ItemRef<'_>,
        other: &AnonPage,
        work: &Work,
        huge: &mut HugePage,
    ) -> Result<(), Unfit> {
        let at_least = self.settings.huge_pages.get();
        if at_least == 1 || work.folio.is_none() && !other.is_large() {
            return Ok(());
        }
        let sums = self.sums_of(item.space());
        if other.read(|content| sums.checksum(content)) != work.checksum {
            return Err(Unfit::Candidate);
        }
        match (huge.lets_go(work, at_least), other.is_large()) {
            (true, false) => Ok(()),
            (true, true) if work.folio.is_some() => Err(Unfit::TwoFolios),
            (_, true) => Err(Unfit::Candidate),
            (false, false) => Err(Unfit::Both),
        }
    }

    /// Whether the page of a candidate can be merged with that of `item`, which is at `own`.
    fn fits(
        &self,
        item: ItemRef<'_>,
        claim: &Claim,
        other: &AnonPage,
        own: Place,
        look: Look,
    ) -> Result<(), Unfit> {
        let place = other.place();
        // The two have one key, which two domains may have by accident, or where one is being left.
        if !claim.space().domain().meets(item.space().domain())
            || !self.sums_of(item.space()).may_meet(place.nid, own.nid)
        {
            return Err(Unfit::Candidate);
        }
        // A fork left one page in two address spaces; or the candidate would have to be split, for which
        // a first look is too little.
        match place.pfn == own.pfn || look == Look::First && other.is_large() {
            true => Err(Unfit::Both),
            false => Ok(()),
        }
    }

    /// Maps the merged page that the page of a candidate was made, and is locked since, in place of that of
    /// `item`.
    fn join_new(
        &self,
        tally: &mut Tally,
        item: ItemRef<'_>,
        claim: Claim,
        node: &Arc<StableNode>,
        locked: LockedKsm<'_>,
        work: &Work,
    ) -> Paired {
        let sums = self.sums_of(item.space());
        let joined = Spot::of(item, |own| {
            // Where the candidate's page was copied, the copy may lie on another NUMA node; and its domain may
            // have been left meanwhile.
            let meets = claim.space().domain().meets(item.space().domain());
            let joined = match meets && sums.may_meet(locked.ksm().nid(), own.page.nid()) {
                true => own.replace(&locked),
                false => Err(Unmerged::Busy),
            };
            trace_join(item.space(), own.address, &own.page, node, &joined);
            joined
        });
        let joined = matches!(joined, Ok(Ok(())));
        if !joined && Self::undo(&claim, &locked) {
            drop(locked);
            // Whoever has seen the mark of the node has the books open: the node goes after that.
            drop(self.ledger.open());
            return Paired::NotNow(claim);
        }
        let other_space = claim.space().clone();
        let mut books = self.ledger.open();
        let Books {
            stable,
            candidates,
            token,
        } = &mut *books;
        stable.insert(&sums, work.checksum, node, locked.ksm(), token);
        let taken = candidates.take_out(claim);
        if stable
            .share_claimed(node, locked.lock(), taken, token)
            .is_ok()
        {
            other_space.with_mm(|mm| account::add(mm, 0, 1));
        }
        if joined && stable.share(node, locked.lock(), item, token) {
            tally.merging += 1;
        }
        Paired::Done
    }

    /// Makes a merged page that nobody has joined the candidate's own again. False: it stays a merged page.
    fn undo(claim: &Claim, locked: &LockedKsm<'_>) -> bool {
        let Ok(live) = claim.space().try_enter() else {
            return false;
        };
        let vma = MergeableVma::at(&live, claim.address());
        // A page of locked memory waits in a CPU's list.
        lru::drain();
        vma.is_some_and(|vma| sole::undo(&vma, claim.address(), locked))
    }

    /// Makes the page of `spot` a merged page, which stays locked: itself, or in the frame that was drawn for it.
    /// `place` is where the reference to it is kept.
    ///
    /// A page that a fork left in several address spaces is not made one, but a copy of it: the others
    /// may never have asked for merging. They keep the page, and if they asked, theirs is merged with
    /// the copy in its turn.
    fn make_ksm<'k>(
        &self,
        space: &AddressSpace,
        mut spot: Spot<'_>,
        node: &StableNode,
        checksum: u64,
        place: &'k mut Option<NewKsm>,
    ) -> Result<LockedKsm<'k>, Unmerged> {
        // To be read when it is locked and can change no more, which takes a while.
        spot.page.read(|content| content.prefetch_all());
        let made = spot
            .unshare()
            .and_then(|()| self.freeze_into_ksm(space, &spot, node, checksum, place));
        trace_one_page(space, spot.address, &spot.page, &made);
        made
    }

    /// The same for a page that nobody else maps.
    fn freeze_into_ksm<'k>(
        &self,
        space: &AddressSpace,
        spot: &Spot<'_>,
        node: &StableNode,
        checksum: u64,
        place: &'k mut Option<NewKsm>,
    ) -> Result<LockedKsm<'k>, Unmerged> {
        let sums = self.sums_of(space);
        // No sooner: who has merging fail is not to have frames drawn, which others come in place of.
        let drawn = match self.settings.draws_frames() {
            true => Some(self.frames.draw(spot.page.nid()).ok_or(Unmerged::NoFrame)?),
            false => None,
        };
        spot.freeze(|frozen| {
            // The node stands under this checksum for good.
            if frozen.read(|content| sums.checksum(content)) != checksum {
                return Err(Unmerged::Changed);
            }
            let tie = node.tie();
            let made = match drawn {
                None => frozen.become_ksm(tie, place),
                Some(Drawn { frame, slot }) => {
                    let made = frozen.become_ksm_in(frame, tie, place);
                    if made.is_some() {
                        trace::fresh_frame(spot.page.pfn(), tie.pfn(), slot);
                    }
                    made
                }
            };
            made.ok_or(Unmerged::Busy)
        })
    }
}
