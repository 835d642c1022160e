// SPDX-License-Identifier: GPL-2.0

//! What is merged, by whom, and who may ask for what: the state behind the thread, the knobs and
//! the hooks.

use crate::{
    advisor::{self, Advisor, Mode},
    checksum::{PageHasher, Sums},
    control::{Control, Counters, Run},
    intrusive::{
        candidates::Candidates,
        items::{Block, BlockCache, Blocks, Item, Key, SLOTS},
    },
    mm::{
        account,
        address_space::LiveMm,
        hotplug::Frames,
        kthread::{self, new_wait_queue, WaitQueue},
        provider::{self, Provider},
        signal, trace,
        vma::any_advised,
    },
    mm_slot::{MmSlot, Registry},
    rmap_item::Kind,
    scan::{Cursor, PassBegin},
    scope::Scope,
    settings::{Settings, MAX_PAGE_SHARING, PAGES_TO_SCAN},
    stable_tree::StableTree,
};
use core::ops::Range;
use kernel::{
    mm::Mm,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
    time::{Delta, Instant, Monotonic},
};

/// Bytes of metadata for each tracked page of a dense range.
const ITEM_BYTES: usize = size_of::<Block>().div_ceil(SLOTS);

/// Everything that is found out and decided while scanning.
pub(crate) struct State {
    pub(crate) stable: StableTree,
    pub(crate) candidates: Candidates,
    pub(crate) cursor: Cursor,
    pub(crate) pages_scanned: u64,
    pub(crate) pages_skipped: u64,
    pub(crate) full_scans: u64,
    pub(crate) pass: PassBegin,
    pub(crate) advisor: Advisor,
    pruned: Option<Instant<Monotonic>>,
    pub(crate) tracked: u64,
    zero: u64,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self {
            stable: StableTree::new(MAX_PAGE_SHARING),
            candidates: Candidates::new(),
            cursor: Cursor::start(),
            pages_scanned: 0,
            pages_skipped: 0,
            full_scans: 0,
            pass: PassBegin::new(),
            advisor: Advisor::new(),
            pruned: None,
            tracked: 0,
            zero: 0,
        }
    }

    /// Removes the nodes of pages that are gone, unless that was done a moment ago.
    pub(crate) fn prune(&mut self, interval_ms: u32) {
        let interval = Delta::from_millis(interval_ms.into());
        if self.pruned.is_none_or(|last| last.elapsed() >= interval) {
            self.stable.prune();
            self.pruned = Some(Instant::now());
        }
    }

    /// Makes `item` a plain one, of which nothing but its checksum is known.
    pub(crate) fn leave(&mut self, item: &Item) {
        match item.kind() {
            Kind::Candidate => {
                self.candidates.remove(item);
            }
            Kind::Merged => {
                self.stable.unshare(item);
                account::add(item.mm().mm(), 0, -1);
            }
            Kind::Zero => {
                self.zero -= 1;
                item.set_plain(Kind::Seen, item.key());
            }
            Kind::Untracked | Kind::Seen => {}
        }
    }

    /// Notes the checksum of an item's page.
    pub(crate) fn see(&mut self, item: &Item, key: Key) {
        self.leave(item);
        self.track(item);
        item.set_plain(Kind::Seen, key);
    }

    /// Notes that the zero page stands for an item's page.
    pub(crate) fn see_zero(&mut self, item: &Item) {
        self.leave(item);
        self.track(item);
        item.set_plain(Kind::Zero, item.key());
        self.zero += 1;
    }

    /// Notes that an item's page was merged, which [`StableTree::share`] has recorded.
    pub(crate) fn note_merged(&mut self, item: &Item) {
        account::add(item.mm().mm(), 0, 1);
    }

    fn track(&mut self, item: &Item) {
        if item.kind() == Kind::Untracked {
            self.tracked += 1;
            account::add(item.mm().mm(), 1, 0);
        }
    }

    /// Makes `item`, which has no tracked page any more, one that is free to be reused.
    pub(crate) fn forget(&mut self, item: &Item) {
        if item.kind() == Kind::Untracked {
            return;
        }
        self.leave(item);
        item.set_plain(Kind::Untracked, item.key());
        self.tracked -= 1;
        account::add(item.mm().mm(), -1, 0);
    }

    /// Takes the records of `slot` out for as long as `f` runs.
    pub(crate) fn with_blocks<R>(
        &mut self,
        slot: &MmSlot,
        f: impl FnOnce(&mut Self, &mut Blocks) -> R,
    ) -> R {
        let mut blocks = core::mem::replace(slot.blocks.access_mut(self), Blocks::new());
        let result = f(self, &mut blocks);
        *slot.blocks.access_mut(self) = blocks;
        result
    }

    /// Forgets all that is known of the pages of `slot` in `[from, to)`.
    pub(crate) fn forget_range(&mut self, slot: &MmSlot, from: usize, to: usize) {
        self.with_blocks(slot, |state, blocks| {
            for block in blocks.blocks(from, to) {
                for item in block.tracked(from, to) {
                    state.forget(item);
                }
                kthread::cond_resched();
            }
            blocks.clear(&mut state.candidates, from, to);
        });
    }

    /// Forgets all that is known of the pages of `slot`.
    pub(crate) fn forget_all(&mut self, slot: &MmSlot) {
        self.forget_range(slot, 0, usize::MAX);
    }
}

