// SPDX-License-Identifier: GPL-2.0

//! Anonymous pages, and the memory that they are in: a map of frames.

use super::{ksm_folio::Mark, page_bytes::test_page};
use kernel::{
    page::Page,
    prelude::*,
    sync::{
        lock::{mutex::MutexBackend, Guard},
        Mutex,
    },
};
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst},
        Arc, Weak,
    },
};

/// What a folio is here.
pub(crate) struct Frame {
    pub(super) pfn: usize,
    pub(super) page: Page,
    pub(super) mark: AtomicUsize,
    locked: AtomicBool,
    pub(super) nid: AtomicI32,
    pub(super) mapped: AtomicBool,
    pub(super) poisoned: AtomicBool,
}

#[derive(Default)]
pub(super) struct Memory {
    frames: BTreeMap<usize, Weak<Frame>>,
    next: usize,
}

pub(super) fn memory() -> Guard<'static, Memory, MutexBackend> {
    static MEMORY: Mutex<Memory> = Mutex::new(Memory {
        frames: BTreeMap::new(),
        next: 1,
    });
    MEMORY.lock()
}

impl Memory {
    /// The frame with this number, if it is not free.
    pub(super) fn frame(&self, pfn: usize) -> Option<Arc<Frame>> {
        self.frames.get(&pfn)?.upgrade()
    }
}

impl Frame {
    pub(super) fn mark(&self) -> Mark {
        Mark(self.mark.load(SeqCst))
    }

    pub(super) fn set_mark(&self, mark: Mark) {
        assert!(
            self.is_locked(),
            "only who has the folio locked changes its mark"
        );
        self.mark.store(mark.0, SeqCst);
    }

    pub(super) fn try_lock(&self) -> bool {
        !self.locked.swap(true, SeqCst)
    }

    pub(super) fn unlock(&self) {
        assert!(self.locked.swap(false, SeqCst), "unlocked twice");
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked.load(SeqCst)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        memory().frames.remove(&self.pfn);
    }
}

/// A counted reference.
#[derive(Clone)]
pub(crate) struct AnonPage(pub(super) Arc<Frame>);

impl AnonPage {
    /// A page that has `content` in its first word.
    pub(crate) fn new(content: u64, nid: i32) -> Result<Self> {
        let page = test_page::zeroed()?;
        test_page::set_word(&page, 0, content)?;
        let mut memory = memory();
        let pfn = memory.next;
        memory.next += 1;
        let frame = Arc::new(Frame {
            pfn,
            page,
            mark: AtomicUsize::new(0),
            locked: AtomicBool::new(false),
            nid: AtomicI32::new(nid),
            mapped: AtomicBool::new(true),
            poisoned: AtomicBool::new(false),
        });
        memory.frames.insert(pfn, Arc::downgrade(&frame));
        Ok(Self(frame))
    }

    pub(crate) fn nid(&self) -> i32 {
        self.0.nid.load(SeqCst)
    }

    pub(crate) fn bytes(&self) -> &Page {
        &self.0.page
    }

    /// Locks the page on behalf of somebody of whom nothing is known. False: it is locked.
    pub(crate) fn hold(&self) -> bool {
        self.0.try_lock()
    }

    /// Ends that.
    pub(crate) fn let_go(&self) {
        self.0.unlock();
    }

    pub(crate) fn set_mapped(&self, mapped: bool) {
        self.0.mapped.store(mapped, SeqCst);
    }

    pub(crate) fn set_poisoned(&self) {
        self.0.poisoned.store(true, SeqCst);
    }
}
