// SPDX-License-Identifier: GPL-2.0

//! The scanner: going over all registered memory, again and again.
//!
//! The outer loop is the thread's: a batch of `pages_to_scan` pages, then `sleep_millisecs` of
//! rest. The inner one takes up to [`BATCH_PAGES`](crate::mm::walk::BATCH_PAGES) pages at a time out
//! of the page tables and, having let go of all locks of the process, decides on each.

use crate::{
    advisor::{Limits, Mode, Pass},
    control::{Control, Run},
    engine::{Engine, State},
    intrusive::items::{Block, Item, Key},
    merge::{self, Outcome},
    mm::{
        anon_vma::Region,
        kthread::{self, Body, ThisThread, Wake},
        lru,
        page::AnonPage,
        trace,
        vma::{is_wanted, mergeable_vmas},
        walk::{Batch, Mapping},
    },
    mm_slot::MmSlot,
    rmap_item::Kind,
    scope::Scope,
    unstable_tree::{self, Found, Look},
    zero_page,
};
use core::ops::Range;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    time::{Instant, Monotonic},
};

/// How many pages to look at for the next one to be read.
const FORESIGHT: usize = 8;

/// How far a pass has come.
///
/// It names an address space by number, never by pointer: whatever happens to that one meanwhile,
/// the next number is still the next.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Cursor {
    /// The last address space that is done with.
    done: u64,
    /// The one under way, and the address up to which it is scanned.
    current: u64,
    address: usize,
}

impl Cursor {
    pub(crate) const fn start() -> Self {
        Self {
            done: 0,
            current: 0,
            address: 0,
        }
    }

    /// Goes on with the address space `id`.
    fn enter(&mut self, id: u64) {
        if self.current != id {
            self.current = id;
            self.address = 0;
        }
    }

    fn leave(&mut self) {
        *self = Self {
            done: self.current,
            ..Self::start()
        };
    }
}

/// Where the figures of a pass begin.
#[derive(Clone, Copy)]
pub(crate) struct PassBegin {
    pages_scanned: u64,
    cpu_ns: u64,
    time: Option<Instant<Monotonic>>,
}

impl PassBegin {
    pub(crate) const fn new() -> Self {
        Self {
            pages_scanned: 0,
            cpu_ns: 0,
            time: None,
        }
    }

    fn now(pages_scanned: u64, thread: &ThisThread) -> Self {
        Self {
            pages_scanned,
            cpu_ns: thread.cpu_ns(),
            time: Some(Instant::now()),
        }
    }

    fn elapsed_ms(self) -> u64 {
        let elapsed = self.time.map_or(0, |time| time.elapsed().as_millis());
        u64::try_from(elapsed).unwrap_or(0)
    }

    fn end(self, pages_scanned: u64, thread: &ThisThread) -> Pass {
        Pass {
            pages: pages_scanned.saturating_sub(self.pages_scanned),
            cpu_ns: thread.cpu_ns().saturating_sub(self.cpu_ns),
        }
    }
}

/// What a step came to.
enum Step {
    /// So many pages were looked at, apart from those that smart scan passed over.
    Visited(u64),
    PassDone,
}

/// The thread's own.
pub(crate) struct Scanner {
    engine: Arc<Engine>,
    batch: Batch,
}

impl Scanner {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(engine: Arc<Engine>) -> Result<Self> {
        Ok(Self {
            engine,
            batch: Batch::new()?,
        })
    }
}

impl Body for Scanner {
    fn run(&mut self, thread: &ThisThread) {
        while !thread.should_stop() {
            let engine = &*self.engine;
            if engine.registry.has_exited() {
                engine.reap();
            }
            if engine.should_scan() {
                engine.scan(&mut self.batch, thread);
                engine.rest(thread);
                continue;
            }
            let wanted = || engine.should_scan() || engine.registry.has_exited();
            // A pass does this when it begins.
            engine.prune();
            match engine.has_leftovers() {
                // A page whose last mapping is about to go: look again.
                true => thread.wait_ms(&engine.wakeup, 1000, wanted),
                false => thread.wait(&engine.wakeup, || wanted() || engine.has_leftovers()),
            };
        }
    }
}

