// SPDX-License-Identifier: GPL-2.0

//! The records of tracked pages: their states, and the tree of candidates.

use super::{
    candidates::{Candidates, Entry},
    items::{BlockCache, Blocks, Item, Key, SLOTS},
    rb::Side,
};
use crate::{
    engine::State,
    mm::{anon_vma::Region, fake_mm},
    mm_slot::MmSlot,
    rmap_item::Kind,
};
use core::ops::Range;
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{Arc, Mutex},
};

/// What a test works on. Fields drop in this order.
struct Bench {
    blocks: Blocks,
    candidates: Candidates,
    slot: Arc<MmSlot>,
    _state: Arc<Mutex<State>>,
    cache: BlockCache,
    region: Region,
}

impl Bench {
    fn new() -> Result<Self> {
        let state = Arc::pin_init(new_mutex!(State::new()), GFP_KERNEL)?;
        let slot = MmSlot::for_test(&state, &fake_mm::get())?;
        Ok(Self {
            blocks: Blocks::new(),
            candidates: Candidates::new(),
            slot,
            _state: state,
            cache: BlockCache::create(c"rksm_test_block")?,
            region: fake_mm::region(7),
        })
    }

    fn finish(mut self) {
        for item in tracked(&self.blocks, 0..usize::MAX / PAGE_SIZE) {
            self.candidates.remove(item);
            item.set_plain(Kind::Untracked, item.key());
        }
        self.blocks.clear(&mut self.candidates, 0, usize::MAX);
        assert_eq!(self.candidates.len(), 0);
    }
}

/// As [`item_at`]. Not a method: it leaves the rest of the bench free to be used.
macro_rules! item {
    ($bench:ident, $address:expr) => {
        item_at(
            &mut $bench.blocks,
            &$bench.cache,
            &$bench.slot,
            &$bench.region,
            $address,
        )
    };
}

/// The tracked items of these pages.
fn tracked(blocks: &Blocks, pages: Range<usize>) -> impl Iterator<Item = &Item> {
    let (from, to) = (pages.start * PAGE_SIZE, pages.end * PAGE_SIZE);
    let blocks = blocks.blocks(from, to);
    blocks.flat_map(move |block| block.tracked(from, to))
}

/// The item for `address`, in the block that is there or is made.
fn item_at<'b>(
    blocks: &'b mut Blocks,
    cache: &BlockCache,
    slot: &Arc<MmSlot>,
    region: &Region,
    address: usize,
) -> Result<&'b Item> {
    let block = blocks.block(cache, slot, region, address)?;
    block.item(address).ok_or(EINVAL)
}

fn key(number: u64) -> Key {
    // The lowest three bytes of a checksum are not part of the key.
    Key::of(number << 24)
}

fn make_candidate(candidates: &mut Candidates, item: &Item) -> bool {
    match candidates.entry(item.key(), |other| Side::At(item.key().cmp(&other.key()))) {
        Entry::Found(_) => false,
        Entry::Vacant(place) => place.insert(item),
    }
}

#[kunit_tests(rksm_items)]
mod tests {
    use super::*;

    #[test]
    fn an_item_knows_its_address() -> Result {
        let mut bench = Bench::new()?;
        for page in [0, 1, SLOTS - 1, SLOTS, 5 * SLOTS + 7] {
            let address = page * PAGE_SIZE;
            let item = item!(bench, address)?;
            assert_eq!(item.address(), address);
            assert_eq!(item.kind(), Kind::Untracked);
            assert!(Arc::ptr_eq(item.mm(), &bench.slot));
        }
        bench.finish();
        Ok(())
    }

