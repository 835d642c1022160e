// SPDX-License-Identifier: GPL-2.0

//! What records take: how leaves are filled, split and joined.

use super::{
    leaf::SLOTS,
    records_tests::{claim, insert, key, Bench},
};
use crate::{mm::fake_mm, rmap_item::Kind};
use kernel::{page::PAGE_SIZE, prelude::*};

#[kunit_tests(rksm_leaves)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_lone_pages_take_the_same() -> Result {
        let mut bench = Bench::new()?;
        for step in [1, 31, 512, 1 << 22] {
            let pages = 40 * SLOTS;
            for page in 0..pages {
                assert!(bench.track(page * step));
            }
            assert_eq!(bench.count(|_| 1), pages);
            assert!(bench.records.bytes() <= 40 * pages);
            for item in bench.records.tracked(0, usize::MAX) {
                assert!(item.set_plain(Kind::Untracked, item.key()));
            }
            bench.records.settle(0, usize::MAX);
        }
        bench.finish();
        Ok(())
    }

    /// How far apart: in blocks of 512 GiB, which leaves tell apart.
    #[test]
    fn pages_far_apart_share_a_leaf() -> Result {
        const PAGES: usize = 40 * SLOTS;
        for step in [1 << 26, 1 << 27, (1 << 27) + 1, 1 << 33] {
            let mut bench = Bench::new()?;
            for number in 0..PAGES {
                let page = number * 7 % PAGES;
                assert!(bench.track(page * step));
                let item = bench.item(page * step).ok_or(EINVAL)?;
                assert_eq!(item.address(), page * step * PAGE_SIZE);
                assert!(item.is_of(&bench.region));
            }
            assert_eq!(bench.count(|_| 1), PAGES);
            for page in 0..PAGES {
                let item = bench.item(page * step).ok_or(EINVAL)?;
                assert_eq!(item.key(), key(page * step));
            }
            bench.finish();
            let mut bench = Bench::new()?;
            for page in 0..PAGES {
                assert!(bench.track(page * step));
            }
            assert!(bench.records.bytes() <= 72 * PAGES);
            bench.finish();
        }
        Ok(())
    }

    #[test]
    fn regions_side_by_side_share_a_leaf() -> Result {
        let mut bench = Bench::new()?;
        for page in 0..4 * SLOTS {
            let region = fake_mm::region(page);
            assert_eq!(bench.find_in(page, &region), Ok(()));
            let item = bench.item(page).ok_or(EINVAL)?;
            assert!(item.set_plain(Kind::Seen, key(page)));
            assert!(item.is_of(&region));
        }
        assert!(bench.records.bytes() <= 72 * 4 * SLOTS);
        bench.records.settle(0, usize::MAX);
        // What another region maps there now is no reason to keep the record.
        assert_eq!(bench.find(3), Ok(()));
        let lost = bench.records.lost(3 * PAGE_SIZE, 4 * PAGE_SIZE);
        assert_eq!(lost.count(), 1);
        bench.finish();
        Ok(())
    }

    #[test]
    fn thin_leaves_are_joined() -> Result {
        const PAGES: usize = 60 * SLOTS;
        for apart in [3, 7, SLOTS - 1, SLOTS, 2 * SLOTS] {
            let mut bench = Bench::new()?;
            for page in 0..PAGES {
                assert!(bench.track(page));
                if page % (2 * apart) == 0 {
                    let item = bench.records.find(page * PAGE_SIZE).ok_or(EINVAL)?;
                    assert!(insert(&mut bench.candidates, item));
                }
            }
            assert_eq!(bench.tidy(), 0);
            bench.forget(|page| page % apart != 0);
            assert!(bench.tidy() <= PAGES.div_ceil(apart));
            let left = (0..PAGES).step_by(apart);
            assert_eq!(bench.count(|_| 1), left.len());
            // In the last leaf there may be few.
            assert!(bench.records.bytes() <= 72 * left.len() + 40 * SLOTS);
            for page in left {
                let item = bench.records.find(page * PAGE_SIZE).ok_or(EINVAL)?;
                assert_eq!(item.address(), page * PAGE_SIZE);
                assert!(item.is_of(&bench.region));
                assert_eq!(item.key(), key(page));
                let waits = page % (2 * apart) == 0;
                assert_eq!(bench.candidates.remove(item), waits);
            }
            assert_eq!(bench.candidates.len(), 0);
            assert_eq!(bench.tidy(), 0);
            bench.finish();
        }
        Ok(())
    }

    /// Where they come and go at random, too.
    #[test]
    fn three_leaves_have_as_many_as_two() -> Result {
        const PAGES: usize = 40 * SLOTS;
        let mut bench = Bench::new()?;
        let mut number = 1_u64;
        for round in 0..40 {
            for _ in 0..4 * SLOTS {
                number = number.wrapping_mul(6364136223846793005).wrapping_add(1);
                assert!(bench.track((number >> 40) as usize % PAGES));
            }
            let (salt, rarely) = (number >> 33, round % 8 != 0);
            bench.forget(|page| {
                let coin = (page as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                coin % 16 < if rarely { 1 } else { 14 }
            });
            bench.tidy();
            let leaf = SLOTS * 40;
            assert!(bench.records.bytes() <= bench.count(|_| 1) * leaf / 19 + 2 * leaf);
            assert_eq!(bench.tidy(), 0);
        }
        bench.finish();
        Ok(())
    }

    #[test]
    fn leaves_are_not_joined_as_they_were_split() -> Result {
        // Where the page comes in: at the front, in the middle, near the end.
        for page in [1, SLOTS / 2, 2 * SLOTS - 3] {
            let mut bench = Bench::new()?;
            for even in 0..SLOTS {
                assert!(bench.track(2 * even));
            }
            let one = bench.records.bytes();
            assert_eq!(bench.tidy(), 0);
            assert!(bench.track(page | 1));
            assert_eq!(bench.tidy(), 0);
            assert_eq!(bench.records.bytes(), 2 * one);
            // Not before five have gone.
            bench.forget(|page| page >= 2 * SLOTS - 8);
            bench.tidy();
            let joins = bench.count(|_| 1) <= SLOTS - SLOTS / 8;
            assert_eq!(bench.records.bytes(), if joins { one } else { 2 * one });
            bench.finish();
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_moved_stays() -> Result {
        let mut bench = Bench::new()?;
        for page in 0..4 * SLOTS {
            assert!(bench.track(page));
        }
        // One is claimed by somebody, in the second leaf that is left of.
        let claimed = 2 * SLOTS + 4;
        let item = bench.records.find(claimed * PAGE_SIZE).ok_or(EINVAL)?;
        let other = bench.records.find(0).ok_or(EINVAL)?;
        assert!(insert(&mut bench.candidates, item));
        assert!(other.set_plain(Kind::Seen, key(claimed)));
        let claim = claim(&mut bench.candidates, other).ok_or(EINVAL)?;
        let stays = |page: usize| page % 4 == 0 && page / SLOTS % 2 == 0;
        let one = bench.records.bytes() / 4;
        bench.forget(|page| !stays(page));
        assert_eq!(bench.tidy(), 1);
        assert_eq!(bench.records.bytes(), 2 * one);
        for _ in 0..2 {
            assert_eq!(bench.count(|page| usize::from(stays(page))), SLOTS / 2);
            assert!((0..4 * SLOTS).all(|page| bench.knows(page) == stays(page)));
            assert_eq!(bench.tidy(), 0);
        }
        assert_eq!(claim.address(), claimed * PAGE_SIZE);
        bench.candidates.put_back(claim);
        assert_eq!(bench.tidy(), SLOTS / 4 - 1);
        assert_eq!(bench.records.bytes(), one);
        assert!((0..4 * SLOTS).all(|page| bench.knows(page) == stays(page)));
        assert_eq!(bench.candidates.len(), 1);
        bench.finish();
        Ok(())
    }

    /// Where pages come back among those whose leaves were joined, these are nearly as full as at first.
    #[test]
    fn memory_gets_dense_again() -> Result {
        const PAGES: usize = 60 * SLOTS;
        for (apart, most) in [(2, 46), (3, 43), (7, 41), (SLOTS, 40)] {
            let mut bench = Bench::new()?;
            for _ in 0..3 {
                for page in 0..PAGES {
                    assert!(bench.track(page));
                }
                bench.tidy();
                assert!(bench.records.bytes() <= most * PAGES);
                bench.forget(|page| page % apart != 0);
                bench.tidy();
            }
            bench.finish();
        }
        Ok(())
    }
}