impl Engine {
    /// Sleeps between batches. Address spaces that go meanwhile are cleaned up after at once, and
    /// the scan goes on no sooner for it.
    fn rest(&self, thread: &ThisThread) {
        let sleep = &self.settings.sleep_millisecs;
        let sleep_ms = sleep.get();
        let changed = || sleep.get() != sleep_ms || !self.should_scan();
        let begin = Instant::<Monotonic>::now();
        loop {
            let slept = u32::try_from(begin.elapsed().as_millis()).unwrap_or(u32::MAX);
            let left_ms = sleep_ms.saturating_sub(slept);
            let gone = || self.registry.has_exited();
            let wake = thread.wait_ms(&self.wakeup, left_ms, || changed() || gone());
            if wake != Wake::Condition || changed() {
                return;
            }
            self.reap();
        }
    }

    /// Scans `pages_to_scan` pages, or to the end of the pass.
    fn scan(&self, batch: &mut Batch, thread: &ThisThread) {
        let mut state = self.state.lock();
        let mut left = u64::from(self.settings.pages_to_scan.get());
        // `run` may have changed while we waited for the lock.
        while left > 0 && self.run() == Run::Merge && !thread.freezing() && !thread.should_stop() {
            match self.step(&mut state, batch, left, thread) {
                Step::Visited(pages) => left -= pages.min(left),
                Step::PassDone => break,
            }
            kthread::cond_resched();
        }
        self.publish(&state);
    }

    /// Scans some pages of one address space, `room` at most.
    fn step(&self, state: &mut State, batch: &mut Batch, room: u64, thread: &ThisThread) -> Step {
        if state.cursor == Cursor::start() {
            // Pages that wait in a CPU's list for the LRU have a reference too many to be merged.
            lru::drain_all();
            state.prune(self.settings.prune_millisecs.get());
            state.pass = PassBegin::now(state.pages_scanned, thread);
            if self.settings.scope.get() == Scope::All {
                self.enrol_everyone();
            }
            trace::start_scan(state.full_scans + 1, state.tracked);
        }
        let Some(slot) = self.registry.after(state.cursor.done) else {
            state.cursor = Cursor::start();
            state.full_scans += 1;
            trace::stop_scan(state.full_scans, state.tracked);
            self.advise(state, thread);
            return Step::PassDone;
        };
        state.cursor.enter(slot.id());
        slot.set_scope(self.settings.scope.get());
        let Some(live) = slot.enter() else {
            if slot.has_exited() {
                self.drop_slot(state, &slot);
            }
            state.cursor.leave();
            return Step::Visited(0);
        };

        let from = state.cursor.address;
        let vma = mergeable_vmas(&live, from).next();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let next = vma.map(|vma| {
            let next = batch.fill(&vma, from.max(vma.start()), room);
            (vma.region(), next)
        });
        if next.is_none() && from == 0 && !is_wanted(&live) {
            self.unregister(&slot, &live);
        }
        drop(live);

        match next {
            Some((region, next)) => {
                Step::Visited(self.visit_all(state, &slot, &region, batch, from..next))
            }
            None => {
                state.forget_range(&slot, from, usize::MAX);
                state.cursor.leave();
                Step::Visited(0)
            }
        }
    }

