// SPDX-License-Identifier: GPL-2.0

//! The records of tracked pages: their states, and the tree of candidates.

#![expect(clippy::indexing_slicing, reason = "a test may fail so")]

use super::{
    candidates::{Candidates, Claim, Found},
    item::{ItemRef, Key},
    leaf::{LeafCache, NoRecord, Spares, SLOTS},
    records::Records,
};
use crate::{
    mm::{address_space::AddressSpace, anon_vma::Region, fake_mm},
    rmap_item::Kind,
};
use kernel::{page::PAGE_SIZE, prelude::*, sync::Arc};

/// What a test works on. Fields drop in this order.
pub(super) struct Bench {
    pub(super) records: Records,
    spares: Spares,
    pub(super) candidates: Candidates,
    space: Arc<AddressSpace>,
    cache: LeafCache,
    pub(super) region: Region,
}

impl Bench {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            records: Records::new(),
            spares: Spares::new(),
            candidates: Candidates::new(),
            space: fake_mm::space()?,
            cache: LeafCache::create(c"rksm_test_leaf")?,
            region: fake_mm::region(7),
        })
    }

    /// Notes that a page was found, and splits its leaf where that is full.
    pub(super) fn find(&mut self, page: usize) -> Result<(), NoRecord> {
        let region = self.region.clone();
        self.find_in(page, &region)
    }

    pub(super) fn find_in(&mut self, page: usize, region: &Region) -> Result<(), NoRecord> {
        self.spares.fill(&self.cache);
        let (address, spares) = (page * PAGE_SIZE, &mut self.spares);
        let found = self.records.found(address, &self.space, region, spares);
        if found != Err(NoRecord::Full) {
            return found;
        }
        let candidates = &mut self.candidates;
        self.records
            .split(address, spares, |old, new| relocate(candidates, old, new))?;
        self.records.found(address, &self.space, region, spares)
    }

    /// Has records only for what is tracked, in no more leaves than are needed. How many were moved.
    pub(super) fn tidy(&mut self) -> usize {
        let candidates = &mut self.candidates;
        self.records.settle(0, usize::MAX);
        self.records
            .join(0, usize::MAX, |old, new| relocate(candidates, old, new))
    }

    /// Forgets the pages that `goes` says.
    pub(super) fn forget(&mut self, goes: impl Fn(usize) -> bool) {
        for item in self.records.tracked(0, usize::MAX) {
            if goes(item.address() / PAGE_SIZE) {
                let _candidate = self.candidates.remove(item);
                assert!(item.set_plain(Kind::Untracked, item.key()));
            }
        }
    }

    pub(super) fn item(&self, page: usize) -> Option<ItemRef<'_>> {
        self.records.find(page * PAGE_SIZE)
    }

    pub(super) fn knows(&self, page: usize) -> bool {
        self.item(page).is_some()
    }

    pub(super) fn track(&mut self, page: usize) -> bool {
        self.find(page).is_ok()
            && self.item(page).is_some_and(|item| {
                item.kind() != Kind::Untracked || item.set_plain(Kind::Seen, key(page))
            })
    }

    /// The numbers of the tracked pages, added up by `f`.
    pub(super) fn count(&self, f: impl Fn(usize) -> usize) -> usize {
        let tracked = self.records.tracked(0, usize::MAX);
        tracked.map(|item| f(item.address() / PAGE_SIZE)).sum()
    }

    pub(super) fn finish(mut self) {
        self.forget(|_| true);
        self.records.settle(0, usize::MAX);
        assert!(self.records.is_empty());
        assert_eq!(self.records.bytes(), 0);
        assert_eq!(self.candidates.len(), 0);
    }
}

/// What the books do, for what is not merged.
fn relocate(candidates: &mut Candidates, old: ItemRef<'_>, new: ItemRef<'_>) -> bool {
    let was = candidates.remove(old);
    let taken = new.take_over(old);
    if was {
        let _none = candidates.claim_or_insert(new);
    }
    taken
}

/// Makes an item a candidate, where there is none with its key.
pub(super) fn insert(candidates: &mut Candidates, item: ItemRef<'_>) -> bool {
    matches!(candidates.claim_or_insert(item), Found::None) && item.kind() == Kind::Candidate
}

/// Claims the candidate with the key of `item`, which is none.
pub(super) fn claim(candidates: &mut Candidates, item: ItemRef<'_>) -> Option<Claim> {
    match candidates.claim_or_insert(item) {
        Found::Claim(claim) => Some(claim),
        Found::None | Found::Claimed => None,
    }
}

