// SPDX-License-Identifier: GPL-2.0

//! What the knobs change, and how. None but `run` 2, `scope`, `domain`, `content`, `enrol` and `release` waits for
//! anybody.

use crate::{
    advisor::{self, Mode},
    books::Books,
    control::{Control, Counters, Run},
    crew::Crew,
    engine::Engine,
    mm::{account, owner, provider, signal},
    pass::Advisors,
    settings::{Content, Scope, Settings, Within, PAGES_TO_SCAN},
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{atomic::Relaxed, Arc},
    time::Delta,
};

/// The engine and its scanners, as the knobs see them.
pub(crate) struct Desk {
    pub(crate) engine: Arc<Engine>,
    pub(crate) crew: Arc<Crew>,
}

impl Engine {
    /// Runs `f` where no page is merged, nor about to be.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are.
    fn while_unmerged(&self, f: impl FnOnce(&mut Books)) -> Result {
        self.ledger.prune(true);
        let mut books = self.ledger.open();
        match books.is_unmerged() {
            true => {
                f(&mut books);
                Ok(())
            }
            false => Err(EBUSY),
        }
    }

    /// Runs `f`, which says what is merged with what, where nobody goes by what was said before, nor changes the
    /// scope. Unless it leaves all as it is, which `same` tells, no page is merged then.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are. `ERESTARTSYS`: a signal came.
    fn change_rules(&self, same: impl FnOnce() -> bool, f: impl FnOnce()) -> Result {
        let standstill = self.stand_still()?;
        let result = match same() {
            true => {
                f();
                Ok(())
            }
            false => self.while_unmerged(|_| f()),
        };
        drop(standstill);
        self.wake_all();
        result
    }

    fn unmerge(&self) -> Result {
        self.begin_unmerging();
        let _victim = signal::OomOrigin::new();
        let result = self
            .stand_still()
            .and_then(|standstill| standstill.unmerge_all());
        self.end_unmerging(result.is_ok());
        self.wake_all();
        result
    }
}

impl Control for Desk {
    fn run(&self) -> Run {
        self.engine.run()
    }

    fn set_run(&self, run: Run) -> Result {
        if run == Run::Unmerge {
            return self.engine.unmerge();
        }
        let begins = run == Run::Merge && self.engine.run() != run;
        self.engine.store_run(run);
        if begins {
            // What was seen before it was stopped may be long ago.
            self.engine.watch_anew();
        }
        if run == Run::Stop {
            // A batch ends within half of that, unless a step is held up.
            self.engine.wait_for_batches(Delta::from_millis(10));
        }
        self.engine.wake_all();
        Ok(())
    }

    fn settings(&self) -> &Settings {
        &self.engine.settings
    }

    fn set_pages_to_scan(&self, pages: u32) -> Result {
        let settings = &self.engine.settings;
        // With the advisors, which set them.
        self.engine.passes.with_advisors(|_| {
            if settings.advisor_mode.get() != Mode::None {
                return Err(EINVAL);
            }
            settings.pages_to_scan.set(pages);
            Ok(())
        })
    }

    fn set_sleep_millisecs(&self, millisecs: u32) {
        let engine = &*self.engine;
        engine.passes.with_advisors(|advisors| {
            engine.settings.sleep_millisecs.set(millisecs);
            engine.decide_anew(advisors);
        });
        engine.wake_all();
    }

    fn set_max_page_sharing(&self, limit: u32) -> Result {
        let knob = &self.engine.settings.max_page_sharing;
        if knob.get() == limit {
            return Ok(());
        }
        self.engine.while_unmerged(|books| {
            books.stable.set_limit(limit);
            knob.set(limit);
        })
    }

    fn set_merge_across_nodes(&self, enable: bool) -> Result {
        let knob = &self.engine.settings.merge_across_nodes;
        if knob.get() == enable {
            return Ok(());
        }
        // Candidates find out when they are come to that they stand elsewhere now.
        self.engine.while_unmerged(|_| knob.set(enable))
    }

    fn set_scope(&self, scope: Scope) -> Result {
        self.engine.change_scope(scope)
    }

