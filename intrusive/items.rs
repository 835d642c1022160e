// SPDX-License-Identifier: GPL-2.0

//! The records of tracked pages: one [`Item`] a page, [`SLOTS`] to a [`Block`].
//!
//! A record is what merging costs for each page that cannot be merged, so it is small. What is the
//! same for neighbours, the address space and the upper part of the address, stands once for a
//! block; a record itself is 32 bytes:
//!
//! * 24 bytes for the links in the tree of candidates or, once merged, a pointer to the
//!   [`Sharer`]: never both.
//! * 8 bytes for the checksum's upper 48 bits, the [`Age`] of the record, its kind, and its place in
//!   the block, by which the block is found from a record that a tree search came upon.
//!
//! Dropping 16 of 64 bits leaves a chance of 2⁻⁴⁸ that two pages are compared in vain.
//!
//! Everything here is used under the engine's lock. Records are reached by shared references and
//! changed through cells; a block is only freed through [`Blocks::clear`], which by its `&mut`
//! arguments shows that no such reference is left.

use super::{
    forest::{Forest, Hashed},
    rb::{Linked, Links, Search, Side, Vacancy},
};
use crate::{
    mm::{
        ksm_folio::{Mark, Sharer, StableNode},
        slab::{SlabBox, SlabCache},
    },
    mm_slot::MmSlot,
    rmap_item::Kind,
    smart_scan::Age,
};
use core::{
    cell::{Cell, UnsafeCell},
    cmp::Ordering,
    mem::{offset_of, ManuallyDrop},
    ptr::NonNull,
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::Arc,
};

/// Records in a block. The metadata for each page of a dense range falls with it, that for a lone
/// page rises.
pub(crate) const SLOTS: usize = 32;

/// Bytes of address space that a block stands for.
const SPAN: usize = SLOTS * PAGE_SIZE;

const SLOT_BITS: u32 = SLOTS.trailing_zeros();
const KIND_BITS: u32 = 3;
const AGE_SHIFT: u32 = SLOT_BITS + KIND_BITS;
const KEY_SHIFT: u32 = AGE_SHIFT + Age::BITS;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const KIND_MASK: u64 = ((1 << KIND_BITS) - 1) << SLOT_BITS;
const AGE_MASK: u64 = ((1 << Age::BITS) - 1) << AGE_SHIFT;

/// The part of a page's checksum by which records are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) const fn of(checksum: u64) -> Self {
        Self(checksum >> KEY_SHIFT)
    }
}

/// What the kind of a record says is in it.
union Payload {
    /// For [`Kind::Candidate`].
    links: ManuallyDrop<Links>,
    /// For [`Kind::Merged`]: a reference given up by `Arc::into_raw`.
    sharer: *const Sharer,
}

/// One tracked page.
///
/// # Invariants
///
/// * The lowest bits of `word` are the item's index in the block that it is part of.
/// * The item is in a tree of [`Candidates`] if and only if its kind is `Candidate`.
/// * `payload` holds what the kind says.
pub(crate) struct Item {
    payload: UnsafeCell<Payload>,
    word: Cell<u64>,
}

// SAFETY: `OFFSET` is that of the payload, which is `Links` and used by nothing but the tree for as
// long as the item is in one.
unsafe impl Linked for Item {
    const OFFSET: usize = offset_of!(Item, payload);
}

// SAFETY: The key of a candidate does not change: `set_plain` refuses it.
unsafe impl Hashed for Item {
    fn hash(&self) -> u64 {
        self.key().0
    }
}

