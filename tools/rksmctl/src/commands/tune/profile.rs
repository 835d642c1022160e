// SPDX-License-Identifier: GPL-2.0

//! Profiles: how much is scanned, and at what price.
//!
//! A page at rest takes in-tree KSM 1.4 µs of CPU time where there are few, 8 µs where there are millions,
//! and rksm 0.2 µs (`docs/performance.md`); one that is merged takes either some µs. A profile must be
//! bearable at 8 µs: what it costs at most is said for that.
//!
//! What is merged, and how, is no matter of pace: `scope`, `use_zero_pages`, `max_page_sharing` and
//! `merge_across_nodes` stay as they are.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Profile {
    /// Scans no more; what is merged stays so (run=2 gives it back)
    Off,
    /// 5 000 pages a second, at most 4 % of one CPU: for machines that have better things to do
    Gentle,
    /// 50 000 pages a second at most, a third of one CPU at most: 16 GiB in a minute and a half
    Balanced,
    /// As fast as two scanners are, each one CPU at most: while much is to be merged
    Aggressive,
    /// An advisor aims at 200 s a pass, with 70 % of one CPU at most, however much memory there is
    Auto,
    /// Scans only while memory is short, with 70 % of one CPU at most: takes the place of ksmtuned
    Pressure,
}

impl Profile {
    /// What it sets, as far as the knobs are there.
    pub const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // What it was told before holds when it scans again.
            Self::Off => &[("run", "0")],
            // A scanner that wakes up ten times a second lets a CPU sleep.
            Self::Gentle => &[
                ("advisor_mode", "none"),
                ("scanners", "1"),
                ("pages_to_scan", "500"),
                ("sleep_millisecs", "100"),
                ("smart_scan", "1"),
                ("run", "1"),
            ],
            Self::Balanced => &[
                ("advisor_mode", "none"),
                ("scanners", "1"),
                ("pages_to_scan", "1000"),
                ("sleep_millisecs", "20"),
                ("smart_scan", "1"),
                ("run", "1"),
            ],
            // Smart scan would pass over pages that have become equal a moment ago.
            Self::Aggressive => &[
                ("advisor_mode", "none"),
                ("scanners", "2"),
                ("pages_to_scan", "5000"),
                ("sleep_millisecs", "10"),
                ("smart_scan", "0"),
                ("run", "1"),
            ],
            // The kernel's own defaults.
            Self::Auto => &[
                ("scanners", "1"),
                ("sleep_millisecs", "20"),
                ("smart_scan", "1"),
                ("advisor_target_scan_time", "200"),
                ("advisor_max_cpu", "70"),
                ("advisor_min_pages_to_scan", "500"),
                ("advisor_max_pages_to_scan", "30000"),
                ("advisor_mode", "scan-time"),
                ("run", "1"),
            ],
            // The marks stay as they are.
            Self::Pressure => &[
                ("scanners", "1"),
                ("sleep_millisecs", "20"),
                ("smart_scan", "1"),
                ("advisor_max_cpu", "70"),
                ("advisor_mode", "pressure"),
                ("run", "1"),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::knobs;

    #[test]
    fn the_knobs_take_it() {
        for profile in Profile::value_variants() {
            for (name, value) in profile.settings() {
                assert_eq!(knobs::find(name).unwrap().check(value), Ok(()));
            }
        }
    }
}
