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
    control::{Control, Run},
    engine::{Engine, State},
    mm::{
        kthread, provider, signal, tasks,
        vma::{any_advised, mergeable_vmas, unmerge_some_unasked},
    },
    mm_slot::MmSlot,
    settings::Value,
    unmerge::Way,
};
use kernel::{prelude::*, sync::atomic::Relaxed};

/// Whose memory is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What `madvise()` or `prctl()` has asked for.
    Madvise = 0,
    /// All that can be, but for processes that want to be left out.
    All = 1,
}

impl Value for Scope {
    fn to_bits(self) -> u64 {
        // The discriminants above.
        self as u64
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Madvise,
            _ => Self::All,
        }
    }
}

impl Engine {
    /// Registers all processes. One that cannot be registered now is when the next pass begins.
    pub(crate) fn enrol_everyone(&self) {
        for mm in tasks::address_spaces() {
            if self.run() != Run::Merge {
                return;
            }
            let _ = provider::enrol(&mm);
            kthread::cond_resched();
        }
    }

    /// Changes the scope. What only the larger one had brought in is unmerged when it ends.
    ///
    /// # Errors
    ///
    /// As for unmerging; the scope is as before then, though some of it may be unmerged.
    pub(crate) fn change_scope(&self, scope: Scope) -> Result {
        let knob = &self.settings.scope;
        let mut state = self.state.lock();
        if knob.get() == scope {
            return Ok(());
        }
        knob.set(scope);
        let mut result = Ok(());
        if scope == Scope::All {
            self.unasked.store(true, Relaxed);
        } else {
            let _victim = signal::OomOrigin::new();
            result = self.narrow(&mut state);
            match result {
                Ok(()) => self.unasked.store(false, Relaxed),
                Err(_) => knob.set(Scope::All),
            }
        }
        self.publish(&state);
        drop(state);
        self.wakeup.wake();
        result
    }

    /// Gives back what was merged unasked, and forgets who has not asked for anything.
    fn narrow(&self, state: &mut State) -> Result {
        self.until_done(|| {
            let mut all = true;
            for slot in self.registry.iter() {
                slot.set_scope(Scope::Madvise);
                all &= self.narrow_one(state, &slot)?;
                if signal::pending() {
                    return Err(ERESTARTSYS);
                }
                kthread::cond_resched();
            }
            Ok(all)
        })
    }

    /// False: it was not possible now.
    fn narrow_one(&self, state: &mut State, slot: &MmSlot) -> Result<bool> {
        let (mut from, mut all) = (0, true);
        let mut way = Way::new();
        let live = loop {
            let Some(live) = slot.enter() else {
                return Ok(slot.has_exited());
            };
            let Some(part) = unmerge_some_unasked(&live, from)? else {
                break live;
            };
            drop(live);
            state.forget_range(slot, part.done.start, part.done.end);
            all &= !part.leaves_out();
            from = part.next;
            if !way.goes_on(from)? {
                return Ok(false);
            }
        };
        if !all {
            return Ok(false);
        }
        if !any_advised(&live) {
            self.unregister(slot, &live);
            drop(live);
            state.forget_range(slot, 0, usize::MAX);
            return Ok(true);
        }
        let mut from = 0;
        for vma in mergeable_vmas(&live, 0) {
            state.forget_range(slot, from, vma.start());
            from = vma.end();
        }
        state.forget_range(slot, from, usize::MAX);
        Ok(true)
    }
}
