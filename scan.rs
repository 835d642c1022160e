// SPDX-License-Identifier: GPL-2.0

//! The scanner threads: batches of `pages_to_scan` pages, then `sleep_millisecs` of rest.
//!
//! The first one also cleans up: after address spaces that are gone, and after merged pages that are.
//! That goes on when nothing is scanned, and takes no more than there is to be cleaned up. It also looks at
//! how much memory is available while nothing is scanned because there is enough.

use crate::{
    control::Run,
    engine::Engine,
    mm::kthread::{self, Body, ThisThread, Wake},
    pass::Pause,
    settings::LOOK_MS,
    step::{Bench, Step},
};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
    time::{Delta, Instant, Monotonic},
};

/// How long a batch may go on when scanning is to stop.
const LAST_MOMENT: Delta = Delta::from_millis(5);

/// How long to leave alone what could not be cleaned up.
const HELD_MS: u32 = 20;

/// One thread's own.
pub(crate) struct Scanner {
    engine: Arc<Engine>,
    number: usize,
    bench: Bench,
}

impl Scanner {
    /// Scanner number `number`, from 0.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(engine: Arc<Engine>, number: usize) -> Result<Self> {
        Ok(Self {
            engine,
            number,
            bench: Bench::new()?,
        })
    }

    fn has_dead(&self) -> bool {
        self.number == 0 && self.engine.registry.has_dead() && !self.engine.work.is_closed()
    }

    /// Whether there is something for this one to scan.
    fn scans(&self) -> bool {
        let engine = &*self.engine;
        (self.number as u32) < engine.scanners.load(Relaxed) && engine.should_scan()
    }

    /// Whether a batch goes on. One that is about to end anyway when scanning is to stop comes to its end: a
    /// pass that was stopped in its middle would count as one when the rest is scanned.
    fn goes_on(&self, stopped: &mut Option<Instant<Monotonic>>) -> bool {
        self.scans()
            || self.engine.run() == Run::Stop
                && stopped.get_or_insert_with(Instant::now).elapsed() < LAST_MOMENT
    }

    /// Cleans up for a while. True: that was of use, and it may be again.
    fn reap(&self) -> bool {
        let inside = self.engine.work.enter();
        inside.is_some() && self.engine.reap_some()
    }

    /// Scans `pages_to_scan` pages, or to the end of the pass.
    fn scan(&mut self, thread: &ThisThread) {
        let mut left = u64::from(self.engine.settings.pages_to_scan.get());
        let mut begin = thread.cpu_ns();
        let _batch = self.engine.batch();
        let mut stopped = None;
        while left > 0 && self.goes_on(&mut stopped) && !thread.freezing() && !thread.should_stop()
        {
            let engine = &*self.engine;
            let changes = engine.passes.changes();
            match engine.step(&mut self.bench, left) {
                Step::Done { units, scanned } => {
                    left -= units.min(left);
                    let now = thread.cpu_ns();
                    let used = now.saturating_sub(begin);
                    engine.passes.add(self.number, units, scanned, used);
                    begin = now;
                    if engine.watch() {
                        // What is left of a batch is no more than what a new one has.
                        left = left.min(engine.settings.pages_to_scan.get().into());
                    }
                }
                Step::Begun { units } => left -= units.min(left),
                Step::PassDone | Step::Stop => return,
                Step::Wait(pause) => {
                    let queue = engine.queue(self.number);
                    let on = || engine.passes.changes() != changes || !self.scans();
                    thread.wait_ms(queue, pause.ms(), on);
                    // Who stops scanning meanwhile does not have another pass begin.
                    if matches!(pause, Pause::Others) || !self.scans() {
                        return;
                    }
                }
            }
            if self.number == 0 && engine.registry.has_dead() {
                // What is held is left for the next time.
                let _more = self.reap();
            }
            kthread::cond_resched();
        }
    }

    /// Sleeps between batches. Address spaces that go meanwhile are cleaned up after at once, and
    /// the scan goes on no sooner for it.
    fn rest(&self, thread: &ThisThread) {
        let engine = &*self.engine;
        let settings = &engine.settings;
        let sleep_ms = settings.rest_millisecs();
        let changed = || settings.rest_millisecs() != sleep_ms || !self.scans();
        let begin = Instant::<Monotonic>::now();
        let mut cleans = true;
        loop {
            let slept = u32::try_from(begin.elapsed().as_millis()).unwrap_or(u32::MAX);
            let left_ms = sleep_ms.saturating_sub(slept);
            let gone = || cleans && self.has_dead();
            let queue = engine.queue(self.number);
            let wake = thread.wait_ms(queue, left_ms, || changed() || gone());
            if left_ms == 0 || wake != Wake::Condition || changed() {
                return;
            }
            cleans = self.reap();
        }
    }

    /// Sleeps until there is something to scan or to clean up.
    fn idle(&self, thread: &ThisThread) {
        let engine = &*self.engine;
        let queue = engine.queue(self.number);
        let scans = || self.scans();
        // The pass may be far from its end.
        engine.frames.give_back();
        if self.number > 0 {
            thread.wait(queue, scans);
            return;
        }
        if self.has_dead() && !self.reap() {
            thread.wait_ms(queue, HELD_MS, scans);
            return;
        }
        if let Some(_inside) = engine.work.enter() {
            // A pass does this when it begins.
            engine.ledger.prune(false);
        }
        // A page whose last mapping is about to go, or memory that is about to run short.
        let leftovers = || engine.ledger.stats.has_leftovers() && !engine.work.is_closed();
        let looks_again = || leftovers() || engine.watches();
        match looks_again() {
            true => thread.wait_ms(queue, LOOK_MS, || scans() || self.has_dead()),
            false => thread.wait(queue, || scans() || self.has_dead() || looks_again()),
        };
    }
}

impl Body for Scanner {
    fn run(&mut self, thread: &ThisThread) {
        while !thread.should_stop() {
            self.engine.watch();
            match self.scans() {
                true => {
                    self.scan(thread);
                    self.rest(thread);
                }
                false => self.idle(thread),
            }
        }
        // What it was scanning is gone on with in the next pass.
        self.engine.give_up(&mut self.bench);
    }
}
