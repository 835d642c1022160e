// SPDX-License-Identifier: GPL-2.0

//! VMAs whose memory is to be merged.
//!
//! C header: `include/linux/mm.h`

use super::{
    address_space::{has_flag, LiveMm},
    anon_vma::{AnonVma, Region},
    merged::Merged,
    owner,
    pagewalk::Walk,
    sole,
};
use core::{ops::Range, ptr::NonNull};
use kernel::{
    bindings,
    mm::{
        virt::{vm_flags_t, VmaRef},
        Mm,
    },
    page::PAGE_SIZE,
    prelude::*,
};

/// Whether the owner of `vma` asked for it to be merged.
pub(crate) fn is_advised(vma: &VmaRef) -> bool {
    vma.flags() & bindings::VM_MERGEABLE != 0
}

/// Whether `vma` is to be merged.
fn is_mergeable(live: &LiveMm<'_>, vma: &VmaRef) -> bool {
    is_advised(vma) || live.unasked() && !is_private(live, vma) && is_compatible(vma)
}

/// What a VMA has that nobody is to come near unasked: its memory has to stay where it is, is not to be seen
/// in a core dump or by a child, or is not to be merged.
const PRIVATE: vm_flags_t =
    bindings::VM_LOCKED | bindings::VM_DONTDUMP | bindings::VM_WIPEONFORK | bindings::VM_MERGE_NONE;

/// Whether `vma` is not to be merged unless it is advised.
fn is_private(live: &LiveMm<'_>, vma: &VmaRef) -> bool {
    live.is_private() || vma.flags() & PRIVATE != 0
}

/// Whether `vma` is of a kind that could be advised.
fn is_compatible(vma: &VmaRef) -> bool {
    // SAFETY: A `VmaRef` is valid, and its mmap lock is held.
    unsafe { bindings::ksm_vma_compatible(vma.as_ptr()) }
}

/// Whether `vma` may be merged if that is done unasked. Whoever wants to be left out waits for who holds the
/// lock of `vma`, or the mmap lock.
pub(crate) fn may_be_unasked(vma: &VmaRef) -> bool {
    let mm = vma.mm();
    let left_out = has_flag(mm, bindings::MMF_VM_MERGE_NONE);
    !left_out && vma.flags() & PRIVATE == 0 && is_compatible(vma) && owner::is_dumpable(mm)
}

/// Whether `vma` may map merged pages.
fn may_have_merged(vma: &VmaRef) -> bool {
    anon_vma_of(vma).is_some() && (is_advised(vma) || is_compatible(vma))
}

/// What finds the anonymous pages of `vma`, if it has had any.
fn anon_vma_of(vma: &VmaRef) -> Option<NonNull<bindings::anon_vma>> {
    // SAFETY: A `VmaRef` is valid.
    let anon_vma = unsafe { &raw const (*vma.as_ptr()).anon_vma };
    // SAFETY: As above. Its mmap lock is held, under which `anon_vma` only ever goes from null to its
    // final value.
    NonNull::new(unsafe { anon_vma.read_volatile() })
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
        let vma = Vmas::new(live, address).next()?;
        Self::new(live, vma).filter(|vma| vma.start() <= address)
    }

    pub(crate) fn start(&self) -> usize {
        self.vma.start()
    }

    pub(crate) fn mm(&self) -> &Mm {
        self.live.mm()
    }

    pub(super) fn vma(&self) -> &'a VmaRef {
        self.vma
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
    // SAFETY: The VMA is valid, and its mmap lock is held.
    let fault = unsafe { bindings::ksm_unshare_page(vma.as_ptr(), address) };
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

/// How many VMAs are come by under one hold of the mmap lock. Each takes one or two cache misses,
/// so that all of them take about 200 us.
pub(crate) const VMAS: u32 = 1024;

/// What a search through VMAs came to.
pub(crate) enum Sought<T> {
    Found(T),
    /// It has come by as many VMAs as it may. There is nothing below this address.
    Further(usize),
    Nowhere,
}

/// The VMAs of an address space, in order of address.
///
/// # Invariants
///
/// `iterator` is one over the VMAs of `live`.
pub(super) struct Vmas<'a> {
    live: &'a LiveMm<'a>,
    iterator: bindings::vma_iterator,
    /// Where the last one ends.
    next: usize,
}

