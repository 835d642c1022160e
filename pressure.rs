// SPDX-License-Identifier: GPL-2.0

//! How many pages to look at before each sleep, by how much memory is available: none while there is
//! enough.
//!
//! Between two marks, in percent of all memory, the share of a CPU goes along a straight line: nothing at
//! the high mark and above it, all that is allowed at the low one and below it.
//!
//! # Stability
//!
//! Merging makes memory available, and with that an end to its own cause. What the line is given is
//! therefore a level that follows what is available slowly where there is more of it, and fast where there
//! is less:
//!
//! - memory that comes and goes within seconds keeps the level near the least that there was;
//! - what merging frees within a second moves the level by an eighth of that, so the share shrinks little
//!   by little, until merging frees as much as is filled meanwhile;
//! - where memory runs short, the share is near its aim after three looks.
//!
//! There is no jump at either mark, so a level about one of them makes for a share that hardly differs.

use crate::{advisor, control::MOST_SCANNERS};
use kernel::prelude::*;

/// What the advice must keep to.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The marks, in percent of all memory.
    pub(crate) free_low: u32,
    pub(crate) free_high: u32,
    /// In percent of one CPU, for all scanners together.
    pub(crate) max_cpu: u32,
    pub(crate) scanners: u32,
    pub(crate) sleep_millisecs: u32,
}

const SCANNERS: usize = MOST_SCANNERS as usize;

/// The parts of a whole in which levels are counted.
const WHOLE: u64 = 1_000_000;
const PERCENT: u64 = WHOLE / 100;

/// Of one CPU, in the same parts.
const ONE_CPU: u64 = WHOLE;

/// What scanners did since it was last looked at what a page costs.
#[derive(Clone, Copy)]
struct Work {
    /// Of `pages_to_scan`.
    units: u64,
    cpu_ns: [u64; SCANNERS],
}

impl Work {
    const NONE: Self = Self {
        units: 0,
        cpu_ns: [0; SCANNERS],
    };

    /// So little tells nothing about what more would cost.
    const TOO_LITTLE: u64 = 64;
}

/// What a page is taken to cost until one has been looked at.
const NS_FOR_1000: u64 = 10_000_000;

/// What is remembered from one look to the next.
pub(crate) struct Pressure {
    /// What counts as available, in parts of all memory. `None`: nobody has looked yet.
    level: Option<u64>,
    work: Work,
    ns_for_1000: u64,
    /// What all scanners would use if they did not sleep.
    most: u64,
    scanners: u32,
}

impl Pressure {
    pub(crate) const fn new() -> Self {
        Self {
            level: None,
            work: Work::NONE,
            ns_for_1000: NS_FOR_1000,
            most: ONE_CPU,
            scanners: 1,
        }
    }

    /// Scanner number `scanner` has used `cpu_ns` for `units` of `pages_to_scan`.
    pub(crate) fn add(&mut self, scanner: usize, units: u64, cpu_ns: u64) {
        self.work.units += units;
        if let Some(sum) = self.work.cpu_ns.get_mut(scanner) {
            *sum += cpu_ns;
        }
    }

    /// Forgets how much was available: what comes next counts as it is.
    pub(crate) fn forget(&mut self) {
        self.level = None;
    }

    /// So many of all pages are available.
    pub(crate) fn look(&mut self, available: u64, all: u64) {
        let parts = available.saturating_mul(WHOLE).checked_div(all);
        let now = parts.unwrap_or(0).min(WHOLE);
        self.level = Some(match self.level {
            None => now,
            // Half the way.
            Some(level) if now < level => (level + now) / 2,
            // An eighth of it.
            Some(level) => level + (now - level).div_ceil(8),
        });
    }

    /// The `pages_to_scan` from now on. 0: nothing is to be scanned.
    pub(crate) fn advise(&mut self, limits: Limits) -> u32 {
        self.learn(limits.scanners);
        let share = self.share(limits);
        if share == 0 {
            return 0;
        }
        let pages = advisor::affordable(share, self.most, limits.sleep_millisecs, self.ns_for_1000);
        advisor::batch(pages)
    }

    /// Finds out what pages cost, and how many scanners are busy at once.
    fn learn(&mut self, scanners: u32) {
        let all = u64::from(scanners) * ONE_CPU;
        if self.scanners != scanners {
            // As if they were all busy, until it is known.
            self.scanners = scanners;
            self.most = all;
            self.work = Work::NONE;
        }
        let Work { units, cpu_ns } = self.work;
        let busiest = cpu_ns.iter().copied().max().unwrap_or(0);
        if units < Work::TOO_LITTLE || busiest == 0 {
            return;
        }
        let sum = cpu_ns
            .iter()
            .fold(0, |sum: u64, ns| sum.saturating_add(*ns));
        self.ns_for_1000 = (sum.saturating_mul(1000) / units).max(1);
        let at_once = sum.saturating_mul(100) / busiest * (ONE_CPU / 100);
        let at_once = at_once.clamp(ONE_CPU, all.max(ONE_CPU));
        // One that had nothing to do for a moment is back in the next.
        self.most = at_once.max(self.most - self.most.saturating_sub(at_once).div_ceil(8));
        self.work = Work::NONE;
    }