/// Counters, for those who read them without waiting for the scanner.
struct Stats {
    shared: Atomic<u64>,
    sharing: Atomic<u64>,
    unshared: Atomic<u64>,
    tracked: Atomic<u64>,
    zero: Atomic<u64>,
    scanned: Atomic<u64>,
    skipped: Atomic<u64>,
    full_scans: Atomic<u64>,
    chains: Atomic<u64>,
    dups: Atomic<u64>,
    leftovers: Atomic<bool>,
}

impl Stats {
    const fn new() -> Self {
        Self {
            shared: Atomic::new(0),
            sharing: Atomic::new(0),
            unshared: Atomic::new(0),
            tracked: Atomic::new(0),
            zero: Atomic::new(0),
            scanned: Atomic::new(0),
            skipped: Atomic::new(0),
            full_scans: Atomic::new(0),
            chains: Atomic::new(0),
            dups: Atomic::new(0),
            leftovers: Atomic::new(false),
        }
    }
}

/// The page merger.
#[pin_data]
pub(crate) struct Engine {
    #[pin]
    pub(crate) state: Mutex<State>,
    #[pin]
    pub(crate) registry: Registry,
    /// Where the scanner sleeps.
    #[pin]
    pub(crate) wakeup: WaitQueue,
    hasher: PageHasher,
    pub(crate) settings: Settings,
    run: Atomic<u32>,
    /// Whether there may be merged pages that nobody asked for.
    pub(crate) unasked: Atomic<bool>,
    stats: Stats,
    /// Below all that holds blocks: fields drop in this order.
    pub(crate) block_cache: BlockCache,
}

