// SPDX-License-Identifier: GPL-2.0

//! Whose memory is merged: that of those who asked for it, or everybody's.
//!
//! With [`Scope::All`] nothing of a process changes but that it is registered: its VMAs are looked at
//! as if they were advised. So there is nothing to take back from it but merged pages. New processes
//! are registered when a pass begins, those that a registered one forks at once.
//!
//! A process is left out if it, or the one it was forked from, called `prctl(PR_SET_MEMORY_MERGE, 0)`:
//! the kernel remembers that over fork and exec, and unmerges what was merged unasked.

use crate::{
    engine::Engine,
    mm::{
        address_space::Away,
        kthread, provider, signal, tasks,
        vma::{any_advised_from, unmerge_some_unasked, Sought, VMAS},
    },
    mm_slot::MmSlot,
    reap::forget_range,
    settings::Scope,
    unmerge::{Done, Forget, Standstill, Way},
};
use kernel::{prelude::*, sync::atomic::Relaxed};

impl Engine {
    /// Registers all processes. One that cannot be registered now is when the next pass begins.
    /// Returns how many threads were looked at.
    pub(crate) fn enrol_everyone(&self) -> u64 {
        let mut threads = 0;
        for mm in tasks::address_spaces() {
            threads += 1;
            if !self.should_scan() {
                break;
            }
            let _busy = provider::enrol(&mm);
            kthread::cond_resched();
        }
        threads
    }

    /// Changes the scope. What only the larger one had brought in is unmerged when it ends.
    ///
    /// # Errors
    ///
    /// As for unmerging; the scope is as before then, though some of it may be unmerged.
    pub(crate) fn change_scope(&self, scope: Scope) -> Result {
        let _victim = signal::OomOrigin::new();
        let standstill = self.stand_still()?;
        let knob = &self.settings.scope;
        if knob.get() == scope {
            return Ok(());
        }
        knob.set(scope);
        let result = match scope {
            Scope::All => {
                self.unasked.store(true, Relaxed);
                Ok(())
            }
            Scope::Madvise => standstill.narrow(),
        };
        match (scope, result) {
            (Scope::Madvise, Ok(())) => self.unasked.store(false, Relaxed),
            (_, Err(_)) => knob.set(Scope::All),
            _ => {}
        }
        drop(standstill);
        self.wake_all();
        result
    }
}

impl Standstill<'_> {
    /// Gives back what was merged unasked, and forgets who has not asked for anything.
    fn narrow(&self) -> Result {
        let mut first = true;
        self.until_done(|way| {
            let registry = &self.engine.registry;
            let (last, mut all) = (registry.last_id(), true);
            for slot in registry.between(0, last) {
                slot.set_scope(Scope::Madvise);
                if first || !slot.is_unmerged() {
                    let done = self.narrow_one(&slot, way)?;
                    slot.set_unmerged(done);
                    all &= done;
                    way.goes_on()?;
                }
            }
            first = false;
            // One that was forked meanwhile may have come too late to be seen, and too early not to have
            // anything.
            Ok(all && registry.last_id() == last)
        })
    }

    /// False: it was not possible now.
    fn narrow_one(&self, slot: &MmSlot, way: &mut Way<'_>) -> Result<bool> {
        match self.walk(slot, way, Forget::Parts, unmerge_some_unasked)? {
            Done::NotNow => return Ok(false),
            Done::Away(away) => return Ok(away == Away::Gone),
            Done::All => {}
        }
        let Ok(live) = slot.space.try_enter() else {
            return Ok(slot.space.is_closed());
        };
        // One with more VMAs stays registered, and so does one with pages that came back from swap.
        let unwanted = matches!(any_advised_from(&live, 0, &mut { VMAS }), Sought::Nowhere);
        let gone = unwanted && self.engine.unregister(slot, &live);
        drop(live);
        if gone {
            let ledger = &self.engine.ledger;
            // What is held now is forgotten soon.
            let _all = forget_range(ledger, &mut slot.turn(&ledger.stats), 0, usize::MAX);
        }
        Ok(true)
    }
}
