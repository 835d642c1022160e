// SPDX-License-Identifier: GPL-2.0

//! Everything that is done to records and books, at random, beside a model of them.
//!
//! The same number as `SEED` gives the same steps: one that is not given is drawn, and printed by a test
//! that fails.

mod check;
mod domains;
mod model;
mod numbers;
mod steps;
mod threads;
mod world;

use crate::{
    books::Ledger,
    intrusive::{
        candidates::Found,
        item::Key,
        leaf::{LeafCache, Spares},
        records::Records,
    },
    mm::fake_mm,
    tally::Tally,
};
use kernel::{page::PAGE_SIZE, prelude::*};
use numbers::Numbers;
use world::World;

/// Steps of the test, each of up to a hundred pages.
const STEPS: usize = 10_000;

/// How many steps there are between two looks at everything.
const LOOK_EVERY: usize = 16;

fn run(steps: usize, lacking: u32) -> Result {
    let mut world = World::new(Numbers::seeded(), lacking)?;
    for step in 0..steps {
        world.step()?;
        if step % LOOK_EVERY == 0 {
            world.check();
        }
    }
    world.check();
    world.finish();
    Ok(())
}

#[test]
fn books_and_records_agree_with_a_model() -> Result {
    run(STEPS, 0)
}

/// The same with memory that is not there now and then.
#[test]
fn they_do_when_memory_is_scarce() -> Result {
    run(STEPS, 5)
}

/// Nothing is merged yet, and two pages are about to be.
#[test]
fn what_is_claimed_counts_as_merged() -> Result {
    let cache = LeafCache::create(c"rksm_test_leaf")?;
    let ledger = KBox::pin_init(Ledger::new(), GFP_KERNEL)?;
    let (space, region) = (fake_mm::space()?, fake_mm::region(7));
    let (mut records, mut spares, mut tally) = (Records::new(), Spares::new(), Tally::default());
    spares.fill(&cache);
    let (waits, comes) = (0, PAGE_SIZE);
    for address in [waits, comes] {
        let found = records.found(address, &space, &region, &mut spares);
        assert!(found.is_ok());
        let item = records.find(address).ok_or(EINVAL)?;
        assert!(tally.see(item, Key::of(1 << 40)));
    }
    let item = |address| records.find(address).ok_or(EINVAL);
    let mut books = ledger.open();
    assert!(matches!(
        books.candidates.claim_or_insert(item(waits)?),
        Found::None
    ));
    assert!(books.is_unmerged());
    let Found::Claim(claim) = books.candidates.claim_or_insert(item(comes)?) else {
        return Err(EINVAL);
    };
    assert!(!books.is_unmerged());
    books.candidates.put_back(claim);
    assert!(books.is_unmerged());
    for address in [waits, comes] {
        assert!(books.leave(item(address)?, &mut tally).is_ok());
        assert!(tally.forget(item(address)?));
    }
    Ok(())
}
