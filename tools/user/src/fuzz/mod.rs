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

use kernel::prelude::*;
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
