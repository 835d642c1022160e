// SPDX-License-Identifier: GPL-2.0

//! Finding merged pages that are to be given back.
//!
//! C header: `include/linux/pagewalk.h`

use super::{
    ksm_folio::Mark,
    walk::{self, Ops},
};
use core::{ops::Range, ptr::NonNull};
use kernel::{bindings, ffi, mm::virt::VmaRef};

/// How many one walk finds: what is done about them is done with the mmap lock held.
const MOST: usize = 64;

/// Where merged pages are mapped, and zero pages that stand for pages full of zeroes.
pub(super) struct Merged {
    addresses: [usize; MOST],
    len: usize,
    /// Which of them nobody else mapped, a bit each.
    sole: u64,
}

impl Merged {
    /// Finds the first ones of `vma` in `range`, which is part of it.
    pub(super) fn find(vma: &VmaRef, range: Range<usize>) -> Self {
        let mut found = Self {
            addresses: [0; MOST],
            len: 0,
            sole: 0,
        };
        let private: *mut Self = &mut found;
        // SAFETY: The VMA is valid, its mmap lock is held for reading, the range lies inside it, and
        // `found` is what `OPS` expects. The walk itself never fails.
        unsafe {
            bindings::walk_page_range_vma(
                vma.as_ptr(),
                range.start,
                range.end,
                &OPS.0,
                private.cast(),
            )
        };
        found
    }

    /// In order of address; and whether nobody else mapped the page.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        let addresses = self.addresses.iter().take(self.len).enumerate();
        addresses.map(|(index, address)| (*address, self.sole & (1 << index) != 0))
    }

    /// Takes down one. False: there is no more room.
    fn push(&mut self, address: usize, sole: bool) -> bool {
        if let Some(place) = self.addresses.get_mut(self.len) {
            *place = address;
            self.sole |= u64::from(sole) << self.len;
            self.len += 1;
        }
        self.len < MOST
    }
}

static OPS: Ops = Ops(bindings::mm_walk_ops {
    pmd_entry: Some(pmd_entry),
    walk_lock: bindings::page_walk_lock_PGWALK_RDLOCK,
    ..pin_init::zeroed()
});

/// Takes down what a page table maps of merged pages. Returns 1 to end the walk.
///
/// # Safety
///
/// Called by the page walk with a `walk` whose `private` is a [`Merged`].
unsafe extern "C" fn pmd_entry(
    pmdp: *mut bindings::pmd_t,
    address: ffi::c_ulong,
    end: ffi::c_ulong,
    walk: *mut bindings::mm_walk,
) -> ffi::c_int {
    // SAFETY: The walk passes what `find` gave it, which nobody else uses meanwhile.
    let found = unsafe { &mut *(*walk).private.cast::<Merged>() };
    // SAFETY: The walk is over one valid VMA.
    let vma = unsafe { (*walk).vma };
    let take_down = |address, pte| {
        // SAFETY: `pte` was read under its lock.
        let merged = unsafe { merged(vma, address, pte) };
        merged.is_some_and(|sole| !found.push(address, sole))
    };
    // No part of a huge page is merged, and there is no table then.
    // SAFETY: The VMA is valid, its mmap lock held, and `pmdp` its entry for the range.
    unsafe { walk::until(vma, pmdp, address..end, take_down) }.into()
}

/// Whether nobody else maps what `pte` does, if that is a merged page, or might be when migration is
/// through with it.
///
/// # Safety
///
/// `pte` is what `vma` maps at `address`, under the page table lock.
unsafe fn merged(
    vma: *mut bindings::vm_area_struct,
    address: usize,
    pte: bindings::pte_t,
) -> Option<bool> {
    // SAFETY: Pure function of the value.
    if !unsafe { bindings::pte_present(pte) } {
        // SAFETY: As above.
        let entry = unsafe { bindings::softleaf_from_pte(pte) };
        // SAFETY: As above.
        return unsafe { bindings::softleaf_is_migration(entry) }.then_some(false);
    }
    // Nobody can write to a merged page: no need to look at the page, which is likely in no cache.
    // SAFETY: Pure function of the value.
    if unsafe { bindings::pte_write(pte) } {
        return None;
    }
    // SAFETY: Pure function of the value.
    if unsafe { bindings::is_ksm_zero_pte(pte) } {
        return Some(false);
    }
    // SAFETY: The contract is the caller's.
    let page = NonNull::new(unsafe { bindings::vm_normal_page(vma, address, pte) })?;
    // SAFETY: The lock keeps the page mapped, and so live.
    let folio = unsafe { bindings::page_folio(page.as_ptr()) };
    // SAFETY: As above.
    unsafe { Mark::of_ksm(folio) }?;
    // SAFETY: As above.
    Some(unsafe { bindings::folio_mapcount(folio) } == 1)
}
