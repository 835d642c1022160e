// SPDX-License-Identifier: GPL-2.0

//! Giving back what was merged.

use crate::{
    engine::{Engine, State},
    intrusive::candidates::Candidates,
    mm::{account, kthread, signal, vma::unmerge_some},
    mm_slot::MmSlot,
    scan::Cursor,
};
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta, Instant, Monotonic},
};

/// How long unmerging waits for merged pages that it cannot get at: those of a process that is
/// exiting, or busy with its address space.
const UNMERGE_TIMEOUT_SECS: i64 = 10;

impl Engine {
    /// Gives every process its own pages back.
    ///
    /// One round is not always enough: a fork may have copied a mapping behind it, a swap-in may
    /// have been under way, a process on its way out still maps what it did, and one may be busy
    /// with its address space.
    pub(crate) fn unmerge_all(&self, state: &mut State) -> Result {
        self.leave_candidates(state);
        self.until_done(|| {
            let mut all = true;
            for slot in self.registry.iter() {
                all &= self.unmerge_mm(state, &slot)?;
            }
            state.stable.detach_unmapped();
            Ok(all && state.stable.is_empty())
        })?;
        // Nothing is merged any more. What is still recorded of processes that were busy is of no
        // use, and the nodes in it would keep the module loaded.
        for slot in self.registry.iter() {
            state.forget_all(&slot);
        }
        state.cursor = Cursor::start();
        state.full_scans = 0;
        Ok(())
    }

    /// Makes all candidates plain items. They would leave their trees when their turn comes, but one by
    /// one that takes several times as long.
    fn leave_candidates(&self, state: &mut State) {
        let mut candidates = core::mem::replace(&mut state.candidates, Candidates::new());
        // Few are found faster in the trees.
        let many = candidates.len() as u64 > state.tracked / 8;
        candidates.leave_all(|visit| {
            if !many {
                return;
            }
            for slot in self.registry.iter() {
                for block in slot.blocks.access_mut(state).all() {
                    block.tracked(0, usize::MAX).for_each(&mut *visit);
                    kthread::cond_resched();
                }
            }
        });
    }

    /// Repeats a round until it says that all is done.
    ///
    /// # Errors
    ///
    /// Those of the round. `ERESTARTSYS`: a signal came. `EBUSY`: it did not get done in ten
    /// seconds.
    pub(crate) fn until_done(&self, mut round: impl FnMut() -> Result<bool>) -> Result {
        let mut begin = None;
        while !round()? {
            if signal::pending() {
                return Err(ERESTARTSYS);
            }
            // From the end of the first round, which may have had much to do.
            let begin = *begin.get_or_insert_with(Instant::<Monotonic>::now);
            if begin.elapsed() > Delta::from_secs(UNMERGE_TIMEOUT_SECS) {
                return Err(EBUSY);
            }
            fsleep(Delta::from_millis(10));
        }
        Ok(())
    }

    /// False: it was not possible now. A process that is busy with its address space may have nothing
    /// to give back, as the stable tree says; what is recorded of it is left alone.
    fn unmerge_mm(&self, state: &mut State, slot: &MmSlot) -> Result<bool> {
        let (mut from, mut all) = (0, true);
        let mut way = Way::new();
        loop {
            let part = match slot.enter() {
                Some(live) => unmerge_some(&live, from)?,
                None if slot.has_exited() => {
                    self.drop_slot(state, slot);
                    return Ok(true);
                }
                None => return Ok(!account::has_zero_pages(slot.mm())),
            };
            let Some(part) = part else {
                state.forget_range(slot, from, usize::MAX);
                return Ok(all);
            };
            // Part by part: the pages are still in the CPU's caches.
            state.forget_range(slot, from, part.done.end);
            all &= !part.leaves_out();
            from = part.next;
            if !way.goes_on(from)? {
                return Ok(false);
            }
        }
    }
}

/// The way through an address space, which ends where it comes no farther: others may move pages all
/// the time.
pub(crate) struct Way {
    reached: usize,
    since: Instant<Monotonic>,
}

impl Way {
    pub(crate) fn new() -> Self {
        Self {
            reached: 0,
            since: Instant::now(),
        }
    }

    /// Whether to go on from `address`.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: a signal came.
    pub(crate) fn goes_on(&mut self, address: usize) -> Result<bool> {
        if signal::pending() {
            return Err(ERESTARTSYS);
        }
        kthread::cond_resched();
        if address > self.reached {
            (self.reached, self.since) = (address, Instant::now());
        }
        Ok(self.since.elapsed() < Delta::from_secs(UNMERGE_TIMEOUT_SECS))
    }
}