    /// The share of a CPU that all scanners may use together.
    fn share(&self, limits: Limits) -> u64 {
        let Some(level) = self.level else {
            return 0;
        };
        let high = u64::from(limits.free_high) * PERCENT;
        let low = u64::from(limits.free_low) * PERCENT;
        // More than the scanners have cannot be used.
        let all = u64::from(limits.scanners) * ONE_CPU;
        let allowed = (u64::from(limits.max_cpu) * (ONE_CPU / 100)).min(all);
        // Neither is much above 2^24.
        let missing = high.saturating_sub(level.max(low));
        (allowed * missing)
            .checked_div(high.saturating_sub(low))
            .unwrap_or(0)
    }
}

#[kunit_tests(rksm_pressure)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        free_low: 10,
        free_high: 20,
        max_cpu: 70,
        scanners: 1,
        sleep_millisecs: 20,
    };

    /// The advice where it has been like that for long, and a page costs 1 µs.
    fn advice(percent: u64, limits: Limits) -> u32 {
        let mut pressure = Pressure::new();
        pressure.look(percent, 100);
        pressure.add(0, 1000, 1_000_000);
        pressure.advise(limits)
    }

    /// What a scanner uses that looks at so many pages of 1 µs each and sleeps 20 ms, in percent.
    fn used(pages: u32) -> u64 {
        u64::from(pages) * 100 / (u64::from(pages) + 20_000)
    }

    #[test]
    fn more_the_less_there_is() {
        for percent in 20..=100 {
            assert_eq!(advice(percent, LIMITS), 0);
        }
        for percent in 0..=10 {
            assert!((69..=70).contains(&used(advice(percent, LIMITS))));
        }
        for percent in 11..20 {
            let expected = 7 * (20 - percent);
            assert!((expected - 1..=expected).contains(&used(advice(percent, LIMITS))));
        }
    }

    #[test]
    fn nothing_is_allowed() {
        let limits = Limits {
            max_cpu: 0,
            ..LIMITS
        };
        assert_eq!(advice(0, limits), 0);
    }

    #[test]
    fn without_a_limit_nobody_sleeps() {
        for max_cpu in [100, 101, u32::MAX] {
            let limits = Limits { max_cpu, ..LIMITS };
            assert_eq!(advice(10, limits), u32::MAX);
            assert!((49..=50).contains(&used(advice(15, limits))));
        }
    }

    #[test]
    fn several_keep_to_the_share_together() {
        let limits = Limits {
            scanners: 4,
            max_cpu: 100,
            ..LIMITS
        };
        // Until it is known that one does all of the work, and again where all of them do.
        for (busy, share) in [(0, 25), (1, 100), (2, 50), (4, 25)] {
            let mut pressure = Pressure::new();
            let _unknown = pressure.advise(limits);
            pressure.look(0, 100);
            pressure.ns_for_1000 = 1_000_000;
            let mut advice = pressure.advise(limits);
            for _ in 0..200 {
                for scanner in 0..busy {
                    pressure.add(scanner, 1000, 1_000_000);
                }
                advice = pressure.advise(limits);
            }
            // At 100 % nobody sleeps.
            assert!(
                (share - 1..=share).contains(&used(advice)) || share == 100 && advice == u32::MAX
            );
        }
    }

    /// Two of them take turns for a while in having nothing to do.
    #[test]
    fn who_has_nothing_to_do_for_a_moment_still_counts() {
        let limits = Limits {
            scanners: 2,
            max_cpu: 50,
            ..LIMITS
        };
        let mut pressure = Pressure::new();
        pressure.look(0, 100);
        for busy in [2, 2, 1, 2, 1, 2] {
            for scanner in 0..busy {
                pressure.add(scanner, 1000, 1_000_000);
            }
            assert!(used(pressure.advise(limits)) <= 28);
        }
    }

    #[test]
    fn fast_down_and_slow_up() {
        let mut pressure = Pressure::new();
        let mut level = |percent| {
            pressure.look(percent, 100);
            pressure.level.unwrap_or(0) / PERCENT
        };
        assert_eq!(level(60), 60);
        assert_eq!(level(0), 30);
        assert_eq!(level(0), 15);
        assert_eq!(level(80), 23);
        // It comes to where it shall.
        for percent in [80, 0, 33] {
            for _ in 0..200 {
                let _on_the_way = level(percent);
            }
            assert_eq!(level(percent), percent);
        }
        pressure.forget();
        pressure.look(90, 100);
        assert_eq!(pressure.level, Some(90 * PERCENT));
    }

    /// Nothing that the kernel could say leads to an overflow.
    #[test]
    fn extremes() {
        for all in [0, 1, u64::MAX] {
            for available in [0, 1, u64::MAX] {
                for cpu_ns in [0, 1, u64::MAX] {
                    for sleep_millisecs in [0, 1, u32::MAX] {
                        for scanners in [0, 1, MOST_SCANNERS] {
                            let limits = Limits {
                                max_cpu: u32::MAX,
                                scanners,
                                sleep_millisecs,
                                ..LIMITS
                            };
                            let mut pressure = Pressure::new();
                            pressure.look(available, all);
                            pressure.add(0, u64::MAX, cpu_ns);
                            let _first = pressure.advise(limits);
                            pressure.look(available, all);
                            let _second = pressure.advise(limits);
                        }
                    }
                }
            }
        }
    }
}
