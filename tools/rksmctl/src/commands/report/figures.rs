// SPDX-License-Identifier: GPL-2.0

//! What is worked out of a recording: curves over time.

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

/// A recording with fewer samples, for charts: a week has 600 000. Counters only grow, so what is
/// worked out between two samples that stay is the average between them.
pub fn thinned(recording: &Recording) -> Recording {
    let step = recording.samples.len().div_ceil(POINTS).max(1);
    let last = recording.samples.len().saturating_sub(1);
    let mut provider = None;
    let samples = recording.samples.iter().enumerate();
    let samples = samples.filter(|(index, sample)| {
        let now = sample.reading.as_ref().map(|reading| reading.provider);
        // Where the provider changes, both sides stay.
        let changed = std::mem::replace(&mut provider, now) != now;
        changed || index % step == 0 || *index == last
    });
    Recording {
        header: recording.header.clone(),
        samples: samples.map(|(_, sample)| sample.clone()).collect(),
        cut: recording.cut,
    }
}
