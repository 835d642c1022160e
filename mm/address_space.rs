// SPDX-License-Identifier: GPL-2.0

//! Address spaces whose owner may exit at any moment.
//!
//! The scanner does not hold `mm_users`: whoever drops that last tears the address space down, and
//! a process would be gone before its memory is. It goes through a [`Gate`] instead, which the exit of
//! the address space closes before the first page table is touched.

use super::{
    census::Member,
    domain::Domain,
    gate::{Gate, Inside},
    kthread::cond_resched,
    owner,
};
use core::cell::UnsafeCell;
use kernel::{
    bindings, ffi,
    mm::Mm,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, SpinLock,
    },
    time::{Delta, Instant, Monotonic},
};

/// How long to look out for an mmap lock. Most hold it to map or unmap something, which takes less.
pub(crate) const MOMENT: Delta = Delta::from_micros(50);

/// Why an address space cannot be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// Its mmap lock is taken.
    Busy,
    /// It is gone, and is never entered again.
    Gone,
}

/// A registered address space, and what keeps its teardown apart from those who look at it.
///
/// # Invariants
///
/// `mm` holds a reference until the gate was closed and found empty.
#[pin_data]
pub(crate) struct AddressSpace {
    mm: UnsafeCell<Option<ARef<Mm>>>,
    /// Where the `mm_struct` is or was, to be compared and for nothing else.
    address: usize,
    /// Whether memory is merged that nobody has advised.
    unasked: Atomic<bool>,
    /// With whose pages its own are merged.
    domain: Atomic<u64>,
    /// Where it is counted, which is where it was before while it is on its way into another domain.
    #[pin]
    member: SpinLock<Member>,
    /// Whether the gate was closed by `shut`.
    retired: Atomic<bool>,
    #[pin]
    gate: Gate,
}

// SAFETY: A reference to an address space may be dropped on any thread.
unsafe impl Send for AddressSpace {}
// SAFETY: `mm` is only changed by the one who has closed the gate, when nobody is inside any more, and
// only read by those inside. The rest is atomic or constant.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    /// One that is in the domain where `member` is counted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(mm: &Mm, member: Member) -> Result<Arc<Self>> {
        let address = mm.as_raw() as usize;
        let mm = UnsafeCell::new(Some(ARef::from(mm)));
        Arc::pin_init(
            try_pin_init!(Self {
                mm,
                address,
                unasked: Atomic::new(false),
                domain: Atomic::new(member.domain().to_bits()),
                member <- new_spinlock!(member, "rksm_member"),
                retired: Atomic::new(false),
                gate <- Gate::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether `mm` points to this address space, or once did.
    pub(crate) fn is_at(&self, mm: *const bindings::mm_struct) -> bool {
        self.address == mm as usize
    }

    /// A number by which it is known while it is registered.
    pub(crate) fn id(&self) -> usize {
        self.address
    }

    /// Whether the address space is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Says whether memory is merged that nobody has advised, for those that enter from now on.
    pub(crate) fn set_unasked(&self, unasked: bool) {
        self.unasked.store(unasked, Relaxed);
    }

    /// Whether that is so.
    pub(crate) fn is_unasked(&self) -> bool {
        self.unasked.load(Relaxed)
    }

    /// The domain that all merged pages belong to which it maps.
    pub(crate) fn domain(&self) -> Domain {
        // Nothing is published by it: whoever merges by what it says has claimed a record, and as long as there
        // are records no other domain is entered.
        Domain::from_bits(self.domain.load(Relaxed))
    }

    /// Has it be in no domain. It is counted where it was.
    pub(crate) fn leave_domain(&self) {
        self.domain.store(Domain::NOBODY.to_bits(), Relaxed);
    }

    /// Has it be in the domain where `member` is counted. Nothing of it is merged.
    pub(crate) fn enter_domain(&self, member: Member) {
        self.domain.store(member.domain().to_bits(), Relaxed);
        let before = core::mem::replace(&mut *self.member.lock(), member);
        drop(before);
    }

    /// Counts a mapping of a merged page more, which may be the `first` of it.
    pub(crate) fn share(&self, first: bool) {
        self.member.lock().share(first);
    }

    /// Counts one less, which may have been the `last`.
    pub(crate) fn unshare(&self, last: bool) {
        self.member.lock().unshare(last);
    }

    /// Counts so many zero pages more.
    pub(crate) fn count_zero(&self, more: i64) {
        self.member.lock().count_zero(more);
    }

    /// Waits until nobody looks at the address space any more, and lets nobody in again. Called
    /// once it has no users left, and before it is torn down. The `mm_struct` is let go of.
    pub(crate) fn close(&self) {
        if self.gate.close() {
            // SAFETY: The gate was closed just now, by us, and nobody is inside.
            let mm = unsafe { (*self.mm.get()).take() };
            drop(mm);
        }
    }

    /// Lets nobody in any more, and does not wait for those inside. For an address space that lives, and of
    /// which nobody will say when it is torn down: whoever is inside has its mmap lock by then, without
    /// which no page table is freed.
    pub(crate) fn shut(&self) {
        // Closed already is as good.
        if self.gate.shut() {
            // `Release`: pairs with `with_mm`.
            self.retired.store(true, Release);
        }
    }

    /// Runs `f` on the `mm_struct`, of which only counts may be changed, unless it is gone.
    pub(crate) fn with_mm(&self, f: impl FnOnce(&Mm)) {
        if let Some(alive) = self.alive() {
            f(alive.mm);
        } else if self.retired.load(Acquire) {
            // SAFETY: The gate was closed by `shut`, so `close` finds it closed and changes nothing.
            if let Some(mm) = unsafe { (*self.mm.get()).as_deref() } {
                f(mm);
            }
        }
    }

    /// Keeps the address space from being torn down. `None`: it is gone.
    pub(crate) fn alive(&self) -> Option<Alive<'_>> {
        let inside = self.gate.enter()?;
        // SAFETY: We are inside, so nobody changes it.
        let mm = unsafe { (*self.mm.get()).as_deref() }?;
        Some(Alive {
            mm,
            space: self,
            _inside: inside,
        })
    }

    /// Takes the mmap lock for reading, by one try.
    ///
    /// # Errors
    ///
    /// What keeps it from being entered.
    pub(crate) fn try_enter(&self) -> Result<LiveMm<'_>, Away> {
        self.alive().ok_or(Away::Gone)?.try_lock()
    }

    /// The same, looking out for the lock for so long. It is never waited for: a process may hold it
    /// for as long as a file server does not answer.
    ///
    /// # Errors
    ///
    /// What keeps it from being entered.
    pub(crate) fn enter_within(&self, patience: Delta) -> Result<LiveMm<'_>, Away> {
        let first = self.try_enter();
        // The first try, which mostly does it, needs no clock.
        if !matches!(first, Err(Away::Busy)) {
            return first;
        }
        let begin = Instant::<Monotonic>::now();
        loop {
            for _ in 0..64 {
                match self.try_enter() {
                    Err(Away::Busy) => core::hint::spin_loop(),
                    entered => return entered,
                }
            }
            if begin.elapsed() > patience {
                return Err(Away::Busy);
            }
            cond_resched();
        }
    }
}

