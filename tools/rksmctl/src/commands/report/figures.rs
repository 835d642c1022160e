// SPDX-License-Identifier: GPL-2.0

//! What is worked out of a recording: curves over time.

use std::cmp::Ordering;

use crate::{
    recording::{Reading, Recording, Sample},
    system::Provider,
};

/// Points of a curve, seconds and value, while one provider was there without a break.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub provider: Provider,
    pub points: Vec<(f64, f64)>,
}

/// How many points of a curve can be told apart in a chart.
const POINTS: usize = 1000;

/// MiB saved.
pub fn saved(recording: &Recording) -> Vec<Line> {
    let mib = recording.header.machine.page as f64 / f64::from(1 << 20);
    lines(recording, |_, sample, reading| {
        let point = (sample.seconds, reading.counters.saved() as f64 * mib);
        vec![point]
    })
}

/// MiB saved after records.
pub fn profit(recording: &Recording) -> Vec<Line> {
    lines(recording, |_, sample, reading| {
        let bytes = reading.counters.general_profit as f64;
        vec![(sample.seconds, bytes / f64::from(1 << 20))]
    })
}

/// CPU time of the scanners, in percent of one CPU.
pub fn cpu(recording: &Recording) -> Vec<Line> {
    lines(recording, |before, sample, reading| {
        let Some((since, before)) = before else {
            return vec![];
        };
        let used = reading
            .scanner_cpu_millisecs
            .saturating_sub(before.scanner_cpu_millisecs);
        let percent = used as f64 / 10.0 / (sample.seconds - since);
        // What it was on average in between.
        vec![(since, percent), (sample.seconds, percent)]
    })
}

/// How long passes took, in seconds, each where it was over.
pub fn passes(recording: &Recording) -> Vec<Line> {
    let mut began: Option<f64> = None;
    lines(recording, |before, sample, reading| {
        let Some((_, before)) = before else {
            began = None;
            return vec![];
        };
        let (old, new) = (before.counters.full_scans, reading.counters.full_scans);
        if new < old {
            began = None;
        }
        if new <= old {
            return vec![];
        }
        // In-tree KSM does not say, but from the end of one to that of the next is a pass as well.
        let told = reading.counters.last_pass_millisecs;
        let told = told.map(|millisecs| millisecs as f64 / 1e3);
        let seen = began.map(|began| (sample.seconds - began) / (new - old) as f64);
        began = Some(sample.seconds);
        told.or(seen)
            .map(|length| (sample.seconds, length))
            .into_iter()
            .collect()
    })
}

/// The points that `points` finds at each sample, given when the one before was and what it said, if
/// the provider was the same then.
fn lines(
    recording: &Recording,
    mut points: impl FnMut(Option<(f64, &Reading)>, &Sample, &Reading) -> Vec<(f64, f64)>,
) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut before: Option<(f64, &Reading)> = None;
    for sample in &recording.samples {
        let Some(reading) = &sample.reading else {
            before = None;
            continue;
        };
        before = before.filter(|(since, before)| {
            before.provider == reading.provider && *since < sample.seconds
        });
        if before.is_none() {
            lines.push(Line {
                provider: reading.provider,
                points: Vec::new(),
            });
        }
        if let Some(line) = lines.last_mut() {
            line.points.extend(points(before, sample, reading));
        }
        before = Some((sample.seconds, reading));
    }
    lines.retain(|line| !line.points.is_empty());
    lines
}

/// The average over time, or that of the points where they take none.
pub fn over_time(lines: &[Line]) -> f64 {
    let (mut time, mut area) = (0.0, 0.0);
    for step in lines.iter().flat_map(|line| line.points.windows(2)) {
        let length = step[1].0 - step[0].0;
        time += length;
        area += length * (step[0].1 + step[1].1) / 2.0;
    }
    if time > 0.0 {
        area / time
    } else {
        of_points(lines)
    }
}

/// The average of all points.
pub fn of_points(lines: &[Line]) -> f64 {
    let points = || lines.iter().flat_map(|line| &line.points);
    points().map(|point| point.1).sum::<f64>() / points().count() as f64
}

/// Curves with fewer points, for charts: a week has 600 000. Of those side by side the least and the most
/// stay.
pub fn thinned(mut lines: Vec<Line>) -> Vec<Line> {
    let all: usize = lines.iter().map(|line| line.points.len()).sum();
    let step = (2 * all).div_ceil(POINTS);
    if step > 2 {
        for line in &mut lines {
            line.points = extremes(&line.points, step);
        }
    }
    lines
}

/// Of each so many points two, and the first and the last of all.
fn extremes(points: &[(f64, f64)], step: usize) -> Vec<(f64, f64)> {
    let mut kept: Vec<_> = points.first().copied().into_iter().collect();
    for part in points.chunks(step) {
        let least = part.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = part.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut both = [least, most];
        both.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        kept.extend(both.into_iter().flatten());
    }
    kept.extend(points.last());
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: impl IntoIterator<Item = (f64, f64)>) -> Line {
        Line {
            provider: Provider::Rksm,
            points: points.into_iter().collect(),
        }
    }

    #[test]
    fn averages() {
        // Often at 10, and for most of the time at 20.
        let lines = [
            line([(0.0, 10.0), (1.0, 10.0), (2.0, 10.0)]),
            line([(3.0, 20.0), (11.0, 20.0)]),
        ];
        assert_eq!(over_time(&lines), 18.0);
        assert_eq!(of_points(&lines), 14.0);
        assert_eq!(over_time(&[line([(1.0, 7.0)])]), 7.0);
    }

    #[test]
    fn peaks_stay() {
        let mut points: Vec<_> = (0..100_000).map(|at| (f64::from(at), 5.0)).collect();
        points[33_333].1 = 9.0;
        points[33_334].1 = 1.0;
        let long = vec![line(points.clone())];
        let thin = thinned(long).remove(0).points;
        assert!(thin.len() < 1200, "{}", thin.len());
        for kept in [0, 33_333, 33_334, 99_999] {
            assert!(thin.contains(&points[kept]), "{kept}");
        }
        assert!(thin.is_sorted_by(|a, b| a.0 < b.0));
        // A short one is as it was.
        let short = vec![line(points[..900].iter().copied())];
        assert_eq!(thinned(short.clone()), short);
    }
}