impl Engine {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let hasher = PageHasher::new()?;
        let block_cache = BlockCache::create(c"rksm_block")?;
        Arc::pin_init(
            try_pin_init!(Self {
                state <- new_mutex!(State::new(), "rksm_state"),
                registry <- Registry::new(),
                wakeup <- new_wait_queue!("rksm_wakeup"),
                hasher,
                settings: Settings::new(),
                run: Atomic::new(u32::from(Run::Stop)),
                unasked: Atomic::new(false),
                stats: Stats::new(),
                block_cache,
            }),
            GFP_KERNEL,
        )
    }

    /// By what pages are told apart.
    pub(crate) fn sums(&self) -> Sums<'_> {
        Sums::new(&self.hasher, self.settings.merge_across_nodes.get())
    }

    /// Runs `f` where no page is merged.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are merged.
    fn while_unmerged(&self, f: impl FnOnce(&mut State)) -> Result {
        let mut state = self.state.lock();
        state.stable.detach_unmapped();
        let result = match state.stable.is_empty() {
            true => {
                f(&mut state);
                Ok(())
            }
            false => Err(EBUSY),
        };
        self.publish(&state);
        result
    }

    /// Whether there is something to scan, and it is wanted.
    pub(crate) fn should_scan(&self) -> bool {
        let someone = || self.settings.scope.get() == Scope::All || !self.registry.is_empty();
        self.run() == Run::Merge && someone()
    }

    /// Whether nodes of pages that are about to go wait to be looked at.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.stats.leftovers.load(Relaxed)
    }

    /// Shows what the state has come to. Each counter stands alone: no reader expects them to be of
    /// one moment, so none is ordered against another.
    pub(crate) fn publish(&self, state: &State) {
        let stats = &self.stats;
        stats.shared.store(state.stable.pages_shared(), Relaxed);
        stats.sharing.store(state.stable.pages_sharing(), Relaxed);
        stats.unshared.store(state.candidates.len() as u64, Relaxed);
        stats.tracked.store(state.tracked, Relaxed);
        stats.zero.store(state.zero, Relaxed);
        stats.scanned.store(state.pages_scanned, Relaxed);
        stats.skipped.store(state.pages_skipped, Relaxed);
        stats.full_scans.store(state.full_scans, Relaxed);
        stats.chains.store(state.stable.chains(), Relaxed);
        stats.dups.store(state.stable.dups(), Relaxed);
        stats
            .leftovers
            .store(state.stable.has_unshared_nodes(), Relaxed);
    }

    /// Removes the nodes of pages that are gone and that nobody shared any more.
    pub(crate) fn prune(&self) {
        if self.has_leftovers() {
            let mut state = self.state.lock();
            state.stable.prune();
            self.publish(&state);
        }
    }

    /// Cleans up after address spaces that are gone.
    pub(crate) fn reap(&self) {
        let mut state = self.state.lock();
        for slot in self.registry.iter() {
            if slot.has_exited() {
                self.drop_slot(&mut state, &slot);
            }
            if !self.registry.has_exited() {
                break;
            }
        }
        self.publish(&state);
    }

    /// Unregisters an address space and forgets its pages.
    pub(crate) fn drop_slot(&self, state: &mut State, slot: &MmSlot) {
        state.forget_all(slot);
        self.registry.remove(slot);
    }

    /// Unregisters an address space in which there is nothing to merge. Under its mmap lock, so
    /// that no madvise comes in between.
    pub(crate) fn unregister(&self, slot: &MmSlot, live: &LiveMm<'_>) {
        self.registry.remove(slot);
        provider::forget(live.mm());
    }
}

impl Provider for Engine {
    const ITEM_SIZE: usize = ITEM_BYTES;

    fn enter(&self, mm: &Mm) -> Result {
        if self.registry.enter(&self.state, mm)? {
            self.wakeup.wake();
        }
        Ok(())
    }

    fn exit(&self, mm: &Mm) {
        trace::exit(mm);
        if self.registry.exit(mm) {
            self.wakeup.wake();
        }
    }

    fn merges_unasked(&self) -> bool {
        // The scanner merges with the mmap lock held for reading; who asks holds it for writing.
        self.unasked.load(Relaxed)
    }

    fn shares_swapin(&self) -> bool {
        self.run() != Run::Unmerge
    }

    fn enrolled(&self, mut give: impl FnMut(&Mm)) {
        let mut state = self.state.lock();
        while let Some(slot) = self.registry.after(0) {
            let unwanted = slot.enter().is_some_and(|live| {
                let unwanted = !any_advised(&live);
                if unwanted {
                    self.unregister(&slot, &live);
                }
                unwanted
            });
            self.drop_slot(&mut state, &slot);
            if !unwanted {
                give(slot.mm());
            }
        }
    }
}

