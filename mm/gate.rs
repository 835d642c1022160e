// SPDX-License-Identifier: GPL-2.0

//! A gate that many go through, until somebody closes it and waits for those inside.
//!
//! Entering takes one atomic operation and never waits. So nobody who is inside holds up anybody but
//! the one who closes the gate.

use super::kthread::{new_wait_queue, WaitQueue};
use kernel::{
    io::poll::read_poll_timeout,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed, Release},
    time::Delta,
};

/// Added to the number of those inside once the gate is closed.
const CLOSED: i32 = 1 << 30;

/// # Invariants
///
/// `inside` is the number of [`Inside`]s that refer to this, and `CLOSED` more while it is closed.
#[pin_data]
pub(crate) struct Gate {
    inside: Atomic<i32>,
    /// Who closed it waits here, and who wants to.
    #[pin]
    emptied: WaitQueue,
}

impl Gate {
    /// An open gate.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inside: Atomic::new(0),
            emptied <- new_wait_queue!("rksm_gate"),
        })
    }

    /// Goes inside. `None`: the gate is closed.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        let mut inside = self.inside.load(Relaxed);
        while inside < CLOSED {
            // `Acquire`: what was done while the gate was closed is seen inside.
            match self.inside.cmpxchg(inside, inside + 1, Acquire) {
                // INVARIANT: Counted just now.
                Ok(_) => return Some(Inside { gate: self }),
                Err(now) => inside = now,
            }
        }
        None
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inside.load(Relaxed) >= CLOSED
    }

    /// Closes the gate and waits until nobody is inside. False, and nothing done, where it is closed
    /// already.
    pub(crate) fn close(&self) -> bool {
        let closed = self.shut();
        if closed {
            self.emptied.wait(|| self.is_empty());
        }
        closed
    }

    /// The same for a gate that is opened again: who finds it closed waits for its turn. A signal ends the
    /// wait, and leaves the gate as it was.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: a signal came.
    pub(crate) fn close_interruptible(&self) -> Result<Closed<'_>> {
        self.emptied.wait_interruptible(|| self.shut())?;
        let closed = Closed { gate: self };
        self.emptied.wait_interruptible(|| self.is_empty())?;
        Ok(closed)
    }

    /// Waits until nobody is inside, but no longer than `patience`. Others may come in meanwhile.
    pub(crate) fn wait_a_little(&self, patience: Delta) {
        let inside = || Ok(self.inside.load(Acquire) % CLOSED);
        let pause = Delta::from_micros(100);
        // Who comes to its end later does so without us.
        let _timeout = read_poll_timeout(inside, |inside| *inside == 0, pause, patience);
    }

    /// Lets nobody in any more. False where the gate was closed already.
    pub(crate) fn shut(&self) -> bool {
        let mut inside = self.inside.load(Relaxed);
        while inside < CLOSED {
            match self.inside.cmpxchg(inside, inside + CLOSED, Full) {
                Ok(_) => return true,
                Err(now) => inside = now,
            }
        }
        false
    }

    fn is_empty(&self) -> bool {
        // `Acquire`: pairs with the one who leaves.
        self.inside.load(Acquire) == CLOSED
    }
}

/// Somebody is inside.
///
/// # Invariants
///
/// `gate` counts this.
pub(crate) struct Inside<'g> {
    gate: &'g Gate,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // `Release`: whoever finds the gate empty sees what was done inside.
        if self.gate.inside.fetch_sub(1, Release) == CLOSED + 1 {
            self.gate.emptied.wake();
        }
    }
}

/// Nobody is inside, until this is dropped.
pub(crate) struct Closed<'g> {
    gate: &'g Gate,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        // `Release`: pairs with `enter`.
        self.gate.inside.fetch_sub(CLOSED, Release);
        // Somebody may wait for its turn to close it.
        self.gate.emptied.wake();
    }
}
