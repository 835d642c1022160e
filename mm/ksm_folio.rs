// SPDX-License-Identifier: GPL-2.0

//! Merged pages: the tie between a stable node and its folio.
//!
//! The folio's `mapping` points to the node, with a mark that says so; the node knows the folio by
//! its frame number only. The kernel frees the folio, when its last mapping goes, without telling
//! us: the node is then *stale*, and found to be so when somebody looks. Migration moves the node
//! to another folio.
//!
//! Who may do what:
//!
//! * The scanner, under the engine's lock, makes nodes and frees them. It gets from a node to its
//!   folio by [`StableNode::folio`].
//! * The reverse map and migration get from a folio, which they have locked, to its node. The node
//!   cannot go away meanwhile: before it is freed, its folio is either gone, or was locked and its
//!   `mapping` cleared.
//! * The list of sharers belongs to the folio lock. Where the folio is gone, nobody can come by it
//!   any more, and the list belongs to the scanner.

use super::{module::ModulePin, page::AnonPage, page_bytes::PageView};
use crate::intrusive::{
    arc_tree::{ArcLinked, ArcTree},
    forest::Hashed,
    items::Item,
    rb::{Linked, Links},
    sharers::Sharers,
};
use core::{
    cell::UnsafeCell,
    mem::{offset_of, ManuallyDrop},
    ops::Range,
    ptr::NonNull,
};
use kernel::{
    bindings,
    mm::virt::VmaRef,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        barrier, Arc,
    },
    types::NotThreadSafe,
};

/// Stands for a frame that is gone. No memory is there: frame numbers are addresses divided by the
/// page size.
const NO_FRAME: usize = usize::MAX;

/// A merged page, as the scanner knows it.
pub(crate) struct StableNode {
    links: Links,
    /// Where the node stands in its tree: under its checksum, and that of its NUMA node where those
    /// are kept apart. Only changed while it is in none.
    place: Atomic<u64>,
    pfn: Atomic<usize>,
    /// Guarded by the lock of the folio.
    sharers: UnsafeCell<Sharers>,
    len: Atomic<u32>,
    /// On which NUMA node the folio was when the place was chosen. There are fewer than 1024.
    nid: Atomic<i16>,
    in_tree: Atomic<bool>,
    has_twin: Atomic<bool>,
    _pin: ModulePin,
}

// With the count of an `Arc`, a node fits into 64 bytes.
const _: () = assert!(size_of::<StableNode>() <= 56);

// SAFETY: `OFFSET` is that of the field that nothing but the tree uses.
unsafe impl Linked for StableNode {
    const OFFSET: usize = offset_of!(StableNode, links);
}

// SAFETY: `set_place` refuses a node that is in a tree.
unsafe impl Hashed for StableNode {
    fn hash(&self) -> u64 {
        self.place()
    }
}

// SAFETY: The trees of stable nodes are all part of the engine's state, under its lock.
unsafe impl ArcLinked for StableNode {
    fn in_tree(&self) -> &Atomic<bool> {
        &self.in_tree
    }
}

// SAFETY: `links` belongs to the tree, under the engine's lock; `sharers` to the folio's lock; the
// rest is atomic or constant.
unsafe impl Send for StableNode {}
// SAFETY: As above.
unsafe impl Sync for StableNode {}

