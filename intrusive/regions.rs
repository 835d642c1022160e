// SPDX-License-Identifier: GPL-2.0

//! The regions of the records in one leaf. Mostly there is one.

use super::records::SLOTS;
use crate::mm::anon_vma::Region;
use core::cell::UnsafeCell;
use kernel::prelude::*;

/// The regions beyond the first.
type More = [Option<Region>; SLOTS - 1];

/// A table of regions.
///
/// # Invariants
///
/// An entry that a record refers to does not change; the reverse map reads it meanwhile.
pub(super) struct Regions {
    first: UnsafeCell<Option<Region>>,
    more: UnsafeCell<Option<KBox<UnsafeCell<More>>>>,
}

impl Regions {
    pub(super) const fn new() -> Self {
        Self {
            first: UnsafeCell::new(None),
            more: UnsafeCell::new(None),
        }
    }

    fn entry(&self, index: usize) -> Option<*mut Option<Region>> {
        let Some(index) = index.checked_sub(1) else {
            return Some(self.first.get());
        };
        // SAFETY: Once there is a table, it stays; it is made before a record refers to it.
        let more = unsafe { (*self.more.get()).as_ref() }?;
        let table: *mut Option<Region> = more.get().cast();
        (index < SLOTS - 1).then(|| table.wrapping_add(index))
    }

    /// The region at `index`, to which a record refers.
    pub(super) fn get(&self, index: usize) -> Option<&Region> {
        // SAFETY: By the type invariant it does not change while the record refers to it.
        unsafe { (*self.entry(index)?).as_ref() }
    }

    /// The index of `region`, which is put in if it is not there. Records refer to those entries only
    /// that are in `used`, a bit each. `None`: no memory for a table, or no room.
    pub(super) fn put(&self, region: &Region, used: u32) -> Option<usize> {
        let is_used = |index: &usize| used & 1 << *index != 0;
        let same = |index: &usize| self.get(*index).is_some_and(|other| other.is(region));
        if let Some(there) = (0..SLOTS).filter(is_used).find(same) {
            return Some(there);
        }
        let index = (0..SLOTS).find(|index| !is_used(index))?;
        if index > 0 {
            self.make_table()?;
        }
        let entry = self.entry(index)?;
        // SAFETY: No record refers to the entry, so nobody reads it.
        unsafe { *entry = Some(region.clone()) };
        Some(index)
    }

    fn make_table(&self) -> Option<()> {
        // SAFETY: Only who has the turn writes it, who is the caller.
        if unsafe { (*self.more.get()).is_some() } {
            return Some(());
        }
        // The scanner holds references to pages now, and waits for nothing.
        let flags = GFP_NOWAIT | __GFP_NOWARN;
        let table = KBox::new(UnsafeCell::new([const { None }; SLOTS - 1]), flags).ok()?;
        // SAFETY: As above. No record refers to anything in it yet.
        unsafe { *self.more.get() = Some(table) };
        Some(())
    }

    /// Bytes that were allocated beside the table itself.
    pub(super) fn bytes(&self) -> usize {
        // SAFETY: Only who has the turn writes it, who is the caller.
        match unsafe { (*self.more.get()).is_some() } {
            true => size_of::<More>().next_power_of_two(),
            false => 0,
        }
    }
}