/// Other keys than the numbers' order.
pub(super) fn key(number: usize) -> Key {
    // The lowest three bytes of a checksum are not part of the key.
    Key::of((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 24)
}

#[kunit_tests(rksm_records)]
mod tests {
    use super::*;

    #[test]
    fn a_record_knows_its_address() -> Result {
        let mut bench = Bench::new()?;
        for page in [7, 0, 1, SLOTS - 1, SLOTS, 5 * SLOTS + 7, 1 << 27, 3 << 28] {
            assert!(bench.track(page));
            let item = bench.item(page).ok_or(EINVAL)?;
            assert_eq!(item.address(), page * PAGE_SIZE);
            assert!(Arc::ptr_eq(item.space(), &bench.space));
            assert!(item.is_of(&bench.region));
        }
        assert!(bench.item(2).is_none());
        assert_eq!(bench.count(|_| 1), 8);
        bench.finish();
        Ok(())
    }

    #[test]
    fn kinds_follow_each_other_as_they_may() -> Result {
        let mut bench = Bench::new()?;
        assert_eq!(bench.find(1), Ok(()));
        let item = bench.records.find(PAGE_SIZE).ok_or(EINVAL)?;
        for kind in [Kind::Seen, Kind::Zero, Kind::Seen] {
            assert!(item.set_plain(kind, key(3)));
            assert_eq!((item.kind(), item.key()), (kind, key(3)));
        }
        assert!(insert(&mut bench.candidates, item));
        assert_eq!((item.kind(), item.key()), (Kind::Candidate, key(3)));
        // A candidate only changes by leaving the tree.
        assert!(!item.set_plain(Kind::Seen, key(4)));
        assert!(item.node().is_none());
        assert!(bench.candidates.remove(item));
        assert!(!bench.candidates.remove(item));
        assert_eq!(item.kind(), Kind::Seen);
        assert!(item.set_plain(Kind::Seen, key(4)));
        // Neither a candidate nor a merged page can be noted as plain.
        for kind in [Kind::Candidate, Kind::Merged, Kind::Claimed] {
            assert!(!item.set_plain(kind, key(5)));
        }
        bench.finish();
        Ok(())
    }

    #[test]
    fn a_claimed_record_is_left_alone() -> Result {
        let mut bench = Bench::new()?;
        assert!(bench.track(4) && bench.track(5));
        let item = bench.records.find(4 * PAGE_SIZE).ok_or(EINVAL)?;
        let other = bench.records.find(5 * PAGE_SIZE).ok_or(EINVAL)?;
        assert!(other.set_plain(Kind::Seen, key(4)));
        let candidates = &mut bench.candidates;
        assert!(insert(candidates, item));
        let first = claim(candidates, other).ok_or(EINVAL)?;
        assert_eq!(first.address(), 4 * PAGE_SIZE);
        assert_eq!((item.kind(), other.kind()), (Kind::Claimed, Kind::Seen));
        assert!(!candidates.remove(item));
        assert!(!item.set_plain(Kind::Untracked, key(4)));
        // It is found, and that it is claimed; and it keeps the tree from being abandoned.
        assert!(matches!(candidates.claim_or_insert(other), Found::Claimed));
        assert_eq!(other.kind(), Kind::Seen);
        assert!(candidates.abandon().is_none());
        candidates.put_back(first);
        assert_eq!((item.kind(), candidates.len()), (Kind::Candidate, 1));
        let second = claim(candidates, other).ok_or(EINVAL)?;
        drop(candidates.take_out(second));
        assert_eq!((item.kind(), candidates.len()), (Kind::Seen, 0));
        bench.finish();
        Ok(())
    }

    #[test]
    fn a_claimed_record_gives_way() -> Result {
        let mut bench = Bench::new()?;
        assert!(bench.track(4) && bench.track(5));
        let first = bench.records.find(4 * PAGE_SIZE).ok_or(EINVAL)?;
        let second = bench.records.find(5 * PAGE_SIZE).ok_or(EINVAL)?;
        assert!(second.set_plain(Kind::Seen, key(4)));
        let candidates = &mut bench.candidates;
        assert!(insert(candidates, first));
        let claimed = claim(candidates, second).ok_or(EINVAL)?;
        candidates.replace(claimed, second);
        assert_eq!((first.kind(), second.kind()), (Kind::Seen, Kind::Candidate));
        assert_eq!(candidates.len(), 1);
        bench.finish();
        Ok(())
    }

    #[test]
    fn what_is_not_found_is_lost() -> Result {
        let mut bench = Bench::new()?;
        for page in 0..3 * SLOTS {
            assert!(bench.track(page));
        }
        bench.records.settle(0, usize::MAX);
        for page in (0..3 * SLOTS).filter(|page| page % 3 != 0) {
            assert_eq!(bench.find(page), Ok(()));
        }
        let (from, to) = (4, 40);
        let lost = bench.records.lost(from * PAGE_SIZE, to * PAGE_SIZE);
        let right = lost.map(|item| item.address() / PAGE_SIZE);
        assert!(right.eq((6..to).step_by(3)));
        bench.finish();
        Ok(())
    }

    #[test]
    fn untracked_records_do_not_stay() -> Result {
        let mut bench = Bench::new()?;
        for page in 0..2 * SLOTS {
            assert_eq!(bench.find(page), Ok(()));
        }
        assert!(bench.item(5).is_some());
        let item = bench.item(SLOTS).ok_or(EINVAL)?;
        assert!(item.set_plain(Kind::Seen, key(1)));
        let two = bench.records.bytes();
        bench.records.settle(0, usize::MAX);
        assert_eq!(bench.records.bytes() * 2, two);
        assert!(bench.item(5).is_none() && bench.item(SLOTS + 1).is_none());
        assert!(bench.item(SLOTS).is_some());
        bench.finish();
        Ok(())
    }

    #[test]
    fn records_agree_with_a_model() -> Result {
        const PAGES: usize = 12 * SLOTS;
        let mut bench = Bench::new()?;
        let mut model = KBox::new([Kind::Untracked; PAGES], GFP_KERNEL)?;
        let mut number = 1_u64;
        for round in 0..12_000 {
            number = number.wrapping_mul(6364136223846793005).wrapping_add(1);
            let page = (number >> 40) as usize % PAGES;
            assert!(bench.find(page).is_ok());
            let item = bench.records.find(page * PAGE_SIZE).ok_or(EINVAL)?;
            assert_eq!(item.address(), page * PAGE_SIZE);
            assert_eq!(item.kind(), model[page]);
            match number >> 62 {
                0 if item.kind().is_plain() => {
                    assert!(item.set_plain(Kind::Seen, key(page)));
                    assert!(insert(&mut bench.candidates, item));
                    model[page] = Kind::Candidate;
                }
                1 if item.kind().is_plain() => {
                    assert!(item.set_plain(Kind::Zero, key(page)));
                    model[page] = Kind::Zero;
                }
                _ => {
                    let there = model[page] == Kind::Candidate;
                    assert_eq!(bench.candidates.remove(item), there);
                    assert!(item.set_plain(Kind::Untracked, key(page)));
                    model[page] = Kind::Untracked;
                }
            }
            if round % 100 == 0 {
                bench.tidy();
            }
        }
        let candidates = model.iter().filter(|kind| **kind == Kind::Candidate);
        assert_eq!(bench.candidates.len(), candidates.count());
        let sum = |wanted: &dyn Fn(Kind) -> bool| -> usize {
            let pages = model.iter().enumerate();
            pages
                .filter(|(_, kind)| wanted(**kind))
                .map(|(page, _)| page)
                .sum()
        };
        assert_eq!(
            bench.count(|page| page),
            sum(&|kind| kind != Kind::Untracked)
        );
        let probe = PAGES;
        assert!(bench.track(probe));
        let probe = bench.records.find(probe * PAGE_SIZE).ok_or(EINVAL)?;
        for (page, kind) in model.iter().enumerate() {
            assert!(probe.set_plain(Kind::Seen, key(page)));
            let claim = claim(&mut bench.candidates, probe);
            assert_eq!(claim.is_some(), *kind == Kind::Candidate);
            match claim {
                Some(claim) => {
                    assert_eq!(claim.address(), page * PAGE_SIZE);
                    drop(bench.candidates.take_out(claim));
                }
                None => assert!(bench.candidates.remove(probe)),
            }
        }
        bench.finish();
        Ok(())
    }

    #[test]
    fn all_candidates_leave_at_once() -> Result {
        const PAGES: usize = 3 * SLOTS;
        let mut bench = Bench::new()?;
        for page in 0..PAGES {
            assert!(bench.track(page));
        }
        for _ in 0..3 {
            for item in bench.records.tracked(0, usize::MAX) {
                assert!(insert(&mut bench.candidates, item));
            }
            assert_eq!(bench.candidates.len(), PAGES);
            assert!(bench.candidates.abandon().is_some());
            assert_eq!(bench.candidates.len(), 0);
            // Not again, as long as not all are settled. One may leave by itself.
            assert!(bench.candidates.abandon().is_none());
            let item = bench.records.find(5 * PAGE_SIZE).ok_or(EINVAL)?;
            assert_eq!(item.kind(), Kind::Candidate);
            assert!(bench.candidates.remove(item));
            let left = bench.records.leave_abandoned();
            bench.candidates.settle(left);
            let seen = bench.records.tracked(0, usize::MAX);
            assert_eq!(seen.filter(|item| item.kind() == Kind::Seen).count(), PAGES);
        }
        bench.finish();
        Ok(())
    }
}
