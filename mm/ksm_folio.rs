// SPDX-License-Identifier: GPL-2.0

//! Merged pages: the tie between a folio and the node that stands for it above.
//!
//! The folio's `mapping` points to the [`Tie`] in the node, with a mark that says so; the tie knows the
//! folio by its frame number only. The kernel frees the folio, when its last mapping goes, without
//! telling us: the tie is then *loose*, and found to be so when somebody looks. Migration takes the tie
//! over to another folio.
//!
//! Who may do what:
//!
//! * Whoever holds the books gets from a tie to its folio by [`Tie::folio`].
//! * The reverse map and migration get from a folio, which they have locked, to its tie. The node cannot
//!   go away meanwhile: before it is freed, its folio is either gone, or was locked and its `mapping`
//!   cleared.

use super::{
    frame::{Frame, NewKsm},
    page::{AnonPage, LockedPage},
    page_bytes::PageView,
};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    bindings,
    mm::virt::VmaRef,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        barrier,
    },
    types::NotThreadSafe,
    unsafe_precondition_assert,
};

/// Stands for no frame. No memory is there: frame numbers are addresses divided by the page size.
const NO_FRAME: usize = usize::MAX;

/// Beside the number of a frame: see [`Tie::is_given`]. Such numbers end far below.
const GIVEN: usize = 1 << (usize::BITS - 1);

/// What a node has of its folio: the frame number, and whether the frame was drawn.
///
/// # Invariants
///
/// While a folio's `mapping` names this, it is alive, and stays where it is.
pub(crate) struct Tie {
    frame: Atomic<usize>,
}

impl Tie {
    /// One that is tied to no folio.
    pub(crate) const fn new() -> Self {
        Self {
            frame: Atomic::new(NO_FRAME),
        }
    }

    /// The number of the frame of the folio, as far as is known.
    pub(crate) fn pfn(&self) -> usize {
        self.frame.load(Relaxed) & !GIVEN
    }

    /// Whether somebody may have had a say in which frame it is: one of those who share the page supplied it, or
    /// it was moved, as a process can have done that alone maps it.
    pub(crate) fn is_given(&self) -> bool {
        self.frame.load(Relaxed) & GIVEN != 0
    }

    /// The value that the folio's `mapping` has while it is tied to this.
    pub(crate) fn mark(&self) -> Mark {
        Mark(core::ptr::from_ref(self) as usize | KSM)
    }

    /// The folio. `None`: the tie is loose. Called with the books held, which whoever takes memory
    /// offline waits for before the memory map goes.
    pub(crate) fn folio(&self) -> Option<KsmFolio> {
        loop {
            let frame = self.frame.load(Acquire);
            if frame == NO_FRAME {
                return None;
            }
            if let Some(folio) = self.try_folio(frame & !GIVEN) {
                return Some(folio);
            }
            // Migration stores the new frame number before it clears the old folio's `mapping`.
            // Having seen the latter, we must see the former.
            barrier::smp_mb(barrier::Read);
            if self.frame.load(Relaxed) == frame {
                return None;
            }
        }
    }

    /// The folio at `pfn`, if it is tied to this.
    fn try_folio(&self, pfn: usize) -> Option<KsmFolio> {
        // SAFETY: Any number will do.
        let page = unsafe { bindings::pfn_to_online_page(pfn) };
        if page.is_null() {
            return None;
        }
        // SAFETY: The page is online, and its part of the memory map stays while the books are held.
        let folio = unsafe { bindings::page_folio(page) };
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

    /// Takes the tie over to the folio at `pfn`.
    ///
    /// # Safety
    ///
    /// The caller has the old folio locked, and clears its `mapping` after.
    pub(super) unsafe fn migrate(&self, pfn: usize) {
        // `Release`: pairs with the barrier in `folio`.
        self.frame.store(pfn | GIVEN, Release);
    }

    /// The tie of a merged page.
    ///
    /// # Safety
    ///
    /// `folio` is locked, for as long as `'a`.
    pub(super) unsafe fn of_locked<'a>(folio: *mut bindings::folio) -> Option<&'a Self> {
        // SAFETY: The folio is valid, says the caller.
        unsafe_precondition_assert!(unsafe { bindings::folio_test_locked(folio) });
        // SAFETY: As the caller says.
        let tie = unsafe { Mark::of(folio) }.tie()?;
        // SAFETY: While this module provides merging, only its ties are in marks; one lives until its
        // folio was locked and unmarked, and the caller holds that lock.
        Some(unsafe { tie.as_ref() })
    }
}

const KSM: usize = bindings::FOLIO_MAPPING_KSM as usize;

/// What a folio's `mapping` said: which tie the folio has, if it is a merged page.
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

    /// The mark of the folio of `page`.
    pub(crate) fn of_page(page: &AnonPage) -> Self {
        // SAFETY: `page` keeps its folio valid.
        unsafe { Self::of(page.folio()) }
    }

