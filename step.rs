// SPDX-License-Identifier: GPL-2.0

//! One step of a scanner: up to 64 pages of one address space.
//!
//! | phase | what happens | what is held |
//! |---|---|---|
//! | claim | the next address space of the pass, and where its last turn ended | – |
//! | look | page tables, up to 64 pages or so many tables | its mmap lock |
//! | sort | what is known of each page | its records, references to the pages |
//! | read | checksums, with the next pages on their way into the cache | the same |
//! | decide | searches, merges ([`decide`](crate::decide)) | its records, the books now and then |
//! | forget | what was not found any more, so much at a time | the same |
//!
//! Nothing is waited for on the way but the books. An address space whose mmap lock is taken is left, and
//! gone on with there when its turn comes again.

use crate::{
    advisor::{Limits, Mode},
    claimed::{Claimed, Lost, Owed, Turns},
    domains::Stand,
    engine::Engine,
    huge::HugePage,
    intrusive::{
        item::{ItemRef, Key},
        leaf::{NoRecord, Spares},
    },
    mm::{
        address_space::{Away, MOMENT},
        lru, trace,
        vma::{is_wanted_from, Sought, VMAS},
        walk::{Batch, Mapping, Seen, Which, BATCH_PAGES},
    },
    mm_slot::Turn,
    pass::{Ended, Next, Pause},
    reads::{Read, Reads},
    reap::{forget, SOME},
    rmap_item::Kind,
    settings::{Content, Scope},
    tally::Tally,
    work::{Look, Want, Work},
};
use core::{mem::take, ops::Range};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed,
    time::{Delta, Instant, Monotonic},
};

/// How many pages are read without a chance for others to have the CPU.
const READ_AT_ONCE: usize = 16;

/// What a step came to.
pub(crate) enum Step {
    /// So much of `pages_to_scan` was used, and so many pages were scanned.
    Done {
        units: u64,
        scanned: u64,
    },
    /// A pass has begun.
    Begun {
        units: u64,
    },
    PassDone,
    /// It is not yet time to go on.
    Wait(Pause),
    /// There is nothing to be scanned now.
    Stop,
}

/// What a scanner works with. Its memory is allocated once.
pub(crate) struct Bench {
    claimed: Option<Claimed>,
    batch: Batch,
    spares: Spares,
    pub(crate) work: KVec<Work>,
    pruned: Option<Instant<Monotonic>>,
}

impl Bench {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            claimed: None,
            batch: Batch::new()?,
            spares: Spares::new(),
            work: KVec::with_capacity(BATCH_PAGES, GFP_KERNEL)?,
            pruned: None,
        })
    }
}

/// What it takes of `pages_to_scan` to forget or to move so many records: sixteen take about as long as reading
/// a page.
fn units_of(records: usize) -> u64 {
    records as u64 / 16
}

impl Engine {
    /// Scans some pages, for `room` of `pages_to_scan` or a little more.
    pub(crate) fn step(&self, bench: &mut Bench, room: u64) -> Step {
        let Some(inside) = self.work.enter() else {
            return Step::Stop;
        };
        let stale = |claimed: &Claimed| !self.passes.counts(&claimed.share);
        if bench.claimed.as_ref().is_some_and(stale) {
            bench.claimed = None;
        }
        let mut claimed = match bench.claimed.take() {
            Some(claimed) => claimed,
            None => match self.passes.next(&self.registry) {
                (Next::Begin, Some(share)) => {
                    drop(inside);
                    let Some(units) = self.begin(bench) else {
                        // Another scanner begins it.
                        let _others = self.passes.done(share);
                        return Step::Stop;
                    };
                    self.passes.begun(&self.registry, share);
                    self.wake_all();
                    return Step::Begun { units };
                }
                (Next::Scan(slot), Some(share)) => Claimed {
                    slot,
                    share,
                    patient: true,
                    looks_back: true,
                    huge: HugePage::default(),
                    owed: None,
                    lost: None,
                },
                (Next::End(ended), _) => {
                    self.end(&ended);
                    return Step::PassDone;
                }
                (Next::Wait(pause), _) => return Step::Wait(pause),
                // Not without a share.
                _ => return Step::Stop,
            },
        };
        let (turns, units, scanned) = self.scan(bench, &mut claimed, room);
        trace::step(claimed.slot.space.id(), units);
        bench.claimed = Some(claimed);
        if turns == Turns::Ends {
            self.give_up(bench);
        }
        Step::Done { units, scanned }
    }