impl Item {
    fn new(slot: usize) -> Self {
        Self {
            payload: UnsafeCell::new(Payload {
                links: ManuallyDrop::new(Links::new()),
            }),
            // INVARIANT: `slot` is the index, and the kind `Untracked`, which has no payload.
            word: Cell::new(slot as u64),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::from_bits((self.word.get() & KIND_MASK) >> SLOT_BITS)
    }

    /// The page's checksum when it was last looked at.
    pub(crate) fn key(&self) -> Key {
        Key(self.word.get() >> KEY_SHIFT)
    }

    /// Grows older by one visit of the scanner. Whether that is to pass the page over.
    pub(crate) fn grow_older(&self) -> bool {
        let bits = (self.word.get() & AGE_MASK) >> AGE_SHIFT;
        let (age, skip) = Age::from_bits(bits as u8).visit();
        self.set_age(age);
        skip
    }

    fn set_age(&self, age: Age) {
        let word = self.word.get() & !AGE_MASK;
        self.word.set(word | u64::from(age.to_bits()) << AGE_SHIFT);
    }

    fn slot(&self) -> usize {
        (self.word.get() & SLOT_MASK) as usize
    }

    fn set_kind(&self, kind: Kind) {
        let word = self.word.get() & !KIND_MASK;
        self.word.set(word | kind.to_bits() << SLOT_BITS);
    }

    fn set_key(&self, key: Key) {
        let low = self.word.get() & (SLOT_MASK | KIND_MASK | AGE_MASK);
        self.word.set(low | key.0 << KEY_SHIFT);
    }

    fn block(&self) -> &Block {
        let items = core::ptr::from_ref(self).wrapping_sub(self.slot());
        let block = items.wrapping_byte_sub(offset_of!(Block, items));
        // SAFETY: By the type invariant the item is the `slot`th of a block, which lives as long.
        unsafe { &*block.cast::<Block>() }
    }

    /// The address space that maps the page.
    pub(crate) fn mm(&self) -> &Arc<MmSlot> {
        &self.block().mm
    }

    /// Where it maps the page.
    pub(crate) fn address(&self) -> usize {
        self.block().base + self.slot() * PAGE_SIZE
    }

    /// Notes what a page without a place in any tree looks like. False, and nothing done, for one
    /// that is a candidate or merged.
    pub(crate) fn set_plain(&self, kind: Kind, key: Key) -> bool {
        if !kind.is_plain() || !self.kind().is_plain() {
            return false;
        }
        self.set_key(key);
        // Whatever comes next at this address is another page.
        if kind != Kind::Seen {
            self.set_age(Age::default());
        }
        // INVARIANT: Neither kind has a payload.
        self.set_kind(kind);
        self.block().note(self.slot(), kind);
        true
    }

    /// Notes that the page is merged. Gives `sharer` back for one that has a place in a tree.
    pub(crate) fn set_merged(&self, sharer: Arc<Sharer>) -> Result<(), Arc<Sharer>> {
        if !self.kind().is_plain() {
            return Err(sharer);
        }
        let payload = Payload {
            sharer: Arc::into_raw(sharer),
        };
        // SAFETY: The engine's lock gives us the item, and no reference into the payload of a plain
        // one exists.
        unsafe { *self.payload.get() = payload };
        self.set_age(Age::default());
        // INVARIANT: The payload is a sharer.
        self.set_kind(Kind::Merged);
        self.block().note(self.slot(), Kind::Merged);
        Ok(())
    }

    /// Runs `f` on the node of the merged page that this is a mapping of.
    fn with_node<R>(&self, f: impl FnOnce(&Arc<StableNode>) -> R) -> Option<R> {
        if self.kind() != Kind::Merged {
            return None;
        }
        // SAFETY: By the type invariant the payload is a sharer.
        let sharer = unsafe { (*self.payload.get()).sharer };
        // SAFETY: The item owns a reference to it, which `f`, not having the item, does not take.
        Some(f(unsafe { (*sharer).node() }))
    }

    /// Whether this is a mapping of the merged page of the node that `mark` names.
    pub(crate) fn is_merged_into(&self, mark: Mark) -> bool {
        self.with_node(|node| node.mark() == mark) == Some(true)
    }

    /// The node of the merged page that this is a mapping of.
    pub(crate) fn node(&self) -> Option<Arc<StableNode>> {
        self.with_node(Arc::clone)
    }

    /// Makes a merged page a plain one.
    pub(crate) fn take_merged(&self) -> Option<Arc<Sharer>> {
        if self.kind() != Kind::Merged {
            return None;
        }
        // SAFETY: By the type invariant the payload is a sharer.
        let sharer = unsafe { (*self.payload.get()).sharer };
        // INVARIANT: A plain item has no payload.
        self.set_kind(Kind::Seen);
        // SAFETY: The reference that `set_merged` gave up.
        Some(unsafe { Arc::from_raw(sharer) })
    }
}

/// The records of [`SLOTS`] pages in a row.
pub(crate) struct Block {
    mm: Arc<MmSlot>,
    base: usize,
    /// Which of the items are tracked, a bit each.
    tracked: Cell<u32>,
    items: [Item; SLOTS],
}

impl Block {
    fn new(mm: Arc<MmSlot>, base: usize) -> impl Init<Self> {
        init!(Self {
            mm,
            base,
            tracked: Cell::new(0),
            // INVARIANT: Each gets its own index.
            items <- pin_init::init_array_from_fn(Item::new),
        })
    }

