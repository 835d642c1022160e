// SPDX-License-Identifier: GPL-2.0

//! The records of the tracked pages of one address space: one [`Item`] a page, [`SLOTS`] to a [`Leaf`].
//!
//! A record is what merging costs for each page that cannot be merged, so it is small: 32 bytes for what
//! is known of a page ([`Item`]), four for its address and region, and a share of its
//! leaf. A leaf stands for a range of addresses, and holds the records of up to [`SLOTS`] pages in it
//! in no order, however far from each other. A lone page therefore takes no more than one among others.
//!
//! The leaves stand in a tree by where their ranges begin; a range ends where the next one begins. The
//! scanner comes in order of address, so that leaves are filled to the last slot; one that is full where
//! a page comes in between gives some of its records to a new leaf ([`Records::split`]).
//!
//! # Who may do what
//!
//! Whoever has a [`Records`] has the *turn*: it makes and frees records, and changes what is
//! known of pages that are in no tree. Records that stand in the tree of candidates or among the sharers
//! of a merged page are also reached from there: what is done to them then is said in
//! [`item`](super::item).
//!
//! [`Item`]: super::item::Item

use super::{
    item::ItemRef,
    leaf::{Leaf, NoRecord, Spares, SLOTS},
    rb::{RawTree, Search},
};
use crate::mm::{
    address_space::AddressSpace, anon_vma::Region, kthread::cond_resched, slab::SlabBox,
};
use core::{cell::Cell, ptr::NonNull};
use kernel::sync::Arc;

/// How many candidates were found that an abandoned tree had. Only [`Records::leave_abandoned`] makes
/// them.
#[must_use]
pub(crate) struct Left(pub(super) usize);

/// The records of one address space.
///
/// # Invariants
///
/// `leaves` owns its elements, and holds them by where their ranges begin. All taken places of a leaf are
/// in its range.
pub(crate) struct Records {
    leaves: RawTree<Leaf>,
    /// The leaf that was looked at last, and where its range ends.
    last: Cell<Option<(NonNull<Leaf>, usize)>>,
    /// The slot that is looked at first.
    guess: Cell<usize>,
    bytes: usize,
}

// SAFETY: Whoever has this reaches what no tree or list leads to. What one leads to is guarded as
// `item` says.
unsafe impl Send for Records {}

impl Records {
    pub(crate) const fn new() -> Self {
        Self {
            leaves: RawTree::new(),
            last: Cell::new(None),
            guess: Cell::new(0),
            bytes: 0,
        }
    }

