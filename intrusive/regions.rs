// SPDX-License-Identifier: GPL-2.0

//! The regions of the records in one leaf, each with the block of addresses that it is for. Mostly there is
//! one.

use super::leaf::NoRecord;
use crate::mm::anon_vma::Region;
use core::cell::{Cell, UnsafeCell};
use kernel::prelude::*;

/// How many there can be: one in the leaf, and as many as fit into 512 bytes.
pub(super) const REGIONS: usize = 29;

/// The regions beyond the first, and their blocks.
struct More {
    regions: [UnsafeCell<Option<Region>>; REGIONS - 1],
    blocks: [Cell<u16>; REGIONS - 1],
}

const _: () = assert!(size_of::<More>() <= 512);

/// A table of regions.
///
/// # Invariants
///
/// An entry that a record refers to does not change; the reverse map reads it meanwhile.
pub(super) struct Regions {
    first: UnsafeCell<Option<Region>>,
    /// The block that `first` is for.
    block: u16,
    more: UnsafeCell<Option<KBox<More>>>,
}

impl Regions {
    pub(super) const fn new(block: u16) -> Self {
        Self {
            first: UnsafeCell::new(None),
            block,
            more: UnsafeCell::new(None),
        }
    }

    fn more(&self) -> Option<&More> {
        // SAFETY: Once there is a table, it stays; it is made before a record refers to it.
        unsafe { (*self.more.get()).as_deref() }
    }

    fn entry(&self, index: usize) -> Option<&UnsafeCell<Option<Region>>> {
        match index.checked_sub(1) {
            None => Some(&self.first),
            Some(index) => self.more()?.regions.get(index),
        }
    }

    /// The region at `index`, to which a record refers.
    pub(super) fn get(&self, index: usize) -> Option<&Region> {
        // SAFETY: By the type invariant it does not change while the record refers to it.
        unsafe { (*self.entry(index)?.get()).as_ref() }
    }

    /// The block that the region at `index` is for, to which a record refers.
    pub(super) fn block(&self, index: usize) -> u16 {
        let beyond = |index: usize| self.more()?.blocks.get(index);
        let block = index.checked_sub(1).and_then(beyond);
        block.map_or(self.block, Cell::get)
    }

    /// The index of `region` for `block`, which is put in if it is not there. Records refer to those entries
    /// only that are in `used`, a bit each.
    pub(super) fn put(&self, region: &Region, block: u16, used: u32) -> Result<usize, NoRecord> {
        let is_used = |index: &usize| used & 1 << *index != 0;
        let same = |index: &usize| {
            self.block(*index) == block && self.get(*index).is_some_and(|other| other.is(region))
        };
        if let Some(there) = (0..REGIONS).filter(is_used).find(same) {
            return Ok(there);
        }
        let is_good = |index: &usize| !is_used(index) && (*index > 0 || block == self.block);
        let index = (0..REGIONS).find(is_good).ok_or(NoRecord::Full)?;
        if let Some(index) = index.checked_sub(1) {
            let more = self.make_table().ok_or(NoRecord::NoMemory)?;
            more.blocks.get(index).ok_or(NoRecord::Full)?.set(block);
        }
        let entry = self.entry(index).ok_or(NoRecord::Full)?;
        // SAFETY: No record refers to the entry, so nobody reads it.
        unsafe { *entry.get() = Some(region.clone()) };
        Ok(index)
    }

    fn make_table(&self) -> Option<&More> {
        // Only who has the turn writes it, who is the caller.
        if self.more().is_none() {
            // The scanner holds references to pages now, and waits for nothing.
            let flags = GFP_NOWAIT | __GFP_NOWARN;
            let more = More {
                regions: [const { UnsafeCell::new(None) }; REGIONS - 1],
                blocks: [const { Cell::new(0) }; REGIONS - 1],
            };
            let table = KBox::new(more, flags).ok()?;
            // SAFETY: There is none, so that no record refers to one.
            unsafe { *self.more.get() = Some(table) };
        }
        self.more()
    }

    /// Bytes that were allocated beside the table itself.
    pub(super) fn bytes(&self) -> usize {
        match self.more() {
            Some(_) => size_of::<More>().next_power_of_two(),
            None => 0,
        }
    }
}
