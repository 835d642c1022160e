// SPDX-License-Identifier: GPL-2.0

//! How many pages to look at before each sleep, so that a pass takes the time it should.
//!
//! What a pass costs follows from three figures: how many pages it has, what a page costs, and how
//! long a scanner sleeps between batches. With `n` pages a batch, `c` seconds of CPU for each page, `s`
//! seconds of sleep, and `B` pages for the scanner that has most of them, a pass takes
//!
//! ```text
//! T = B * c + B / n * s
//! ```
//!
//! so that for a pass of `T` seconds `n = B * s / (T - B * c)`. A scanner uses the share
//! `n * c / (n * c + s)` of a CPU. All of them together, of `P` pages, use `P / B` times that, so that for a
//! share of at most `u`, `n` is at most `u / (P / B - u) * s / c`. With one scanner `B` is `P`. With several
//! it depends on how the pages lie: a process is scanned by one at a time, and where one has most of the
//! memory the others hardly help.
//!
//! Nothing has to be approached step by step: one pass tells `P`, `B` and `c`, and the next is on time. They
//! are smoothed a little, since memory comes and goes.

use kernel::prelude::*;

/// Who decides on `pages_to_scan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Whoever writes to it.
    None = 0,
    /// This file, from how long a pass takes.
    ScanTime = 1,
    /// [`pressure`](crate::pressure), from how much memory is available.
    Pressure = 2,
}

/// What the advice must keep to.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) min_pages: u64,
    pub(crate) max_pages: u64,
    /// In percent of one CPU, for all scanners together.
    pub(crate) max_cpu: u32,
    pub(crate) target_secs: u64,
    pub(crate) sleep_millisecs: u32,
}

/// What a pass came to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pass {
    pub(crate) pages: u64,
    /// Those of the scanner that had most.
    pub(crate) busiest: u64,
    pub(crate) cpu_ns: u64,
}

/// What is remembered of former passes: smoothed figures, 0 where there are none yet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Advisor {
    pages: u64,
    busiest: u64,
    ns_for_1000: u64,
}

const NS_PER_MS: u64 = 1_000_000;

/// A number of pages as a `pages_to_scan`: none at all would be the end of the pass, and of all
/// advice.
pub(crate) fn batch(pages: u64) -> u32 {
    u32::try_from(pages.max(1)).unwrap_or(u32::MAX)
}

/// How large a batch may be for all scanners together to use no more than `share` of a CPU, where they would
/// use `most` if they did not sleep. Both are in the same parts of one CPU.
pub(crate) fn affordable(share: u64, most: u64, sleep_millisecs: u32, ns_for_1000: u64) -> u64 {
    match most.saturating_sub(share) {
        0 => u64::MAX,
        rest => {
            let sleep = (u64::from(sleep_millisecs) * NS_PER_MS).saturating_mul(share * 1000);
            let awake = rest.saturating_mul(ns_for_1000);
            sleep.checked_div(awake).unwrap_or(u64::MAX)
        }
    }
}

/// Three parts of what is new, one of what was.
fn smooth(old: u64, new: u64) -> u64 {
    match old {
        0 => new,
        _ => old / 4 + new / 4 * 3 + (old % 4 + new % 4 * 3) / 4,
    }
}

impl Advisor {
    pub(crate) const fn new() -> Self {
        Self {
            pages: 0,
            busiest: 0,
            ns_for_1000: 0,
        }
    }

    /// The `pages_to_scan` for the next pass.
    pub(crate) fn advise(&mut self, pass: Pass, limits: Limits) -> u32 {
        let wanted = match pass.pages {
            // There is nothing to go by.
            0 => limits.min_pages,
            pages => {
                let cost = pass.cpu_ns.saturating_mul(1000) / pages;
                self.pages = smooth(self.pages, pages);
                self.busiest = smooth(self.busiest, pass.busiest.clamp(1, pages));
                self.ns_for_1000 = smooth(self.ns_for_1000, cost.max(1));
                self.wanted(limits)
            }
        };
        batch(wanted.max(limits.min_pages).min(limits.max_pages))
    }

