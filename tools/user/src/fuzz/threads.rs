// SPDX-License-Identifier: GPL-2.0

//! Several scanners at once: each has the turn of an address space of its own, and they meet in the books,
//! where one claims what another made a candidate. Meanwhile reclaim goes over the sharers of merged pages.

use super::{
    numbers::Numbers,
    world::{address, page_of, Contents, InHand, Space, LIMIT},
};
use crate::{
    books::{Books, Ledger},
    intrusive::{
        candidates::Found,
        item::ItemRef,
        leaf::{LeafCache, NoRecord},
        stable_node::{Reverse, StableNode},
    },
    mm::{anon_vma::Region, fake_mm, ksm_folio::KsmFolio, page::AnonPage},
    tally::Tally,
};
use core::{
    mem::ManuallyDrop,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    prelude::*,
    sync::{Arc, Mutex},
};
use std::{collections::BTreeMap, thread};

const SCANNERS: usize = 4;
const TURNS: usize = 400;
const PAGES: usize = 200;
const CONTENTS: usize = 20;

/// What the scanners share.
struct Shared {
    ledger: Pin<KBox<Ledger>>,
    contents: Contents,
    cache: LeafCache,
    region: Region,
    /// The merged pages, which nobody frees.
    pages: Mutex<Vec<AnonPage>>,
}

impl Shared {
    fn new() -> Result<Self> {
        let shared = Self {
            ledger: KBox::pin_init(Ledger::new(), GFP_KERNEL)?,
            contents: Contents::new()?,
            cache: LeafCache::create(c"rksm_threads_leaf")?,
            region: fake_mm::region(0),
            pages: Mutex::new(Vec::new()),
        };
        shared.ledger.open().stable.set_limit(LIMIT);
        Ok(shared)
    }

    /// Finds the page in the records of `space`, as a scanner does.
    fn find(&self, space: &mut Space, page: usize) -> bool {
        let Space {
            space,
            records,
            spares,
            ..
        } = space;
        spares.fill(&self.cache);
        let mut found = records.found(address(page), space, &self.region, spares);
        if found == Err(NoRecord::Full) {
            let split = records.split(address(page), spares, |old, new| self.relocate(old, new));
            found = split.and_then(|_| records.found(address(page), space, &self.region, spares));
        }
        assert!(found != Err(NoRecord::NoMemory));
        found.is_ok()
    }

    fn relocate(&self, old: ItemRef<'_>, new: ItemRef<'_>) -> bool {
        let mut books = self.ledger.open();
        // As long as nobody else has it, it is the same.
        let kind = old.kind();
        let relocated = books.relocate(old, new);
        assert!(!relocated || new.kind() == kind);
        relocated
    }

    /// Looks for a page like that of `item`, and merges the two.
    fn merge(
        &self,
        numbers: &mut Numbers,
        tally: &mut Tally,
        item: ItemRef<'_>,
        content: usize,
    ) -> Result {
        let checksum = self.contents.checksum(content);
        let mut books = self.ledger.open();
        let Books {
            stable,
            candidates,
            token,
        } = &mut *books;
        if let Some(found) = stable.find(&self.contents.sums(0), checksum, 0, false, token) {
            drop(books);
            thread::yield_now();
            let locked = found.folio.try_lock(found.node.tie());
            let mut books = self.ledger.open();
            match locked {
                Some(locked) => {
                    found.node.expect_no_more(&books.token);
                    books.share(&found.node, locked.lock(), item, tally);
                    assert!(item.is_merged_into(found.node.tie().mark()));
                }
                None => books.expect_no_more(&found.node),
            }
            return Ok(());
        }
        let Found::Claim(claim) = candidates.claim_or_insert(item) else {
            return Ok(());
        };
        drop(books);
        let claim = InHand::new(claim);
        for _ in 0..numbers.below(4) {
            thread::yield_now();
        }
        match numbers.below(6) {
            0 => {
                let candidates = &mut self.ledger.open().candidates;
                candidates.put_back(InHand::into_inner(claim));
            }
            1 => {
                let candidates = &mut self.ledger.open().candidates;
                candidates.replace(InHand::into_inner(claim), item);
            }
            2 => {
                let taken = self
                    .ledger
                    .open()
                    .candidates
                    .take_out(InHand::into_inner(claim));
                thread::yield_now();
                drop(taken);
            }
            _ => self.pair(item, claim, content)?,
        }
        Ok(())
    }

    fn pair(&self, item: ItemRef<'_>, claim: InHand, content: usize) -> Result {
        let node = StableNode::new()?;
        let page = AnonPage::new(content as u64, 0)?;
        let folio = KsmFolio::convert(&page, node.tie()).ok_or(EINVAL)?;
        let locked = folio.try_lock(node.tie()).ok_or(EINVAL)?;
        let checksum = self.contents.checksum(content);
        let mut books = self.ledger.open();
        let Books {
            stable,
            candidates,
            token,
        } = &mut *books;
        stable.insert(&self.contents.sums(0), checksum, &node, &folio, token);
        let taken = candidates.take_out(InHand::into_inner(claim));
        let shared = stable.share_claimed(&node, locked.lock(), taken, token);
        assert!(shared.is_ok());
        assert!(stable.share(&node, locked.lock(), item, token));
        drop(books);
        self.pages.lock().push(page);
        Ok(())
    }

