// SPDX-License-Identifier: GPL-2.0

//! One tracked page: an rmap_item.
//!
//! An item is 32 bytes:
//!
//! * 24 bytes for the links in the tree of candidates or, once merged, those among the sharers of the
//!   merged page and a pointer to its node: never both.
//! * 8 bytes for the checksum's upper 40 bits, the [`Age`] of the record, its kind, and its place in
//!   the leaf, by which the leaf is found from an item that a search or a walk came upon.
//!
//! Dropping 24 of 64 bits leaves a chance of 2⁻⁴⁰ that two pages are taken for equal in vain.
//!
//! # Who may change what
//!
//! | from | to | who |
//! |---|---|---|
//! | untracked, seen, zero | untracked, seen, zero | who has the turn |
//! | seen | candidate | who has the turn and the books |
//! | candidate | seen | who has the books |
//! | candidate | claimed | who has the books |
//! | claimed | candidate | who has the claim |
//! | claimed | taken out of the tree | who has the claim and the books |
//! | taken out | seen | who has taken it out |
//! | seen or taken out | merged | who has the turn or the claim, the books, and the lock of the folio |
//! | merged | seen | who has the turn, the books, and the lock of the folio, unless that is gone |
//!
//! So whoever has the turn sees an item change under its hands only from candidate to seen or claimed,
//! and from there to seen, candidate or merged. Checksum and age are only written with the turn, the former not
//! while the item is in a tree or claimed. A leaf is freed once none of its items is tracked.

use super::{
    leaf::{Leaf, SLOTS},
    rb::{Linked, Links},
    stable_node::{Sharing, StableNode},
};
use crate::{
    mm::{address_space::AddressSpace, anon_vma::Region, ksm_folio::Mark},
    rmap_item::Kind,
    smart_scan::Age,
};
use core::{
    cell::{Cell, UnsafeCell},
    mem::{offset_of, ManuallyDrop},
    ptr::NonNull,
};
use kernel::sync::{
    atomic::{Acquire, Atomic, Release},
    Arc, ArcBorrow,
};

/// The part of a page's checksum by which records are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(super) u64);

impl Key {
    const BITS: u32 = 40;

    pub(crate) const fn of(checksum: u64) -> Self {
        Self(checksum >> (u64::BITS - Self::BITS))
    }
}

/// What the kind of an item says is in it.
#[repr(C)]
union Payload {
    /// For [`Kind::Candidate`].
    links: ManuallyDrop<Links>,
    /// For [`Kind::Merged`].
    sharing: Sharing,
}

/// What is known of a page, without where it is.
///
/// # Invariants
///
/// * The item is the `slot`th of a leaf.
/// * The item is in the tree of candidates if and only if its kind is `Candidate`, and not of the tree that
///   was abandoned last, or `Claimed`, and not `Taken`.
/// * It is in the list of a node's sharers if and only if its kind is `Merged`. That node lives then: the
///   list has a reference to it.
/// * `payload` holds what the kind says.
#[repr(C)]
pub(super) struct Item {
    payload: UnsafeCell<Payload>,
    key_low: Cell<u32>,
    key_high: Cell<u8>,
    age: Cell<u8>,
    kind: Atomic<i8>,
    /// Never changes.
    slot: u8,
}

const _: () = assert!(size_of::<Item>() == 32);

// SAFETY: `OFFSET` is that of the payload, which is `Links` and used by nothing but the tree for as
// long as the item is in one.
unsafe impl Linked for Item {
    const OFFSET: usize = offset_of!(Item, payload);
}

impl Item {
    pub(super) fn new(slot: usize) -> Self {
        Self {
            payload: UnsafeCell::new(Payload {
                links: ManuallyDrop::new(Links::new()),
            }),
            key_low: Cell::new(0),
            key_high: Cell::new(0),
            age: Cell::new(Age::default().to_bits()),
            // INVARIANT: This kind has no payload.
            kind: Atomic::new(Bits::of(Kind::Untracked).0),
            // INVARIANT: `slot` is the index, of which there are fewer than 256.
            slot: slot as u8,
        }
    }

