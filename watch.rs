// SPDX-License-Identifier: GPL-2.0

//! Watching how much memory is available, for the advisor that goes by it.

use crate::{
    advisor::Mode,
    control::Run,
    engine::Engine,
    mm::memory,
    pass::Advisors,
    pressure::Limits,
    settings::{Knob, Settings},
};
use kernel::{prelude::*, sync::atomic::Relaxed};

impl Engine {
    /// Whether somebody is to look now and then, although nothing is scanned.
    pub(crate) fn watches(&self) -> bool {
        self.run() == Run::Merge && self.settings.advisor_mode.get() == Mode::Pressure
    }

    /// Looks if that is due. True: that was so.
    pub(crate) fn watch(&self) -> bool {
        if !self.watches() {
            return false;
        }
        let waited = self.settings.waits_for_pressure();
        let looked = self
            .passes
            .with_advisors(|advisors| self.look_if_due(advisors));
        if looked && waited && !self.settings.waits_for_pressure() {
            self.wake_all();
        }
        looked
    }

    /// Looks now, as if nobody had before. Whoever asks for it wakes the scanners.
    pub(crate) fn watch_anew(&self) {
        self.passes.with_advisors(|advisors| {
            advisors.look_anew();
            self.look_if_due(advisors);
        });
    }

    /// Has the advisor decide, if it is in charge and that is due. True: that was so.
    pub(crate) fn look_if_due(&self, advisors: &mut Advisors) -> bool {
        if self.settings.advisor_mode.get() != Mode::Pressure || !advisors.looks() {
            return false;
        }
        let (available, all) = (memory::available_pages(), memory::total_pages());
        advisors.pressure.look(available as u64, all as u64);
        self.decide_anew(advisors);
        true
    }

    /// Has it decide from what it has seen, since what it must keep to has changed.
    pub(crate) fn decide_anew(&self, advisors: &mut Advisors) {
        let settings = &self.settings;
        if settings.advisor_mode.get() != Mode::Pressure {
            return;
        }
        let limits = Limits {
            free_low: settings.advisor_free_low.get(),
            free_high: settings.advisor_free_high.get(),
            max_cpu: settings.advisor_max_cpu.get(),
            scanners: self.scanners.load(Relaxed),
            sleep_millisecs: settings.rest_millisecs(),
        };
        let advice = advisors.pressure.advise(limits);
        settings.pages_to_scan.set(advice);
    }

    /// Sets one of the two marks, which `knob` picks where the other one lets it.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it does not.
    pub(crate) fn set_mark(
        &self,
        percent: u32,
        knob: impl FnOnce(&Settings) -> Option<&Knob<u32>>,
    ) -> Result {
        self.passes.with_advisors(|advisors| {
            knob(&self.settings).ok_or(EINVAL)?.set(percent);
            advisors.look_anew();
            self.look_if_due(advisors);
            Ok::<(), Error>(())
        })?;
        self.wake_all();
        Ok(())
    }
}