    /// Has a scanner be done with what it has claimed, for this pass.
    pub(crate) fn give_up(&self, bench: &mut Bench) {
        if let Some(claimed) = bench.claimed.take() {
            if self.passes.done(claimed.share) {
                self.wake_all();
            }
        }
    }

    /// What is done before a pass, and what it takes of `pages_to_scan`. `None`: it cannot begin now.
    fn begin(&self, bench: &mut Bench) -> Option<u64> {
        // Pages that wait in a CPU's list for the LRU have a reference too many to be merged. This waits for
        // all CPUs, so nobody is to wait for it.
        lru::drain_all();
        let _inside = self.work.enter()?;
        let interval = Delta::from_millis(self.settings.prune_millisecs.get().into());
        if bench.pruned.is_none_or(|last| last.elapsed() >= interval) {
            self.ledger.prune(false);
            bench.pruned = Some(Instant::now());
        }
        let threads = match self.settings.scope.get() {
            Scope::All => self.enrol_everyone(),
            Scope::Madvise => 0,
        };
        let stats = &self.ledger.stats;
        let pass = stats.full_scans.load(Relaxed) + 1;
        trace::start_scan(pass, stats.tracked.load(Relaxed));
        // A thread takes a quarter of what reading a page does.
        Some(threads / 4)
    }

    /// What is done after a pass.
    fn end(&self, ended: &Ended) {
        let stats = &self.ledger.stats;
        let full_scans = stats.full_scans.fetch_add(1, Relaxed) + 1;
        trace::stop_scan(full_scans, stats.tracked.load(Relaxed));
        self.advise(ended);
    }

    /// Has the advisor decide on the next pass, from what this one took.
    fn advise(&self, ended: &Ended) {
        let settings = &self.settings;
        let limits = Limits {
            min_pages: settings.advisor_min_pages.get(),
            max_pages: settings.advisor_max_pages.get(),
            max_cpu: settings.advisor_max_cpu.get(),
            target_secs: settings.advisor_target_secs.get(),
            sleep_millisecs: settings.sleep_millisecs.get(),
        };
        let advice = self.passes.with_advisors(|advisors| {
            if settings.advisor_mode.get() != Mode::ScanTime {
                return None;
            }
            let pages_to_scan = advisors.scan_time.advise(ended.figures, limits);
            settings.pages_to_scan.set(pages_to_scan);
            Some(pages_to_scan)
        });
        if let Some(pages_to_scan) = advice {
            let cpu_ms = ended.figures.cpu_ns / 1_000_000;
            let percent = (cpu_ms * 100).checked_div(ended.ms).unwrap_or(0);
            trace::advisor(ended.ms, pages_to_scan, percent as u32);
        }
    }

