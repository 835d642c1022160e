// SPDX-License-Identifier: GPL-2.0

//! Giving a merged page to the only one that still maps it.
//!
//! Where merged pages are given back, the last mapping needs no copy: the page becomes an ordinary
//! anonymous one of its VMA again, as the kernel does with a page that a fork shared and that only
//! one process is left of (`folio_move_anon_rmap()`).
//!
//! C header: `include/linux/rmap.h`

use super::ksm_folio::{self, Mark};
use kernel::{bindings, mm::virt::VmaRef, mm::Mm};

/// Makes the merged page that `vma` maps at `address` its own, if nobody else has to do with it.
pub(super) fn take_over(vma: &VmaRef, address: usize) -> bool {
    let mut walk = pin_init::zeroed::<bindings::folio_walk>();
    // SAFETY: The VMA is valid and its mmap lock held.
    let folio = unsafe { bindings::folio_walk_start(&mut walk, vma.as_ptr(), address, 0) };
    if folio.is_null() {
        return false;
    }
    // SAFETY: The walk found `folio` and holds the lock of the entry that maps it.
    let taken = unsafe { try_take_over(vma, address, folio) };
    // SAFETY: The walk found something, and so holds its locks.
    unsafe { bindings::folio_walk_end(&mut walk, vma.as_ptr()) };
    taken
}

/// # Safety
///
/// `vma` maps `folio` at `address`, by an entry whose lock is held.
unsafe fn try_take_over(vma: &VmaRef, address: usize, folio: *mut bindings::folio) -> bool {
    // SAFETY: The mapping keeps the folio valid, and the lock of its entry the mapping.
    if !unsafe { is_sole(folio) } {
        return false;
    }
    // SAFETY: As above.
    if !unsafe { bindings::folio_trylock(folio) } {
        return false;
    }
    // Who walks the reverse map of a merged page has it locked, and so has migration.
    // SAFETY: As above.
    let sole = unsafe { is_sole(folio) && is_charged_to(folio, vma.mm()) };
    if sole {
        // SAFETY: As above, and the folio is locked.
        unsafe { ksm_folio::make_ordinary(folio, vma, address) };
    }
    // SAFETY: Locked above.
    unsafe { bindings::folio_unlock(folio) };
    sole
}

/// Whether `folio` is a merged page to which nobody refers but one mapping.
///
/// # Safety
///
/// `folio` is live.
unsafe fn is_sole(folio: *mut bindings::folio) -> bool {
    // SAFETY: The folio is live.
    let merged = unsafe { Mark::of_ksm(folio) }.is_some();
    // SAFETY: As above.
    let mappings = unsafe { bindings::folio_mapcount(folio) };
    // SAFETY: As above.
    let references = unsafe { bindings::folio_ref_count(folio) };
    // SAFETY: As above. A merged page is a folio of its own.
    let page = unsafe { bindings::folio_page(folio, 0) };
    // The swap cache has a reference.
    // SAFETY: As above.
    merged && mappings == 1 && references == 1 && unsafe { bindings::PageHWPoison(page) } == 0
}

/// Whether `folio` is charged to the memory cgroup of `mm`. If not, a copy is what brings that right.
///
/// # Safety
///
/// `folio` is live and an anonymous one.
#[cfg(CONFIG_MEMCG)]
unsafe fn is_charged_to(folio: *mut bindings::folio, mm: &Mm) -> bool {
    use core::ptr::read_volatile;
    use kernel::sync::rcu;

    // SAFETY: The folio is live, and its cgroup does not change while it is locked.
    let data =
        unsafe { read_volatile(&raw const (*folio).__bindgen_anon_1.__bindgen_anon_1.memcg_data) };
    if data == 0 {
        // Memory cgroups are turned off.
        return true;
    }
    let charged = data as *const bindings::obj_cgroup;
    let _rcu = rcu::read_lock();
    // SAFETY: What an anonymous folio is charged to has no flags, and lives as long as the charge.
    let charged = unsafe { read_volatile(&raw const (*charged).memcg) };
    // SAFETY: `mm` is live.
    let owner = unsafe { read_volatile(&raw const (*mm.as_raw()).__bindgen_anon_1.owner) };
    // SAFETY: RCU keeps the task, or there is none.
    charged == unsafe { bindings::mem_cgroup_from_task(owner) }
}

/// # Safety
///
/// None: there are no memory cgroups.
#[cfg(not(CONFIG_MEMCG))]
unsafe fn is_charged_to(_folio: *mut bindings::folio, _mm: &Mm) -> bool {
    true
}