    #[test]
    fn kinds_follow_each_other_as_they_may() -> Result {
        let mut bench = Bench::new()?;
        let item = item!(bench, PAGE_SIZE)?;
        for kind in [Kind::Seen, Kind::Zero, Kind::Seen] {
            assert!(item.set_plain(kind, key(3)));
            assert_eq!((item.kind(), item.key()), (kind, key(3)));
        }
        assert!(make_candidate(&mut bench.candidates, item));
        assert_eq!((item.kind(), item.key()), (Kind::Candidate, key(3)));
        // A candidate only changes by leaving the tree.
        assert!(!item.set_plain(Kind::Seen, key(4)));
        assert!(item.node().is_none());
        assert_eq!((item.kind(), item.key()), (Kind::Candidate, key(3)));
        assert!(bench.candidates.remove(item));
        assert!(!bench.candidates.remove(item));
        assert_eq!(item.kind(), Kind::Seen);
        assert!(item.set_plain(Kind::Seen, key(4)));
        // Neither a candidate nor a merged page can be noted as plain.
        assert!(!item.set_plain(Kind::Candidate, key(5)));
        assert!(!item.set_plain(Kind::Merged, key(5)));
        bench.finish();
        Ok(())
    }

    #[test]
    fn a_skip_is_foreseen() -> Result {
        let mut bench = Bench::new()?;
        let first = item!(bench, 0)?;
        assert!(first.near(SLOTS * PAGE_SIZE).is_none());
        let Some(item) = first.near(PAGE_SIZE) else {
            return Err(EINVAL);
        };
        assert_eq!(item.address(), PAGE_SIZE);
        let mut skipped = 0;
        for _ in 0..40 {
            let foreseen = item.will_be_skipped();
            let skip = item.grow_older();
            assert_eq!(foreseen, skip);
            skipped += usize::from(skip);
        }
        assert!(skipped > 0);
        bench.finish();
        Ok(())
    }

    #[test]
    fn only_tracked_items_are_listed() -> Result {
        let mut bench = Bench::new()?;
        for page in 0..3 * SLOTS {
            let item = item!(bench, page * PAGE_SIZE)?;
            if page % 3 == 0 {
                item.set_plain(Kind::Seen, key(page as u64));
            }
        }
        let right = tracked(&bench.blocks, 4..40)
            .map(|item| item.address() / PAGE_SIZE)
            .eq((6..40).step_by(3));
        assert!(right);
        bench.finish();
        Ok(())
    }

    #[test]
    fn only_unused_blocks_are_freed() -> Result {
        let mut bench = Bench::new()?;
        for page in [0, SLOTS, 2 * SLOTS] {
            item!(bench, page * PAGE_SIZE)?;
        }
        let middle = SLOTS * PAGE_SIZE;
        let item = item!(bench, middle)?;
        assert!(item.set_plain(Kind::Seen, key(1)));
        bench.blocks.clear(&mut bench.candidates, 0, usize::MAX);
        assert_eq!(tracked(&bench.blocks, 0..100).count(), 1);
        let item = item!(bench, middle)?;
        assert_eq!((item.kind(), item.key()), (Kind::Seen, key(1)));
        assert!(item.set_plain(Kind::Untracked, key(1)));
        bench.blocks.clear(&mut bench.candidates, 0, usize::MAX);
        assert!(bench.blocks.is_empty());
        bench.finish();
        Ok(())
    }

    #[test]
    fn regions_have_blocks_of_their_own() -> Result {
        let mut bench = Bench::new()?;
        let other = fake_mm::region(8);
        let (cache, slot) = (&bench.cache, &bench.slot);
        for (region, page) in [(&bench.region, 3), (&other, 3), (&other, 5)] {
            let item = item_at(&mut bench.blocks, cache, slot, region, page * PAGE_SIZE)?;
            assert_eq!(item.kind(), Kind::Untracked);
            assert_eq!(item.region().id(), region.id());
            assert!(item.set_plain(Kind::Seen, key(page as u64)));
        }
        assert_eq!(tracked(&bench.blocks, 0..4).count(), 2);
        assert_eq!(tracked(&bench.blocks, 4..32).count(), 1);
        let lost = |region: &Region, found: &[usize]| {
            let found = found.iter().map(|page| page * PAGE_SIZE);
            let lost = bench.blocks.lost(0, usize::MAX, region, found);
            lost.fold(0, |sum, item| sum * 10 + item.address() / PAGE_SIZE)
        };
        assert_eq!(lost(&other, &[]), 335);
        assert_eq!(lost(&other, &[3, 4, 5, 6]), 3);
        assert_eq!(lost(&other, &[5, 40]), 33);
        assert_eq!(lost(&bench.region, &[3]), 35);
        // What one region gives up stays with the other.
        let item = item_at(&mut bench.blocks, cache, slot, &bench.region, 3 * PAGE_SIZE)?;
        assert!(item.set_plain(Kind::Untracked, key(3)));
        bench.blocks.clear(&mut bench.candidates, 0, usize::MAX);
        assert_eq!(tracked(&bench.blocks, 0..32).count(), 2);
        bench.finish();
        Ok(())
    }