    fn set_domain(&self, domain: Option<Within>) -> Result {
        let known = match domain {
            None | Some(Within::All | Within::Process) => true,
            Some(Within::User) => owner::users_are_known(),
            Some(Within::Cgroup) => owner::cgroups_are_known(),
        };
        if !known {
            return Err(EOPNOTSUPP);
        }
        let settings = &self.engine.settings;
        if settings.domain.get() == domain {
            return Ok(());
        }
        let same = || settings.within_of(domain) == settings.within();
        self.engine
            .change_rules(same, || settings.domain.set(domain))
    }

    fn set_domain_depth(&self, depth: u32) -> Result {
        let knob = &self.engine.settings.domain_depth;
        if knob.get() == depth {
            return Ok(());
        }
        self.engine.change_rules(|| false, || knob.set(depth))
    }

    fn set_content(&self, content: Content) -> Result {
        let knob = &self.engine.settings.content;
        if knob.get() == content {
            return Ok(());
        }
        // What is on record of other pages is forgotten as if they were gone.
        self.engine.change_rules(|| false, || knob.set(content))
    }

    fn set_fresh_frames(&self, drawn: Option<bool>) {
        let engine = &*self.engine;
        engine.settings.fresh_frames.set(drawn);
        if !engine.settings.draws_frames() {
            engine.frames.give_back();
        }
    }

    fn set_advisor_mode(&self, mode: Mode) {
        let settings = &self.engine.settings;
        let engine = &*self.engine;
        engine.passes.with_advisors(|advisors| {
            if settings.advisor_mode.get() == mode {
                return;
            }
            *advisors = Advisors::new();
            // Before the mode: a scanner that waits is not to find a batch without pages.
            match mode {
                Mode::None => settings.pages_to_scan.set(PAGES_TO_SCAN),
                Mode::ScanTime => {
                    let least = settings.advisor_min_pages.get();
                    settings.pages_to_scan.set(advisor::batch(least));
                }
                Mode::Pressure => {}
            }
            settings.advisor_mode.set(mode);
            engine.look_if_due(advisors);
        });
        engine.wake_all();
    }

    fn set_advisor_free_high(&self, percent: u32) -> Result {
        self.engine.set_mark(percent, |settings| {
            let fits = settings.advisor_free_low.get() < percent;
            fits.then_some(&settings.advisor_free_high)
        })
    }

    fn set_advisor_free_low(&self, percent: u32) -> Result {
        self.engine.set_mark(percent, |settings| {
            let fits = percent < settings.advisor_free_high.get();
            fits.then_some(&settings.advisor_free_low)
        })
    }

    fn set_merge_any(&self, pid: i32, merge: bool) -> Result {
        provider::set_merge_any(pid, merge)
    }

    fn scanners(&self) -> u32 {
        self.crew.len()
    }

    fn set_scanners(&self, number: u32) -> Result {
        match self.crew.len() {
            // The module is being loaded.
            0 => Err(EBUSY),
            _ => self.crew.set_len(&self.engine, number),
        }
    }

    fn counters(&self) -> Counters {
        let stats = &self.engine.ledger.stats;
        let count = |counter: i64| u64::try_from(counter).unwrap_or(0);
        let (shared, sharing) = (stats.shared.load(Relaxed), stats.sharing.load(Relaxed));
        let (unshared, zero) = (stats.unshared.load(Relaxed), stats.zero.load(Relaxed));
        let tracked = count(stats.tracked.load(Relaxed));
        let zero_pages = account::zero_pages();
        // Far below 2^63 bytes, as memory is.
        let saved = (sharing as i64 + zero_pages) * PAGE_SIZE as i64;
        let books = stats.book_bytes.load(Relaxed) as i64;
        let (last, pass_millisecs) = self.engine.passes.last();
        Counters {
            pages_shared: shared,
            pages_sharing: sharing,
            pages_unshared: unshared,
            // The parts may have changed after the whole was read.
            pages_volatile: tracked.saturating_sub(shared + sharing + unshared + count(zero)),
            pages_scanned: count(stats.scanned.load(Relaxed)),
            pages_skipped: count(stats.skipped.load(Relaxed)),
            stable_node_chains: stats.chains.load(Relaxed),
            stable_node_dups: stats.dups.load(Relaxed),
            full_scans: count(stats.full_scans.load(Relaxed)),
            last_pass_millisecs: last.ms,
            last_pass_cpu_millisecs: last.figures.cpu_ns / 1_000_000,
            pass_millisecs,
            ksm_zero_pages: zero_pages,
            general_profit: saved - stats.record_bytes.load(Relaxed) - books,
        }
    }
}
