// SPDX-License-Identifier: GPL-2.0

//! Giving a merged page to the only one that still maps it.
//!
//! Where merged pages are given back, the last mapping needs no copy: the page becomes an ordinary
//! anonymous one of its VMA again, as the kernel does with a page that a fork shared and that only
//! one process is left of (`folio_move_anon_rmap()`).
//!
//! C header: `include/linux/rmap.h`

use super::{
    ksm_folio::{self, LockedKsm},
    table::{FolioWalk, LivePage},
    vma::MergeableVma,
};
use kernel::{bindings, mm::virt::VmaRef, mm::Mm, unsafe_precondition_assert};

/// Makes the merged page that `vma` maps at `address` its own, if nobody else has to do with it.
pub(super) fn take_over(vma: &VmaRef, address: usize) -> bool {
    let walk = FolioWalk::start(vma, address);
    let page = walk.as_ref().and_then(FolioWalk::page);
    page.is_some_and(|page| try_take_over(vma, address, page))
}

/// The same for `page`, which is what `vma` maps at `address`.
fn try_take_over(vma: &VmaRef, address: usize, page: LivePage<'_>) -> bool {
    if !is_sole(page) {
        return false;
    }
    let folio = page.folio();
    // SAFETY: The folio is live.
    if !unsafe { bindings::folio_trylock(folio) } {
        return false;
    }
    // Who walks the reverse map of a merged page has it locked, and so has migration.
    // SAFETY: The folio is live and locked, and merged pages are anonymous.
    let sole = is_sole(page) && unsafe { is_charged_to(folio, vma.mm()) };
    if sole {
        // SAFETY: It is a merged page and locked, and the one entry that maps it is locked, too.
        unsafe { ksm_folio::make_ordinary(folio, vma, address) };
    }
    // SAFETY: Locked above.
    unsafe { bindings::folio_unlock(folio) };
    sole
}

/// Makes a page that was made a merged one a moment ago, and is locked since, an ordinary one again, that of
/// `vma` at `address`. The caller has the one reference that is not the mapping's. False, and nothing done,
/// where it is not mapped there, or somebody else refers to it.
pub(crate) fn undo(vma: &MergeableVma<'_>, address: usize, locked: &LockedKsm<'_>) -> bool {
    let walk = FolioWalk::start(vma.vma(), address);
    let Some(page) = walk.as_ref().and_then(FolioWalk::page) else {
        return false;
    };
    let folio = page.folio();
    let undone = folio == locked.folio() && has_only(page, 2);
    if undone {
        // SAFETY: It is a merged page and locked, and the one entry that maps it is locked, too.
        unsafe { ksm_folio::make_ordinary(folio, vma.vma(), address) };
    }
    undone
}

/// Whether `page` is a merged page to which nobody refers but one mapping.
fn is_sole(page: LivePage<'_>) -> bool {
    has_only(page, 1)
}

/// Whether `page` is a merged page with so many references, one of which is that of the one mapping.
fn has_only(page: LivePage<'_>, wanted: i32) -> bool {
    // SAFETY: The folio is live.
    let references = unsafe { bindings::folio_ref_count(page.folio()) };
    // SAFETY: As above. A merged page is a folio of its own.
    let poisoned = unsafe { bindings::PageHWPoison(page.as_ptr()) } != 0;
    // The swap cache has a reference.
    page.mark().is_some() && page.mapcount() == 1 && references == wanted && !poisoned
}

/// Whether `folio` is charged to the memory cgroup of `mm`. If not, a copy is what brings that right.
///
/// # Safety
///
/// `folio` is live, locked and an anonymous one.
#[cfg(CONFIG_MEMCG)]
unsafe fn is_charged_to(folio: *mut bindings::folio, mm: &Mm) -> bool {
    use kernel::sync::rcu;

    // SAFETY: The folio is live, says the caller.
    unsafe_precondition_assert!(unsafe { bindings::folio_test_anon(folio) });
    // SAFETY: The folio is live.
    let data = unsafe { &raw const (*folio).__bindgen_anon_1.__bindgen_anon_1.memcg_data };
    // SAFETY: As above, and its cgroup does not change while it is locked.
    let data = unsafe { data.read_volatile() };
    if data == 0 {
        // Memory cgroups are turned off.
        return true;
    }
    let charged = data as *const bindings::obj_cgroup;
    let _rcu = rcu::read_lock();
    // SAFETY: What an anonymous folio is charged to has no flags, and lives as long as the charge.
    let charged = unsafe { &raw const (*charged).memcg };
    // SAFETY: As above.
    let charged = unsafe { charged.read_volatile() };
    // SAFETY: `mm` is live.
    let owner = unsafe { &raw const (*mm.as_raw()).__bindgen_anon_1.owner };
    // SAFETY: As above.
    let owner = unsafe { owner.read_volatile() };
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
