// SPDX-License-Identifier: GPL-2.0

//! Merged pages, with the same ties, marks and locks as the module's file has.

use super::{
    page::{memory, AnonPage, Frame},
    page_bytes::PageView,
    rmap_walk::{Sharer, Sharers},
};
use core::{marker::PhantomData, ops::ControlFlow, ptr::NonNull, sync::atomic::Ordering::SeqCst};
use kernel::{
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
    types::NotThreadSafe,
};
use std::sync::Arc;

const NO_FRAME: usize = usize::MAX;
const KSM: usize = 3;
/// Beside the number: whoever maps the page has had it moved. All others were drawn.
const GIVEN: usize = 1 << (usize::BITS - 1);

pub(crate) struct Tie {
    pfn: Atomic<usize>,
}

impl Tie {
    pub(crate) const fn new() -> Self {
        Self {
            pfn: Atomic::new(NO_FRAME),
        }
    }

    pub(crate) fn pfn(&self) -> usize {
        self.pfn.load(Relaxed) & !GIVEN
    }

    pub(crate) fn is_given(&self) -> bool {
        self.pfn.load(Relaxed) & GIVEN != 0
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(core::ptr::from_ref(self) as usize | KSM)
    }

    pub(crate) fn folio(&self) -> Option<KsmFolio> {
        loop {
            let pfn = self.pfn.load(Acquire);
            let frame = memory().frame(pfn & !GIVEN)?;
            if frame.mark() == self.mark() {
                return Some(KsmFolio(frame));
            }
            if self.pfn.load(Acquire) == pfn {
                return None;
            }
        }
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        let tied = self.folio().is_some();
        assert!(
            !tied || std::thread::panicking(),
            "a mark is left that names what is gone"
        );
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(pub(super) usize);

impl Mark {
    pub(crate) fn of_page(page: &AnonPage) -> Self {
        page.0.mark()
    }

    pub(crate) fn tie(self) -> Option<NonNull<Tie>> {
        NonNull::new((self.0 & !KSM) as *mut Tie).filter(|_| self.0 & KSM == KSM)
    }
}

pub(crate) struct KsmFolio(Arc<Frame>);

impl KsmFolio {
    /// Makes a page a merged one. `None`: somebody has it locked.
    pub(crate) fn convert(page: &AnonPage, tie: &Tie) -> Option<Self> {
        if !page.0.try_lock() {
            return None;
        }
        tie.pfn.store(page.0.pfn, Relaxed);
        page.0.set_mark(tie.mark());
        page.0.unlock();
        Some(Self(page.0.clone()))
    }

    /// Moves what is in a merged page to another one on NUMA node `nid`. `None`: somebody has it locked.
    pub(crate) fn migrate(page: &AnonPage, nid: i32) -> Option<AnonPage> {
        if !page.0.try_lock() {
            return None;
        }
        let mark = page.0.mark();
        // SAFETY: The node of a tie that a locked folio's mark names lives.
        let tie = unsafe { mark.tie()?.as_ref() };
        let content = Self(page.0.clone()).read(|content| content.word(0));
        let new = AnonPage::new(content, nid).ok()?;
        assert!(new.0.try_lock());
        new.0.set_mark(mark);
        new.0.mapped.store(page.0.mapped.load(SeqCst), SeqCst);
        new.0.poisoned.store(page.0.poisoned.load(SeqCst), SeqCst);
        tie.pfn.store(new.0.pfn | GIVEN, Release);
        page.0.set_mark(Mark(0));
        page.0.unlock();
        new.0.unlock();
        Some(new)
    }

    /// Goes over a merged page's sharers as reclaim does, which has the page locked and knows nothing of the
    /// books. Calls `f` for each. False: it is locked, or no merged page.
    pub(crate) fn walk<S: Sharers>(page: &AnonPage, mut f: impl FnMut(Sharer<'_>)) -> bool {
        if !page.0.try_lock() {
            return false;
        }
        let lock = FolioLock {
            frame: &page.0,
            _nts: PhantomData,
        };
        let tie = page.0.mark().tie();
        if let Some(tie) = tie {
            // SAFETY: The node of a tie that a locked folio's mark names lives.
            let tie = unsafe { tie.as_ref() };
            let mut each = |sharer: Sharer<'_>| {
                f(sharer);
                ControlFlow::Continue(())
            };
            // SAFETY: It is the lock of the folio that is tied to it.
            let _end = unsafe { S::sharers(tie, &lock, &mut each) };
        }
        page.0.unlock();
        tie.is_some()
    }

    pub(crate) fn mark(&self) -> Mark {
        self.0.mark()
    }

    pub(crate) fn read<R>(&self, f: impl FnOnce(&PageView<'_>) -> R) -> R {
        PageView::with_owned(&self.0.page, f)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.0.poisoned.load(SeqCst)
    }

    pub(crate) fn has_tags(&self) -> bool {
        false
    }

    pub(crate) fn nid(&self) -> i32 {
        self.0.nid.load(SeqCst)
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.0.mapped.load(SeqCst)
    }

    pub(crate) fn try_lock(&self, tie: &Tie) -> Option<LockedKsm<'_>> {
        if !self.0.try_lock() {
            return None;
        }
        let lock = FolioLock {
            frame: &self.0,
            _nts: PhantomData,
        };
        Some(LockedKsm { lock, ksm: self }).filter(|locked| locked.lock.is_of(tie))
    }
}

pub(crate) struct FolioLock<'l> {
    frame: &'l Frame,
    _nts: NotThreadSafe,
}

impl FolioLock<'_> {
    pub(crate) fn is_of(&self, tie: &Tie) -> bool {
        assert!(self.frame.is_locked());
        self.frame.mark() == tie.mark()
    }
}

pub(crate) struct LockedKsm<'k> {
    lock: FolioLock<'k>,
    ksm: &'k KsmFolio,
}

impl<'k> LockedKsm<'k> {
    pub(crate) fn lock(&self) -> &FolioLock<'k> {
        &self.lock
    }

    pub(crate) fn detach(self) -> bool {
        let free = !self.ksm.is_mapped();
        if free {
            self.lock.frame.set_mark(Mark(KSM));
        }
        free
    }
}

impl Drop for LockedKsm<'_> {
    fn drop(&mut self) {
        self.lock.frame.unlock();
    }
}