    /// Bytes that are allocated for them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leaves.first().is_none()
    }

    /// # Safety
    ///
    /// `leaf` is in the tree.
    unsafe fn leaf<'r>(&'r self, leaf: NonNull<Leaf>) -> &'r Leaf {
        // SAFETY: By the type invariant it is live, and it is only freed by methods that borrow
        // `self` mutably.
        unsafe { leaf.as_ref() }
    }

    /// Where the range of `leaf` ends.
    ///
    /// # Safety
    ///
    /// `leaf` is in the tree.
    unsafe fn end_of(&self, leaf: NonNull<Leaf>) -> usize {
        // SAFETY: It is in the tree, says the caller.
        match unsafe { self.leaves.next(leaf) } {
            // SAFETY: `next` is in the tree.
            Some(next) => unsafe { self.leaf(next) }.start(),
            None => usize::MAX,
        }
    }

    /// The leaf into whose range `address` falls.
    fn leaf_for(&self, address: usize) -> Option<NonNull<Leaf>> {
        if let Some((last, end)) = self.last.get() {
            // SAFETY: What frees or adds leaves forgets `last`.
            let start = unsafe { self.leaf(last) }.start();
            if (start..end).contains(&address) {
                return Some(last);
            }
        }
        let leaf = self.leaves.floor(|leaf| leaf.start() > address)?;
        // SAFETY: It was just found in the tree.
        self.last.set(Some((leaf, unsafe { self.end_of(leaf) })));
        Some(leaf)
    }

    /// The record for the page at `address`.
    pub(crate) fn find(&self, address: usize) -> Option<ItemRef<'_>> {
        let leaf = self.leaf_for(address)?;
        // SAFETY: It was found in the tree.
        let leaf = unsafe { self.leaf(leaf) };
        let slot = leaf.slot_of(address, self.guess.get())?;
        self.guess.set(slot + 1);
        Some(ItemRef::new(leaf, slot))
    }

    /// The record of the page that a look has found at `address`.
    pub(crate) fn find_found(&self, address: usize) -> Option<ItemRef<'_>> {
        self.find(address).filter(|item| {
            let (leaf, slot) = item.place();
            leaf.found.get() & 1 << slot != 0
        })
    }

    /// Notes that a look found the page at `address` mapped, which is of `region`. A record is made for
    /// it if there is none. One that is of another region is no record of this page: it counts as lost.
    ///
    /// # Errors
    ///
    /// Why there is no record.
    pub(crate) fn found(
        &mut self,
        address: usize,
        space: &Arc<AddressSpace>,
        region: &Region,
        spares: &mut Spares,
    ) -> Result<(), NoRecord> {
        if let Some(item) = self.find(address) {
            if item.is_of(region) {
                let (leaf, slot) = item.place();
                leaf.found.set(leaf.found.get() | 1 << slot);
            }
            return Ok(());
        }
        let Some(leaf) = self.leaf_for(address) else {
            return self.append(address, space, region, spares);
        };
        // SAFETY: It was found in the tree.
        let leaf = unsafe { self.leaf(leaf) };
        let had = leaf.bytes();
        let slot = leaf.take_slot(address, region);
        let is_below = |slot| leaf.address(slot) < address;
        let appends = slot == Err(NoRecord::Full) && leaf.last().is_none_or(is_below);
        self.bytes += leaf.bytes() - had;
        match slot {
            Ok(slot) => {
                self.guess.set(slot + 1);
                Ok(())
            }
            Err(_) if appends => self.append(address, space, region, spares),
            Err(error) => Err(error),
        }
    }

    /// Makes a leaf whose range begins at `address`, and a record in it.
    fn append(
        &mut self,
        address: usize,
        space: &Arc<AddressSpace>,
        region: &Region,
        spares: &mut Spares,
    ) -> Result<(), NoRecord> {
        let room = spares.0.pop().ok_or(NoRecord::NoMemory)?;
        let leaf = room.fill(Leaf::new(space.clone(), address));
        // INVARIANT: The leaf before has no place from here on, as the caller found.
        leaf.take_slot(address, region)?;
        self.insert(leaf);
        Ok(())
    }

    fn insert(&mut self, leaf: SlabBox<Leaf>) {
        self.bytes += leaf.bytes();
        self.last.set(None);
        self.guess.set(0);
        let start = leaf.start();
        // Two ranges never begin at one address: the first would be empty.
        if let Search::Vacant(place) = self.leaves.search(|other| start.cmp(&other.start())) {
            // SAFETY: The place was just found. From here on the tree owns the leaf.
            unsafe { self.leaves.insert(place, SlabBox::into_raw(leaf)) };
        }
    }

    /// Makes room in the full leaf that `address` belongs into: its upper records, half of them at
    /// most, go to a new leaf. `relocate` makes the second of two items stand for what the first does,
    /// which is untracked then, or says that this cannot be now.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Full`: not even the topmost can be relocated now.
    pub(crate) fn split(
        &mut self,
        address: usize,
        spares: &mut Spares,
        mut relocate: impl FnMut(ItemRef<'_>, ItemRef<'_>) -> bool,
    ) -> Result<(), NoRecord> {
        let old = self.leaf_for(address).ok_or(NoRecord::Full)?;
        // SAFETY: It was found in the tree.
        let old = unsafe { self.leaf(old) };
        let top = old.last().ok_or(NoRecord::Full)?;
        let room = spares.0.pop().ok_or(NoRecord::NoMemory)?;
        let new = room.fill(Leaf::new(old.space().clone(), old.address(top)));
        for _ in 0..SLOTS / 2 {
            let Some(top) = old.last() else {
                break;
            };
            let start = old.address(top);
            if !old.give(top, &new, &mut relocate) {
                break;
            }
            // INVARIANT: All above went before, and this one is the first of the new range.
            new.start.set(start);
        }
        match new.taken() {
            0 => Err(NoRecord::Full),
            _ => {
                self.insert(new);
                Ok(())
            }
        }
    }

    /// The leaves whose ranges touch `[from, to)`.
    fn leaves(&self, from: usize, to: usize) -> impl Iterator<Item = &Leaf> {
        let mut next = self.leaf_for(from).or_else(|| self.leaves.first());
        core::iter::from_fn(move || {
            let there = next?;
            // SAFETY: It is in the tree, which is borrowed.
            let leaf = unsafe { self.leaf(there) };
            if leaf.start() >= to {
                return None;
            }
            // SAFETY: As above.
            next = unsafe { self.leaves.next(there) };
            Some(leaf)
        })
    }

    /// The records of tracked pages in `[from, to)`; in order of address only where they came so.
    pub(crate) fn tracked(&self, from: usize, to: usize) -> impl Iterator<Item = ItemRef<'_>> {
        self.leaves(from, to).flat_map(move |leaf| {
            let tracked = leaf.within(leaf.tracked.get(), from, to);
            tracked.map(move |slot| ItemRef::new(leaf, slot))
        })
    }

    /// Those among them that were not found since the last [`Records::settle`].
    pub(crate) fn lost(&self, from: usize, to: usize) -> impl Iterator<Item = ItemRef<'_>> {
        self.leaves(from, to).flat_map(move |leaf| {
            let lost = leaf.tracked.get() & !leaf.found.get();
            leaf.within(lost, from, to)
                .map(move |slot| ItemRef::new(leaf, slot))
        })
    }

    /// Has records for those pages only in `[from, to)` that are tracked.
    pub(crate) fn settle(&mut self, from: usize, to: usize) {
        let mut next = self.leaf_for(from).or_else(|| self.leaves.first());
        while let Some(there) = next {
            // SAFETY: It is in the tree.
            let leaf = unsafe { self.leaf(there) };
            if leaf.start() >= to {
                return;
            }
            // SAFETY: As above.
            next = unsafe { self.leaves.next(there) };
            leaf.found.set(0);
            if leaf.tracked.get() == 0 {
                self.free(there);
            }
            cond_resched();
        }
    }

    fn free(&mut self, there: NonNull<Leaf>) {
        self.last.set(None);
        // SAFETY: The callers found it in the tree.
        unsafe { self.leaves.remove(there) };
        // SAFETY: The tree owned it. An item that is not tracked is in no tree and no list, and nobody
        // refers to it: references to items borrow `self`.
        let leaf = unsafe { SlabBox::from_raw(there) };
        self.bytes -= leaf.bytes();
        drop(leaf);
    }

    /// Makes those plain that the tree had which was abandoned last.
    pub(crate) fn leave_abandoned(&mut self) -> Left {
        let mut left = 0;
        for item in self.tracked(0, usize::MAX) {
            left += usize::from(item.leave_abandoned());
            cond_resched();
        }
        Left(left)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // What is tracked is leaked rather than freed: a tree or a list may lead to it.
        self.settle(0, usize::MAX);
    }
}