    pub(super) fn key(&self) -> Key {
        Key(u64::from(self.key_high.get()) << u32::BITS | u64::from(self.key_low.get()))
    }

    fn set_key(&self, key: Key) {
        self.key_low.set(key.0 as u32);
        self.key_high.set((key.0 >> u32::BITS) as u8);
    }

    pub(super) fn bits(&self) -> Bits {
        // `Acquire`: whoever finds an item released sees all that was done with it.
        Bits(self.kind.load(Acquire))
    }

    /// Only who puts the item where the kind says, or takes it out, says so.
    pub(super) fn set_bits(&self, bits: Bits) {
        // `Release`: pairs with `bits`.
        self.kind.store(bits.0, Release);
    }

    /// Where the links among the sharers of a merged page are, and its node.
    pub(super) fn sharing(&self) -> *mut Sharing {
        self.payload.get().cast()
    }
}

/// A kind, and for candidates which of two trees holds them: the one in use, or the one that was
/// abandoned last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits(i8);

/// Set in the bits of candidates of every other tree.
const ODD: i8 = 8;

impl Bits {
    pub(super) const fn of(kind: Kind) -> Self {
        Self(kind.to_bits())
    }

    pub(super) const fn candidate(odd: bool) -> Self {
        let bits = Kind::Candidate.to_bits();
        Self(if odd { bits | ODD } else { bits })
    }

    pub(super) const fn kind(self) -> Kind {
        Kind::from_bits(self.0 & !ODD)
    }
}

/// An item and where it is. The leaf is not freed meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct ItemRef<'r> {
    leaf: &'r Leaf,
    slot: usize,
}

impl<'r> ItemRef<'r> {
    pub(super) fn new(leaf: &'r Leaf, slot: usize) -> Self {
        Self {
            leaf,
            slot: slot % SLOTS,
        }
    }

    /// The one at `item`.
    ///
    /// # Safety
    ///
    /// `item` came from [`ItemRef::as_ptr`], and its leaf is not freed for as long as `'r`.
    pub(super) unsafe fn from_ptr(item: NonNull<Item>) -> Self {
        // SAFETY: The item lives, says the caller.
        let slot = unsafe { item.as_ref() }.slot.into();
        let items = item.as_ptr().wrapping_sub(slot);
        let leaf = items
            .wrapping_byte_sub(offset_of!(Leaf, items))
            .cast::<Leaf>();
        // SAFETY: By the type invariant the item is the `slot`th of a leaf, of all of which the pointer
        // may be used.
        Self::new(unsafe { &*leaf }, slot)
    }

    /// A pointer that is good for the whole leaf.
    pub(super) fn as_ptr(&self) -> NonNull<Item> {
        let leaf = core::ptr::from_ref(self.leaf).cast_mut();
        let items = leaf
            .wrapping_byte_add(offset_of!(Leaf, items))
            .cast::<Item>();
        // SAFETY: It points into a leaf.
        unsafe { NonNull::new_unchecked(items.wrapping_add(self.slot)) }
    }