    fn note(&self, slot: usize, kind: Kind) {
        let bit = 1 << slot;
        let tracked = self.tracked.get();
        self.tracked.set(match kind {
            Kind::Untracked => tracked & !bit,
            _ => tracked | bit,
        });
    }

    /// The tracked items with an address in `[from, to)`.
    fn tracked(&self, from: usize, to: usize) -> impl Iterator<Item = &Item> {
        let tracked = self.tracked.get();
        let of = move |slot: usize| tracked & (1 << slot) != 0;
        let inside = move |item: &&Item| (from..to).contains(&item.address());
        let items = self.items.iter().enumerate();
        items
            .filter(move |(slot, _)| of(*slot))
            .map(|(_, item)| item)
            .filter(inside)
    }
}

/// The slab cache that blocks come from. It outlives all [`Blocks`].
pub(crate) type BlockCache = SlabCache<Block>;

/// A block that is leaked rather than freed while an item of it may be in a tree.
struct OwnedBlock(ManuallyDrop<SlabBox<Block>>);

/// The blocks of one address space, by address.
pub(crate) struct Blocks {
    by_base: RBTree<usize, OwnedBlock>,
}

// SAFETY: Items are reached from one thread at a time: blocks and candidates are both part of what
// the engine's lock guards.
unsafe impl Send for Blocks {}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self {
            by_base: RBTree::new(),
        }
    }

    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_base.is_empty()
    }

    /// The item for `address`, which is made if there is none yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn item(
        &mut self,
        cache: &BlockCache,
        mm: &Arc<MmSlot>,
        address: usize,
    ) -> Result<&Item> {
        let base = address - address % SPAN;
        if self.by_base.get(&base).is_none() {
            let flags = GFP_KERNEL | __GFP_NOWARN;
            let node = RBTreeNodeReservation::new(flags)?;
            let block = cache.alloc(Block::new(mm.clone(), base), flags)?;
            let block = OwnedBlock(ManuallyDrop::new(block));
            self.by_base.insert(node.into_node(base, block));
        }
        let block = self.by_base.get(&base).ok_or(ENOMEM)?;
        block
            .0
            .items
            .get((address - base) / PAGE_SIZE)
            .ok_or(EINVAL)
    }

    /// The tracked items with an address in `[from, to)`.
    pub(crate) fn tracked(&self, from: usize, to: usize) -> impl Iterator<Item = &Item> {
        let mut next = Some(from - from % SPAN);
        let blocks = core::iter::from_fn(move || {
            let base = *self.by_base.cursor_lower_bound(&next?)?.current().0;
            if base >= to {
                return None;
            }
            next = base.checked_add(SPAN);
            self.by_base.get(&base).map(|block| &**block.0)
        });
        blocks.flat_map(move |block| block.tracked(from, to))
    }

    /// Frees the blocks in `[from, to)` of which no item is tracked.
    ///
    /// `_candidates` shows that no search still refers to an item.
    pub(crate) fn clear(&mut self, _candidates: &mut Candidates, from: usize, to: usize) {
        let mut next = Some(from - from % SPAN);
        while let Some(cursor) = next.and_then(|from| self.by_base.cursor_lower_bound(&from)) {
            let base = *cursor.current().0;
            if base >= to {
                return;
            }
            next = base.checked_add(SPAN);
            let unused = |block: &OwnedBlock| block.0.tracked.get() == 0;
            if self.by_base.get(&base).is_some_and(unused) {
                if let Some(block) = self.by_base.remove(&base) {
                    // An item that is not tracked is in no tree and owns nothing.
                    drop(ManuallyDrop::into_inner(block.0));
                }
            }
        }
    }
}

