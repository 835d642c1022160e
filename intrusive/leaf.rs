// SPDX-License-Identifier: GPL-2.0

//! A leaf: the records of up to [`SLOTS`] pages. What is the same for all of them is kept once; of each it
//! has an [`Item`], and its *place*: which page of a block of addresses it is, and the index of its
//! region, which says the block as well.

use super::{
    item::{Item, ItemRef},
    rb::{Linked, Links},
    regions::{Regions, REGIONS},
};
use crate::{
    mm::{
        address_space::AddressSpace,
        anon_vma::Region,
        slab::{Room, SlabCache},
    },
    rmap_item::Kind,
};
use core::{cell::Cell, mem::offset_of};
use kernel::{page::PAGE_SIZE, prelude::*, sync::Arc};

/// Records in a leaf.
pub(crate) const SLOTS: usize = 32;

/// Up to so many records are joined in a leaf. As many as are free then have to come before it is split, and
/// what was split, a full leaf and one more, has to lose some before it is joined.
pub(super) const FILL: usize = SLOTS - SLOTS / 8;

/// Bits of a place that say the region.
const REGION_BITS: u32 = SLOTS.trailing_zeros();

/// The bytes of a block: 512 GiB, which is as many pages as a place can tell apart. Places of the same region
/// in two blocks say different regions.
const BLOCK: usize = PAGE_SIZE << (u32::BITS - REGION_BITS);

/// The bytes of a zone: 32 PiB, which is as many blocks as one leaf can tell apart. x86 has two.
const ZONE: usize = BLOCK << u16::BITS;

// Up to `FILL`, there is room for the region of each, where one block has an index of its own.
const _: () = assert!(FILL < REGIONS && REGIONS <= SLOTS);

/// In which block of its zone an address lies.
const fn block_of(address: usize) -> u16 {
    (address % ZONE / BLOCK) as u16
}

/// Which page of its block it is.
const fn page_of(address: usize) -> u32 {
    (address % BLOCK / PAGE_SIZE) as u32
}

/// The records of some pages of one address space, all in one range of addresses.
///
/// # Invariants
///
/// * Of a slot in `tracked` or `found`, the place is that of its page, and no other such slot has the
///   same address. The place's region is in `regions`.
/// * A slot is in `tracked` if and only if the kind of its item is not `Untracked`.
#[repr(C)]
pub(crate) struct Leaf {
    links: Links,
    space: Arc<AddressSpace>,
    /// Where the zone begins in which all its pages are.
    zone: usize,
    /// Where the leaf's range begins.
    pub(super) start: Cell<usize>,
    /// Which of the items are tracked, a bit each.
    pub(super) tracked: Cell<u32>,
    /// Which of them a look has found mapped, or is about to track.
    pub(super) found: Cell<u32>,
    regions: Regions,
    places: [Cell<u32>; SLOTS],
    pub(super) items: [Item; SLOTS],
}

// SAFETY: `OFFSET` is that of the links that nothing but the tree of leaves uses.
unsafe impl Linked for Leaf {
    const OFFSET: usize = offset_of!(Leaf, links);
}

// At 26 to a slab of 32 KiB, a record takes 39.4 bytes where leaves are full.
const _: () = assert!(size_of::<Leaf>() <= 1260);

impl Leaf {
    /// One for `address` and others, best in the same block.
    pub(super) fn new(space: Arc<AddressSpace>, address: usize) -> impl Init<Self> {
        init!(Self {
            links: Links::new(),
            space,
            zone: address - address % ZONE,
            start: Cell::new(address),
            tracked: Cell::new(0),
            found: Cell::new(0),
            regions: Regions::new(block_of(address)),
            places <- pin_init::init_array_from_fn(|_| Cell::new(0)),
            // INVARIANT: Each gets its own index.
            items <- pin_init::init_array_from_fn(Item::new),
        })
    }

    /// The address at which its range begins.
    pub(super) fn start(&self) -> usize {
        self.start.get()
    }

    fn page(&self, slot: usize) -> u32 {
        self.places
            .get(slot)
            .map_or(0, |place| place.get() >> REGION_BITS)
    }

    fn region_index(&self, slot: usize) -> usize {
        let index = self.places.get(slot).map_or(0, Cell::get);
        index as usize % SLOTS
    }

    pub(super) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    pub(super) fn address(&self, slot: usize) -> usize {
        let block = usize::from(self.regions.block(self.region_index(slot)));
        self.zone + block * BLOCK + self.page(slot) as usize * PAGE_SIZE
    }

    pub(super) fn region(&self, slot: usize) -> Option<&Region> {
        self.regions.get(self.region_index(slot))
    }

    #[expect(clippy::indexing_slicing, reason = "in range whatever the number")]
    pub(super) fn item(&self, slot: usize) -> &Item {
        &self.items[slot % SLOTS]
    }

