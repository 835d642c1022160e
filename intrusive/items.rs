// SPDX-License-Identifier: GPL-2.0

//! The records of tracked pages: one [`Item`] a page, [`SLOTS`] to a [`Block`].
//!
//! A record is what merging costs for each page that cannot be merged, so it is small. What is the
//! same for neighbours, the address space, how the reverse map knows it, and the upper part of the
//! address, stands once for a block; a record itself is 32 bytes:
//!
//! * 24 bytes for the links in the tree of candidates or, once merged, those among the [`Sharers`] of
//!   the merged page and a pointer to its node: never both.
//! * 8 bytes for the checksum's upper 40 bits, the [`Age`] of the record, its kind, and its place in
//!   the block, by which the block is found from a record that a search or a walk came upon.
//!
//! Dropping 24 of 64 bits leaves a chance of 2⁻⁴⁰ that two pages are taken for equal in vain.
//!
//! [`Sharers`]: super::sharers::Sharers
//!
//! Everything here is used under the engine's lock, but for what the reverse map needs of a merged page's
//! sharers: their links, which the folio's lock guards, and what never changes, their place in the
//! block and what the block says of all. Records are reached by shared references and
//! changed through cells; a block is only freed through [`Blocks::clear`], which by its `&mut`
//! arguments shows that no such reference is left.

use super::{
    candidates::Candidates,
    rb::{Linked, Links},
    sharers::Sharing,
};
use crate::{
    mm::{
        anon_vma::Region,
        ksm_folio::{Mark, StableNode},
        kthread::cond_resched,
        slab::{SlabBox, SlabCache},
    },
    mm_slot::MmSlot,
    rmap_item::Kind,
    smart_scan::Age,
};
use core::{
    cell::{Cell, UnsafeCell},
    mem::{offset_of, ManuallyDrop},
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::{Arc, ArcBorrow},
};

/// Records in a block. The metadata for each page of a dense range falls with it, that for a lone
/// page rises.
pub(crate) const SLOTS: usize = 32;

/// Bytes of address space that a block stands for.
const SPAN: usize = SLOTS * PAGE_SIZE;

/// The part of a page's checksum by which records are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(super) u64);

impl Key {
    const BITS: u32 = 40;

    pub(crate) const fn of(checksum: u64) -> Self {
        Self(checksum >> (u64::BITS - Self::BITS))
    }
}

/// What the kind of a record says is in it.
#[repr(C)]
union Payload {
    /// For [`Kind::Candidate`].
    links: ManuallyDrop<Links>,
    /// For [`Kind::Merged`].
    sharing: Sharing,
}

/// One tracked page.
///
/// # Invariants
///
/// * The item is the `slot`th of a block.
/// * The item is in a tree of [`Candidates`] if and only if its kind is `Candidate`.
/// * It is in the list of [`Sharers`](super::sharers::Sharers) of a node if and only if its kind is
///   `Merged`. That node lives then: the list has a reference to it.
/// * `payload` holds what the kind says.
#[repr(C)]
pub(crate) struct Item {
    payload: UnsafeCell<Payload>,
    key_low: Cell<u32>,
    key_high: Cell<u8>,
    age: Cell<u8>,
    kind: Cell<u8>,
    /// Never changes: the reverse map reads it while the rest does.
    slot: u8,
}

// SAFETY: `OFFSET` is that of the payload, which is `Links` and used by nothing but the tree for as
// long as the item is in one.
unsafe impl Linked for Item {
    const OFFSET: usize = offset_of!(Item, payload);
}