    /// One turn in the address space.
    fn turn(
        &self,
        numbers: &mut Numbers,
        own: &mut Space,
        known: &mut BTreeMap<usize, usize>,
    ) -> Result {
        let from = numbers.below(PAGES);
        let to = (from + 1 + numbers.below(64)).min(PAGES);
        for page in from..to {
            match numbers.below(8) {
                0 => known.remove(&page),
                _ => known.insert(page, numbers.below(CONTENTS)),
            };
        }
        for page in known.range(from..to).map(|(page, _)| *page) {
            let _full = self.find(own, page);
        }
        let Space { records, tally, .. } = own;
        // Others may have made one a merged one a moment ago; only whoever has the turn ends that.
        for item in records.tracked(0, usize::MAX) {
            if let Some(node) = item.node() {
                assert!(item.is_merged_into(node.tie().mark()));
            }
            thread::yield_now();
        }
        for item in records.lost(address(from), address(to - 1) + 1) {
            if self.ledger.open().leave(item, tally).is_ok() {
                assert!(tally.forget(item));
            }
        }
        for (page, content) in known.range(from..to) {
            let Some(item) = records.find(address(*page)) else {
                continue;
            };
            if self.ledger.open().leave(item, tally).is_ok() {
                assert!(tally.see(item, self.contents.key(0, *content, 0)));
                self.merge(numbers, tally, item, *content)?;
            }
        }
        let (from, to) = (address(from), address(to - 1) + 1);
        records.settle(from, to);
        let _moved = records.join(from, to, |old, new| self.relocate(old, new));
        Ok(())
    }

    /// Goes over all that share a page, until the scanners are done. How many it has come by.
    fn reclaim(&self, done: &AtomicBool) -> usize {
        let mut sharers = 0;
        while !done.load(Ordering::Relaxed) {
            let pages: Vec<AnonPage> = self.pages.lock().iter().cloned().collect();
            for page in pages {
                let _merged = KsmFolio::walk::<Reverse>(&page, |sharer| {
                    assert!(sharer.region.is(&self.region));
                    assert!(page_of(sharer.address) < PAGES);
                    sharers += 1;
                });
                thread::yield_now();
            }
        }
        sharers
    }

    fn scan(&self, seed: u64) -> Result<Space> {
        let mut numbers = Numbers::new(seed);
        // A test that fails leaves it, since others may hold what is in it.
        let mut own = ManuallyDrop::new(Space::new()?);
        let mut known = BTreeMap::new();
        for _ in 0..TURNS {
            self.turn(&mut numbers, &mut own, &mut known)?;
        }
        Ok(ManuallyDrop::into_inner(own))
    }
}

#[test]
fn scanners_meet_in_the_books() -> Result {
    let shared = Arc::new(Shared::new()?, GFP_KERNEL)?;
    let mut numbers = Numbers::seeded();
    let seeds: Vec<u64> = (0..SCANNERS).map(|_| numbers.next()).collect();
    let done = AtomicBool::new(false);
    let spaces = thread::scope(|scope| {
        let (shared, done) = (&shared, &done);
        let reclaim = scope.spawn(move || shared.reclaim(done));
        let scan = |seed| scope.spawn(move || shared.scan(seed));
        let scanners: Vec<_> = seeds.into_iter().map(scan).collect();
        let scanned: Vec<_> = scanners.into_iter().map(|scanner| scanner.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(reclaim.join().is_ok_and(|sharers| sharers > 0));
        scanned
    });
    let spaces = spaces.into_iter().map(|scanned| scanned.expect("no panic"));
    let mut spaces = spaces.collect::<Result<Vec<_>>>()?;
    let mut sharers = 0;
    for Space { records, .. } in &spaces {
        let merged = |item: &ItemRef<'_>| item.node().is_some();
        sharers += records.tracked(0, usize::MAX).filter(merged).count() as u64;
    }
    let books = shared.ledger.open();
    let shared_by = books.stable.pages_shared() + books.stable.pages_sharing();
    assert_eq!(shared_by, sharers);
    drop(books);
    for Space { records, tally, .. } in &mut spaces {
        for item in records.tracked(0, usize::MAX) {
            assert!(page_of(item.address()) < PAGES);
            assert!(shared.ledger.open().leave(item, tally).is_ok());
            assert!(tally.forget(item));
        }
        records.settle(0, usize::MAX);
        assert!(records.is_empty());
        assert_eq!(tally.tracked, 0);
    }
    shared.pages.lock().clear();
    shared.ledger.prune(false);
    let books = shared.ledger.open();
    assert!(books.stable.is_empty());
    assert_eq!(books.candidates.len(), 0);
    Ok(())
}
