// SPDX-License-Identifier: GPL-2.0

//! How long a pass takes.

use std::time::Duration;

use super::case::Case;

/// So many batches say how fast it goes; fewer say nothing.
const BATCHES: u128 = 5;

/// How a figure was come by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    LastPass,
    Sample,
    Settings,
}

/// About how long a pass takes at least. `None` where nothing can be said.
pub fn of_a_pass(case: &Case) -> Option<(Duration, By)> {
    // How long the one under way takes says nothing: merging may have been stopped meanwhile.
    let known = Duration::from_millis(case.counters.last_pass_millisecs.unwrap_or(0));
    let estimate = rate(case).map(|(rate, by)| (pages(case) as f64 / rate, by));
    match estimate {
        Some((seconds, by)) if seconds > known.as_secs_f64() => Some((
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            by,
        )),
        _ if known.is_zero() => None,
        _ => Some((known, By::LastPass)),
    }
}

/// Pages that a pass comes by: what is tracked, and may have to be yet.
pub fn pages(case: &Case) -> u64 {
    let mergeable: u64 = case
        .concerned()
        .map(|subject| subject.usage.anonymous / case.memory.page)
        .sum();
    case.counters.tracked().max(mergeable)
}

/// Pages in a second, measured where that can be, else as the settings allow at most.
fn rate(case: &Case) -> Option<(f64, By)> {
    let sleep = case.settings.number("sleep_millisecs")?;
    if case.scanned > 0 && case.sample.as_millis() >= u128::from(sleep) * BATCHES {
        return Some((case.scanned as f64 / case.sample.as_secs_f64(), By::Sample));
    }
    let batch =
        case.settings.number("pages_to_scan")? * case.settings.number("scanners").unwrap_or(1);
    (batch > 0 && sleep > 0).then(|| (batch as f64 * 1000.0 / sleep as f64, By::Settings))
}

/// What `pages_to_scan` has a pass take `seconds`, as far as the CPU can. `None` where as much is set, or
/// where it cannot be set.
pub fn pages_to_scan(case: &Case, seconds: u64) -> Option<u64> {
    let set = case.settings.number("pages_to_scan")?;
    let sleep = case.settings.number("sleep_millisecs").unwrap_or(20).max(1);
    let scanners = case.settings.number("scanners").unwrap_or(1).max(1);
    let wanted = (pages(case).saturating_mul(sleep)).div_ceil(seconds * 1000 * scanners);
    (wanted > set && wanted <= u32::MAX.into()).then_some(wanted)
}