impl Item {
    fn new(slot: usize) -> Self {
        Self {
            payload: UnsafeCell::new(Payload {
                links: ManuallyDrop::new(Links::new()),
            }),
            key_low: Cell::new(0),
            key_high: Cell::new(0),
            age: Cell::new(Age::default().to_bits()),
            // INVARIANT: This kind has no payload.
            kind: Cell::new(Kind::Untracked.to_bits()),
            // INVARIANT: `slot` is the index, of which there are fewer than 256.
            slot: slot as u8,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::from_bits(self.kind.get())
    }

    /// The page's checksum when it was last looked at.
    pub(crate) fn key(&self) -> Key {
        Key(u64::from(self.key_high.get()) << u32::BITS | u64::from(self.key_low.get()))
    }

    fn set_key(&self, key: Key) {
        self.key_low.set(key.0 as u32);
        self.key_high.set((key.0 >> u32::BITS) as u8);
    }

    /// What a visit of the scanner to an ordinary page makes of the age, and whether it passes the
    /// page over. One that was merged until now begins anew.
    fn visited(&self) -> (Age, bool) {
        let age = Age::from_bits(self.age.get());
        match self.kind() {
            Kind::Merged => (age, false),
            _ => age.visit(),
        }
    }

    /// Whether the next visit is to pass the page over.
    pub(crate) fn will_be_skipped(&self) -> bool {
        self.visited().1
    }

    /// Grows older by one visit of the scanner. Whether that is to pass the page over.
    pub(crate) fn grow_older(&self) -> bool {
        let (age, skip) = self.visited();
        self.age.set(age.to_bits());
        skip
    }

    fn slot(&self) -> usize {
        self.slot.into()
    }

    /// Only who puts the item where the kind says, or takes it out, says so.
    pub(super) fn set_kind(&self, kind: Kind) {
        self.kind.set(kind.to_bits());
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

    /// How the reverse map knows the page.
    pub(crate) fn region(&self) -> &Region {
        &self.block().region
    }

    /// Where it maps the page.
    pub(crate) fn address(&self) -> usize {
        self.block().base + self.slot() * PAGE_SIZE
    }

    /// That of another page, if it is in the same block.
    pub(crate) fn near(&self, address: usize) -> Option<&Self> {
        self.block().item(address)
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
            self.age.set(Age::default().to_bits());
        }
        // INVARIANT: Neither kind has a payload.
        self.set_kind(kind);
        self.block().note(self.slot(), kind);
        true
    }

    /// Where the links among the sharers of a merged page are, and its node.
    pub(super) fn sharing(&self) -> *mut Sharing {
        self.payload.get().cast()
    }

    /// Gives a plain item links that are in no tree yet. False, and nothing done, for another.
    pub(super) fn get_links(&self) -> bool {
        let plain = self.kind().is_plain();
        if plain {
            let links = ManuallyDrop::new(Links::new());
            // SAFETY: No reference into the payload of a plain item exists.
            unsafe { *self.payload.get() = Payload { links } };
            self.block().note(self.slot(), Kind::Candidate);
        }
        plain
    }

    /// Makes a plain item merged: `sharing` says with what.
    ///
    /// # Safety
    ///
    /// The item is plain. From here on it is in the list that `sharing` is of, which takes it out by
    /// [`Item::end_sharing`] and keeps the node until then.
    pub(super) unsafe fn begin_sharing(&self, sharing: Sharing) {
        // SAFETY: No reference into the payload of a plain item exists.
        unsafe { *self.payload.get() = Payload { sharing } };
        self.age.set(Age::default().to_bits());
        // INVARIANT: The payload is what was just written.
        self.set_kind(Kind::Merged);
        self.block().note(self.slot(), Kind::Merged);
    }

    /// Makes a merged item plain.
    ///
    /// # Safety
    ///
    /// The item is merged, and was taken out of the list of sharers.
    pub(super) unsafe fn end_sharing(&self) {
        // INVARIANT: A plain item has no payload.
        self.set_kind(Kind::Seen);
    }

    /// Runs `f` on the node of the merged page that this is a mapping of.
    fn with_node<R>(&self, f: impl FnOnce(ArcBorrow<'_, StableNode>) -> R) -> Option<R> {
        if self.kind() != Kind::Merged {
            return None;
        }
        // SAFETY: By the type invariant the payload says how the item shares. The node is only
        // written with the kind.
        let node = unsafe { (*self.sharing()).node };
        // SAFETY: By the type invariant it lives, and `f`, not having the item, does not change that.
        Some(f(unsafe { ArcBorrow::from_raw(node) }))
    }

    /// Whether this is a mapping of the merged page of the node that `mark` names.
    pub(crate) fn is_merged_into(&self, mark: Mark) -> bool {
        self.with_node(|node| node.mark() == mark) == Some(true)
    }

    /// The node of the merged page that this is a mapping of.
    pub(crate) fn node(&self) -> Option<Arc<StableNode>> {
        self.with_node(|node| node.into())
    }
}

/// The records of [`SLOTS`] pages in a row, which are of one region.
pub(crate) struct Block {
    mm: Arc<MmSlot>,
    region: Region,
    base: usize,
    /// Which of the items are tracked, a bit each.
    tracked: Cell<u32>,
    items: [Item; SLOTS],
}

impl Block {
    fn new(mm: Arc<MmSlot>, region: Region, base: usize) -> impl Init<Self> {
        init!(Self {
            mm,
            region,
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

    /// The item for `address`, if that is in this block.
    pub(crate) fn item(&self, address: usize) -> Option<&Item> {
        self.items.get(address.checked_sub(self.base)? / PAGE_SIZE)
    }

    /// Its items with an address below `address`, a bit each.
    fn below(&self, address: usize) -> u32 {
        match address.saturating_sub(self.base) / PAGE_SIZE {
            slots @ 0..SLOTS => (1 << slots) - 1,
            _ => u32::MAX,
        }
    }

    /// Its tracked items with an address in `[from, to)`.
    pub(crate) fn tracked(&self, from: usize, to: usize) -> impl Iterator<Item = &Item> {
        self.items(self.tracked_bits(from, to))
    }

    /// The same, a bit each.
    fn tracked_bits(&self, from: usize, to: usize) -> u32 {
        self.tracked.get() & self.below(to) & !self.below(from)
    }

    fn items(&self, mut bits: u32) -> impl Iterator<Item = &Item> {
        core::iter::from_fn(move || {
            let item = self.items.get(bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(item)
        })
    }
}

/// The slab cache that blocks come from. It outlives all [`Blocks`].
pub(crate) type BlockCache = SlabCache<Block>;

/// A block that is leaked rather than freed while an item of it may be in a tree.
struct OwnedBlock(ManuallyDrop<SlabBox<Block>>);

/// By what a block is found: where it begins, and of which region it is. Where a block's span lies
/// across two VMAs of different regions, there are two.
type Place = (usize, (usize, usize));

/// The blocks of one address space.
pub(crate) struct Blocks {
    by_place: RBTree<Place, OwnedBlock>,
}

// SAFETY: Items are reached from one thread at a time: blocks and candidates are both part of what
// the engine's lock guards.
unsafe impl Send for Blocks {}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self {
            by_place: RBTree::new(),
        }
    }

    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// The block for `address`, which is made if there is none yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn block(
        &mut self,
        cache: &BlockCache,
        mm: &Arc<MmSlot>,
        region: &Region,
        address: usize,
    ) -> Result<&Block> {
        let base = address - address % SPAN;
        let place = (base, region.id());
        if self.by_place.get(&place).is_none() {
            let flags = GFP_KERNEL | __GFP_NOWARN;
            let node = RBTreeNodeReservation::new(flags)?;
            let block = cache.alloc(Block::new(mm.clone(), region.clone(), base), flags)?;
            let block = OwnedBlock(ManuallyDrop::new(block));
            self.by_place.insert(node.into_node(place, block));
        }
        self.by_place
            .get(&place)
            .map(|block| &**block.0)
            .ok_or(ENOMEM)
    }

    /// All of them, without a search for each.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Block> {
        self.by_place.values().map(|block| &**block.0)
    }

    /// The place of the first block that is not before `from`.
    fn next_place(&self, from: Place) -> Option<Place> {
        Some(*self.by_place.cursor_lower_bound(&from)?.current().0)
    }

    /// Those that may have items with an address in `[from, to)`.
    pub(crate) fn blocks(&self, from: usize, to: usize) -> impl Iterator<Item = &Block> {
        let mut next = first_place(from);
        core::iter::from_fn(move || {
            let place = self.next_place(next)?;
            if place.0 >= to {
                return None;
            }
            next = place_after(place);
            self.by_place.get(&place).map(|block| &**block.0)
        })
    }

    /// The tracked items with an address in `[from, to)`, but for those of `region` that are among
    /// `found`, which are addresses in order.
    pub(crate) fn lost(
        &self,
        from: usize,
        to: usize,
        region: &Region,
        found: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = &Item> {
        let mut found = found.peekable();
        let region = region.id();
        self.blocks(from, to).flat_map(move |block| {
            let mut lost = block.tracked_bits(from, to);
            let end = block.base + SPAN;
            while block.region.id() == region {
                let Some(address) = found.next_if(|address| *address < end) else {
                    break;
                };
                lost &= !(block.below(address + PAGE_SIZE) & !block.below(address));
            }
            block.items(lost)
        })
    }

    /// Frees the blocks in `[from, to)` of which no item is tracked.
    ///
    /// `_candidates` shows that no search still refers to an item.
    pub(crate) fn clear(&mut self, _candidates: &mut Candidates, from: usize, to: usize) {
        let mut next = first_place(from);
        while let Some(place) = self.next_place(next).filter(|place| place.0 < to) {
            next = place_after(place);
            let unused = |block: &OwnedBlock| block.0.tracked.get() == 0;
            if self.by_place.get(&place).is_some_and(unused) {
                if let Some(block) = self.by_place.remove(&place) {
                    // An item that is not tracked is in no tree and no list, and owns nothing.
                    drop(ManuallyDrop::into_inner(block.0));
                    cond_resched();
                }
            }
        }
    }
}

/// That of a block that holds `address` is not before this.
fn first_place(address: usize) -> Place {
    (address - address % SPAN, (0, 0))
}

/// No block is between the two.
fn place_after((base, (anon_vma, offset)): Place) -> Place {
    // The pointer to an `anon_vma` is never the highest number.
    match offset.checked_add(1) {
        Some(offset) => (base, (anon_vma, offset)),
        None => (base, (anon_vma + 1, 0)),
    }
}