/// The tree of pages that were seen unchanged and wait for an equal one.
///
/// # Invariants
///
/// The items in `tree` are those of kind `Candidate`.
pub(crate) struct Candidates {
    tree: Forest<Item>,
}

// SAFETY: As for `Blocks`.
unsafe impl Send for Candidates {}

/// A place for a candidate, for as long as the tree does not change.
pub(crate) struct Place<'c> {
    candidates: &'c mut Candidates,
    vacancy: Vacancy,
}

/// A candidate that a search found.
pub(crate) struct Found<'c> {
    candidates: &'c mut Candidates,
    item: NonNull<Item>,
}

/// What a search came to.
pub(crate) enum Entry<'c> {
    Found(Found<'c>),
    Vacant(Place<'c>),
}

impl Candidates {
    pub(crate) const fn new() -> Self {
        Self {
            tree: Forest::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Finds the candidate with this key that `side` says is the one, or the place where it belongs.
    pub(crate) fn entry(&mut self, key: Key, mut side: impl FnMut(&Item) -> Side) -> Entry<'_> {
        loop {
            let mut stale = false;
            let search = self.tree.search(key.0, |item| match side(item) {
                Side::At(order) => order,
                Side::Stale => {
                    stale = true;
                    Ordering::Equal
                }
            });
            let item = match search {
                Search::Found(item) => NonNull::from(item),
                Search::Vacant(vacancy) => {
                    return Entry::Vacant(Place {
                        candidates: self,
                        vacancy,
                    })
                }
            };
            if !stale {
                return Entry::Found(Found {
                    candidates: self,
                    item,
                });
            }
            // SAFETY: The search found it in the tree, whose items are live.
            self.remove(unsafe { item.as_ref() });
        }
    }

    /// Makes a candidate a plain item. Does nothing to others.
    pub(crate) fn remove(&mut self, item: &Item) -> bool {
        if item.kind() != Kind::Candidate {
            return false;
        }
        // SAFETY: By the type invariants a candidate is in the tree, of which there is one.
        unsafe { self.tree.remove(item) };
        // INVARIANT: It is in no tree now.
        item.set_kind(Kind::Seen);
        true
    }
}

impl<'c> Found<'c> {
    /// Takes the candidate out of the tree: it is a plain item then.
    pub(crate) fn take(self) -> &'c Item {
        // SAFETY: The search found it, and `Blocks::clear` cannot free it while `candidates` is
        // borrowed.
        let item = unsafe { self.item.as_ref() };
        self.candidates.remove(item);
        item
    }
}

impl Place<'_> {
    /// Makes a plain item a candidate, unless its key is not that of the search.
    pub(crate) fn insert(self, item: &Item) -> bool {
        if !item.kind().is_plain() {
            return false;
        }
        // SAFETY: No reference into the payload of a plain item exists.
        unsafe {
            *item.payload.get() = Payload {
                links: ManuallyDrop::new(Links::new()),
            }
        };
        // SAFETY: The tree was borrowed since the search, the item is in none, and its block is not
        // freed before it is taken out, which makes it untracked.
        let there = unsafe {
            self.candidates
                .tree
                .insert(self.vacancy, NonNull::from(item))
        };
        if there {
            // INVARIANT: It is in the tree.
            item.set_kind(Kind::Candidate);
            item.block().note(item.slot(), Kind::Candidate);
        }
        there
    }
}
