// SPDX-License-Identifier: GPL-2.0

//! Which address spaces are registered.
//!
//! Each gets a number that rises. A scan goes from one number to the next, and a place in it is a
//! number: there is no cursor that an exit, an unmap or a fork could leave dangling, and an address
//! space that comes while a pass is under way is come to at its end.

use crate::{
    engine::State,
    intrusive::items::Blocks,
    mm::{
        address_space::{Gate, LiveMm},
        trace,
    },
    scope::Scope,
};
use kernel::{
    mm::Mm,
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, LockedBy, Mutex, SpinLock,
    },
};

/// A registered address space.
#[pin_data]
pub(crate) struct MmSlot {
    id: u64,
    #[pin]
    gate: Gate,
    /// Whether `Slots::exited` counts it. Only used under the lock of the registry.
    counted: Atomic<bool>,
    /// The records of its pages.
    pub(crate) blocks: LockedBy<Blocks, State>,
}

impl MmSlot {
    fn new(state: &Mutex<State>, id: u64, mm: &Mm) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                id,
                gate <- Gate::new(mm),
                counted: Atomic::new(false),
                blocks: LockedBy::new(state, Blocks::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// One that is in no registry.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn for_test(state: &Mutex<State>, mm: &Mm) -> Result<Arc<Self>> {
        Self::new(state, 0, mm)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn mm(&self) -> &Mm {
        self.gate.mm()
    }

    /// Locks the address space, unless it is gone or cannot be locked now.
    pub(crate) fn enter(&self) -> Option<LiveMm<'_>> {
        self.gate.enter()
    }

    /// Says how much of it is merged.
    pub(crate) fn set_scope(&self, scope: Scope) {
        self.gate.set_unasked(scope == Scope::All);
    }

    /// Whether the address space could not be locked when it was last tried.
    pub(crate) fn is_busy(&self) -> bool {
        self.gate.is_stuck()
    }

    /// Whether the address space is gone. Its page tables are never looked at again then.
    pub(crate) fn has_exited(&self) -> bool {
        self.gate.is_closed()
    }
}

struct Slots {
    by_mm: RBTree<usize, Arc<MmSlot>>,
    by_id: RBTree<u64, Arc<MmSlot>>,
    next_id: u64,
    exited: usize,
}

/// All registered address spaces.
///
/// Its lock is innermost: the hooks take it under an mmap lock, and nothing is allocated under it.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    slots: SpinLock<Slots>,
}

/// The key under which an address space is known while it is registered, which keeps a reference.
fn key(mm: &Mm) -> usize {
    mm.as_raw() as usize
}

impl Registry {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            slots <- new_spinlock!(Slots {
                by_mm: RBTree::new(),
                by_id: RBTree::new(),
                next_id: 1,
                exited: 0,
            }, "rksm_slots"),
        })
    }

    /// Registers `mm`, unless it is registered already. True: it is the first one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn enter(&self, state: &Mutex<State>, mm: &Mm) -> Result<bool> {
        let by_mm = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let by_id = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let id = {
            let mut slots = self.slots.lock();
            slots.next_id += 1;
            slots.next_id
        };
        let slot = MmSlot::new(state, id, mm)?;
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

    /// Notes that `mm` is gone, and waits until nobody looks at it any more. True: it was
    /// registered, and is left to the scanner to clean up.
    pub(crate) fn exit(&self, mm: &Mm) -> bool {
        let slot = self.slots.lock().by_mm.get(&key(mm)).cloned();
        let Some(slot) = slot else {
            return false;
        };
        slot.gate.close();
        let mut slots = self.slots.lock();
        // The scanner may have found out by itself meanwhile.
        let registered = slots.by_id.get(&slot.id).is_some();
        if registered {
            slots.exited += 1;
            slot.counted.store(true, Relaxed);
        }
        registered
    }

    /// The first registered address space with a number above `id`.
    pub(crate) fn after(&self, id: u64) -> Option<Arc<MmSlot>> {
        let slots = self.slots.lock();
        let cursor = slots.by_id.cursor_lower_bound(&(id + 1))?;
        Some(cursor.current().1.clone())
    }

    /// All registered address spaces, also those that are registered meanwhile.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<MmSlot>> + '_ {
        let mut id = 0;
        core::iter::from_fn(move || {
            let slot = self.after(id)?;
            id = slot.id();
            Some(slot)
        })
    }

    /// Unregisters an address space.
    pub(crate) fn remove(&self, slot: &MmSlot) {
        let nodes = {
            let mut slots = self.slots.lock();
            if slots.by_id.get(&slot.id).is_none() {
                return;
            }
            if slot.counted.load(Relaxed) {
                slots.exited -= 1;
            }
            (
                slots.by_mm.remove_node(&key(slot.mm())),
                slots.by_id.remove_node(&slot.id),
            )
        };
        // Outside of the lock: this may drop the last reference to the address space.
        drop(nodes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.lock().by_id.is_empty()
    }

    /// Whether the scanner has address spaces to clean up after.
    pub(crate) fn has_exited(&self) -> bool {
        self.slots.lock().exited > 0
    }
}