    // What is too large to be multiplied is beyond all limits: it may as well saturate.
    fn wanted(&self, limits: Limits) -> u64 {
        let sleep_ms = u64::from(limits.sleep_millisecs);
        let busy_ms = self.busiest.saturating_mul(self.ns_for_1000) / 1000 / NS_PER_MS;
        // The time that is left for sleep. Without any, it cannot be done, only be tried.
        let idle_ms = limits
            .target_secs
            .saturating_mul(1000)
            .saturating_sub(busy_ms);
        let in_time = (self.busiest.saturating_mul(sleep_ms) / idle_ms.max(1)).saturating_add(1);
        let percent = u64::from(limits.max_cpu);
        // What they would use if they did not sleep.
        let most = self.pages.saturating_mul(100) / self.busiest.max(1);
        in_time.min(affordable(
            percent,
            most,
            limits.sleep_millisecs,
            self.ns_for_1000,
        ))
    }
}

#[kunit_tests(rksm_advisor)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        min_pages: 500,
        max_pages: 30_000,
        max_cpu: 70,
        target_secs: 200,
        sleep_millisecs: 20,
    };

    /// The seconds that a pass takes, and the percentage of a CPU that it uses.
    fn takes(pages: u64, ns: u64, batch: u32, limits: Limits) -> (u64, u64) {
        let sleep = u64::from(limits.sleep_millisecs) * NS_PER_MS;
        let busy = pages * ns;
        let all = busy + pages.div_ceil(batch.into()) * sleep;
        (all / NS_PER_MS / 1000, busy * 100 / all)
    }

    fn pass(pages: u64, ns: u64) -> Pass {
        pass_of(1, pages, ns)
    }

    /// The same where so many scanners had as many pages each.
    fn pass_of(scanners: u64, pages: u64, ns: u64) -> Pass {
        Pass {
            pages,
            busiest: pages.checked_div(scanners).unwrap_or(pages),
            cpu_ns: pages * ns,
        }
    }

    #[test]
    fn next_pass_is_on_time() {
        // 40 GiB at 1 µs a page: more than the least, less than the most.
        let batch = Advisor::new().advise(pass(10 << 20, 1000), LIMITS);
        let (secs, cpu) = takes(10 << 20, 1000, batch, LIMITS);
        assert!((198..=201).contains(&secs));
        assert!(cpu < 10);
    }

    #[test]
    fn keeps_to_the_least_and_the_most() {
        assert_eq!(Advisor::new().advise(pass(1000, 1000), LIMITS), 500);
        assert_eq!(Advisor::new().advise(pass(0, 0), LIMITS), 500);
        let huge = pass(1 << 40, 1);
        assert_eq!(Advisor::new().advise(huge, LIMITS), 30_000);
        let none = Limits {
            min_pages: 0,
            max_pages: 0,
            ..LIMITS
        };
        assert_eq!(Advisor::new().advise(pass(1000, 1000), none), 1);
        let wide = Limits {
            min_pages: u64::MAX,
            max_pages: u64::MAX,
            ..LIMITS
        };
        assert_eq!(Advisor::new().advise(pass(1000, 1000), wide), u32::MAX);
    }

    #[test]
    fn keeps_to_the_share_of_a_cpu() {
        // 5 µs a page, 400 GiB: no share of a CPU does that in 200 s.
        let limits = Limits {
            max_pages: 1 << 30,
            ..LIMITS
        };
        for max_cpu in [1, 10, 50, 70, 99] {
            let limits = Limits { max_cpu, ..limits };
            let batch = Advisor::new().advise(pass(100 << 20, 5000), limits);
            let (_, cpu) = takes(100 << 20, 5000, batch, limits);
            // The least goes before the share.
            assert!(batch == 500 || (cpu..=cpu + 2).contains(&max_cpu.into()));
        }
        // 100 % and more mean that there is no limit.
        for max_cpu in [100, 101, u32::MAX] {
            let limits = Limits { max_cpu, ..limits };
            let batch = Advisor::new().advise(pass(100 << 20, 5000), limits);
            assert!(takes(100 << 20, 5000, batch, limits).1 >= 99);
        }
        let none = Limits {
            max_cpu: 0,
            ..limits
        };
        assert_eq!(Advisor::new().advise(pass(100 << 20, 5000), none), 500);
    }

    #[test]
    fn several_are_on_time() {
        // 160 GiB at 1 µs a page.
        let (pages, ns) = (40 << 20, 1000);
        for scanners in [1, 2, 4, 16] {
            let pass = pass_of(scanners, pages, ns);
            let batch = Advisor::new().advise(pass, LIMITS);
            let (secs, _) = takes(pass.busiest, ns, batch, LIMITS);
            assert!((198..=201).contains(&secs) || batch == 500 && secs < 198);
        }
    }

    #[test]
    fn several_keep_to_the_share_together() {
        let limits = Limits {
            max_pages: 1 << 30,
            ..LIMITS
        };
        // 400 GiB at 50 µs a page: no share of a CPU does that in 200 s.
        let (pages, ns) = (100 << 20, 50_000);
        for scanners in [1, 2, 4, 16] {
            for max_cpu in [60, 99, 100, 150] {
                let limits = Limits {
                    min_pages: 1,
                    max_cpu,
                    ..limits
                };
                let pass = pass_of(scanners, pages, ns);
                let batch = Advisor::new().advise(pass, limits);
                let share = takes(pass.busiest, ns, batch, limits).1 * scanners;
                let most = u64::from(max_cpu).min(100 * scanners);
                assert!((most.saturating_sub(2 * scanners)..=most).contains(&share));
            }
        }
    }

    /// Where one process has all of the memory, the other scanners change nothing.
    #[test]
    fn idle_ones_do_not_count() {
        let pass = pass(10 << 20, 1000);
        let uneven = Pass {
            busiest: pass.pages - 1000,
            ..pass
        };
        let one = Advisor::new().advise(pass, LIMITS);
        let several = Advisor::new().advise(uneven, LIMITS);
        assert!(one.abs_diff(several) <= 1);
    }

    /// Memory that doubles, and halves again: two passes later the advice is for what is there.
    #[test]
    fn follows_what_changes() {
        let mut advisor = Advisor::new();
        for pages in [10 << 20, 20 << 20, 10 << 20] {
            let mut batch = 0;
            for _ in 0..3 {
                batch = advisor.advise(pass(pages, 1000), LIMITS);
            }
            let (secs, _) = takes(pages, 1000, batch, LIMITS);
            assert!((190..=210).contains(&secs));
        }
    }

    /// Passes of in-tree KSM with its own advisor, recorded on User-Mode Linux (Linux 7.3.4, target
    /// 12 s, all else as [`LIMITS`] has it, but at least 10 pages) while memory came and went: pages,
    /// CPU time in ms, and the ms from its begin to its end.
    const RECORDED: [(u64, u64, u64); 15] = [
        (20_000, 280, 580),
        (20_000, 130, 490),
        (20_000, 90, 540),
        (20_000, 140, 570),
        (20_000, 40, 600),
        (120_000, 380, 1390),
        (120_000, 2050, 7240),
        (120_000, 3020, 5470),
        (124_359, 2420, 5570),
        (115_641, 2690, 6720),
        (20_000, 340, 1360),
        (20_000, 30, 2370),
        (20_000, 210, 530),
        (20_000, 80, 690),
        (20_000, 710, 1140),
    ];

    /// With the advice that it gets from these, a pass over memory of the same size as before takes
    /// what it shall, where in-tree KSM took whatever it took.
    #[test]
    fn recorded_passes() {
        let limits = Limits {
            min_pages: 10,
            target_secs: 12,
            ..LIMITS
        };
        let mut advisor = Advisor::new();
        let (mut batch, mut before, mut alike) = (super::batch(limits.min_pages), 0, 0);
        for (pages, cpu_ms, in_tree_ms) in RECORDED {
            let cpu_ns = cpu_ms * NS_PER_MS;
            alike = match pages.abs_diff(before) < pages / 20 {
                true => alike + 1,
                false => 0,
            };
            // What is smoothed has caught up with what changed.
            if alike > 1 {
                let (secs, cpu) = takes(pages, cpu_ns / pages, batch, limits);
                assert!((9..=14).contains(&secs));
                assert!(secs.abs_diff(12) <= in_tree_ms.abs_diff(12_000) / 1000);
                assert!(cpu <= limits.max_cpu.into());
            }
            before = pages;
            let pass = Pass {
                pages,
                busiest: pages,
                cpu_ns,
            };
            batch = advisor.advise(pass, limits);
        }
    }

    /// A pass: units of 2^18 pages, the cost of one in ns, and the `pages_to_scan` that the in-tree
    /// advisor had for it, as its formula gives from the passes before.
    type Computed = (u64, u64, u32);

    /// Memory that grows by four and shrinks again, from one pass to the next.
    const GROWS: [Computed; 12] = [
        (20, 1000, 500),
        (20, 1000, 2500),
        (20, 1000, 2270),
        (20, 1000, 2270),
        (80, 1000, 2270),
        (80, 1000, 3861),
        (80, 1000, 3336),
        (80, 1000, 3114),
        (20, 1000, 2895),
        (20, 1000, 2410),
        (20, 1000, 2410),
        (20, 1000, 2410),
    ];

    /// Pages so costly that the share of the CPU is what limits it.
    const COSTLY: [Computed; 8] = [
        (80, 4000, 500),
        (80, 4000, 714),
        (80, 4000, 1034),
        (80, 4000, 1318),
        (80, 4000, 1613),
        (80, 4000, 1863),
        (80, 4000, 2070),
        (80, 4000, 2130),
    ];

    /// Little memory, and a pass that shall be short.
    const SHORT: [Computed; 5] = [
        (1, 2000, 10),
        (1, 2000, 100),
        (1, 2000, 1000),
        (1, 2000, 1000),
        (1, 2000, 1000),
    ];

    /// Where a pass is like the one before, so that it could be known what it takes, it ends at
    /// least as near to its time as with the in-tree advisor, and within the share of the CPU.
    fn as_good_as_computed(passes: &[Computed], limits: Limits) {
        let mut advisor = Advisor::new();
        let mut batch = super::batch(limits.min_pages);
        let mut before = None;
        for &(units, ns, in_tree) in passes {
            let pages = units << 18;
            let off = |batch| {
                takes(pages, ns, batch, limits)
                    .0
                    .abs_diff(limits.target_secs)
            };
            let share = |batch| takes(pages, ns, batch, limits).1;
            if before == Some((units, ns)) {
                assert!(off(batch) <= off(in_tree) + 1);
                assert!(share(batch) <= limits.max_cpu.into());
            }
            before = Some((units, ns));
            batch = advisor.advise(pass(pages, ns), limits);
        }
    }

    #[test]
    fn computed_passes() {
        as_good_as_computed(&GROWS, LIMITS);
        let limits = Limits {
            max_cpu: 30,
            ..LIMITS
        };
        as_good_as_computed(&COSTLY, limits);
        let limits = Limits {
            min_pages: 10,
            target_secs: 20,
            ..LIMITS
        };
        as_good_as_computed(&SHORT, limits);
    }

    /// Nothing that a clock or a counter could show leads to an overflow.
    #[test]
    fn extremes() {
        for pages in [0, 1, u64::MAX] {
            for cpu_ns in [0, 1, u64::MAX] {
                for sleep_millisecs in [0, 1, u32::MAX] {
                    for target_secs in [1, u64::MAX] {
                        let limits = Limits {
                            sleep_millisecs,
                            target_secs,
                            ..LIMITS
                        };
                        let mut advisor = Advisor::new();
                        for _ in 0..3 {
                            for busiest in [0, 1, pages] {
                                let pass = Pass {
                                    pages,
                                    busiest,
                                    cpu_ns,
                                };
                                let batch = advisor.advise(pass, limits);
                                assert!((500..=30_000).contains(&batch));
                            }
                        }
                    }
                }
            }
        }
    }
}
