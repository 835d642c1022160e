// SPDX-License-Identifier: GPL-2.0

//! The advisor that goes by memory, on hosts whose memory is filled and freed as it was recorded, while
//! what it has scanned frees memory in turn.
//!
//! Each file has what was available in a machine in which nothing was merged, a number of MiB a second, and
//! before them how much memory it had: the one of `make vm KERNEL=debian`, 2026-11-28.

mod host;

use crate::pressure::{Limits, Pressure};
use host::{Host, Merging};

/// Fills in steps, and frees them.
const STEPS: &str = include_str!("steps.txt");
/// Half of it is taken for long, and a quarter comes and goes, each for a second or two.
const BURSTS: &str = include_str!("bursts.txt");
/// Guests that start one after the other, and end so.
const GUESTS: &str = include_str!("guests.txt");
/// Fills ever more, and frees it all.
const LEAK: &str = include_str!("leak.txt");

const ALL: [&str; 4] = [STEPS, BURSTS, GUESTS, LEAK];

/// From an emulated machine to one with little memory and a fast CPU, which merges all of it within a look.
const SPEEDS: [f64; 4] = [20.0, 200.0, 2000.0, 20_000.0];

/// None of it can be merged, some, and nearly all.
const MERGEABLE: [f64; 3] = [0.0, 0.4, 0.9];

const LIMITS: Limits = Limits {
    free_low: 10,
    free_high: 20,
    max_cpu: 70,
    scanners: 1,
    sleep_millisecs: 20,
};

/// What the advisor has come to in a second.
#[derive(Clone, Copy)]
struct Second {
    /// In percent.
    available: f64,
    /// Of the share of a CPU that is allowed, 0 to 1.
    share: f64,
}

/// The share of what is allowed that a scanner uses with such batches, of pages of 1 µs each.
fn share(pages: u32) -> f64 {
    let busy = f64::from(pages);
    let sleep = f64::from(LIMITS.sleep_millisecs) * 1000.0;
    busy / (busy + sleep) * 100.0 / f64::from(LIMITS.max_cpu)
}

/// As the line between the marks has it, with nothing remembered.
fn line(available: f64) -> f64 {
    let (low, high) = (f64::from(LIMITS.free_low), f64::from(LIMITS.free_high));
    ((high - available) / (high - low)).clamp(0.0, 1.0)
}

fn with_the_advisor() -> impl FnMut(f64) -> f64 {
    let mut pressure = Pressure::new();
    move |available| {
        pressure.look((available * 1000.0) as u64, 100_000);
        pressure.add(0, 1000, 1_000_000);
        share(pressure.advise(LIMITS))
    }
}

/// Has `advise` decide each second, which is told what is available in percent.
fn run(mut host: Host, mut advise: impl FnMut(f64) -> f64) -> Vec<Second> {
    let mut seconds = Vec::new();
    while let Some(available) = host.available() {
        let share = advise(available);
        host.second_passes(share);
        seconds.push(Second { available, share });
    }
    seconds
}

/// How often it begins to scan, or ends.
fn turns(seconds: &[Second]) -> usize {
    let scans = |second: &Second| second.share > 0.0;
    let pairs = seconds.windows(2);
    pairs
        .filter(|pair| scans(&pair[0]) != scans(&pair[1]))
        .count()
}

/// How far the share goes up and down in all.
fn way(seconds: &[Second]) -> f64 {
    let pairs = seconds.windows(2);
    pairs
        .map(|pair| (pair[1].share - pair[0].share).abs())
        .sum()
}

fn hosts() -> impl Iterator<Item = Host> {
    ALL.into_iter().flat_map(|recorded| {
        SPEEDS.into_iter().flat_map(move |speed| {
            MERGEABLE.into_iter().map(move |mergeable| {
                Host::recorded(
                    recorded,
                    Merging {
                        speed,
                        mergeable,
                        unmerged: 0.02,
                    },
                )
            })
        })
    })
}

/// For so long it was so before.
fn for_long(seconds: &[Second], at: usize, long: usize, is_so: impl Fn(&Second) -> bool) -> bool {
    at >= long && seconds[at - long..=at].iter().all(is_so)
}

#[test]
fn nothing_while_there_is_enough_and_all_where_there_is_little() {
    let (low, high) = (f64::from(LIMITS.free_low), f64::from(LIMITS.free_high));
    let (mut enough, mut little) = (0, 0);
    for host in hosts() {
        let seconds = run(host, with_the_advisor());
        for at in 0..seconds.len() {
            // What is above both marks by as much as they are apart is seen within a few looks.
            if for_long(&seconds, at, 6, |second| {
                second.available > 2.0 * high - low
            }) {
                assert_eq!(seconds[at].share, 0.0);
                enough += 1;
            }
            if for_long(&seconds, at, 6, |second| second.available < low) {
                assert!(seconds[at].share > 0.9, "{at}: {}", seconds[at].share);
                little += 1;
            }
        }
    }
    // That was put to the test.
    assert!(enough > 1000 && little > 100, "{enough}, {little}");
}

/// It begins and ends no more often than without a memory, and the share goes less far up and down.
#[test]
fn swings_less_than_the_line_alone() {
    let (mut with, mut without) = ((0, 0.0), (0, 0.0));
    for host in hosts() {
        let advised = run(host.clone(), with_the_advisor());
        let alone = run(host, line);
        assert!(
            turns(&advised) <= turns(&alone).max(2),
            "{} {}",
            turns(&advised),
            turns(&alone)
        );
        with = (with.0 + turns(&advised), with.1 + way(&advised));
        without = (without.0 + turns(&alone), without.1 + way(&alone));
    }
    // What others fill and free makes for most of the way, with or without.
    assert!(with.0 * 3 <= without.0 * 2, "{with:?} {without:?}");
    assert!(with.1 * 1.3 <= without.1, "{with:?} {without:?}");
}

/// Guests write all the time to what was merged, and nothing else changes: the share comes to rest where as
/// much is merged as is written to, and stays there.
#[test]
fn comes_to_rest() {
    for speed in SPEEDS {
        // Where a fifth of what is merged is written to in a second, and all of it merged again, it cannot
        // rest, but it does not go from one end to the other either.
        for (unmerged, sways) in [(0.0, 0.1), (0.01, 0.1), (0.05, 0.1), (0.2, 0.3)] {
            for taken in [0.82, 0.9, 0.95, 1.0] {
                let merging = Merging {
                    speed,
                    mergeable: 0.5,
                    unmerged,
                };
                let seconds = run(
                    Host::steady(2000.0, taken, 600, merging),
                    with_the_advisor(),
                );
                let rest = &seconds[300..];
                let shares = rest.iter().map(|second| second.share);
                let most = shares.clone().fold(0.0, f64::max);
                let least = shares.fold(1.0, f64::min);
                assert!(
                    most - least < sways,
                    "{speed} {unmerged} {taken}: {least} to {most}"
                );
            }
        }
    }
}