    /// Scans some pages of an address space. What it took of `pages_to_scan`, and how many were scanned.
    fn scan(&self, bench: &mut Bench, claimed: &mut Claimed, room: u64) -> (Turns, u64, u64) {
        let slot = claimed.slot.clone();
        slot.set_scope(self.settings.scope.get());
        if slot.space.is_unasked() && take(&mut claimed.looks_back) && slot.is_unrecorded() {
            claimed.owed = Some(Owed::anywhere());
        }
        if let Some(owed) = claimed.owed.take() {
            let (turns, units) = self.withdraw(claimed, owed);
            return (turns, units, 0);
        }
        if let Some(lost) = claimed.lost.take() {
            let mut turn = slot.turn(&self.ledger.stats);
            let (turns, units) = self.forget_lost(claimed, &mut turn, lost);
            return (turns, units, 0);
        }
        match self.stand(&slot) {
            Stand::Settled => {}
            Stand::Leaving => {
                let (turns, units) = self.leave_domain(claimed);
                return (turns, units, 0);
            }
            Stand::Nowhere => return (Turns::Ends, 1, 0),
        }
        bench.spares.fill(&self.leaf_cache);
        let from = slot.at();
        let Some(seen) = self.look(bench, claimed, room) else {
            return (Turns::Ends, 1, 0);
        };
        let visited = (bench.batch.visits().len() + seen.left) as u64;
        let content = self.settings.content.get();
        let left = match content {
            Content::All => 0,
            Content::Zero => seen.left + bench.batch.keep_zeroes(),
        };
        let mut turn = slot.turn(&self.ledger.stats);
        if slot.space.is_closed() {
            // Nothing is recorded any more: who closed it may have seen that there is nothing to forget.
            bench.batch.clear();
            return (Turns::Ends, 1, 0);
        }
        let moved = self.find_records(bench, &mut turn);
        let (read, skipped) = self.sort_and_read(bench, &mut turn, content);
        let scanned = read + left as u64;
        bench.batch.clear();
        self.decide(&bench.work, &mut turn, &mut claimed.huge);
        let lost = Lost {
            range: from..seen.next.unwrap_or(usize::MAX),
            next: seen.next,
            given_back: false,
        };
        let (turns, forgotten) = self.forget_lost(claimed, &mut turn, lost);
        drop(turn);

        let stats = &self.ledger.stats;
        // A batch has 64 pages at most.
        stats.scanned.add(scanned as i64, Relaxed);
        stats.skipped.add(skipped as i64, Relaxed);
        let units = (visited - skipped).max(seen.charge()) + units_of(moved);
        (turns, units + forgotten, scanned)
    }

    /// Forgets what a look has not found any more, a part of it at a time, and ends the step's dealings with
    /// the range. Whether the turn goes on, and what this took of `pages_to_scan`.
    fn forget_lost(&self, claimed: &mut Claimed, turn: &mut Turn<'_>, lost: Lost) -> (Turns, u64) {
        let Turn { records, tally, .. } = turn;
        let Range { start, end } = lost.range;
        if !lost.given_back && claimed.slot.space.is_unasked() {
            let mut some = records.lost(start, end).take(SOME);
            if some.any(|item| matches!(item.kind(), Kind::Merged | Kind::Zero)) {
                claimed.owed = Some(Owed::lost(lost));
                return (Turns::GoesOn, 0);
            }
        }
        let (mut looked_at, mut reached) = (0, start);
        let items = records.lost(start, end).take(SOME).inspect(|item| {
            looked_at += 1;
            reached = item.leaf_start();
        });
        // What is held now is lost in the next pass as well.
        let (forgotten, _) = forget(&self.ledger, tally, items);
        let all = looked_at < SOME || reached <= start;
        let settled = if all { end } else { reached };
        records.settle(start, settled);
        let joined = records.join(start, settled, |old, new| self.relocate(old, new));
        let units = units_of(forgotten + joined);
        if !all {
            claimed.lost = Some(Lost {
                range: reached..end,
                ..lost
            });
            return (Turns::GoesOn, units);
        }
        claimed.slot.set_at(lost.next.unwrap_or(0));
        let goes_on = lost.next.is_some() || self.arrives(&claimed.slot, records);
        match goes_on {
            true => (Turns::GoesOn, units),
            false => (Turns::Ends, units),
        }
    }

