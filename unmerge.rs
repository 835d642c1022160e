// SPDX-License-Identifier: GPL-2.0

//! Giving back what was merged.

use crate::{
    engine::Engine,
    mm::{
        account,
        address_space::{Away, LiveMm, MOMENT},
        gate::Closed,
        kthread, signal, trace,
        vma::{unmerge_some, Part},
    },
    mm_slot::MmSlot,
    reap::forget_range,
};
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta, Instant, Monotonic},
};

/// How long unmerging goes on where it comes no farther: with processes that are exiting, or busy with
/// their address space.
const TIMEOUT: Delta = Delta::from_secs(10);

/// How long to look out for mmap locks in a round, in the end: for half of the time, with the pauses.
const PATIENCE: Delta = PAUSE;

/// How long to wait after a round that came no farther.
const PAUSE: Delta = Delta::from_millis(10);

/// Nobody merges anything, and nobody forgets anything but by this.
pub(crate) struct Standstill<'e> {
    pub(crate) engine: &'e Engine,
    _closed: Closed<'e>,
}

impl Engine {
    /// Waits until the steps that are under way have ended, and lets no other begin.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: a signal came.
    pub(crate) fn stand_still(&self) -> Result<Standstill<'_>> {
        Ok(Standstill {
            engine: self,
            _closed: self.work.close_interruptible()?,
        })
    }
}

