// SPDX-License-Identifier: GPL-2.0

//! The tree of candidates: records that are found by the checksum of their page.
//!
//! It is part of the books: whoever has it has those.

use super::{
    forest::{Forest, Hashed},
    item::{Bits, Item, ItemRef, Key},
    rb::Search,
    records::Left,
};
use crate::{
    mm::{address_space::AddressSpace, anon_vma::Region},
    rmap_item::Kind,
};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::sync::Arc;

// SAFETY: The key of a candidate does not change: `set_plain` refuses it.
unsafe impl Hashed for Item {
    fn hash(&self) -> u64 {
        self.key().0
    }
}

/// The tree of pages that wait for an equal one, at most one for each key.
///
/// # Invariants
///
/// The items in `tree` are those whose bits say that they are candidates of it, by `odd`, and those of a
/// [`Claim`], of which there are no more than `claims`. There are `abandoned` other candidates, whose bits say that
/// they are in the tree before it, which is no more.
pub(crate) struct Candidates {
    tree: Forest<Item>,
    odd: bool,
    abandoned: usize,
    claims: usize,
}

// SAFETY: The books guard the tree, and its elements' links.
unsafe impl Send for Candidates {}

/// A tree that no item is in any more; dropping it frees its memory.
pub(crate) struct Abandoned(#[expect(dead_code)] Forest<Item>);

impl Candidates {
    pub(crate) const fn new() -> Self {
        Self {
            tree: Forest::new(),
            odd: false,
            abandoned: 0,
            claims: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Bytes that were allocated for the tree.
    pub(crate) fn bytes(&self) -> usize {
        self.tree.bytes()
    }

    /// Whether somebody is about to merge a candidate.
    pub(crate) fn any_claimed(&self) -> bool {
        self.claims > 0
    }

    fn bits(&self) -> Bits {
        Bits::candidate(self.odd)
    }

    /// Claims the candidate with the key of `item`, or else makes `item` one, if it is plain.
    pub(crate) fn claim_or_insert(&mut self, item: ItemRef<'_>) -> Found {
        let key = item.key();
        match self.tree.search(key.0, |other| key.cmp(&other.key())) {
            Search::Found(found) => self.claim(found),
            Search::Vacant(place) => {
                if item.kind().is_plain() {
                    // SAFETY: It is plain, and the caller has the turn, as `item` shows.
                    unsafe { item.get_links() };
                    // SAFETY: The tree did not change since the search. The item is in none, and its
                    // leaf is not freed before it is taken out.
                    if unsafe { self.tree.insert(place, item.as_ptr()) } {
                        // INVARIANT: It is in the tree.
                        item.item().set_bits(self.bits());
                    }
                }
                Found::None
            }
        }
    }

    fn claim(&mut self, found: NonNull<Item>) -> Found {
        // SAFETY: The callers found it in this tree, so its leaf lives, and goes on to do so while it is
        // claimed.
        let item = unsafe { ItemRef::from_ptr(found) };
        if item.kind() == Kind::Claimed {
            return Found::Claimed;
        }
        item.item().set_bits(Bits::of(Kind::Claimed));
        self.claims += 1;
        // INVARIANT: The item was just claimed.
        Found::Claim(Claim {
            item: found,
            space: item.space().clone(),
            bits: self.bits(),
        })
    }

    /// Makes a claimed item a candidate again.
    pub(crate) fn put_back(&mut self, claim: Claim) {
        // INVARIANT: It has been in the tree all the while.
        claim.item().item().set_bits(self.bits());
        self.claims -= 1;
        claim.end();
    }

    /// Makes `item` a candidate in place of a claimed one with its key, which is plain then.
    pub(crate) fn replace(&mut self, claim: Claim, item: ItemRef<'_>) {
        drop(self.take_out(claim));
        // Nobody else has the key: one that was claimed stood under it.
        let _none = self.claim_or_insert(item);
    }

    /// Takes a claimed item out of the tree.
    pub(crate) fn take_out(&mut self, claim: Claim) -> Taken {
        // SAFETY: By the invariant of `Claim` it is in the tree.
        unsafe { self.tree.remove(claim.item) };
        self.claims -= 1;
        let claim = ManuallyDrop::new(claim);
        // INVARIANT: It was just taken out, and nobody else has the claim.
        Taken {
            item: claim.item,
            // SAFETY: `claim` is not used again, nor dropped.
            space: unsafe { core::ptr::read(&claim.space) },
        }
    }

    /// Makes a candidate a plain item. False, and nothing done, for others.
    #[must_use]
    pub(crate) fn remove(&mut self, item: ItemRef<'_>) -> bool {
        let bits = item.item().bits();
        if bits.kind() != Kind::Candidate {
            return false;
        }
        match bits == self.bits() {
            // SAFETY: By the type invariant it is in this tree.
            true => unsafe { self.tree.remove(item.as_ptr()) },
            false => self.abandoned -= 1,
        }
        // INVARIANT: It is in no tree now.
        item.item().set_bits(Bits::of(Kind::Seen));
        true
    }

    /// Makes the candidate with this key a plain item, so that it is looked for in its turn: there is a merged
    /// page for it now.
    pub(crate) fn dislodge(&mut self, key: Key) {
        if let Search::Found(found) = self.tree.search(key.0, |other| key.cmp(&other.key())) {
            // SAFETY: It was found in this tree, so its leaf lives.
            let item = unsafe { ItemRef::from_ptr(found) };
            // One that is claimed is about to be merged.
            let _claimed = self.remove(item);
        }
    }

    /// Takes out all candidates at once. Whoever does that then has all of them leave by
    /// [`Records::leave_abandoned`] and [`Candidates::settle`]; that takes far less time, in the order
    /// of their memory, than one by one. `None`, and nothing done, as long as there are some of the last
    /// time, or any is claimed.
    ///
    /// [`Records::leave_abandoned`]: super::records::Records::leave_abandoned
    pub(crate) fn abandon(&mut self) -> Option<Abandoned> {
        if self.abandoned + self.claims > 0 {
            return None;
        }
        self.abandoned = self.tree.len();
        // INVARIANT: What was in the tree is of the other kind from here on.
        self.odd = !self.odd;
        Some(Abandoned(core::mem::replace(&mut self.tree, Forest::new())))
    }

    /// Notes that so many of the abandoned tree's candidates are plain.
    pub(crate) fn settle(&mut self, left: Left) {
        self.abandoned -= left.0;
    }
}

/// What a search for a candidate came to.
pub(crate) enum Found {
    /// There was none.
    None,
    Claim(Claim),
    /// Somebody else has claimed it.
    Claimed,
}

/// A candidate that somebody is about to merge. It stays where it is, in the tree and among the records,
/// so that others who come upon it leave it alone; whoever has claimed it ends that by
/// [`Candidates::put_back`], [`Candidates::replace`] or [`Candidates::take_out`].
///
/// # Invariants
///
/// The item is in the tree of candidates and claimed, by this, so that its leaf lives.
#[must_use]
pub(crate) struct Claim {
    item: NonNull<Item>,
    space: Arc<AddressSpace>,
    /// What the item was. Its tree is not abandoned meanwhile.
    bits: Bits,
}

impl Claim {
    fn item(&self) -> ItemRef<'_> {
        // SAFETY: By the type invariant the leaf lives.
        unsafe { ItemRef::from_ptr(self.item) }
    }

    /// The address space that maps the page.
    pub(crate) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// How the reverse map knows the page.
    pub(crate) fn region(&self) -> Option<&Region> {
        self.item().region()
    }

    /// Where it is mapped.
    pub(crate) fn address(&self) -> usize {
        self.item().address()
    }

    fn end(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped.
        drop(unsafe { core::ptr::read(&this.space) });
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An item that stayed claimed would never be forgotten. That `claims` stays too high costs less: the
        // tree is not abandoned any more, but emptied one by one, and nothing is taken for unmerged.
        // INVARIANT: It has been in the tree all the while.
        self.item().item().set_bits(self.bits);
        debug_assert!(false, "a claim was not ended");
    }
}

/// A claimed item that is in no tree. Dropping this makes it an ordinary one, that is looked at when its
/// turn comes.
///
/// # Invariants
///
/// The item is in no tree and claimed, by this, so that its leaf lives.
#[must_use]
pub(crate) struct Taken {
    item: NonNull<Item>,
    space: Arc<AddressSpace>,
}

impl Taken {
    /// Where the page is mapped.
    pub(crate) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    pub(super) fn item(&self) -> ItemRef<'_> {
        // SAFETY: By the type invariant the leaf lives.
        unsafe { ItemRef::from_ptr(self.item) }
    }

    /// Ends the claim of an item that is something else by now.
    pub(super) fn end(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped.
        drop(unsafe { core::ptr::read(&this.space) });
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // INVARIANT: The item is in no tree.
        self.item().item().set_bits(Bits::of(Kind::Seen));
    }
}
