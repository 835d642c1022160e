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
//! a page comes in between gives some of its records to another ([`Records::split`]), and those that
//! have become thin are joined ([`Records::join`]).
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
    leaf::{Leaf, NoRecord, Spares, FILL, SLOTS},
    rb::{RawTree, Search},
};
use crate::mm::{
    address_space::AddressSpace, anon_vma::Region, fetch::fetch, kthread::cond_resched,
    slab::SlabBox,
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
    /// The leaf that was looked at last.
    last: Cell<Option<NonNull<Leaf>>>,
    /// The slot that is looked at first.
    guess: Cell<usize>,
    bytes: Cell<usize>,
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
            bytes: Cell::new(0),
        }
    }

    /// Bytes that are allocated for them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Runs `f`, which may have `leaf` take more memory.
    fn grow<R>(&self, leaf: &Leaf, f: impl FnOnce(&Leaf) -> R) -> R {
        let had = leaf.bytes();
        let result = f(leaf);
        self.bytes.set(self.bytes.get() + leaf.bytes() - had);
        result
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
        if let Some(last) = self.last.get() {
            // SAFETY: What frees leaves forgets `last`.
            let start = unsafe { self.leaf(last) }.start();
            // SAFETY: As above.
            if (start..unsafe { self.end_of(last) }).contains(&address) {
                return Some(last);
            }
        }
        let leaf = self.leaves.floor(|leaf| leaf.start() > address)?;
        // SAFETY: It was just found in the tree.
        unsafe { self.come_to(leaf) };
        Some(leaf)
    }

    /// The first leaf whose range does not end before `address`.
    fn first_from(&self, address: usize) -> Option<NonNull<Leaf>> {
        self.leaf_for(address).or_else(|| self.leaves.first())
    }

    /// Looks at `leaf` first from now on. Whoever goes in order of address needs the next one soon.
    ///
    /// # Safety
    ///
    /// `leaf` is in the tree.
    unsafe fn come_to(&self, leaf: NonNull<Leaf>) {
        self.last.set(Some(leaf));
        // SAFETY: It is in the tree, says the caller.
        if let Some(next) = unsafe { self.leaves.next(leaf) } {
            fetch(next.as_ptr());
        }
    }

    /// The record for the page at `address`.
    pub(crate) fn find(&self, address: usize) -> Option<ItemRef<'_>> {
        if let Some(last) = self.last.get() {
            // A page has one record: who finds it need not ask for the leaf's range.
            // SAFETY: What frees leaves forgets `last`.
            if let Some(found) = unsafe { self.find_in(last, address) } {
                return Some(found);
            }
            // SAFETY: As above.
            if let Some(next) = unsafe { self.leaves.next(last) } {
                // SAFETY: `next` is in the tree.
                if let Some(found) = unsafe { self.find_in(next, address) } {
                    // SAFETY: As above.
                    unsafe { self.come_to(next) };
                    return Some(found);
                }
            }
        }
        let leaf = self.leaf_for(address)?;
        // SAFETY: It was found in the tree.
        unsafe { self.find_in(leaf, address) }
    }

    /// The record for the page at `address`, if `leaf` has it.
    ///
    /// # Safety
    ///
    /// `leaf` is in the tree.
    unsafe fn find_in<'r>(&'r self, leaf: NonNull<Leaf>, address: usize) -> Option<ItemRef<'r>> {
        // SAFETY: It is in the tree, says the caller.
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
            let (leaf, slot) = item.place();
            let others = leaf.found.get() & !(1 << slot);
            leaf.found
                .set(others | u32::from(item.is_of(region)) << slot);
            return Ok(());
        }
        let next = match self.leaf_for(address) {
            None => self.leaves.first(),
            Some(there) => {
                let put = self.put(there, address, region);
                // SAFETY: It was found in the tree.
                let leaf = unsafe { self.leaf(there) };
                let is_below = |slot| leaf.address(slot) < address;
                if put != Err(NoRecord::Full) || !leaf.last().is_none_or(is_below) {
                    return put;
                }
                // SAFETY: As above.
                unsafe { self.leaves.next(there) }
            }
        };
        // Where memory gets dense again, a leaf between two would stay thin.
        if let Some(next) = next.filter(|next| self.put(*next, address, region).is_ok()) {
            // INVARIANT: The leaf before has no place from here on.
            // SAFETY: `next` was found in the tree.
            unsafe { self.leaf(next) }.start.set(address);
            self.last.set(None);
            return Ok(());
        }
        self.append(address, space, region, spares)
    }

    /// Makes a record in `there`, which is in the tree.
    fn put(
        &mut self,
        there: NonNull<Leaf>,
        address: usize,
        region: &Region,
    ) -> Result<(), NoRecord> {
        // SAFETY: It is in the tree, say the callers.
        let leaf = unsafe { self.leaf(there) };
        let slot = self.grow(leaf, |leaf| leaf.take_slot(address, region));
        self.guess.set(slot.map_or(0, |slot| slot + 1));
        slot.map(|_| ())
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
        self.bytes.set(self.bytes.get() + leaf.bytes());
        self.last.set(None);
        self.guess.set(0);
        let start = leaf.start();
        // Two ranges never begin at one address: the first would be empty.
        if let Search::Vacant(place) = self.leaves.search(|other| start.cmp(&other.start())) {
            // SAFETY: The place was just found. From here on the tree owns the leaf.
            unsafe { self.leaves.insert(place, SlabBox::into_raw(leaf)) };
        }
    }

    /// Makes room for `address` in the full leaf that it belongs into: of the records below, some go to the
    /// leaf before, if that is not full; or else those above, but the upper half at most, to a new one. So
    /// pages that come in order of address, wherever, leave full leaves behind. `relocate` makes the second
    /// of two items stand for what the first does, which is untracked then, or says that this cannot be now.
    /// Returns how many records were moved.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Full`: what is to go cannot be relocated now.
    pub(crate) fn split(
        &mut self,
        address: usize,
        spares: &mut Spares,
        mut relocate: impl FnMut(ItemRef<'_>, ItemRef<'_>) -> bool,
    ) -> Result<usize, NoRecord> {
        let there = self.leaf_for(address).ok_or(NoRecord::Full)?;
        // SAFETY: It was found in the tree.
        if unsafe { self.leaf(there) }.len() <= SLOTS / 2 {
            return Ok(0);
        }
        // SAFETY: As above.
        if let Some(before) = unsafe { self.leaves.prev(there) } {
            // SAFETY: So was this.
            let len = unsafe { self.leaf(before) }.len();
            let most = (len + SLOTS / 2).min(SLOTS);
            let moved = self.pour(there, before, most, address, &mut relocate);
            // SAFETY: It is in the tree still: half of a leaf has gone at most, and it has more.
            let is_before = address < unsafe { self.leaf(there) }.start();
            if moved > 0 || is_before && len < SLOTS {
                return Ok(moved);
            }
        }
        // SAFETY: As above.
        let old = unsafe { self.leaf(there) };
        let top = old.last().ok_or(NoRecord::Full)?;
        let room = spares.0.pop().ok_or(NoRecord::NoMemory)?;
        let new = room.fill(Leaf::new(old.space().clone(), old.address(top)));
        for _ in 0..SLOTS / 2 {
            let top = old.last().map(|top| (top, old.address(top)));
            let Some((top, start)) = top.filter(|(_, start)| *start > address) else {
                break;
            };
            if !old.give(top, &new, &mut relocate) {
                break;
            }
            // INVARIANT: All above went before, and this one is the first of the new range.
            new.start.set(start);
        }
        match new.len() {
            0 => Err(NoRecord::Full),
            moved => {
                self.insert(new);
                Ok(moved)
            }
        }
    }

    /// The leaves whose ranges touch `[from, to)`.
    fn leaves(&self, from: usize, to: usize) -> impl Iterator<Item = &Leaf> {
        let mut next = self.first_from(from);
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
        let mut next = self.first_from(from);
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

    /// Joins leaves that touch `[from, to)` with those before them, where they have become thin. It is for
    /// after [`Records::settle`]; `relocate` is as for [`Records::split`]. Where it refuses, the rest stays
    /// for another time. Returns how many records were moved.
    ///
    /// Where nothing stood in the way, two leaves side by side in one zone have more than [`FILL`] records
    /// afterwards, and three more than twice as many: 19 each.
    pub(crate) fn join(
        &mut self,
        from: usize,
        to: usize,
        mut relocate: impl FnMut(ItemRef<'_>, ItemRef<'_>) -> bool,
    ) -> usize {
        let mut moved = 0;
        let mut next = self.first_from(from);
        while let Some(there) = next {
            // SAFETY: It is in the tree: `join_back` frees none that comes after.
            if unsafe { self.leaf(there) }.start() >= to {
                break;
            }
            // SAFETY: As above.
            next = unsafe { self.leaves.next(there) };
            moved += self.join_back(there, &mut relocate);
            cond_resched();
        }
        moved
    }

    /// Joins `there`, which is in the tree, with the one before it or the two before it. Those have been
    /// through that.
    fn join_back(
        &mut self,
        there: NonNull<Leaf>,
        relocate: &mut impl FnMut(ItemRef<'_>, ItemRef<'_>) -> bool,
    ) -> usize {
        // SAFETY: It is in the tree, say the callers.
        let Some(before) = (unsafe { self.leaves.prev(there) }) else {
            return 0;
        };
        // SAFETY: As above.
        let len = unsafe { self.leaf(there) }.len();
        // SAFETY: `before` is in the tree.
        let both = len + unsafe { self.leaf(before) }.len();
        let mut moved = 0;
        if both > FILL {
            // SAFETY: As above.
            let Some(first) = (unsafe { self.leaves.prev(before) }) else {
                return 0;
            };
            // SAFETY: `first` is in the tree.
            if both + unsafe { self.leaf(first) }.len() > 2 * FILL {
                return 0;
            }
            moved += self.pour(before, first, FILL, usize::MAX, relocate);
        }
        // SAFETY: `there` is in the tree still. The one before it may be another now.
        match unsafe { self.leaves.prev(there) } {
            Some(before) => moved + self.pour(there, before, FILL, usize::MAX, relocate),
            None => moved,
        }
    }

    /// Moves records of `from` that are below `end` to `into`, which is the one before it in the tree, until
    /// that has `most`. Frees `from` where none is left, else has its range begin where its records do.
    fn pour(
        &mut self,
        from: NonNull<Leaf>,
        into: NonNull<Leaf>,
        most: usize,
        end: usize,
        relocate: &mut impl FnMut(ItemRef<'_>, ItemRef<'_>) -> bool,
    ) -> usize {
        // SAFETY: It is in the tree, say the callers.
        let upper = unsafe { self.leaf(from) };
        // SAFETY: As above.
        let lower = unsafe { self.leaf(into) };
        let goes = |slot: &usize| lower.len() < most && upper.address(*slot) < end;
        let mut moved = 0;
        while let Some(first) = upper.first().filter(goes) {
            if !self.grow(lower, |lower| upper.give(first, lower, relocate)) {
                break;
            }
            moved += 1;
        }
        self.last.set(None);
        match upper.first() {
            // INVARIANT: All below went; the order of the leaves is as before.
            Some(first) => upper.start.set(upper.address(first)),
            None => self.free(from),
        }
        moved
    }

    fn free(&mut self, there: NonNull<Leaf>) {
        self.last.set(None);
        // SAFETY: The callers found it in the tree.
        unsafe { self.leaves.remove(there) };
        // SAFETY: The tree owned it. An item that is not tracked is in no tree and no list, and nobody
        // refers to it: references to items borrow `self`.
        let leaf = unsafe { SlabBox::from_raw(there) };
        self.bytes.set(self.bytes.get() - leaf.bytes());
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