impl Frames for Engine {
    fn gone(&self, frames: Range<usize>) {
        let mut state = self.state.lock();
        state.stable.forget_frames(&frames);
        self.publish(&state);
    }
}

impl Control for Engine {
    fn run(&self) -> Run {
        // Nothing is published by it: the scanner and the knobs meet at the lock of the state.
        Run::try_from(self.run.load(Relaxed)).unwrap_or(Run::Stop)
    }

    fn set_run(&self, run: Run) -> Result {
        if run == Run::Unmerge {
            // Ends the batch under way. Otherwise it is finished: a pass that was stopped in its
            // middle would count as one when the rest is scanned.
            self.run.store(u32::from(run), Relaxed);
        }
        let mut state = self.state.lock();
        self.run.store(u32::from(run), Relaxed);
        let mut result = Ok(());
        if run == Run::Unmerge {
            let _victim = signal::OomOrigin::new();
            result = self.unmerge_all(&mut state);
            if result.is_err() {
                self.run.store(u32::from(Run::Stop), Relaxed);
            }
        }
        self.publish(&state);
        drop(state);
        self.wakeup.wake();
        result
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn set_pages_to_scan(&self, pages: u32) -> Result {
        // Under the lock, under which the advisor sets them.
        let _state = self.state.lock();
        if self.settings.advisor_mode.get() != Mode::None {
            return Err(EINVAL);
        }
        self.settings.pages_to_scan.set(pages);
        Ok(())
    }

    fn set_sleep_millisecs(&self, millisecs: u32) {
        self.settings.sleep_millisecs.set(millisecs);
        self.wakeup.wake();
    }

    fn set_max_page_sharing(&self, limit: u32) -> Result {
        let knob = &self.settings.max_page_sharing;
        if knob.get() == limit {
            return Ok(());
        }
        self.while_unmerged(|state| {
            state.stable.set_limit(limit);
            knob.set(limit);
        })
    }

    fn set_merge_across_nodes(&self, enable: bool) -> Result {
        let knob = &self.settings.merge_across_nodes;
        if knob.get() == enable {
            return Ok(());
        }
        // Candidates find out when they are come to that they stand elsewhere now.
        self.while_unmerged(|_| knob.set(enable))
    }

    fn set_scope(&self, scope: Scope) -> Result {
        self.change_scope(scope)
    }

    fn set_advisor_mode(&self, mode: Mode) {
        let mut state = self.state.lock();
        let settings = &self.settings;
        if settings.advisor_mode.get() == mode {
            return;
        }
        settings.advisor_mode.set(mode);
        state.advisor = Advisor::new();
        settings.pages_to_scan.set(match mode {
            Mode::None => PAGES_TO_SCAN,
            Mode::ScanTime => advisor::batch(settings.advisor_min_pages.get()),
        });
    }

    fn counters(&self) -> Counters {
        let stats = &self.stats;
        let (shared, sharing) = (stats.shared.load(Relaxed), stats.sharing.load(Relaxed));
        let (unshared, zero) = (stats.unshared.load(Relaxed), stats.zero.load(Relaxed));
        let tracked = stats.tracked.load(Relaxed);
        let zero_pages = account::zero_pages();
        // Far below 2^63 bytes, as memory is.
        let saved = (sharing as i64 + zero_pages) * PAGE_SIZE as i64;
        Counters {
            pages_shared: shared,
            pages_sharing: sharing,
            pages_unshared: unshared,
            // The parts may have been published after the whole was read.
            pages_volatile: tracked.saturating_sub(shared + sharing + unshared + zero),
            pages_scanned: stats.scanned.load(Relaxed),
            pages_skipped: stats.skipped.load(Relaxed),
            stable_node_chains: stats.chains.load(Relaxed),
            stable_node_dups: stats.dups.load(Relaxed),
            full_scans: stats.full_scans.load(Relaxed),
            ksm_zero_pages: zero_pages,
            general_profit: saved - tracked as i64 * ITEM_BYTES as i64,
        }
    }
}