impl StableNode {
    /// A node without a folio, which keeps the module loaded for as long as it lives.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. `ENODEV`: the module is being unloaded.
    pub(crate) fn new(pin: ModulePin) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                links: Links::new(),
                place: Atomic::new(0),
                pfn: Atomic::new(0),
                sharers: UnsafeCell::new(Sharers::new()),
                len: Atomic::new(0),
                nid: Atomic::new(0),
                in_tree: Atomic::new(false),
                has_twin: Atomic::new(false),
                _pin: pin,
            },
            GFP_KERNEL | __GFP_NOWARN,
        )?)
    }

    pub(crate) fn place(&self) -> u64 {
        // Only the scanner writes it, and only the scanner asks.
        self.place.load(Relaxed)
    }

    /// The NUMA node that the place is for.
    pub(crate) fn nid(&self) -> i32 {
        self.nid.load(Relaxed).into()
    }

    /// Says where the node is going to stand. False for one that stands somewhere.
    pub(crate) fn set_place(&self, place: u64, nid: i32) -> bool {
        let free = !self.in_tree.load(Relaxed);
        if free {
            self.place.store(place, Relaxed);
            self.nid.store(nid as i16, Relaxed);
        }
        free
    }

    /// Whether another node stands, or once stood, in the same place.
    pub(crate) fn has_twin(&self) -> bool {
        self.has_twin.load(Relaxed)
    }

    pub(crate) fn set_twin(&self) {
        self.has_twin.store(true, Relaxed);
    }

    /// The number of the frame of the folio, as far as is known.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn.load(Relaxed)
    }

    /// How many rmap_items share the page.
    pub(crate) fn len(&self) -> u32 {
        // Only the scanner writes it, and only the scanner asks.
        self.len.load(Relaxed)
    }

    /// The value that the folio's `mapping` has while it is this node's.
    pub(crate) fn mark(&self) -> Mark {
        Mark(core::ptr::from_ref(self) as usize | KSM)
    }

    /// The node's folio. `None`: the node is stale.
    pub(crate) fn folio(&self) -> Option<KsmFolio> {
        loop {
            let pfn = self.pfn.load(Acquire);
            if pfn == NO_FRAME {
                return None;
            }
            if let Some(folio) = self.try_folio(pfn) {
                return Some(folio);
            }
            // Migration stores the new frame number before it clears the old folio's `mapping`.
            // Having seen the latter, we must see the former.
            barrier::smp_mb(barrier::Read);
            if self.pfn.load(Relaxed) == pfn {
                return None;
            }
        }
    }

    /// The folio at `pfn`, if it is this node's.
    fn try_folio(&self, pfn: usize) -> Option<KsmFolio> {
        // SAFETY: The frame held this node's folio once, and is online: a node whose frame goes
        // offline is told so, under the lock that we run under, while the memory map is there.
        let folio = unsafe { bindings::pfn_folio(pfn) };
        loop {
            // SAFETY: As above.
            if unsafe { Mark::of(folio) } != self.mark() {
                return None;
            }
            // SAFETY: `folio` points into the memory map; the count says whether it is live.
            if unsafe { bindings::folio_try_get(folio) } {
                break;
            }
            // The count is zero where the folio is being freed, and for a moment where reclaim or
            // migration have frozen it; then it is in the swap cache until they are through.
            // SAFETY: As above.
            if !unsafe { bindings::folio_test_swapcache(folio) } {
                return None;
            }
            core::hint::spin_loop();
        }
        // SAFETY: The reference was just taken, and a folio is never null.
        let folio = KsmFolio(unsafe { NonNull::new_unchecked(folio) });
        // It may have been freed and have become another's before we took the reference.
        (folio.mark() == self.mark()).then_some(folio)
    }

    /// Notes that frames are gone. One that was this node's cannot hold its folio any more: what is
    /// in use does not go offline.
    pub(crate) fn forget_frame(&self, frames: &Range<usize>) {
        if frames.contains(&self.pfn.load(Relaxed)) {
            self.pfn.store(NO_FRAME, Relaxed);
        }
    }

    /// Takes the node's folio over to `pfn`. The caller clears the old folio's `mapping` after.
    pub(super) fn migrate(&self, pfn: usize) {
        // `Release`: pairs with the barrier in `folio`.
        self.pfn.store(pfn, Release);
    }

    /// Makes `item` one of those that share the page. False, and nothing done, for one that has a place
    /// in a tree or a list, and where `locked` is not the node's folio.
    pub(crate) fn add(self: &Arc<Self>, locked: &LockedKsm<'_>, item: &Item) -> bool {
        if !locked.is_of(self) {
            return false;
        }
        // SAFETY: The folio is locked, and it is this node's.
        let sharers = unsafe { &mut *self.sharers.get() };
        // SAFETY: They are this node's.
        let added = unsafe { sharers.add(item, self) };
        if added {
            self.len.store(self.len() + 1, Relaxed);
        }
        added
    }

    /// Makes `item` share the page no more. `locked` is the node's folio, or `None` where the node is
    /// stale. False, and nothing done, where that is not so, or `item` is no sharer.
    pub(crate) fn remove(self: &Arc<Self>, locked: Option<&LockedKsm<'_>>, item: &Item) -> bool {
        let ours = match locked {
            Some(locked) => locked.is_of(self),
            None => self.folio().is_none(),
        };
        if !ours || !item.is_merged_into(self.mark()) {
            return false;
        }
        // SAFETY: Either the folio is locked, or it is gone and nobody else gets here.
        let sharers = unsafe { &mut *self.sharers.get() };
        // SAFETY: The item is merged into this node, so it is one of its sharers.
        let last = unsafe { sharers.remove(item) };
        self.len.store(self.len() - 1, Relaxed);
        // The caller has a reference, too.
        drop(last);
        true
    }

    /// The sharers, for a walk of the reverse map.
    ///
    /// # Safety
    ///
    /// The folio of the node is locked for as long as `'a`.
    pub(super) unsafe fn sharers<'a>(&'a self) -> impl Iterator<Item = &'a Item> {
        // SAFETY: The folio's lock guards the list, says the caller.
        unsafe { &*self.sharers.get() }.iter()
    }

    /// # Safety
    ///
    /// `folio` is locked, for as long as `'a`.
    pub(super) unsafe fn of_locked<'a>(folio: *mut bindings::folio) -> Option<&'a StableNode> {
        // SAFETY: As the caller says.
        let node = unsafe { Mark::of(folio) }.node()?;
        // SAFETY: While this module provides merging, only its nodes are marked so; a node lives
        // until its folio was locked and unmarked, and the caller holds that lock.
        Some(unsafe { node.as_ref() })
    }
}

