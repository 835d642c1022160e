// SPDX-License-Identifier: GPL-2.0

//! Address spaces whose owner may exit at any moment.
//!
//! The scanner does not hold `mm_users`: whoever drops that last tears the address space down, and
//! a process would be gone before its memory is. It holds a [`Gate`] instead, which the exit of the
//! address space goes through before the first page table is touched.

use kernel::{
    bindings, ffi,
    mm::Mm,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        lock::{mutex::MutexBackend, Guard},
        Mutex,
    },
};

/// A registered address space, and what keeps its teardown apart from the scanner.
///
/// # Invariants
///
/// `closed` is only set, under `lock`, by [`Gate::close`].
#[pin_data]
pub(crate) struct Gate {
    mm: ARef<Mm>,
    closed: Atomic<bool>,
    /// Whether memory is merged that nobody has advised.
    unasked: Atomic<bool>,
    #[pin]
    lock: Mutex<()>,
}

impl Gate {
    pub(crate) fn new(mm: &Mm) -> impl PinInit<Self> {
        let mm = ARef::from(mm);
        pin_init!(Self {
            mm,
            closed: Atomic::new(false),
            unasked: Atomic::new(false),
            lock <- new_mutex!((), "rksm_gate"),
        })
    }

    pub(crate) fn mm(&self) -> &Mm {
        &self.mm
    }

    /// Whether the address space is gone.
    pub(crate) fn is_closed(&self) -> bool {
        // Whoever acts on the page tables asks again under the lock.
        self.closed.load(Relaxed)
    }

    /// Says whether memory is merged that nobody has advised, for those that enter from now on.
    pub(crate) fn set_unasked(&self, unasked: bool) {
        // Only the scanner, and who keeps it from running, set it and act on it.
        self.unasked.store(unasked, Relaxed);
    }

    /// Waits until nobody looks at the address space any more, and lets nobody in again. Called
    /// once it has no users left, and before it is torn down.
    pub(crate) fn close(&self) {
        let _guard = self.lock.lock();
        self.closed.store(true, Relaxed);
    }

    /// Takes the mmap lock for reading, unless the address space is gone.
    pub(crate) fn enter(&self) -> Option<LiveMm<'_>> {
        let guard = self.lock.lock();
        if self.is_closed() {
            return None;
        }
        // SAFETY: `mm` is kept from being freed by our reference, and from being torn down by
        // `lock`.
        unsafe { bindings::mmap_read_lock(self.mm.as_raw()) };
        // INVARIANT: Both were just taken, and the gate is open.
        Some(LiveMm {
            mm: &self.mm,
            unasked: self.unasked.load(Relaxed),
            _guard: guard,
        })
    }
}

/// The mmap lock of an address space that is not being torn down.
///
/// # Invariants
///
/// The mmap lock is held for reading, and this owns it. The gate of the address space is locked and
/// open, so that its VMAs and page tables stay as far as the mmap lock protects them.
pub(crate) struct LiveMm<'a> {
    mm: &'a Mm,
    unasked: bool,
    _guard: Guard<'a, (), MutexBackend>,
}

impl LiveMm<'_> {
    pub(crate) fn mm(&self) -> &Mm {
        self.mm
    }

    /// Whether memory is merged that nobody has advised. A process that wants to be left out says so
    /// under the mmap lock.
    pub(super) fn unasked(&self) -> bool {
        // SAFETY: The address space is live.
        self.unasked && !unsafe { bindings::mm_flags_test(MERGE_NONE, self.mm.as_raw()) }
    }
}

/// The flag of an address space that is merged only as far as it asks for it.
const MERGE_NONE: ffi::c_int = bindings::MMF_VM_MERGE_NONE as ffi::c_int;

impl Drop for LiveMm<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::mmap_read_unlock(self.mm.as_raw()) };
        // The gate is unlocked after this, with the field.
    }
}
