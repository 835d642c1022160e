// SPDX-License-Identifier: GPL-2.0

//! VMAs whose memory is to be merged.
//!
//! C header: `include/linux/mm.h`

use super::{
    address_space::LiveMm,
    anon_vma::{AnonVma, Region},
    merged::Merged,
    sole,
};
use core::{ops::Range, ptr::NonNull};
use kernel::{
    bindings,
    mm::{virt::VmaRef, Mm},
    page::PAGE_SIZE,
    prelude::*,
};

/// Whether the owner of `vma` asked for it to be merged.
fn is_advised(vma: &VmaRef) -> bool {
    vma.flags() & bindings::VM_MERGEABLE != 0
}

/// Whether `vma` is to be merged.
fn is_mergeable(live: &LiveMm<'_>, vma: &VmaRef) -> bool {
    is_advised(vma) || live.unasked() && is_compatible(vma)
}

/// Whether `vma` is of a kind that could be advised.
fn is_compatible(vma: &VmaRef) -> bool {
    // SAFETY: A `VmaRef` is valid, and its mmap lock is held.
    unsafe { bindings::ksm_vma_compatible(vma.as_ptr()) }
}

/// What finds the anonymous pages of `vma`, if it has had any.
fn anon_vma_of(vma: &VmaRef) -> Option<NonNull<bindings::anon_vma>> {
    // SAFETY: A `VmaRef` is valid, and its mmap lock is held, under which `anon_vma` only ever
    // goes from null to its final value.
    NonNull::new(unsafe { core::ptr::read_volatile(&raw const (*vma.as_ptr()).anon_vma) })
}

/// A VMA that is to be merged and has an `anon_vma`, under the mmap lock.
///
/// # Invariants
///
/// `live` holds the mmap lock of the address space that `vma` is in. `anon_vma` is that of `vma`.
pub(crate) struct MergeableVma<'a> {
    live: &'a LiveMm<'a>,
    vma: &'a VmaRef,
    anon_vma: NonNull<bindings::anon_vma>,
}

impl<'a> MergeableVma<'a> {
    fn new(live: &'a LiveMm<'a>, vma: &'a VmaRef) -> Option<Self> {
        let anon_vma = anon_vma_of(vma).filter(|_| is_mergeable(live, vma))?;
        // INVARIANT: The VMA was found under the lock that `live` holds.
        Some(Self {
            live,
            vma,
            anon_vma,
        })
    }

    /// The mergeable VMA that holds `address`.
    pub(crate) fn at(live: &'a LiveMm<'a>, address: usize) -> Option<Self> {
        let vma = vmas(live, address).next()?;
        Self::new(live, vma).filter(|vma| vma.start() <= address)
    }

    pub(crate) fn start(&self) -> usize {
        self.vma.start()
    }

    pub(crate) fn end(&self) -> usize {
        self.vma.end()
    }