const KSM: usize = bindings::FOLIO_MAPPING_KSM as usize;

/// What a folio's `mapping` said: which node the folio is of, if it is a merged page.
///
/// It does not keep the node. Two that are equal name one node, if that lived all the while.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

impl Mark {
    /// Reads a folio's mark, which may change at any moment.
    ///
    /// # Safety
    ///
    /// `folio` points into the memory map, where it need not be live.
    unsafe fn of(folio: *const bindings::folio) -> Self {
        // SAFETY: The memory map is readable.
        let mapping = unsafe { &raw const (*folio).__bindgen_anon_1.__bindgen_anon_1.mapping };
        // SAFETY: As above. The field is a word, so a read is never torn.
        Self(unsafe { core::ptr::read_volatile(mapping) as usize })
    }

    /// The mark of a merged page. `None` for an ordinary one.
    ///
    /// # Safety
    ///
    /// As for `of`.
    pub(super) unsafe fn of_ksm(folio: *const bindings::folio) -> Option<Self> {
        // SAFETY: The contract is the caller's.
        Some(unsafe { Self::of(folio) }).filter(|mark| mark.is_ksm())
    }

    /// The node that it names. A merged page that an unmerge cut off from its node names none.
    fn node(self) -> Option<NonNull<StableNode>> {
        NonNull::new((self.0 & !KSM) as *mut StableNode).filter(|_| self.is_ksm())
    }

    fn is_ksm(self) -> bool {
        self.0 & KSM == KSM
    }
}

/// Writes the mark of a folio.
///
/// # Safety
///
/// `folio` is locked and referenced by the caller, and anonymous.
unsafe fn set_mark(folio: *mut bindings::folio, mark: Mark) {
    // SAFETY: The caller's reference keeps the folio valid.
    let mapping = unsafe { &raw mut (*folio).__bindgen_anon_1.__bindgen_anon_1.mapping };
    // SAFETY: As above; others only read the word whole.
    unsafe { core::ptr::write_volatile(mapping, mark.0 as *mut bindings::address_space) };
}

/// Makes a merged page an ordinary one of `vma`. Its node is stale then.
///
/// # Safety
///
/// `folio` is locked and a merged page, and nobody maps it but `vma` at `address`, whose entry is
/// locked.
pub(super) unsafe fn make_ordinary(folio: *mut bindings::folio, vma: &VmaRef, address: usize) {
    // SAFETY: The VMA is valid and maps the folio.
    let index = unsafe { bindings::linear_anon_page_index(vma.as_ptr(), address) };
    // SAFETY: The folio is valid, says the caller, and as yet nobody looks at its index.
    unsafe {
        (*folio)
            .__bindgen_anon_1
            .__bindgen_anon_1
            .__bindgen_anon_2
            .index = index
    };
    // Whoever sees the new mapping sees the index.
    barrier::smp_mb(barrier::Write);
    // SAFETY: The VMA has pages, and so an `anon_vma`, which the mmap lock keeps.
    let anon_vma = unsafe { (*vma.as_ptr()).anon_vma } as usize;
    let mark = Mark(anon_vma | bindings::FOLIO_MAPPING_ANON as usize);
    // SAFETY: The folio is locked, valid and anonymous.
    unsafe { set_mark(folio, mark) };
}

/// A counted reference to the folio of a merged page.
///
/// # Invariants
///
/// Owns a reference to the folio.
pub(crate) struct KsmFolio(NonNull<bindings::folio>);

// SAFETY: A reference to a folio may be dropped on any thread.
unsafe impl Send for KsmFolio {}

impl KsmFolio {
    /// Makes an anonymous page that nobody can write to a merged one.
    ///
    /// `FrozenPage::become_ksm` calls this: `page` is a folio of its own, locked and not exclusive,
    /// and no entry that maps it is writable.
    pub(super) fn convert(page: &AnonPage, node: &Arc<StableNode>) -> Self {
        let folio = page.folio();
        // SAFETY: `page` keeps the folio valid.
        node.pfn
            .store(unsafe { bindings::folio_pfn(folio) }, Relaxed);
        // SAFETY: The folio is locked, referenced and anonymous.
        unsafe { set_mark(folio, node.mark()) };
        // SAFETY: `page` keeps the folio valid.
        unsafe { bindings::folio_mark_accessed(folio) };
        // Reclaim frees a clean folio with clean entries; this one must go to swap.
        // SAFETY: As above.
        unsafe { bindings::folio_mark_dirty(folio) };
        // SAFETY: As above.
        unsafe { bindings::folio_get(folio) };
        // SAFETY: A folio is never null.
        // INVARIANT: The reference was just taken.
        Self(unsafe { NonNull::new_unchecked(folio) })
    }