    /// The tie that it names. A merged page that an unmerge cut off from its node names none.
    pub(crate) fn tie(self) -> Option<NonNull<Tie>> {
        NonNull::new((self.0 & !KSM) as *mut Tie).filter(|_| self.is_ksm())
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
    // SAFETY: The folio is valid, says the caller.
    unsafe_precondition_assert!(unsafe { bindings::folio_test_locked(folio) });
    // SAFETY: As above.
    unsafe_precondition_assert!(unsafe { bindings::folio_test_anon(folio) });
    // SAFETY: The contract is the caller's.
    unsafe { write_mark(folio, mark) };
}

/// The same for a folio that need not be anonymous yet.
///
/// # Safety
///
/// `folio` is locked and referenced by the caller, and anonymous or nobody else's.
unsafe fn write_mark(folio: *mut bindings::folio, mark: Mark) {
    // SAFETY: The caller's reference keeps the folio valid.
    let mapping = unsafe { &raw mut (*folio).__bindgen_anon_1.__bindgen_anon_1.mapping };
    // SAFETY: As above; others only read the word whole.
    unsafe { core::ptr::write_volatile(mapping, mark.0 as *mut bindings::address_space) };
}

/// Writes the index under which a VMA's pages are known.
///
/// # Safety
///
/// `folio` is referenced by the caller, and as yet nobody looks at its index.
unsafe fn set_index(folio: *mut bindings::folio, index: usize) {
    // SAFETY: The caller's reference keeps the folio valid.
    let known = unsafe {
        &raw mut (*folio)
            .__bindgen_anon_1
            .__bindgen_anon_1
            .__bindgen_anon_2
            .index
    };
    // SAFETY: As above, and nobody looks at it.
    unsafe { known.write(index) };
}

/// Makes a merged page an ordinary one of `vma`. Its tie is loose then.
///
/// # Safety
///
/// `folio` is locked and a merged page, and nobody maps it but `vma` at `address`, whose entry is
/// locked.
pub(super) unsafe fn make_ordinary(folio: *mut bindings::folio, vma: &VmaRef, address: usize) {
    // SAFETY: The VMA is valid and maps the folio.
    let index = unsafe { bindings::linear_anon_page_index(vma.as_ptr(), address) };
    // SAFETY: The folio is valid, says the caller, and as yet nobody looks at its index.
    unsafe { set_index(folio, index) };
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
    /// # Safety
    ///
    /// `page` is a folio of its own, locked and not exclusive, and no entry that maps it is writable.
    /// The node of `tie` is kept until the folio was locked again and its mark cleared.
    pub(super) unsafe fn convert(page: &AnonPage, tie: &Tie) -> Self {
        let folio = page.folio();
        unsafe_precondition_assert!(!page.is_large());
        // SAFETY: `page` keeps the folio valid.
        let pfn = unsafe { bindings::folio_pfn(folio) };
        tie.frame.store(pfn | GIVEN, Relaxed);
        // SAFETY: The folio is locked, referenced and anonymous.
        unsafe { set_mark(folio, tie.mark()) };
        let ksm = Self::of(page);
        ksm.keep();
        ksm
    }

    /// Makes a frame a merged page.
    ///
    /// # Safety
    ///
    /// The folio of `frame` is locked, and its content is there. The node of `tie` is kept until the folio was
    /// locked again and its mark cleared.
    pub(super) unsafe fn from_frame(frame: Frame, tie: &Tie, index: usize) -> Self {
        tie.frame.store(frame.pfn(), Relaxed);
        let folio = frame.into_raw();
        // SAFETY: Nobody else knows of the folio.
        unsafe { set_index(folio, index) };
        // SAFETY: It is locked, and nobody else's.
        unsafe { write_mark(folio, tie.mark()) };
        // SAFETY: A folio is never null.
        // INVARIANT: The reference was that of the frame.
        let ksm = Self(unsafe { NonNull::new_unchecked(folio) });
        ksm.keep();
        ksm
    }

    /// Has reclaim keep the content.
    fn keep(&self) {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_mark_accessed(self.0.as_ptr()) };
        // Reclaim frees a clean folio with clean entries; this one must go to swap.
        // SAFETY: As above.
        unsafe { bindings::folio_mark_dirty(self.0.as_ptr()) };
    }

    pub(super) fn folio(&self) -> NonNull<bindings::folio> {
        self.0
    }

    /// Another reference to the folio of `page`, which is a merged one.
    fn of(page: &AnonPage) -> Self {
        // SAFETY: `page` keeps the folio valid.
        unsafe { Self::get(page.folio()) }
    }