impl Standstill<'_> {
    /// Gives every process its own pages back.
    ///
    /// One round is not always enough: a fork may have copied a mapping behind it, a swap-in may
    /// have been under way, a process on its way out still maps what it did, and one may be busy
    /// with its address space.
    ///
    /// # Errors
    ///
    /// Those of [`Standstill::until_done`]. `ENOMEM`: no page for a copy.
    pub(crate) fn unmerge_all(&self) -> Result {
        let engine = self.engine;
        self.leave_candidates();
        engine.passes.restart();
        let mut again = true;
        self.until_done(|way| {
            let mut all = true;
            for slot in engine.registry.iter() {
                way.goes_on()?;
                if again || !slot.is_unmerged() {
                    let done = self.unmerge_mm(&slot, way)?;
                    slot.set_unmerged(done);
                    all &= done;
                }
            }
            engine.ledger.prune(true);
            // All were gone through, and something came behind that: once more.
            again = all;
            Ok(all && engine.ledger.open().stable.is_empty())
        })?;
        // Nothing is merged any more. What is still recorded of processes that were busy is of no use.
        for slot in engine.registry.iter() {
            let mut turn = slot.turn(&engine.ledger.stats);
            // Nothing is held where nothing is merged.
            let _all = forget_range(&engine.ledger, &mut turn, 0, usize::MAX);
        }
        engine.ledger.stats.restart();
        Ok(())
    }

    /// Makes all candidates plain items, in the order of their memory: they would leave their tree when
    /// their turn comes, but one by one that takes several times as long.
    fn leave_candidates(&self) {
        let engine = self.engine;
        let Some(abandoned) = engine.ledger.abandon() else {
            return;
        };
        let leave = |slot: &MmSlot| {
            let mut turn = slot.turn(&engine.ledger.stats);
            let left = turn.records.leave_abandoned();
            engine.ledger.settle(left);
        };
        engine.registry.iter().for_each(|slot| leave(&slot));
        let mut id = 0;
        while let Some(slot) = engine.registry.dead_after(id) {
            id = slot.id();
            leave(&slot);
        }
        drop(abandoned);
    }

    /// Repeats a round until it says that all is done.
    ///
    /// # Errors
    ///
    /// Those of the round. `ERESTARTSYS`: a signal came. `EBUSY`: for ten seconds it came no farther.
    pub(crate) fn until_done(&self, mut round: impl FnMut(&mut Way<'_>) -> Result<bool>) -> Result {
        let mut way = Way {
            engine: self.engine,
            since: None,
            patience: MOMENT,
            busy: 0,
        };
        let mut patience = MOMENT.as_nanos();
        for slot in self.engine.registry.iter() {
            slot.set_cleared(0);
        }
        while !round(&mut way)? {
            way.goes_on()?;
            // A round that got farther is followed by the next one at once.
            if way.since.is_some() {
                fsleep(PAUSE);
            }
            // From the end of the first round on, which may have had much to look through.
            way.since.get_or_insert_with(Instant::now);
            patience = (patience * 4).min(PATIENCE.as_nanos());
            let each = patience / i64::from(way.busy.max(1));
            way.patience = Delta::from_nanos(each.max(MOMENT.as_nanos()));
            way.busy = 0;
        }
        Ok(())
    }

    /// False: it was not possible now. A process that is busy with its address space may have nothing
    /// to give back, as the stable tree says; what is recorded of it is left alone.
    fn unmerge_mm(&self, slot: &MmSlot, way: &mut Way<'_>) -> Result<bool> {
        slot.set_at(0);
        Ok(match self.walk(slot, way, Forget::All, unmerge_some)? {
            Done::All | Done::Away(Away::Gone) => true,
            Done::NotNow => false,
            Done::Away(Away::Busy) => {
                let alive = slot.space.alive();
                !alive.is_some_and(|alive| account::has_zero_pages(alive.mm()))
            }
        })
    }

    /// Unmerges an address space part by part, as `some` does it, and forgets what is known of what was
    /// unmerged, or of all.
    pub(crate) fn walk(
        &self,
        slot: &MmSlot,
        way: &mut Way<'_>,
        forget: Forget,
        some: fn(&LiveMm<'_>, usize) -> Result<Option<Part>>,
    ) -> Result<Done> {
        let ledger = &self.engine.ledger;
        let (mut from, mut all, mut copied) = (0, true, false);
        let mut stuck = Instant::<Monotonic>::now();
        loop {
            let part = match slot.space.enter_within(way.patience) {
                Ok(live) => some(&live, from)?,
                Err(away) => {
                    way.busy += u32::from(matches!(away, Away::Busy));
                    return Ok(Done::Away(away));
                }
            };
            let mut turn = slot.turn(&ledger.stats);
            let Some(part) = part else {
                if forget == Forget::All {
                    all &= forget_range(ledger, &mut turn, from, usize::MAX);
                }
                return Ok(if all { Done::All } else { Done::NotNow });
            };
            trace::unmerge(slot.space.id(), part.done.clone(), part.found, part.tables);
            // Part by part: the pages are still in the CPU's caches.
            let start = match forget {
                Forget::All => from,
                Forget::Parts => part.done.start,
            };
            all &= forget_range(ledger, &mut turn, start, part.done.end);
            all &= !part.leaves_out();
            drop(turn);
            if part.next > from {
                stuck = Instant::now();
            }
            // What was copied before is seen to be done, or the round comes farther than any before it. Merely
            // to come by what is left out again is no progress.
            if copied && part.done.end > from || part.done.end > slot.cleared() {
                way.since = None;
                slot.set_cleared(slot.cleared().max(part.done.end));
            }
            copied = part.found > 0 && !part.leaves_out();
            from = part.next;
            way.goes_on()?;
            // Others may move pages all the time.
            if stuck.elapsed() > TIMEOUT {
                return Ok(Done::NotNow);
            }
        }
    }
}

/// What is forgotten on the way through an address space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forget {
    All,
    /// What lies in the parts that were looked through.
    Parts,
}

/// How far the way through an address space went.
pub(crate) enum Done {
    All,
    /// Something was left out.
    NotNow,
    Away(Away),
}

/// The way through all address spaces.
pub(crate) struct Way<'e> {
    engine: &'e Engine,
    /// Since when it comes no farther.
    since: Option<Instant<Monotonic>>,
    /// How long to look out for an mmap lock.
    patience: Delta,
    /// How many in this round were not to be had.
    busy: u32,
}

impl Way<'_> {
    /// Between two parts: cleans up after address spaces that are gone.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: a signal came. `EBUSY`: it has come no farther for ten seconds.
    pub(crate) fn goes_on(&mut self) -> Result {
        if self.engine.registry.has_dead() {
            // What is held now is tried again.
            let _more = self.engine.reap_some();
        }
        kthread::cond_resched();
        if signal::pending() {
            return Err(ERESTARTSYS);
        }
        match self.since.is_some_and(|since| since.elapsed() > TIMEOUT) {
            true => Err(EBUSY),
            false => Ok(()),
        }
    }
}
