// SPDX-License-Identifier: GPL-2.0

//! Frames to draw from, so that nobody knows which one a merged page is going to be.
//!
//! Each NUMA node has a pool of its own, which is filled when a frame is needed there for the first time, and
//! emptied when scanning stops: while nothing merges it holds nothing. A frame is drawn from a slot that is
//! chosen at random, and another one takes its place at once. So what was freed a moment ago, and is what the
//! kernel gives out next, comes into a slot, and stays there for as many draws as there are slots, on average.
//!
//! Where memory is short a slot stays empty. Who draws that one gets nothing: a frame that has come just now
//! may be one that somebody has freed for it.
//!
//! There is no lock: what is in a slot is exchanged in one go.

use super::{frame::Frame, kthread, memory, random};
use core::ptr::NonNull;
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
    /// Has the slots hold as many frames as there are to be had.
    fn prepare(&self) {
        if self.slots.as_ref().is_none() {
            let Ok(mut slots) = KVec::with_capacity(SLOTS, GFP_KERNEL | __GFP_NOWARN) else {
                return;
            };
            for _ in 0..SLOTS {
                // There is room for them.
                let _fits = slots.push_within_capacity(Slot::new());
            }
            // Another scanner may have been first.
            let _first = self.slots.populate(slots);
        }
        let slots = self
            .slots
            .as_ref()
            .filter(|_| !self.is_filled.load(Relaxed));
        if let Some(slots) = slots {
            self.fill(slots);
            self.is_filled.store(true, Relaxed);
        }
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

    fn give_back(&self) {
        let slots = self.slots.as_ref().map_or(&[][..], |slots| slots);
        for some in slots.chunks(AT_ONCE) {
            some.iter().for_each(|slot| drop(slot.exchange(None)));
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

    fn of(&self, nid: i32) -> Option<&Pool> {
        self.0.get(usize::try_from(nid).ok()?)
    }

    /// Has the pool of NUMA node `nid` filled. May sleep, and take a millisecond for the first time.
    pub(crate) fn prepare(&self, nid: i32) {
        if let Some(pool) = self.of(nid) {
            pool.prepare();
        }
    }

    /// Draws a frame of NUMA node `nid`. `None`: there is no memory for it now, or the pool has not been filled.
    pub(crate) fn draw(&self, nid: i32) -> Option<Drawn> {
        let slots = self.of(nid)?.slots.as_ref()?;
        let slot = random::below::<SLOTS>();
        let frame = slots.get(slot)?.exchange(Frame::new(nid))?;
        (!frame.is_poisoned()).then_some(Drawn { frame, slot })
    }

    /// Gives back all frames. One that somebody draws meanwhile may leave another one in its slot, until this is
    /// done again.
    pub(crate) fn give_back(&self) {
        for pool in &self.0 {
            pool.is_filled.store(false, Relaxed);
            pool.give_back();
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
        assert!(!slot.is_empty());
        assert_eq!(slot.exchange(None).map(|frame| frame.pfn()), Some(pfn));
        assert!(slot.is_empty());
    }

    #[test]
    fn what_is_drawn_is_replaced_and_all_is_given_back() -> Result {
        let pools = FramePools::new()?;
        assert!(pools.draw(0).is_none());
        pools.prepare(0);
        if held(&pools) < SLOTS {
            return Ok(());
        }
        for _ in 0..100 {
            let Some(drawn) = pools.draw(0) else {
                return Ok(());
            };
            assert!(drawn.slot < SLOTS);
        }
        assert_eq!(held(&pools), SLOTS);
        pools.give_back();
        assert_eq!(held(&pools), 0);
        pools.prepare(-1);
        assert!(pools.draw(-1).is_none());
        assert!(pools.draw(memory::nodes()).is_none());
        Ok(())
    }
}
