// SPDX-License-Identifier: GPL-2.0

//! Counters, for those who read them without waiting for anybody.
//!
//! Each counter stands alone: no reader expects them to be of one moment, so none is ordered against
//! another.

use crate::{intrusive::candidates::Candidates, stable_tree::StableTree, tally::Tally};
use kernel::sync::atomic::{Atomic, Relaxed};

/// What the books say, and sums over all address spaces.
pub(crate) struct Stats {
    pub(crate) shared: Atomic<u64>,
    pub(crate) sharing: Atomic<u64>,
    pub(crate) unshared: Atomic<u64>,
    pub(crate) chains: Atomic<u64>,
    pub(crate) dups: Atomic<u64>,
    /// Nodes that nobody shares.
    pub(crate) leftovers: Atomic<u64>,
    /// Bytes of nodes and trees.
    pub(crate) book_bytes: Atomic<u64>,
    pub(crate) tracked: Atomic<i64>,
    pub(crate) zero: Atomic<i64>,
    /// Bytes of records.
    pub(crate) record_bytes: Atomic<i64>,
    pub(crate) scanned: Atomic<i64>,
    pub(crate) skipped: Atomic<i64>,
    pub(crate) full_scans: Atomic<i64>,
}

impl Stats {
    pub(crate) const fn new() -> Self {
        Self {
            shared: Atomic::new(0),
            sharing: Atomic::new(0),
            unshared: Atomic::new(0),
            chains: Atomic::new(0),
            dups: Atomic::new(0),
            leftovers: Atomic::new(0),
            book_bytes: Atomic::new(0),
            tracked: Atomic::new(0),
            zero: Atomic::new(0),
            record_bytes: Atomic::new(0),
            scanned: Atomic::new(0),
            skipped: Atomic::new(0),
            full_scans: Atomic::new(0),
        }
    }

    /// Shows what the books have come to.
    pub(crate) fn publish(&self, stable: &StableTree, candidates: &Candidates) {
        self.shared.store(stable.pages_shared(), Relaxed);
        self.sharing.store(stable.pages_sharing(), Relaxed);
        self.unshared.store(candidates.len() as u64, Relaxed);
        self.chains.store(stable.chains(), Relaxed);
        self.dups.store(stable.dups(), Relaxed);
        self.leftovers.store(stable.unshared() as u64, Relaxed);
        let bytes = stable.bytes() + candidates.bytes();
        self.book_bytes.store(bytes as u64, Relaxed);
    }

    /// Adds what has changed in one address space.
    pub(crate) fn add(&self, tally: &Tally) {
        self.tracked.add(tally.tracked, Relaxed);
        self.zero.add(tally.zero, Relaxed);
    }

    /// Has passes counted from the beginning.
    pub(crate) fn restart(&self) {
        self.full_scans.store(0, Relaxed);
    }

    pub(crate) fn has_leftovers(&self) -> bool {
        self.leftovers.load(Relaxed) > 0
    }
}
