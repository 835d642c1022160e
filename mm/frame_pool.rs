// SPDX-License-Identifier: GPL-2.0

//! Frames to draw from, so that nobody knows which one a merged page is going to be.
//!
//! Each NUMA node has a pool of its own, which is filled when the first frame of a pass is drawn there, and
//! emptied when the pass is over: while nothing merges it holds nothing. A frame is drawn from a slot that is
//! chosen at random, and another one takes its place at once. So what was freed a moment ago, and is what the
//! kernel gives out next, comes into a slot, and stays there for as many draws as there are slots, on average.
//!
//! Where memory is short a slot stays empty. Who draws that one gets nothing: a frame that has come just now
//! may be one that somebody has freed for it.
//!
//! There is no lock: what is in a slot is exchanged in one go.

use super::{frame::Frame, kthread, memory, random};
use core::{ops::Range, ptr::NonNull};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        SetOnce,
    },
};

/// How many frames one is drawn from: 4 MiB.
const SLOTS: usize = 1024;

/// How many are taken or given back without a chance for others to have the CPU.
const AT_ONCE: usize = 64;

/// Room for a frame.
///
/// # Invariants
///
/// Null, or what came from `Frame::into_raw`.
struct Slot(Atomic<*mut bindings::folio>);

impl Slot {
    const fn new() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// Puts in a frame, or none, and takes what was there.
    fn exchange(&self, frame: Option<Frame>) -> Option<Frame> {
        let new = frame.map_or(core::ptr::null_mut(), Frame::into_raw);
        // INVARIANT: As `new` is. `Full`: what was done to the frame was done before.
        let old = self.0.xchg(new, Full);
        // SAFETY: By the type invariant it came from there, and it is in no slot any more.
        NonNull::new(old).map(|old| unsafe { Frame::from_raw(old) })
    }

    /// Gives back the frame, if it is one of `frames`.
    fn give_back(&self, frames: &Range<usize>) {
        if self.is_empty() {
            return;
        }
        let frame = self.exchange(None);
        if let Some(frame) = frame.filter(|frame| !frames.contains(&frame.pfn())) {
            // Should another have come meanwhile, that one goes.
            drop(self.exchange(Some(frame)));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.exchange(None));
    }
}

/// Those of one NUMA node.
struct Pool {
    nid: i32,
    /// Allocated when first needed.
    slots: SetOnce<KVec<Slot>>,
    is_filled: Atomic<bool>,
}

impl Pool {
    /// The slots, which hold as many frames as there are to be had.
    fn filled(&self) -> Option<&[Slot]> {
        if self.slots.as_ref().is_none() {
            let mut slots = KVec::with_capacity(SLOTS, GFP_KERNEL | __GFP_NOWARN).ok()?;
            for _ in 0..SLOTS {
                // There is room for them.
                let _fits = slots.push_within_capacity(Slot::new());
            }
            // Another scanner may have been first.
            let _first = self.slots.populate(slots);
        }
        let slots = self.slots.as_ref()?;
        if !self.is_filled.load(Relaxed) {
            self.fill(slots);
            self.is_filled.store(true, Relaxed);
        }
        Some(slots)
    }

    fn fill(&self, slots: &[Slot]) {
        for some in slots.chunks(AT_ONCE) {
            for slot in some.iter().filter(|slot| slot.is_empty()) {
                let Some(frame) = Frame::new(self.nid) else {
                    // The others are filled as they are drawn.
                    return;
                };
                drop(slot.exchange(Some(frame)));
            }
            kthread::cond_resched();
        }
    }

    /// Gives back those of `frames`.
    fn give_back(&self, frames: &Range<usize>) {
        let slots = self.slots.as_ref().map_or(&[][..], |slots| slots);
        for some in slots.chunks(AT_ONCE) {
            some.iter().for_each(|slot| slot.give_back(frames));
            kthread::cond_resched();
        }
    }
}

/// A frame that was drawn.
pub(crate) struct Drawn {
    pub(crate) frame: Frame,
    /// From which slot.
    pub(crate) slot: usize,
}

/// The pools of all NUMA nodes.
pub(crate) struct FramePools(KVec<Pool>);

impl FramePools {
    /// Empty ones.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut pools = KVec::new();
        for nid in 0..memory::nodes() {
            let pool = Pool {
                nid,
                slots: SetOnce::new(),
                is_filled: Atomic::new(false),
            };
            pools.push(pool, GFP_KERNEL)?;
        }
        Ok(Self(pools))
    }

    /// Draws a frame of NUMA node `nid`. `None`: there is no memory for it now. The first one of a pass may take
    /// a millisecond.
    pub(crate) fn draw(&self, nid: i32) -> Option<Drawn> {
        let pool = self.0.get(usize::try_from(nid).ok()?)?;
        let slots = pool.filled()?;
        let slot = random::below::<SLOTS>();
        let frame = slots.get(slot)?.exchange(Frame::new(nid))?;
        (!frame.is_poisoned()).then_some(Drawn { frame, slot })
    }

    /// Gives back all frames. One that somebody draws meanwhile may leave another one in its slot, until this is
    /// done again.
    pub(crate) fn give_back(&self) {
        for pool in &self.0 {
            pool.is_filled.store(false, Relaxed);
            pool.give_back(&(0..usize::MAX));
        }
    }

    /// Gives back frames that are about to go offline. The kernel gives out none of them any more by then.
    pub(crate) fn give_back_some(&self, frames: Range<usize>) {
        for pool in &self.0 {
            pool.give_back(&frames);
        }
    }
}

#[kunit_tests(rksm_frame_pool)]
mod tests {
    use super::*;

    fn held(pools: &FramePools) -> usize {
        let slots = pools.0.iter().filter_map(|pool| pool.slots.as_ref());
        slots.flatten().filter(|slot| !slot.is_empty()).count()
    }

    #[test]
    fn a_slot_has_one_frame() {
        let slot = Slot::new();
        let Some(frame) = Frame::new(0) else {
            return;
        };
        let pfn = frame.pfn();
        assert!(slot.exchange(Some(frame)).is_none());
        slot.give_back(&(0..pfn));
        assert!(!slot.is_empty());
        slot.give_back(&(pfn..pfn + 1));
        assert!(slot.is_empty());
    }

    #[test]
    fn what_is_drawn_is_replaced_and_all_is_given_back() -> Result {
        let pools = FramePools::new()?;
        assert_eq!(held(&pools), 0);
        for _ in 0..100 {
            let Some(drawn) = pools.draw(0) else {
                return Ok(());
            };
            assert!(drawn.slot < SLOTS);
        }
        assert_eq!(held(&pools), SLOTS);
        pools.give_back_some(0..1);
        assert_eq!(held(&pools), SLOTS);
        pools.give_back();
        assert_eq!(held(&pools), 0);
        assert!(pools.draw(-1).is_none());
        assert!(pools.draw(memory::nodes()).is_none());
        Ok(())
    }
}