    /// Gives back a part of what an address space has merged in the domain that it is leaving, and begins to
    /// forget what is recorded there. Whether the turn goes on, and what this took of `pages_to_scan`.
    fn leave_domain(&self, claimed: &mut Claimed) -> (Turns, u64) {
        let slot = claimed.slot.clone();
        let Some((lost, given_back)) = self.give_back(&slot) else {
            return (Turns::Ends, 1);
        };
        let mut turn = slot.turn(&self.ledger.stats);
        let (turns, forgotten) = self.forget_lost(claimed, &mut turn, lost);
        (turns, given_back + forgotten)
    }

    /// Collects what is mapped. `None`: the address space is gone, or its mmap lock taken.
    fn look(&self, bench: &mut Bench, claimed: &mut Claimed, room: u64) -> Option<Seen> {
        let slot = &*claimed.slot;
        let from = slot.at();
        let mut live = slot.space.try_enter();
        if matches!(live, Err(Away::Busy)) && claimed.patient {
            claimed.patient = false;
            live = slot.space.enter_within(MOMENT);
        }
        let live = match live {
            Ok(live) => live,
            Err(Away::Busy) => {
                trace::cut(slot.space.id(), from);
                return None;
            }
            Err(Away::Gone) => return None,
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let which = Which {
            zeroes: self.settings.content.get() == Content::Zero,
            large: self.settings.huge_pages.get() > 0,
        };
        let seen = bench.batch.look(&live, from, room, which);
        let none = bench.batch.spans().is_empty();
        if none && from == 0 && seen.next.is_none() {
            // All VMAs were come by, so there are no more than a look may come by.
            if let Sought::Nowhere = is_wanted_from(&live, 0, &mut { VMAS }) {
                let _stays = self.unregister(slot, &live);
            }
        }
        trace::look(
            slot.space.id(),
            from..seen.next.unwrap_or(usize::MAX),
            bench.batch.visits().len(),
            seen.tables,
            seen.vmas,
        );
        Some(seen)
    }

    /// Has a record for each page that was found. Without memory for it, or where none can be made now,
    /// the page is left for the next pass.
    ///
    /// Returns how many records were moved to make room.
    fn find_records(&self, bench: &mut Bench, turn: &mut Turn<'_>) -> usize {
        let Bench { batch, spares, .. } = bench;
        let mut moved = 0;
        let space = &turn.slot.space;
        for span in batch.spans() {
            let visits = batch.visits().get(span.visits.clone());
            for visit in visits.unwrap_or_default() {
                if matches!(visit.mapping, Mapping::LeftAlone) {
                    continue;
                }
                let address = visit.address;
                let mut found = turn.records.found(address, space, &span.region, spares);
                if found == Err(NoRecord::Full) {
                    let split = turn
                        .records
                        .split(address, spares, |old, new| self.relocate(old, new));
                    found = split.and_then(|records| {
                        moved += records;
                        turn.records.found(address, space, &span.region, spares)
                    });
                }
                // The page is left.
                if found.is_err() && matches!(visit.mapping, Mapping::Ksm(_) | Mapping::KsmZero) {
                    turn.slot.set_unrecorded(true);
                }
            }
        }
        moved
    }

    fn relocate(&self, old: ItemRef<'_>, new: ItemRef<'_>) -> bool {
        match old.kind().is_plain() {
            true => new.take_over(old),
            false => self.ledger.open().relocate(old, new),
        }
    }

    /// Finds out which pages are to be read and what is to be done about the others, and reads them. How many
    /// pages were scanned, and how many passed over.
    fn sort_and_read(
        &self,
        bench: &mut Bench,
        turn: &mut Turn<'_>,
        content: Content,
    ) -> (u64, u64) {
        let Bench { batch, work, .. } = bench;
        let sums = self.sums_of(&turn.slot.space);
        let Turn { records, tally, .. } = turn;
        work.clear();
        let (mut reads, mut scanned, mut skipped) = (Reads::new(), 0, 0);
        for visit in batch.visits() {
            let Some(item) = records.find_found(visit.address) else {
                continue;
            };
            let want = match &visit.mapping {
                Mapping::Page { page, watched } => {
                    match self.passes_over(item) {
                        None => {}
                        Some(true) => skipped += 1,
                        Some(false) => {
                            scanned += 1;
                            reads.push(Read {
                                item,
                                page,
                                watched: *watched,
                            });
                        }
                    }
                    continue;
                }
                other => self.want(item, other, tally, &mut scanned),
            };
            if let Some(want) = want {
                if matches!(want, Want::Adopt | Want::SeeZero) {
                    turn.slot.set_unrecorded(true);
                }
                let todo = Work::new(visit.address, want);
                // There is room for a batch.
                let _fits = work.push_within_capacity(todo);
            }
        }
        let mut reads = reads.iter().peekable();
        while reads.peek().is_some() {
            let reading = sums.reading();
            for (read, ahead) in reads.by_ref().take(READ_AT_ONCE) {
                let checksum = read.page.read(|page| match ahead {
                    // As it was read just now.
                    _ if content == Content::Zero => sums.zero(),
                    Some(ahead) => ahead.page.read(|ahead| reading.checksum_ahead(page, ahead)),
                    None => reading.checksum(page),
                });
                if let Some(todo) = self.judge(read, checksum) {
                    let _fits = work.push_within_capacity(todo);
                }
            }
        }
        (scanned, skipped)
    }

    /// Whether an ordinary page is passed over in this pass. `None`: it is not even counted, as somebody is
    /// about to merge it.
    fn passes_over(&self, item: ItemRef<'_>) -> Option<bool> {
        match item.kind() {
            Kind::Claimed => None,
            Kind::Merged => Some(false),
            _ => Some(self.settings.smart_scan.get() && item.grow_older()),
        }
    }

    /// What is wanted for what is no ordinary page.
    fn want(
        &self,
        item: ItemRef<'_>,
        mapping: &Mapping,
        tally: &mut Tally,
        scanned: &mut u64,
    ) -> Option<Want> {
        let kind = item.kind();
        match mapping {
            Mapping::Ksm(mark) => {
                *scanned += 1;
                match item.is_merged_into(*mark) {
                    true if self.settings.merge_across_nodes.get() => None,
                    true => Some(Want::Follow),
                    false => Some(Want::Adopt),
                }
            }
            Mapping::KsmZero if kind == Kind::Zero => None,
            Mapping::KsmZero if kind.is_plain() => {
                let _plain = tally.see_zero(item);
                None
            }
            Mapping::KsmZero => Some(Want::SeeZero),
            Mapping::Moving | Mapping::Page { .. } | Mapping::LeftAlone => None,
        }
    }

    /// What is to be done about a page that was read.
    fn judge(&self, read: &Read<'_>, checksum: u64) -> Option<Work> {
        let Read {
            item,
            page,
            watched,
        } = *read;
        let sums = self.sums_of(item.space());
        let nid = page.nid();
        let key = Key::of(sums.place(checksum, nid));
        let kind = item.kind();
        let unchanged = matches!(kind, Kind::Candidate | Kind::Seen) && item.key() == key;
        let wants_zero = checksum == sums.zero() && self.settings.places_zero_pages();
        let is_free = || !watched && !page.is_in_use();
        let want = match kind {
            // It waits to be found by an equal page.
            Kind::Candidate if unchanged && !wants_zero => {
                let counts = self.settings.huge_pages.get() > 1 && page.is_large() && is_free();
                counts.then_some(Want::MergeIfDislodged)?
            }
            _ if unchanged => match is_free() {
                true if wants_zero => Want::Zero,
                true => Want::Merge(Look::Second),
                false => return None,
            },
            // Memory that is full of zeroes when it is first seen is likely about to be used, and to
            // split a huge page takes more than a first look.
            Kind::Untracked if checksum != sums.zero() && !page.is_large() && is_free() => {
                Want::Merge(Look::First)
            }
            _ => Want::See,
        };
        Some(Work {
            address: item.address(),
            want,
            checksum,
            key,
            nid,
            folio: page.large_folio(),
        })
    }
}