    #[test]
    fn candidates_agree_with_a_model() -> Result {
        const PAGES: usize = 4 * SLOTS;
        let mut bench = Bench::new()?;
        let mut model = [false; PAGES];
        let mut number = 1_u64;
        for _ in 0..4000 {
            number = number.wrapping_mul(6364136223846793005).wrapping_add(1);
            let page = (number >> 40) as usize % PAGES;
            let item = item!(bench, page * PAGE_SIZE)?;
            // Pages in the order of their keys, which is not that of their addresses.
            let wanted = key((page as u64 * 37) % PAGES as u64);
            if number >> 63 == 0 {
                if item.kind().is_plain() {
                    assert!(item.set_plain(Kind::Seen, wanted));
                }
                assert_eq!(make_candidate(&mut bench.candidates, item), !model[page]);
                model[page] = true;
            } else {
                assert_eq!(bench.candidates.remove(item), model[page]);
                model[page] = false;
            }
            assert_eq!((item.kind() == Kind::Candidate), model[page]);
        }
        assert_eq!(
            bench.candidates.len(),
            model.iter().filter(|there| **there).count()
        );
        for (page, there) in model.iter().enumerate() {
            let wanted = key((page as u64 * 37) % PAGES as u64);
            let entry = bench
                .candidates
                .entry(wanted, |item| Side::At(wanted.cmp(&item.key())));
            assert_eq!(matches!(entry, Entry::Found(_)), *there);
            if let Entry::Found(found) = entry {
                assert_eq!(found.take().address(), page * PAGE_SIZE);
            }
        }
        bench.finish();
        Ok(())
    }

    #[test]
    fn all_candidates_become_plain() -> Result {
        const PAGES: usize = 3 * SLOTS;
        let mut bench = Bench::new()?;
        for round in 1..3 {
            for page in 0..PAGES {
                let item = item!(bench, page * PAGE_SIZE)?;
                assert!(item.set_plain(Kind::Seen, key(page as u64 / round)));
                make_candidate(&mut bench.candidates, item);
            }
            assert_eq!(bench.candidates.len(), PAGES / round as usize);
            // Some in the first round: the others are found in the trees.
            let some = PAGES / 3 * round as usize * 2;
            let blocks = &bench.blocks;
            bench.candidates.leave_all(|visit| {
                let items = blocks.all().flat_map(|block| block.tracked(0, usize::MAX));
                items.take(some).for_each(visit);
            });
            assert_eq!(bench.candidates.len(), 0);
            let plain = |item: &Item| item.kind() == Kind::Seen;
            assert_eq!(
                tracked(&bench.blocks, 0..PAGES)
                    .filter(|item| plain(item))
                    .count(),
                PAGES
            );
        }
        bench.finish();
        Ok(())
    }

    #[test]
    fn a_stale_candidate_becomes_plain() -> Result {
        let mut bench = Bench::new()?;
        let item = item!(bench, 0)?;
        assert!(item.set_plain(Kind::Seen, key(8)));
        assert!(make_candidate(&mut bench.candidates, item));
        let entry = bench.candidates.entry(key(8), |_| Side::Stale);
        assert!(matches!(entry, Entry::Vacant(_)));
        assert_eq!((item.kind(), item.key()), (Kind::Seen, key(8)));
        bench.finish();
        Ok(())
    }
}