impl<'a> Vmas<'a> {
    /// Those that end above `from`.
    pub(super) fn new(live: &'a LiveMm<'a>, from: usize) -> Self {
        let mut iterator = pin_init::zeroed();
        // SAFETY: `live` holds the mmap lock of an address space that is not torn down.
        unsafe { bindings::vma_iter_init(&mut iterator, live.mm().as_raw(), from) };
        // INVARIANT: As was just said.
        Self {
            live,
            iterator,
            next: from,
        }
    }

    /// The first one of those that are left for which `f` returns something. It takes one off `left`
    /// for each that it comes by.
    fn find_map<T>(
        &mut self,
        left: &mut u32,
        mut f: impl FnMut(&'a VmaRef) -> Option<T>,
    ) -> Sought<T> {
        while *left > 0 {
            let Some(vma) = self.next() else {
                return Sought::Nowhere;
            };
            *left -= 1;
            if let Some(found) = f(vma) {
                return Sought::Found(found);
            }
        }
        Sought::Further(self.next)
    }

    /// The next one that is to be merged and has had pages.
    pub(super) fn next_mergeable(&mut self, left: &mut u32) -> Sought<MergeableVma<'a>> {
        let live = self.live;
        self.find_map(left, |vma| MergeableVma::new(live, vma))
    }
}

impl<'a> Iterator for Vmas<'a> {
    type Item = &'a VmaRef;

    fn next(&mut self) -> Option<&'a VmaRef> {
        // SAFETY: The iterator is one over the VMAs of `live`, which holds their lock.
        let vma = unsafe { bindings::vma_next(&mut self.iterator) };
        if vma.is_null() {
            return None;
        }
        // SAFETY: It is one of them, and valid while the lock is held.
        let vma: &'a VmaRef = unsafe { VmaRef::from_raw(vma) };
        self.next = vma.end();
        Some(vma)
    }
}

/// A part of the way through an address space that is unmerged.
#[must_use]
pub(crate) struct Part {
    /// All that is to be unmerged in it is the owner's own. It holds no VMA that is none of those.
    pub(crate) done: Range<usize>,
    /// Where to go on: where the part ends, or behind a page there that has to be left out now.
    pub(crate) next: usize,
    /// How many merged pages were found from where the part ends on: those that the next part begins
    /// with.
    pub(crate) found: u32,
    /// Page tables and huge pages that were come by, and tables of the level above.
    pub(crate) tables: u32,
    /// How many full page tables take as long.
    full_tables: u32,
    /// VMAs that were come by.
    vmas: u32,
}

impl Part {
    /// What it counts for, as if it were so many pages that are scanned: giving back one takes as long.
    pub(crate) fn charge(&self) -> u64 {
        u64::from(self.found) + u64::from(self.full_tables) + u64::from(self.vmas / 32) + 1
    }

    pub(crate) fn leaves_out(&self) -> bool {
        self.next != self.done.end
    }
}

/// Gives the owner copies of its own for the first merged pages from `from` on, so few, and on so
/// short a way to them, that the mmap lock is not held for long. May sleep. `None`: there are no
/// more.
///
/// What this has dealt with is part of the next part, where it is seen to be done.
///
/// # Errors
///
/// `ENOMEM`: no page for a copy.
pub(crate) fn unmerge_some(live: &LiveMm<'_>, from: usize) -> Result<Option<Part>> {
    unmerge_first(live, from, true, |_| true)
}

/// The same, but for zero pages, which anybody may share with anybody.
///
/// # Errors
///
/// As for [`unmerge_some`].
pub(crate) fn unmerge_some_shared(live: &LiveMm<'_>, from: usize) -> Result<Option<Part>> {
    unmerge_first(live, from, false, |_| true)
}

/// The same in VMAs that nobody has advised.
///
/// # Errors
///
/// As for [`unmerge_some`].
pub(crate) fn unmerge_some_unasked(live: &LiveMm<'_>, from: usize) -> Result<Option<Part>> {
    unmerge_first(live, from, true, |vma| !is_advised(vma))
}

