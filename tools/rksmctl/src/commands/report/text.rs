// SPDX-License-Identifier: GPL-2.0

//! The report as text.

use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, UNIX_EPOCH},
};

use super::figures::{self, Line};
use crate::{
    recording::Recording,
    show::{counted, duration, grouped, mib, percent},
    system::Provider,
};

/// How many changes are named.
const EVENTS: usize = 40;

pub fn report(recording: &Recording) -> String {
    let mut text = String::new();
    // To write to a string always succeeds.
    let _ = write_to(&mut text, recording);
    text
}

fn write_to(out: &mut String, recording: &Recording) -> std::fmt::Result {
    let header = &recording.header;
    let machine = &header.machine;
    let span = recording.samples.last().map_or(0.0, |last| last.seconds);
    writeln!(
        out,
        "Machine        {}: Linux {}, {}, {} of memory",
        machine.host,
        machine.kernel,
        counted(machine.cpus as u64, "CPU", "CPUs"),
        mib(machine.memory.into()),
    )?;
    writeln!(
        out,
        "Recorded       {}, {} in {}",
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(header.began)),
        counted(recording.samples.len() as u64, "sample", "samples"),
        duration(Duration::from_secs_f64(span)),
    )?;
    writeln!(out, "Merging by     {}", header.provider)?;
    writeln!(out)?;

    let over_time = |lines: &[Line]| Spread::of(lines, figures::over_time);
    let saved = over_time(&figures::saved(recording));
    writeln!(
        out,
        "{:15}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "", "at first", "at last", "least", "most", "on average"
    )?;
    let as_mib = |value: f64| mib((value * f64::from(1 << 20)).round() as i128);
    row(out, "Saved", saved, as_mib)?;
    row(
        out,
        "Profit",
        over_time(&figures::profit(recording)),
        as_mib,
    )?;
    let of_one = |value: f64| percent(value, 100.0);
    let cpu = over_time(&figures::cpu(recording));
    row(out, "Scanner CPU", cpu, of_one)?;
    let passes = Spread::of(&figures::passes(recording), figures::of_points);
    let time = |value: f64| duration(Duration::from_secs_f64(value.max(0.0)));
    row(out, "Pass", passes, time)?;
    writeln!(out)?;

    let done = work(recording);
    writeln!(out, "Passes ended   {}", grouped(done.passes.into()))?;
    writeln!(
        out,
        "Pages scanned  {}, {} a second",
        grouped(done.scanned.into()),
        grouped((done.scanned as f64 / span.max(1e-3)).round() as i128)
    )?;
    writeln!(
        out,
        "Scanners used  {} of CPU time",
        duration(Duration::from_millis(done.millisecs))
    )?;
    let events = events(recording);
    if !events.is_empty() {
        writeln!(out)?;
    }
    for (seconds, what) in events.iter().take(EVENTS) {
        writeln!(out, "After {:>9}  {what}", time(*seconds))?;
    }
    if let Some(more) = events.len().checked_sub(EVENTS + 1) {
        writeln!(out, "      and {} more", more + 1)?;
    }
    Ok(())
}

/// A figure over time.
#[derive(Clone, Copy)]
struct Spread {
    first: f64,
    last: f64,
    least: f64,
    most: f64,
    average: f64,
}

impl Spread {
    fn of(lines: &[Line], average: fn(&[Line]) -> f64) -> Option<Self> {
        let values = || {
            lines
                .iter()
                .flat_map(|line| line.points.iter().map(|point| point.1))
        };
        Some(Self {
            first: values().next()?,
            last: values().last()?,
            least: values().fold(f64::INFINITY, f64::min),
            most: values().fold(f64::NEG_INFINITY, f64::max),
            average: average(lines),
        })
    }
}

fn row(
    out: &mut String,
    name: &str,
    spread: Option<Spread>,
    show: impl Fn(f64) -> String,
) -> std::fmt::Result {
    let Some(spread) = spread else {
        return writeln!(out, "{name:15}{:>12}", "unknown");
    };
    write!(out, "{name:15}")?;
    for value in [
        spread.first,
        spread.last,
        spread.least,
        spread.most,
        spread.average,
    ] {
        write!(out, "{:>12}", show(value))?;
    }
    writeln!(out)
}

/// What was done from the first sample to the last.
#[derive(Default)]
struct Work {
    passes: u64,
    scanned: u64,
    millisecs: u64,
}

fn work(recording: &Recording) -> Work {
    let mut work = Work::default();
    for pair in recording.samples.windows(2) {
        let (Some(before), Some(after)) = (&pair[0].reading, &pair[1].reading) else {
            continue;
        };
        if before.provider != after.provider {
            continue;
        }
        // A counter that falls has begun anew.
        let more = |before: u64, after: u64| after.checked_sub(before).unwrap_or(after);
        let (old, new) = (&before.counters, &after.counters);
        work.passes += more(old.full_scans, new.full_scans);
        work.scanned += more(old.pages_scanned, new.pages_scanned);
        work.millisecs += more(before.scanner_cpu_millisecs, after.scanner_cpu_millisecs);
    }
    work
}

/// Who provided merging, and which knobs were turned, after how many seconds.
fn events(recording: &Recording) -> Vec<(f64, String)> {
    let mut events = Vec::new();
    let mut provider = Some(recording.header.provider);
    // What was set last, of each: it is not recorded again where it is as before.
    let mut known: Vec<(Provider, &BTreeMap<String, String>)> = Vec::new();
    for sample in &recording.samples {
        let now = sample.reading.as_ref().map(|reading| reading.provider);
        if now != provider {
            let what = now.map_or("nobody merges pages".into(), |now| {
                format!("merging by {now}")
            });
            events.push((sample.seconds, what));
        }
        provider = now;
        let Some(reading) = &sample.reading else {
            continue;
        };
        let Some(new) = &reading.settings else {
            continue;
        };
        // The knobs of another one are no changes.
        let old = known
            .iter_mut()
            .find(|(provider, _)| *provider == reading.provider);
        let before = old.as_ref().map(|(_, settings)| *settings);
        let advised = new.get("advisor_mode").is_some_and(|mode| mode != "none");
        for (name, value) in new {
            // The advisor sets it after each pass.
            if advised && name == "pages_to_scan" {
                continue;
            }
            let old = before.and_then(|settings| settings.get(name));
            if let Some(old) = old.filter(|old| *old != value) {
                events.push((sample.seconds, format!("{name} {old} -> {value}")));
            }
        }
        match old {
            Some((_, settings)) => *settings = new,
            None => known.push((reading.provider, new)),
        }
    }
    events
}
