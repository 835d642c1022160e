// SPDX-License-Identifier: GPL-2.0

//! Which address spaces are registered.
//!
//! Each gets a number that rises. A pass goes from one number to the next, up to the last one that there
//! was when it began, and a place in it is a number: there is no cursor that an exit, an unmap or a fork
//! could leave dangling.
//!
//! One that exits leaves at once. If there are records to be forgotten, it is put aside for that;
//! nothing of it is looked for among the others.

use crate::{
    mm::{census::Member, trace},
    mm_slot::MmSlot,
};
use kernel::{
    mm::Mm,
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SpinLock,
    },
};

struct Slots {
    by_mm: RBTree<usize, Arc<MmSlot>>,
    by_id: RBTree<u64, Arc<MmSlot>>,
    /// Those that are gone or not registered any more, and of which there are records.
    dead: RBTree<u64, Arc<MmSlot>>,
}

/// All registered address spaces.
///
/// Its lock is innermost: the hooks take it under an mmap lock, and nothing is allocated under it.
#[pin_data]
pub(crate) struct Registry {
    next_id: Atomic<u64>,
    dead: Atomic<u64>,
    #[pin]
    slots: SpinLock<Slots>,
}

/// The key under which an address space is known while it is registered, which keeps a reference.
fn key(mm: &Mm) -> usize {
    mm.as_raw() as usize
}

/// What an exit leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    Nothing,
    /// There are records to be forgotten.
    Records,
}

impl Registry {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            next_id: Atomic::new(1),
            dead: Atomic::new(0),
            slots <- new_spinlock!(Slots {
                by_mm: RBTree::new(),
                by_id: RBTree::new(),
                dead: RBTree::new(),
            }, "rksm_slots"),
        })
    }

    /// Registers `mm`, unless it is registered already; `member` counts one with a number in its domain.
    /// True: it is the first one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn enter(
        &self,
        mm: &Mm,
        member: impl FnOnce(u64) -> Result<Member>,
    ) -> Result<bool> {
        let by_mm = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let by_id = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let id = self.next_id.fetch_add(1, Relaxed);
        let slot = MmSlot::new(id, mm, member(id)?)?;
        // Declared before the guard: what the tree does not take is dropped after unlocking.
        let (by_mm, by_id) = (
            by_mm.into_node(key(mm), slot.clone()),
            by_id.into_node(id, slot),
        );
        let mut slots = self.slots.lock();
        if slots.by_mm.get(&key(mm)).is_some() {
            drop(slots);
            drop((by_mm, by_id));
            return Ok(false);
        }
        trace::enter(mm);
        let first = slots.by_id.is_empty();
        slots.by_mm.insert(by_mm);
        slots.by_id.insert(by_id);
        Ok(first)
    }

    /// Unregisters `mm`, which is gone, and waits until nobody looks at it any more.
    pub(crate) fn exit(&self, mm: &Mm) -> Remains {
        let Some(slot) = self.of(mm) else {
            return Remains::Nothing;
        };
        slot.space.close();
        // Whoever has the turn now may still make records, and whoever takes it later does not: it
        // finds the gate closed.
        let empty = slot.is_surely_empty();
        let mut slots = self.slots.lock();
        let by_mm = slots.by_mm.remove_node(&slot.space.id());
        let by_id = slots.by_id.remove_node(&slot.id());
        let mut remains = Remains::Nothing;
        let mut rest = None;
        match by_id {
            Some(node) if !empty => {
                slots.dead.insert(node);
                self.dead.add(1, Relaxed);
                remains = Remains::Records;
            }
            other => rest = other,
        }
        drop(slots);
        // Outside of the lock: this may free a lot.
        drop((by_mm, rest));
        remains
    }

    /// The registered address space that `mm` is.
    pub(crate) fn of(&self, mm: &Mm) -> Option<Arc<MmSlot>> {
        self.slots.lock().by_mm.get(&key(mm)).cloned()
    }

    /// The first registered address space with a number above `id`.
    pub(crate) fn after(&self, id: u64) -> Option<Arc<MmSlot>> {
        let slots = self.slots.lock();
        let cursor = slots.by_id.cursor_lower_bound(&(id + 1))?;
        Some(cursor.current().1.clone())
    }

    /// The registered address spaces with a number above `id`, and not above `last`.
    pub(crate) fn between(&self, id: u64, last: u64) -> impl Iterator<Item = Arc<MmSlot>> + '_ {
        let mut id = id;
        core::iter::from_fn(move || {
            let slot = self.after(id).filter(|slot| slot.id() <= last)?;
            id = slot.id();
            Some(slot)
        })
    }

    /// Those that are registered now.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<MmSlot>> + '_ {
        self.between(0, self.last_id())
    }

    /// The highest number that an address space has.
    pub(crate) fn last_id(&self) -> u64 {
        self.next_id.load(Relaxed) - 1
    }

    /// Unregisters an address space that lives. What is recorded of it is to be forgotten.
    pub(crate) fn remove(&self, slot: &MmSlot) {
        slot.space.shut();
        let by_mm = {
            let mut slots = self.slots.lock();
            let Some(by_id) = slots.by_id.remove_node(&slot.id()) else {
                return;
            };
            slots.dead.insert(by_id);
            self.dead.add(1, Relaxed);
            slots.by_mm.remove_node(&slot.space.id())
        };
        drop(by_mm);
    }

    /// Whether there are records of address spaces that are gone.
    pub(crate) fn has_dead(&self) -> bool {
        self.dead.load(Relaxed) > 0
    }

    /// The first address space that is gone, with a number above `id`, and of which there are records.
    pub(crate) fn dead_after(&self, id: u64) -> Option<Arc<MmSlot>> {
        let slots = self.slots.lock();
        let cursor = slots.dead.cursor_lower_bound(&(id + 1))?;
        Some(cursor.current().1.clone())
    }

    /// Lets go of an address space that is gone, and of which all is forgotten.
    pub(crate) fn bury(&self, slot: &MmSlot) {
        let node = {
            let mut slots = self.slots.lock();
            slots.dead.remove_node(&slot.id())
        };
        if node.is_some() {
            self.dead.fetch_sub(1, Relaxed);
        }
        drop(node);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.lock().by_id.is_empty()
    }
}
