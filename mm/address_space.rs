// SPDX-License-Identifier: GPL-2.0

//! Address spaces whose owner may exit at any moment.
//!
//! The scanner does not hold `mm_users`: whoever drops that last tears the address space down, and
//! a process would be gone before its memory is. It holds a [`Gate`] instead, which the exit of the
//! address space goes through before the first page table is touched.

use kernel::{
    bindings, ffi,
    io::poll::read_poll_timeout,
    mm::Mm,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        lock::{mutex::MutexBackend, Guard},
        Mutex,
    },
    time::Delta,
};

/// How long to wait for an mmap lock.
const PATIENCE_MS: i64 = 100;

/// How long to look out for it without a pause. Most hold it to map or unmap something, which takes
/// less, and far less than a pause.
const MOMENT: Delta = Delta::from_micros(50);

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
    /// Whether the mmap lock was taken for long when we last tried.
    stuck: Atomic<bool>,
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
            stuck: Atomic::new(false),
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

    /// Whether the mmap lock could not be had when it was last tried.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Relaxed)
    }

    /// Waits until nobody looks at the address space any more, and lets nobody in again. Called
    /// once it has no users left, and before it is torn down.
    pub(crate) fn close(&self) {
        let _guard = self.lock.lock();
        self.closed.store(true, Relaxed);
    }

    /// Takes the mmap lock for reading, unless the address space is gone, or the lock is taken and
    /// stays so: a process may hold it for as long as a file server does not answer, and everybody
    /// else would have to wait for it.
    pub(crate) fn enter(&self) -> Option<LiveMm<'_>> {
        let guard = self.lock.lock();
        if self.is_closed() || !self.lock_mmap() {
            return None;
        }
        // INVARIANT: Both were just taken, and the gate is open.
        Some(LiveMm {
            mm: &self.mm,
            unasked: self.unasked.load(Relaxed),
            _guard: guard,
        })
    }

    /// Takes the mmap lock for reading, or gives up. The gate is locked and open.
    fn lock_mmap(&self) -> bool {
        let patience = match self.stuck.load(Relaxed) {
            true => PATIENCE_MS / 10,
            false => PATIENCE_MS,
        };
        // The first try, which mostly does it, needs no clock.
        let locked = self.try_lock_mmap()
            || self.wait_for_mmap(Delta::ZERO, MOMENT)
            || self.wait_for_mmap(Delta::from_millis(1), Delta::from_millis(patience));
        self.stuck.store(!locked, Relaxed);
        locked
    }

    fn wait_for_mmap(&self, pause: Delta, patience: Delta) -> bool {
        let lock = || Ok(self.try_lock_mmap());
        read_poll_timeout(lock, |locked| *locked, pause, patience).is_ok()
    }

    fn try_lock_mmap(&self) -> bool {
        // SAFETY: `mm` is kept from being freed by our reference, and from being torn down by the
        // gate, which our callers have locked and found open.
        unsafe { bindings::mmap_read_trylock(self.mm.as_raw()) }
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
        self.unasked && !self.has_flag(bindings::MMF_VM_MERGE_NONE)
    }

    /// Whether its owner asked for all of it to be merged, whatever comes.
    pub(super) fn merges_any(&self) -> bool {
        self.has_flag(bindings::MMF_VM_MERGE_ANY)
    }

    fn has_flag(&self, flag: u32) -> bool {
        // SAFETY: The address space is live.
        unsafe { bindings::mm_flags_test(flag as ffi::c_int, self.mm.as_raw()) }
    }
}

impl Drop for LiveMm<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::mmap_read_unlock(self.mm.as_raw()) };
        // The gate is unlocked after this, with the field.
    }
}