    /// Takes a reference to the folio of a merged page.
    ///
    /// # Safety
    ///
    /// `folio` is one, and live.
    pub(super) unsafe fn get(folio: *mut bindings::folio) -> Self {
        // SAFETY: The folio is live, says the caller.
        unsafe { bindings::folio_get(folio) };
        // SAFETY: A folio is never null.
        // INVARIANT: The reference was just taken.
        Self(unsafe { NonNull::new_unchecked(folio) })
    }

    pub(crate) fn mark(&self) -> Mark {
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

    /// Whether somebody who shares the page gave tags to it. Nothing is equal to it then.
    pub(crate) fn has_tags(&self) -> bool {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::page_has_tags(self.page()) }
    }

    /// The NUMA node that the page lies on.
    pub(crate) fn nid(&self) -> i32 {
        // SAFETY: Our reference keeps the page valid.
        unsafe { bindings::page_to_nid(self.page()) }
    }

    /// Whether a page table maps the page still.
    pub(crate) fn is_mapped(&self) -> bool {
        // SAFETY: Our reference keeps the folio valid.
        unsafe { bindings::folio_mapped(self.0.as_ptr()) }
    }

    /// Locks the folio, unless somebody else has it locked, or it is tied to another now.
    pub(crate) fn try_lock(&self, tie: &Tie) -> Option<LockedKsm<'_>> {
        // SAFETY: Our reference keeps the folio valid.
        if !unsafe { bindings::folio_trylock(self.0.as_ptr()) } {
            return None;
        }
        // INVARIANT: Locked just now.
        let lock = FolioLock {
            folio: self.0,
            _locked: PhantomData,
            _nts: NotThreadSafe,
        };
        Some(LockedKsm { lock, ksm: self }).filter(|locked| locked.lock.is_of(tie))
    }
}

impl Drop for KsmFolio {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to drop.
        unsafe { bindings::folio_put(self.0.as_ptr()) };
    }
}

/// Says that a folio is locked for as long as `'l`, whoever unlocks it then.
///
/// # Invariants
///
/// The folio is live and locked for as long as `'l`, on behalf of the current task.
pub(crate) struct FolioLock<'l> {
    folio: NonNull<bindings::folio>,
    _locked: PhantomData<&'l ()>,
    _nts: NotThreadSafe,
}

impl FolioLock<'_> {
    /// # Safety
    ///
    /// `folio` is live and locked for as long as the caller lets this live.
    pub(super) unsafe fn of(folio: NonNull<bindings::folio>) -> Self {
        // SAFETY: The folio is valid, says the caller.
        unsafe_precondition_assert!(unsafe { bindings::folio_test_locked(folio.as_ptr()) });
        // INVARIANT: As the caller says.
        Self {
            folio,
            _locked: PhantomData,
            _nts: NotThreadSafe,
        }
    }

    pub(super) fn folio(&self) -> *mut bindings::folio {
        self.folio.as_ptr()
    }

    /// Whether the folio is tied to `tie`.
    pub(crate) fn is_of(&self, tie: &Tie) -> bool {
        // Nobody changes the mark of a locked folio.
        // SAFETY: The folio is live by the type invariant.
        unsafe { Mark::of(self.folio()) == tie.mark() }
    }
}

/// The lock of a merged page's folio.
///
/// # Invariants
///
/// Owns what `lock` speaks of.
pub(crate) struct LockedKsm<'k> {
    lock: FolioLock<'k>,
    ksm: &'k KsmFolio,
}

impl<'k> LockedKsm<'k> {
    /// That its folio is locked.
    pub(crate) fn lock(&self) -> &FolioLock<'k> {
        &self.lock
    }

    pub(super) fn folio(&self) -> *mut bindings::folio {
        self.lock.folio()
    }

    pub(super) fn page(&self) -> *mut bindings::page {
        self.ksm.page()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.ksm.is_poisoned()
    }

    /// Goes on with the lock of `page`.
    ///
    /// # Safety
    ///
    /// `page` was made a merged page, which `new` refers to.
    pub(super) unsafe fn from_page(page: LockedPage<'_>, new: &'k NewKsm) -> Self {
        let ksm = new.ksm();
        unsafe_precondition_assert!(page.page().folio() == ksm.0.as_ptr());
        page.keep_locked();
        // SAFETY: What `page` had locked is ours to unlock now.
        unsafe { Self::of_locked(ksm) }
    }

    /// # Safety
    ///
    /// The folio is locked, and nobody else unlocks it.
    pub(super) unsafe fn of_locked(ksm: &'k KsmFolio) -> Self {
        // SAFETY: `ksm` keeps the folio; it is locked, says the caller.
        let lock = unsafe { FolioLock::of(ksm.0) };
        // INVARIANT: As the caller says.
        Self { lock, ksm }
    }

    /// The reference to it.
    pub(crate) fn ksm(&self) -> &'k KsmFolio {
        self.ksm
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