    /// Has the advisor decide on the next pass, from what this one took.
    fn advise(&self, state: &mut State, thread: &ThisThread) {
        let settings = &self.settings;
        if settings.advisor_mode.get() != Mode::ScanTime {
            return;
        }
        let pass = state.pass.end(state.pages_scanned, thread);
        let limits = Limits {
            min_pages: settings.advisor_min_pages.get(),
            max_pages: settings.advisor_max_pages.get(),
            max_cpu: settings.advisor_max_cpu.get(),
            target_secs: settings.advisor_target_secs.get(),
            sleep_millisecs: settings.sleep_millisecs.get(),
        };
        let pages_to_scan = state.advisor.advise(pass, limits);
        settings.pages_to_scan.set(pages_to_scan);
        let pass_ms = state.pass.elapsed_ms();
        let cpu_ms = pass.cpu_ns / 1_000_000;
        let percent = (cpu_ms * 100).checked_div(pass_ms).unwrap_or(0);
        trace::advisor(pass_ms, pages_to_scan, percent as u32);
    }

    /// Decides on each page of a batch, which covers `range`. How many were looked at.
    fn visit_all(
        &self,
        state: &mut State,
        slot: &Arc<MmSlot>,
        region: &Region,
        batch: &mut Batch,
        range: Range<usize>,
    ) -> u64 {
        sweep(state, slot, region, batch, &range);
        let (mut visited, skipped) = (0, state.pages_skipped);
        state.with_blocks(slot, |state, blocks| {
            let mut block: Option<&Block> = None;
            while let Some(visit) = batch.next() {
                visited += 1;
                state.cursor.address = visit.address + PAGE_SIZE;
                if block.and_then(|block| block.item(visit.address)).is_none() {
                    block = blocks
                        .block(&self.block_cache, slot, region, visit.address)
                        .ok();
                }
                // Without memory for a record the page is left for the next pass.
                let Some(item) = block.and_then(|block| block.item(visit.address)) else {
                    continue;
                };
                if self.come_to(state, item, visit.mapping, batch) == Cut::Yes {
                    return;
                }
            }
            state.cursor.address = range.end;
        });
        visited - (state.pages_skipped - skipped)
    }

    /// Decides on what is mapped at the address of `item`.
    fn come_to(&self, state: &mut State, item: &Item, mapping: Mapping, batch: &mut Batch) -> Cut {
        let page = match mapping {
            Mapping::Page(page) => Some(page),
            Mapping::Ksm(mark) if item.is_merged_into(mark) => {
                state.pages_scanned += 1;
                if !self.settings.merge_across_nodes.get() {
                    state.stable.follow(&self.sums(), item);
                }
                None
            }
            // A fork left it there, or swap-in.
            Mapping::Ksm(_) => merge::page_of(item),
            Mapping::KsmZero if item.kind() != Kind::Zero => {
                state.see_zero(item);
                None
            }
            Mapping::KsmZero | Mapping::Moving => None,
        };
        match page {
            Some(page) => self.visit(state, item, &page, batch),
            None => Cut::No,
        }
    }

    /// Decides on one page.
    fn visit(&self, state: &mut State, item: &Item, page: &AnonPage, batch: &mut Batch) -> Cut {
        if let Some(node) = state.stable.node_of(page) {
            state.pages_scanned += 1;
            if !item.is_merged_into(node.mark()) {
                state.see(item, Key::of(node.place()));
                let outcome = merge::adopt(&mut state.stable, &node, item, page);
                note(state, item, outcome);
            }
            return Cut::No;
        }
        if self.settings.smart_scan.get() && item.grow_older() {
            state.pages_skipped += 1;
            return Cut::No;
        }
        state.pages_scanned += 1;
        let sums = self.sums();
        let checksum = page.read(|content| match self.read_next(item, batch) {
            Some(next) => next.read(|next| sums.checksum_ahead(content, next)),
            None => sums.checksum(content),
        });
        let key = Key::of(sums.place(checksum, page.nid()));
        let unchanged = item.key() == key;
        let wants_zero = self.settings.use_zero_pages.get() && checksum == sums.zero();
        match item.kind() {
            // It waits to be found by an equal page.
            Kind::Candidate if unchanged && !wants_zero => return Cut::No,
            Kind::Candidate | Kind::Seen if unchanged => {}
            // Memory that is full of zeroes when it is first seen is likely about to be used, and to
            // split a huge page takes more than a first look.
            Kind::Untracked if checksum != sums.zero() && !page.is_large() => {
                state.see(item, key);
                return self.merge(state, item, page, checksum, Look::First, batch);
            }
            _ => {
                state.see(item, key);
                return Cut::No;
            }
        }
        match wants_zero {
            true => self.place_zero(state, item, page, batch),
            false => self.merge(state, item, page, checksum, Look::Second, batch),
        }
    }