/// The same in VMAs that lie in `range` or end there, and that have become private since they were merged
/// unasked.
///
/// # Errors
///
/// As for [`unmerge_some`].
pub(crate) fn unmerge_some_private(live: &LiveMm<'_>, range: Range<usize>) -> Result<Option<Part>> {
    let unasked = live.unasked();
    unmerge_first(live, range.start, true, |vma| {
        unasked && vma.start() < range.end && !is_advised(vma) && is_private(live, vma)
    })
}

fn unmerge_first(
    live: &LiveMm<'_>,
    from: usize,
    zeroes: bool,
    wanted: impl Fn(&VmaRef) -> bool,
) -> Result<Option<Part>> {
    let mut walk = Walk::new(Merged::new(zeroes));
    let mut vmas = Vmas::new(live, from);
    let mut left = VMAS;
    // All from `start` to `end` was looked at, or can hold nothing merged.
    let (mut start, mut end) = (from, from);
    let found_in = loop {
        let next = vmas.find_map(&mut left, |vma| {
            if wanted(vma) {
                return may_have_merged(vma).then_some(Some(vma));
            }
            if start < end {
                return Some(None);
            }
            (start, end) = (vma.end(), vma.end());
            None
        });
        let vma = match next {
            Sought::Found(Some(vma)) => vma,
            // The part ends before one that is not wanted.
            Sought::Found(None) => break None,
            Sought::Further(next) => {
                end = next;
                break None;
            }
            // What was looked at is a part, too.
            Sought::Nowhere if start < end => break None,
            Sought::Nowhere => return Ok(None),
        };
        let ended = walk.over(vma, from);
        end = ended.unwrap_or(vma.end());
        if walk.visitor().len() > 0 {
            break Some(vma);
        }
        if ended.is_some() {
            break None;
        }
    };
    let merged = walk.visitor();
    let first = merged.iter().next().map(|(address, _)| address);
    let end = first.unwrap_or(end);
    let mut part = Part {
        done: start..end,
        next: end,
        // There is room for 64 of them.
        found: merged.len() as u32,
        tables: walk.tables(),
        full_tables: walk.full_tables(),
        vmas: VMAS - left,
    };
    if let Some(vma) = found_in {
        if let Some(left_out) = unmerge_found(vma, merged, end)? {
            part.next = left_out + PAGE_SIZE;
        }
    }
    Ok(Some(part))
}

/// Gives the owner of `vma` copies of its own for what was found in it, up to where that is not
/// possible now. If this is the case for the very first one, which is at `first`, that is returned,
/// and passed over.
fn unmerge_found(vma: &VmaRef, merged: &Merged, first: usize) -> Result<Option<usize>> {
    let mut left_out = None;
    for (address, sole) in merged.iter() {
        if sole && sole::take_over(vma, address) || unshare(vma, address)? == Unshared::Done {
            continue;
        }
        if address != first {
            // It is the first one of the next part, when those before it are seen to be done.
            break;
        }
        left_out = Some(address);
    }
    Ok(left_out)
}

/// Whether any VMA that ends above `from` is advised, also one that had no page so far, or one will
/// be by itself. The search takes one off `left` for each VMA that it comes by, and ends where none
/// is left.
pub(crate) fn any_advised_from(live: &LiveMm<'_>, from: usize, left: &mut u32) -> Sought<()> {
    if live.merges_any() {
        return Sought::Found(());
    }
    Vmas::new(live, from).find_map(left, |vma| is_advised(vma).then_some(()))
}

/// Whether there may be something to merge, sooner or later, as far as `live` and VMAs that end above
/// `from` tell. The search ends as that of [`any_advised_from`].
pub(crate) fn is_wanted_from(live: &LiveMm<'_>, from: usize, left: &mut u32) -> Sought<()> {
    match live.unasked() {
        true => Sought::Found(()),
        false => any_advised_from(live, from, left),
    }
}

#[kunit_tests(rksm_vma)]
mod tests {
    use super::*;

    #[test]
    fn a_part_leaves_out_what_it_passes_over() {
        let part = |next| Part {
            done: 0..PAGE_SIZE,
            next,
            found: 1,
            tables: 1,
            full_tables: 1,
            vmas: 64,
        };
        assert_eq!(part(PAGE_SIZE).charge(), 5);
        assert!(!part(PAGE_SIZE).leaves_out());
        assert!(part(2 * PAGE_SIZE).leaves_out());
    }
}