    /// Says whether the page of a slot is tracked.
    pub(super) fn note(&self, slot: usize, kind: Kind) {
        let bit = 1 << slot;
        let tracked = self.tracked.get();
        self.tracked.set(match kind {
            Kind::Untracked => tracked & !bit,
            _ => tracked | bit,
        });
    }

    /// The slots that have a place.
    pub(super) fn taken(&self) -> u32 {
        self.tracked.get() | self.found.get()
    }

    /// The slot of the page at `address`, where `guess` is looked at first.
    pub(super) fn slot_of(&self, address: usize, guess: usize) -> Option<usize> {
        let (taken, page) = (self.taken(), page_of(address));
        let is_it = |slot: &usize| self.page(*slot) == page && self.address(*slot) == address;
        if guess < SLOTS && taken & 1 << guess != 0 && is_it(&guess) {
            return Some(guess);
        }
        slots(taken).find(is_it)
    }

    /// The slots of those of `mask` whose address is in `[from, to)`.
    pub(super) fn within(
        &self,
        mask: u32,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = usize> + '_ {
        slots(mask).filter(move |slot| (from..to).contains(&self.address(*slot)))
    }

    pub(super) fn len(&self) -> usize {
        self.taken().count_ones() as usize
    }

    /// The slot of the first page.
    pub(super) fn first(&self) -> Option<usize> {
        slots(self.taken()).min_by_key(|slot| self.address(*slot))
    }

    /// The slot of the last page.
    pub(super) fn last(&self) -> Option<usize> {
        slots(self.taken()).max_by_key(|slot| self.address(*slot))
    }

    /// Takes a free slot for the page at `address`.
    pub(super) fn take_slot(&self, address: usize, region: &Region) -> Result<usize, NoRecord> {
        let slot = slots(!self.taken()).next().ok_or(NoRecord::Full)?;
        let place = self.places.get(slot).ok_or(NoRecord::Full)?;
        if self.zone != address - address % ZONE {
            return Err(NoRecord::Full);
        }
        let used = slots(self.taken()).fold(0, |used, slot| used | 1 << self.region_index(slot));
        // INVARIANT: No slot with a place has a region that is not in `used`.
        let region = self.regions.put(region, block_of(address), used)? as u32;
        place.set(page_of(address) << REGION_BITS | region);
        // INVARIANT: The place was just set; the caller found no other for the address.
        self.found.set(self.found.get() | 1 << slot);
        Ok(slot)
    }

    /// Has `other` hold the page of a slot, which is free then. `relocate` is as for
    /// [`Records::split`](super::records::Records::split). False, and nothing done, where that cannot be now.
    pub(super) fn give(
        &self,
        slot: usize,
        other: &Leaf,
        relocate: &mut impl FnMut(ItemRef<'_>, ItemRef<'_>) -> bool,
    ) -> bool {
        let bit = 1 << slot;
        let take = |region| other.take_slot(self.address(slot), region).ok();
        let Some(there) = self.region(slot).and_then(take) else {
            return false;
        };
        let given = self.tracked.get() & bit == 0
            || relocate(ItemRef::new(self, slot), ItemRef::new(other, there));
        if !given || self.found.get() & bit == 0 {
            other.found.set(other.found.get() & !(1 << there));
        }
        if given {
            self.found.set(self.found.get() & !bit);
        }
        given
    }

    pub(super) fn bytes(&self) -> usize {
        LEAF_BYTES + self.regions.bytes()
    }
}

/// The indices of the bits that are set.
fn slots(mut mask: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let slot = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (slot < SLOTS).then_some(slot)
    })
}

/// What a leaf takes in a slab of 32 KiB.
const LEAF_BYTES: usize = (32 << 10) / ((32 << 10) / size_of::<Leaf>());

/// The slab cache that leaves come from. It outlives all records.
pub(crate) type LeafCache = SlabCache<Leaf>;

/// Memory for leaves, allocated before it is known whether it is needed.
pub(crate) struct Spares(pub(super) KVec<Room<Leaf>>);

impl Spares {
    /// So many are enough for 64 pages in order of address, with a leaf for half as many as it holds.
    const MOST: usize = 6;

    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Fills up what is missing. Without memory there are fewer, and pages wait for the next pass.
    pub(crate) fn fill(&mut self, cache: &LeafCache) {
        let flags = GFP_KERNEL | __GFP_NOWARN;
        while self.0.len() < Self::MOST {
            let Ok(room) = cache.room(flags) else {
                return;
            };
            if self.0.push(room, flags).is_err() {
                return;
            }
        }
    }
}

/// Why there is no record for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRecord {
    /// The leaf that it belongs into is full, or has no room for its region: see
    /// [`Records::split`](super::records::Records::split).
    Full,
    NoMemory,
}