    /// The page that is going to be read after that of `item`, as far as can be foreseen.
    fn read_next<'b>(&self, item: &Item, batch: &'b Batch) -> Option<&'b AnonPage> {
        let smart_scan = self.settings.smart_scan.get();
        let skipped = |address| smart_scan && item.near(address).is_some_and(Item::will_be_skipped);
        let mut ahead = batch.pages().take(FORESIGHT);
        Some(ahead.find(|(address, _)| !skipped(*address))?.1)
    }

    /// Puts the zero page in place of one that is full of zeroes.
    fn place_zero(
        &self,
        state: &mut State,
        item: &Item,
        page: &AnonPage,
        batch: &mut Batch,
    ) -> Cut {
        let cut = make_way(page, batch);
        state.leave(item);
        if zero_page::place(item, page) == Outcome::Merged {
            state.see_zero(item);
        }
        cut
    }

    /// Merges a page, if there is one like it.
    fn merge(
        &self,
        state: &mut State,
        item: &Item,
        page: &AnonPage,
        checksum: u64,
        look: Look,
        batch: &mut Batch,
    ) -> Cut {
        let sums = self.sums();
        if let Some(found) = state.stable.find(&sums, checksum, page) {
            // To be compared when it and the page are locked, which takes a while.
            found.folio.read(|content| content.prefetch_all());
            let cut = make_way(page, batch);
            let outcome = merge::into_ksm(&mut state.stable, &found.node, &found.folio, item, page);
            note(state, item, outcome);
            return cut;
        }
        let mut cut = Cut::No;
        loop {
            let found =
                unstable_tree::find_or_insert(&mut state.candidates, &sums, item, page, look);
            let Found::Like(other, other_page) = found else {
                return cut;
            };
            cut = make_way(page, batch).or(cut);
            batch.let_go(&other_page);
            let other_mm = other.mm().clone();
            let pair = (other, other_page);
            let outcome = merge::two(&mut state.stable, &sums, checksum, (item, page), pair);
            let Some(outcome) = outcome else {
                continue;
            };
            if outcome == Outcome::Merged {
                crate::mm::account::add(other_mm.mm(), 0, 1);
            }
            note(state, item, outcome);
            return cut;
        }
    }
}

/// Lets go of the rest of the batch where `page` must be split from its folio to be merged: they
/// may refer to the same one.
fn make_way(page: &AnonPage, batch: &mut Batch) -> Cut {
    match page.is_large() {
        true => {
            batch.clear();
            Cut::Yes
        }
        false => Cut::No,
    }
}

/// Whether the rest of a batch was let go of.
#[derive(PartialEq)]
enum Cut {
    Yes,
    No,
}

impl Cut {
    fn or(self, other: Self) -> Self {
        match self {
            Self::Yes => self,
            Self::No => other,
        }
    }
}

fn note(state: &mut State, item: &Item, outcome: Outcome) {
    if outcome == Outcome::Merged {
        state.note_merged(item);
    }
}

/// Forgets the pages in `range` that were tracked and that the batch, which is of `region`, did not
/// find.
fn sweep(state: &mut State, slot: &MmSlot, region: &Region, batch: &Batch, range: &Range<usize>) {
    state.with_blocks(slot, |state, blocks| {
        for item in blocks.lost(range.start, range.end, region, batch.addresses()) {
            state.forget(item);
            kthread::cond_resched();
        }
        blocks.clear(&mut state.candidates, range.start, range.end);
    });
}