    pub(super) fn item(&self) -> &'r Item {
        self.leaf.item(self.slot)
    }

    pub(super) fn place(&self) -> (&'r Leaf, usize) {
        (self.leaf, self.slot)
    }

    /// Where the addresses of its leaf begin.
    pub(crate) fn leaf_start(&self) -> usize {
        self.leaf.start()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.item().bits().kind()
    }

    /// The page's checksum when it was last looked at.
    pub(crate) fn key(&self) -> Key {
        self.item().key()
    }

    /// The address space that maps the page.
    pub(crate) fn space(&self) -> &'r Arc<AddressSpace> {
        self.leaf.space()
    }

    /// How the reverse map knows the page.
    pub(crate) fn region(&self) -> Option<&'r Region> {
        self.leaf.region(self.slot)
    }

    pub(crate) fn is_of(&self, region: &Region) -> bool {
        self.region().is_some_and(|own| own.is(region))
    }

    /// Where it is mapped.
    pub(crate) fn address(&self) -> usize {
        self.leaf.address(self.slot)
    }

    /// Grows older by one visit of the scanner. Whether that is to pass the page over.
    pub(crate) fn grow_older(&self) -> bool {
        let (age, skip) = Age::from_bits(self.item().age.get()).visit();
        self.item().age.set(age.to_bits());
        skip
    }

    /// Notes what a page without a place in any tree looks like. False, and nothing done, for one
    /// that is in a tree or a list, or claimed.
    #[must_use]
    pub(crate) fn set_plain(&self, kind: Kind, key: Key) -> bool {
        let item = self.item();
        if !kind.is_plain() || !item.bits().kind().is_plain() {
            return false;
        }
        item.set_key(key);
        // Whatever comes next at this address is another page.
        if kind != Kind::Seen {
            item.age.set(Age::default().to_bits());
        }
        // INVARIANT: Neither kind has a payload.
        item.set_bits(Bits::of(kind));
        self.leaf.note(self.slot, kind);
        true
    }

    /// Makes `self`, which is free, stand for what `other` does, a plain one that is free then.
    #[must_use]
    pub(crate) fn take_over(&self, other: ItemRef<'_>) -> bool {
        let (kind, key, age) = (other.kind(), other.key(), other.item().age.get());
        // Only a plain one gets free.
        if self.kind() != Kind::Untracked || !other.set_plain(Kind::Untracked, key) {
            return false;
        }
        let taken = self.set_plain(kind, key);
        self.item().age.set(age);
        taken
    }

    /// Makes a candidate of an abandoned tree plain. Only called when there is nothing but such.
    pub(super) fn leave_abandoned(&self) -> bool {
        let left = self.kind() == Kind::Candidate;
        if left {
            // INVARIANT: It is in no tree.
            self.item().set_bits(Bits::of(Kind::Seen));
        }
        left
    }

    /// Gives an item that is in no tree links that are in none either.
    ///
    /// # Safety
    ///
    /// The caller has the turn and the item is plain, or the claim of it.
    pub(super) unsafe fn get_links(&self) {
        let links = ManuallyDrop::new(Links::new());
        // SAFETY: No reference into the payload of such an item exists.
        unsafe { *self.item().payload.get() = Payload { links } };
    }

    /// Makes an item merged: `sharing` says with what.
    ///
    /// # Safety
    ///
    /// As for [`ItemRef::get_links`]. From here on the item is in the list that `sharing` is of, which takes
    /// it out by [`ItemRef::end_sharing`] and keeps the node until then.
    pub(super) unsafe fn begin_sharing(&self, sharing: Sharing) {
        // SAFETY: No reference into the payload of such an item exists.
        unsafe { *self.item().payload.get() = Payload { sharing } };
        // INVARIANT: The payload is what was just written.
        self.item().set_bits(Bits::of(Kind::Merged));
    }

    /// Makes a merged item plain.
    ///
    /// # Safety
    ///
    /// The caller has the turn. The item is merged, and was taken out of the list of sharers.
    pub(super) unsafe fn end_sharing(&self) {
        // A page that was merged begins anew.
        self.item().age.set(Age::default().to_bits());
        // INVARIANT: A plain item has no payload.
        self.item().set_bits(Bits::of(Kind::Seen));
    }

    /// Runs `f` on the node of the merged page that this is a mapping of.
    fn with_node<R>(&self, f: impl FnOnce(ArcBorrow<'_, StableNode>) -> R) -> Option<R> {
        if self.kind() != Kind::Merged {
            return None;
        }
        // SAFETY: By the type invariant the payload says how the item shares. The node is only
        // written with the kind, and only who has the turn, as the caller, ends the sharing.
        let node = unsafe { (*self.item().sharing()).node };
        // SAFETY: By the type invariant it lives, and `f`, not having the item, does not change that.
        Some(f(unsafe { ArcBorrow::from_raw(node) }))
    }

    /// Whether this is a mapping of the merged page that `mark` names.
    pub(crate) fn is_merged_into(&self, mark: Mark) -> bool {
        self.with_node(|node| node.tie().mark() == mark) == Some(true)
    }

    /// The node of the merged page that this is a mapping of.
    pub(crate) fn node(&self) -> Option<Arc<StableNode>> {
        self.with_node(|node| node.into())
    }
}