/// An address space that is not torn down as long as this lives.
pub(crate) struct Alive<'a> {
    mm: &'a Mm,
    space: &'a AddressSpace,
    _inside: Inside<'a>,
}

impl<'a> Alive<'a> {
    pub(crate) fn mm(&self) -> &'a Mm {
        self.mm
    }

    fn try_lock(self) -> Result<LiveMm<'a>, Away> {
        // SAFETY: The `mm_struct` is live, and its page tables are, while we are inside.
        if !unsafe { bindings::mmap_read_trylock(self.mm.as_raw()) } {
            return Err(Away::Busy);
        }
        let unasked = self.space.is_unasked();
        // INVARIANT: The lock was just taken, inside the gate.
        let live = LiveMm {
            unasked,
            private: unasked && !owner::is_dumpable(self.mm),
            alive: self,
        };
        // Nobody waits for those inside of one that was retired, and its teardown may be under way: who
        // came too late for the lock, which was held when it was retired, must not go on.
        match live.alive.space.retired.load(Relaxed) {
            true => Err(Away::Gone),
            false => Ok(live),
        }
    }
}

/// The mmap lock of an address space that is not being torn down.
///
/// # Invariants
///
/// The mmap lock is held for reading, and this owns it. We are inside the gate of the address space,
/// so that its VMAs and page tables stay as far as the mmap lock protects them.
pub(crate) struct LiveMm<'a> {
    unasked: bool,
    private: bool,
    alive: Alive<'a>,
}

impl LiveMm<'_> {
    pub(crate) fn mm(&self) -> &Mm {
        self.alive.mm
    }

    /// Whether memory is merged that nobody has advised, as far as it is not private. A process that wants to be
    /// left out says so under the mmap lock.
    pub(super) fn unasked(&self) -> bool {
        self.unasked && !self.has_flag(bindings::MMF_VM_MERGE_NONE)
    }

    /// Whether it was not to be seen by others when the lock was taken: nothing is merged then that nobody has
    /// advised. No lock goes with that.
    pub(super) fn is_private(&self) -> bool {
        self.private
    }

    /// Whether its owner asked for all of it to be merged, whatever comes.
    pub(super) fn merges_any(&self) -> bool {
        self.has_flag(bindings::MMF_VM_MERGE_ANY)
    }

    fn has_flag(&self, flag: u32) -> bool {
        has_flag(self.alive.mm, flag)
    }
}

/// Whether `mm` has one of the flags `MMF_*`.
pub(super) fn has_flag(mm: &Mm, flag: u32) -> bool {
    // SAFETY: `mm` is live.
    unsafe { bindings::mm_flags_test(flag as ffi::c_int, mm.as_raw()) }
}

impl Drop for LiveMm<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::mmap_read_unlock(self.alive.mm.as_raw()) };
        // The gate is left after this, with the field.
    }
}