    fn mark(&self) -> Mark {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { Mark::of(self.0.as_ptr()) }
    }

    /// The folio's only page.
    fn page(&self) -> *mut bindings::page {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_page(self.0.as_ptr(), 0) }
    }

    /// Maps the content while `f` runs. It never changes.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&PageView<'_>) -> R) -> R {
        // SAFETY: Our reference keeps the page valid.
        unsafe { PageView::with(self.page(), f) }
    }

    /// Whether the hardware found the page to be bad.
    pub(crate) fn is_poisoned(&self) -> bool {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::PageHWPoison(self.page()) != 0 }
    }

    /// The NUMA node that the page lies on.
    pub(crate) fn nid(&self) -> i32 {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::page_to_nid(self.page()) }
    }

    /// Whether this is the page `page`.
    pub(crate) fn is(&self, page: &AnonPage) -> bool {
        self.page() == page.as_ptr()
    }

    /// Whether a page table maps the page still.
    pub(crate) fn is_mapped(&self) -> bool {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_mapped(self.0.as_ptr()) }
    }

    /// Locks the folio, and sees whether it is still `node`'s. May sleep.
    pub(crate) fn lock(&self, node: &StableNode) -> Option<LockedKsm<'_>> {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_lock(self.0.as_ptr()) };
        self.locked().filter(|locked| locked.is_of(node))
    }

    /// As `lock`, but gives up where somebody else has it locked.
    pub(crate) fn try_lock(&self, node: &StableNode) -> Option<LockedKsm<'_>> {
        // SAFETY: Our reference keeps the folio valid.
        if !unsafe { bindings::folio_trylock(self.0.as_ptr()) } {
            return None;
        }
        self.locked().filter(|locked| locked.is_of(node))
    }

    fn locked(&self) -> Option<LockedKsm<'_>> {
        // INVARIANT: The callers have just locked it.
        Some(LockedKsm {
            ksm: self,
            _nts: NotThreadSafe,
        })
    }
}

impl Drop for KsmFolio {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to drop.
        unsafe { bindings::folio_put(self.0.as_ptr()) };
    }
}

/// The node of the merged page that `page` is, which `nodes` holds.
///
/// `None` for an ordinary page, and for a merged one that an unmerge cut off from its node.
pub(crate) fn node_of(page: &AnonPage, nodes: &ArcTree<StableNode>) -> Option<Arc<StableNode>> {
    // SAFETY: `page` keeps its folio valid.
    let node = unsafe { Mark::of(page.folio()) }.node()?;
    // A folio that is kept alive keeps its node from going stale, and the engine holds on to a node
    // that is not; while `nodes` is borrowed it lets go of none.
    let _ = nodes;
    // SAFETY: The node is live, as said, and only ever made in an `Arc`; the reference that this
    // makes of nothing is forgotten below.
    let borrowed = ManuallyDrop::new(unsafe { Arc::from_raw(node.as_ptr()) });
    Some(Arc::clone(&borrowed))
}

/// The lock of a merged page's folio.
///
/// # Invariants
///
/// The folio is locked, and this owns the lock.
pub(crate) struct LockedKsm<'k> {
    ksm: &'k KsmFolio,
    _nts: NotThreadSafe,
}

impl LockedKsm<'_> {
    pub(super) fn folio(&self) -> *mut bindings::folio {
        self.ksm.0.as_ptr()
    }

    pub(super) fn page(&self) -> *mut bindings::page {
        self.ksm.page()
    }

    pub(crate) fn read<R>(&self, f: impl FnOnce(&PageView<'_>) -> R) -> R {
        self.ksm.read(f)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.ksm.is_poisoned()
    }

    fn is_of(&self, node: &StableNode) -> bool {
        // Nobody changes the mark of a locked folio.
        self.ksm.mark() == node.mark()
    }

    /// Cuts a page that nobody maps off from its node: it may linger in the swap cache, and whoever
    /// swaps it in makes a copy. False: somebody maps it.
    pub(crate) fn detach(self) -> bool {
        if self.ksm.is_mapped() {
            return false;
        }
        // SAFETY: The folio is locked and referenced by us, and anonymous as merged pages are.
        unsafe { set_mark(self.folio(), Mark(KSM)) };
        true
    }
}

impl Drop for LockedKsm<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::folio_unlock(self.folio()) };
    }
}
