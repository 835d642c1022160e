// SPDX-License-Identifier: GPL-2.0

//! A registered address space, and the turn to deal with its records.

use crate::{
    intrusive::records::Records,
    mm::{account, address_space::AddressSpace, census::Member},
    settings::Scope,
    stats::Stats,
    tally::Tally,
};
use kernel::{
    mm::Mm,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        barrier, Arc, Mutex, MutexGuard,
    },
};

/// A registered address space.
#[pin_data]
pub(crate) struct MmSlot {
    id: u64,
    pub(crate) space: Arc<AddressSpace>,
    /// Where the scanner goes on when its turn comes.
    at: Atomic<usize>,
    /// Bytes of its records.
    bytes: Atomic<usize>,
    /// Whether all of it was unmerged, for who unmerges everything.
    unmerged: Atomic<bool>,
    /// How far it was ever gone through by who unmerges.
    cleared: Atomic<usize>,
    /// Whether something could not be given back of what it had in the domain that it is leaving.
    kept: Atomic<bool>,
    /// Whether it may map merged pages that are not on record, as the copy of another one does.
    unrecorded: Atomic<bool>,
    /// Whether a merged page came back from swap where nobody had asked for merging.
    came_back: Atomic<bool>,
    #[pin]
    records: Mutex<Records>,
}

impl MmSlot {
    /// One of which all merged pages that it may map already are of the domain where `member` is counted.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(id: u64, mm: &Mm, member: Member) -> Result<Arc<Self>> {
        let space = AddressSpace::new(mm, member)?;
        Arc::pin_init(
            pin_init!(Self {
                id,
                space,
                at: Atomic::new(0),
                bytes: Atomic::new(0),
                unmerged: Atomic::new(false),
                cleared: Atomic::new(0),
                kept: Atomic::new(false),
                unrecorded: Atomic::new(true),
                came_back: Atomic::new(false),
                records <- new_mutex!(Records::new(), "rksm_records"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Says how much of it is merged.
    pub(crate) fn set_scope(&self, scope: Scope) {
        self.space.set_unasked(scope == Scope::All);
    }

    /// For a fault, which holds no lock that keeps the scope as it is: whether a merged page may come back
    /// where nobody has asked for merging. If so, the address space stays registered from now on, as long
    /// as it is there: the page is mapped later, perhaps behind who narrows the scope.
    pub(crate) fn comes_back(&self) -> bool {
        if !self.space.is_unasked() {
            return false;
        }
        self.came_back.store(true, Relaxed);
        // Pairs with `must_stay`: either this sees the narrower scope, or that sees what was stored.
        barrier::smp_mb(barrier::Full);
        self.space.is_unasked()
    }

    /// Whether it may map merged pages though nobody has asked for merging. The scope was narrowed before.
    pub(crate) fn must_stay(&self) -> bool {
        barrier::smp_mb(barrier::Full);
        self.came_back.load(Relaxed)
    }

    /// Where the scanner goes on. Only it, while it has claimed the address space, asks and says so.
    pub(crate) fn at(&self) -> usize {
        self.at.load(Relaxed)
    }

    pub(crate) fn set_at(&self, address: usize) {
        self.at.store(address, Relaxed);
    }

    pub(crate) fn is_unmerged(&self) -> bool {
        self.unmerged.load(Relaxed)
    }

    pub(crate) fn set_unmerged(&self, unmerged: bool) {
        self.unmerged.store(unmerged, Relaxed);
    }

    pub(crate) fn cleared(&self) -> usize {
        self.cleared.load(Relaxed)
    }

    pub(crate) fn set_cleared(&self, address: usize) {
        self.cleared.store(address, Relaxed);
    }

    /// Notes that something could not be given back.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Relaxed);
    }

    /// Whether that was so since this was last asked.
    pub(crate) fn take_kept(&self) -> bool {
        self.kept.xchg(false, Relaxed)
    }

    /// Whether it may map merged pages that are not on record.
    pub(crate) fn is_unrecorded(&self) -> bool {
        self.unrecorded.load(Relaxed)
    }

    /// Says so. Only who has claimed it does that.
    pub(crate) fn set_unrecorded(&self, unrecorded: bool) {
        self.unrecorded.store(unrecorded, Relaxed);
    }

    /// Bytes that its records take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Takes the turn. Whoever has it holds it for a step: 64 pages or so.
    pub(crate) fn turn<'s>(&'s self, stats: &'s Stats) -> Turn<'s> {
        self.turn_of(self.records.lock(), stats)
    }

    fn turn_of<'s>(&'s self, records: MutexGuard<'s, Records>, stats: &'s Stats) -> Turn<'s> {
        Turn {
            slot: self,
            stats,
            tally: Tally::default(),
            had: records.bytes(),
            records,
        }
    }

    /// Whether there is nothing to forget, as far as can be said without waiting.
    pub(crate) fn is_surely_empty(&self) -> bool {
        let records = self.records.try_lock();
        records.is_some_and(|records| records.is_empty())
    }
}

/// The turn to deal with the records of an address space.
pub(crate) struct Turn<'s> {
    pub(crate) slot: &'s MmSlot,
    stats: &'s Stats,
    pub(crate) tally: Tally,
    had: usize,
    pub(crate) records: MutexGuard<'s, Records>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let has = self.records.bytes();
        if has != self.had {
            self.slot.bytes.store(has, Relaxed);
            // Far below 2^63, as memory is.
            let more = has as i64 - self.had as i64;
            self.stats.record_bytes.add(more, Relaxed);
        }
        self.stats.add(&self.tally);
        let Tally {
            tracked,
            merging,
            zero,
        } = self.tally;
        if zero != 0 {
            self.slot.space.count_zero(zero);
        }
        let add = |mm: &Mm| account::add(mm, tracked as isize, merging as isize);
        self.slot.space.with_mm(add);
    }
}
