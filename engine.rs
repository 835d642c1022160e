// SPDX-License-Identifier: GPL-2.0

//! What there is: the parts that threads, knobs and hooks have in common.

use crate::{
    books::Ledger,
    checksum::{PageHasher, Sums},
    control::Run,
    intrusive::leaf::LeafCache,
    mm::{
        address_space::{AddressSpace, LiveMm},
        census::Census,
        domain::Domain,
        frame_pool::FramePools,
        gate::{Gate, Inside},
        kthread::{new_wait_queue, WaitQueue},
        provider,
    },
    mm_slot::MmSlot,
    pass::Passes,
    registry::Registry,
    settings::{Scope, Settings},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
    time::Delta,
};

/// Those who unmerge everything.
#[derive(Default)]
struct Unmerging {
    /// How many do, or wait for their turn to.
    writers: u32,
    /// Whether one of them, or of those who were there with them, has done so.
    done: bool,
}

/// The page merger.
#[pin_data]
pub(crate) struct Engine {
    #[pin]
    pub(crate) ledger: Ledger,
    #[pin]
    pub(crate) registry: Registry,
    #[pin]
    pub(crate) passes: Passes,
    /// How much is merged within which domain.
    pub(crate) census: Arc<Census>,
    /// Whoever merges, or forgets what was merged, is inside for as long as that takes: a step. Closed
    /// by who unmerges everything, or changes the scope.
    #[pin]
    pub(crate) work: Gate,
    /// Where the first scanner sleeps, which also cleans up.
    #[pin]
    first: WaitQueue,
    /// Where the others sleep.
    #[pin]
    others: WaitQueue,
    hasher: PageHasher,
    /// What merged pages are made in, where frames are drawn.
    pub(crate) frames: FramePools,
    pub(crate) settings: Settings,
    run: Atomic<u32>,
    /// A lock inside of all others.
    #[pin]
    unmerging: Mutex<Unmerging>,
    /// Where scanners are for as long as a batch takes.
    #[pin]
    batches: Gate,
    /// How many scanners there are to be.
    pub(crate) scanners: Atomic<u32>,
    /// Whether there may be merged pages that nobody asked for.
    pub(crate) unasked: Atomic<bool>,
    /// Below all that holds leaves: fields drop in this order.
    pub(crate) leaf_cache: LeafCache,
}

impl Engine {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let hasher = PageHasher::new()?;
        let frames = FramePools::new()?;
        let leaf_cache = LeafCache::create(c"rksm_leaf")?;
        let census = Census::new()?;
        Arc::pin_init(
            try_pin_init!(Self {
                ledger <- Ledger::new(),
                registry <- Registry::new(),
                passes <- Passes::new(),
                census,
                work <- Gate::new(),
                first <- new_wait_queue!("rksm_first"),
                others <- new_wait_queue!("rksm_others"),
                hasher,
                frames,
                settings: Settings::new(),
                run: Atomic::new(u32::from(Run::Stop)),
                unmerging <- new_mutex!(Unmerging::default(), "rksm_unmerging"),
                batches <- Gate::new(),
                scanners: Atomic::new(0),
                unasked: Atomic::new(false),
                leaf_cache,
            }),
            GFP_KERNEL,
        )
    }

    /// By what pages of a domain are told apart.
    pub(crate) fn sums(&self, domain: Domain) -> Sums<'_> {
        let across_nodes = self.settings.merge_across_nodes.get();
        Sums::new(&self.hasher, across_nodes, domain)
    }

    /// By what those of `space` are.
    pub(crate) fn sums_of(&self, space: &AddressSpace) -> Sums<'_> {
        self.sums(space.domain())
    }

    pub(crate) fn run(&self) -> Run {
        // Nothing is published by it. Whoever must know that nobody merges any more closes `work`.
        Run::try_from(self.run.load(Relaxed)).unwrap_or(Run::Stop)
    }

    pub(crate) fn store_run(&self, run: Run) {
        self.run.store(u32::from(run), Relaxed);
    }

    /// Stores that everything is to be unmerged, which the caller goes on to do.
    pub(crate) fn begin_unmerging(&self) {
        let mut unmerging = self.unmerging.lock();
        unmerging.done &= unmerging.writers > 0;
        unmerging.writers += 1;
        self.store_run(Run::Unmerge);
    }

    /// Notes that the caller has done so, or has failed to: that stops merging, unless somebody else has
    /// done it or is still about to.
    pub(crate) fn end_unmerging(&self, done: bool) {
        let mut unmerging = self.unmerging.lock();
        unmerging.writers -= 1;
        unmerging.done |= done;
        if unmerging.writers == 0 && !unmerging.done {
            let (old, new) = (u32::from(Run::Unmerge), u32::from(Run::Stop));
            // Where somebody has written another value meanwhile, that holds.
            let _other = self.run.cmpxchg(old, new, Relaxed);
        }
    }

    /// Whether there is something to scan, and it is wanted.
    pub(crate) fn should_scan(&self) -> bool {
        let someone = || self.settings.scope.get() == Scope::All || !self.registry.is_empty();
        self.run() == Run::Merge
            && !self.work.is_closed()
            && !self.settings.waits_for_pressure()
            && someone()
    }

    /// A batch begins, which lasts until this is dropped.
    pub(crate) fn batch(&self) -> Option<Inside<'_>> {
        self.batches.enter()
    }

    /// Waits for the batches under way, but no longer than `patience`.
    pub(crate) fn wait_for_batches(&self, patience: Delta) {
        self.batches.wait_a_little(patience);
    }

    /// Where scanner number `number` sleeps.
    pub(crate) fn queue(&self, number: usize) -> &WaitQueue {
        match number {
            0 => &self.first,
            _ => &self.others,
        }
    }

    /// Has all scanners look at what there is to do.
    pub(crate) fn wake_all(&self) {
        self.first.wake();
        self.others.wake();
    }

    /// Has the scanner that cleans up look at what there is to do.
    pub(crate) fn wake_first(&self) {
        self.first.wake();
    }

    /// Unregisters an address space in which there is nothing to merge. Under its mmap lock, so
    /// that no madvise comes in between. False: there may be merged pages.
    pub(crate) fn unregister(&self, slot: &MmSlot, live: &LiveMm<'_>) -> bool {
        let may = !slot.must_stay();
        if may {
            self.unregister_unmerged(slot, live);
        }
        may
    }

    /// The same, where all pages were unmerged.
    pub(crate) fn unregister_unmerged(&self, slot: &MmSlot, live: &LiveMm<'_>) {
        self.registry.remove(slot);
        provider::forget(live.mm());
        self.wake_first();
    }
}