    pub(crate) fn mm(&self) -> &Mm {
        self.live.mm()
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::vm_area_struct {
        self.vma.as_ptr()
    }

    /// How the reverse map knows the pages of this VMA.
    pub(crate) fn region(&self) -> Region {
        // SAFETY: By the type invariant the VMA holds a reference that the mmap lock keeps.
        let anon_vma = unsafe { AnonVma::get(self.anon_vma) };
        Region::new(anon_vma, self.start(), self.first_index())
    }

    /// Whether `region` is that of this VMA.
    pub(crate) fn is_of(&self, region: &Region) -> bool {
        region.anon_vma.is(self.anon_vma) && region.index(self.start()) == self.first_index()
    }

    /// The index under which the reverse map knows the first page.
    fn first_index(&self) -> usize {
        // SAFETY: The VMA is valid by the type invariant.
        unsafe { bindings::linear_anon_page_index(self.as_ptr(), self.start()) }
    }

    /// Gives the owner a page of its own at `address`, if it shares one with somebody. May sleep.
    /// Where that cannot be now, nothing is done: the caller looks again.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: no page for the copy.
    pub(crate) fn unshare(&self, address: usize) -> Result {
        unshare(self.vma, address).map(|_| ())
    }

    /// The same for a merged page, which needs no copy where nobody else refers to it.
    ///
    /// # Errors
    ///
    /// As for [`MergeableVma::unshare`].
    pub(crate) fn unmerge(&self, address: usize) -> Result {
        match sole::take_over(self.vma, address) {
            true => Ok(()),
            false => self.unshare(address),
        }
    }
}

/// What became of the page at an address.
#[derive(PartialEq)]
enum Unshared {
    /// It is the owner's own, or is when it is looked at again.
    Done,
    /// The fault would have to wait for somebody, who may never come, or cannot be handled.
    NotNow,
}

/// Gives the owner of `vma` a page of its own at `address`.
fn unshare(vma: &VmaRef, address: usize) -> Result<Unshared> {
    // The page may be gone, and the fault be one on a file whose server does not answer, or one that
    // a userfaultfd is told about: with these flags it neither waits nor lets go of the lock.
    let flags = bindings::fault_flag_FAULT_FLAG_UNSHARE
        | bindings::fault_flag_FAULT_FLAG_REMOTE
        | bindings::fault_flag_FAULT_FLAG_ALLOW_RETRY
        | bindings::fault_flag_FAULT_FLAG_RETRY_NOWAIT;
    let none = core::ptr::null_mut();
    // SAFETY: The VMA is valid, its mmap lock is held, and `flags` does not let it be dropped.
    let fault = unsafe { bindings::handle_mm_fault(vma.as_ptr(), address, flags, none) };
    if fault & bindings::vm_fault_reason_VM_FAULT_OOM != 0 {
        return Err(ENOMEM);
    }
    let not_now = bindings::vm_fault_reason_VM_FAULT_RETRY
        | bindings::vm_fault_reason_VM_FAULT_SIGBUS
        | bindings::vm_fault_reason_VM_FAULT_SIGSEGV
        | bindings::vm_fault_reason_VM_FAULT_HWPOISON;
    Ok(match fault & not_now {
        0 => Unshared::Done,
        _ => Unshared::NotNow,
    })
}

/// How much address space is searched for merged pages under one hold of the mmap lock.
const SEARCH_SPAN: usize = 32 << 20;

/// A part of the way through an address space that is unmerged.
pub(crate) struct Part {
    /// All that is to be unmerged in it is the owner's own.
    pub(crate) done: Range<usize>,
    /// Where to go on: where the part ends, or behind a page there that has to be left out now.
    pub(crate) next: usize,
}

impl Part {
    pub(crate) fn leaves_out(&self) -> bool {
        self.next != self.done.end
    }
}

/// Gives the owner copies of its own for the first merged pages from `from` on, so few that the mmap
/// lock is not held for long. May sleep. `None`: there are no more.
///
/// What this has dealt with is part of the next part, where it is seen to be done.
///
/// # Errors
///
/// `ENOMEM`: no page for a copy.
pub(crate) fn unmerge_some(live: &LiveMm<'_>, from: usize) -> Result<Option<Part>> {
    unmerge_first(live, from, |_| true)
}

/// The same in VMAs that nobody has advised.
///
/// # Errors
///
/// As for [`unmerge_some`].
pub(crate) fn unmerge_some_unasked(live: &LiveMm<'_>, from: usize) -> Result<Option<Part>> {
    unmerge_first(live, from, |vma| !is_advised(vma))
}

fn unmerge_first(
    live: &LiveMm<'_>,
    from: usize,
    wanted: impl Fn(&VmaRef) -> bool,
) -> Result<Option<Part>> {
    let may_have_any = |vma: &&VmaRef| {
        wanted(vma) && anon_vma_of(vma).is_some() && (is_advised(vma) || is_compatible(vma))
    };
    let Some(vma) = vmas(live, from).find(may_have_any) else {
        return Ok(None);
    };
    let start = from.max(vma.start());
    let end = vma.end().min(start.saturating_add(SEARCH_SPAN));
    let merged = Merged::find(vma, start..end);
    let first = merged.iter().next().map(|(address, _)| address);
    let mut part = Part {
        done: start..first.unwrap_or(end),
        next: first.unwrap_or(end),
    };
    for (address, sole) in merged.iter() {
        if sole && sole::take_over(vma, address) || unshare(vma, address)? == Unshared::Done {
            continue;
        }
        if address != part.done.end {
            // It is the first one of the next part, when those before it are seen to be done.
            break;
        }
        part.next = address + PAGE_SIZE;
    }
    Ok(Some(part))
}

/// The mergeable VMAs that end above `from`.
pub(crate) fn mergeable_vmas<'a>(
    live: &'a LiveMm<'a>,
    from: usize,
) -> impl Iterator<Item = MergeableVma<'a>> {
    vmas(live, from).filter_map(|vma| MergeableVma::new(live, vma))
}

/// Whether any VMA is advised, also one that had no page so far, or one will be by itself.
pub(crate) fn any_advised(live: &LiveMm<'_>) -> bool {
    live.merges_any() || vmas(live, 0).any(is_advised)
}

/// Whether there may be something to merge, sooner or later.
pub(crate) fn is_wanted(live: &LiveMm<'_>) -> bool {
    live.unasked() || any_advised(live)
}

/// The VMAs that end above `from`.
fn vmas<'a>(live: &'a LiveMm<'a>, from: usize) -> impl Iterator<Item = &'a VmaRef> {
    let mut next = from;
    core::iter::from_fn(move || {
        // SAFETY: `live` holds the mmap lock of an address space that is not torn down.
        let vma = unsafe { bindings::find_vma(live.mm().as_raw(), next) };
        if vma.is_null() {
            return None;
        }
        // SAFETY: `find_vma` gave it, and it is valid while the lock is held.
        let vma: &'a VmaRef = unsafe { VmaRef::from_raw(vma) };
        next = vma.end();
        Some(vma)
    })
}
