// SPDX-License-Identifier: GPL-2.0

//! What is set, and what will be.

use std::fmt::Write as _;

use clap::ValueEnum;

use super::profile::Profile;
use crate::{
    show::{grouped, mib},
    system::{
        change::Change,
        knobs::{Knob, Settings, KNOBS},
        memory::page_size,
        Provider,
    },
};

/// All knobs and profiles.
pub fn knobs(provider: Provider, settings: &Settings) -> String {
    let mut text = format!("Merging by {provider}\n\n");
    let _ = writeln!(
        text,
        "{:<35} {:>10} {:>9}  meaning",
        "knob", "now", "default"
    );
    for knob in KNOBS {
        let Some(now) = settings.get(knob.name) else {
            continue;
        };
        let _ = writeln!(
            text,
            "{:<35} {now:>10} {:>9}  {}",
            knob.name,
            knob.default,
            meaning(knob)
        );
    }
    text += "\nProfiles\n";
    for value in Profile::value_variants() {
        let Some(profile) = value.to_possible_value() else {
            continue;
        };
        let help = profile.get_help().cloned().unwrap_or_default();
        let _ = writeln!(text, "{:<11} {help}", profile.get_name());
    }
    text
}

/// What will be set, and what comes of it.
pub fn change(change: &Change, left_out: &[&str]) -> String {
    let mut text = format!("Merging by {}\n\n", change.provider);
    let mut rows: Vec<(&Knob, &str, &str)> = change
        .wanted
        .iter()
        .filter_map(|setting| {
            let now = change.before.get(setting.knob.name)?;
            Some((setting.knob, now, setting.value.as_str()))
        })
        .collect();
    let name = rows.iter().map(|row| row.0.name.len()).max().unwrap_or(0);
    let now = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
    let new = rows.iter().map(|row| row.2.len()).max().unwrap_or(0);
    for (knob, old, value) in rows.drain(..) {
        let _ = writeln!(
            text,
            "{:<name$}  {old:>now$} -> {value:<new$}  {}",
            knob.name,
            meaning(knob)
        );
    }
    if change.advisor_goes() {
        text += "pages_to_scan becomes 100 when the advisor goes.\n";
    }
    let kept: Vec<String> = change
        .kept
        .iter()
        .map(|setting| format!("{}={}", setting.knob.name, setting.value))
        .collect();
    if !kept.is_empty() {
        let _ = writeln!(text, "As it is: {}.", kept.join(", "));
    }
    if !left_out.is_empty() {
        let _ = writeln!(
            text,
            "Left out: {}, which {} has not.",
            left_out.join(", "),
            change.provider
        );
    }
    let _ = writeln!(text, "{}.", pace(change));
    text
}

/// The unit, if there is one, and what the knob is for.
fn meaning(knob: &Knob) -> String {
    if knob.unit.is_empty() {
        knob.meaning.to_owned()
    } else {
        format!("{}: {}", knob.unit, knob.meaning)
    }
}

/// How much will be looked at.
fn pace(change: &Change) -> String {
    let number = |name| change.number_after(name);
    match change.after("run") {
        Some("1") => {}
        Some("2") => return "Nothing is scanned, and all that is merged is given back".into(),
        _ => return "Nothing is scanned, and what is merged stays so".into(),
    }
    if change.after("advisor_mode") == Some("scan-time") {
        return format!(
            "The advisor aims at {} s a pass, with at most {} % of one CPU",
            number("advisor_target_scan_time").unwrap_or(0),
            number("advisor_max_cpu").unwrap_or(0),
        );
    }
    if change.after("advisor_mode") == Some("pressure") {
        return format!(
            "Nothing is scanned with more than {} % of memory available; with {} % or less, \
             at most {} % of one CPU is used",
            number("advisor_free_high").unwrap_or(0),
            number("advisor_free_low").unwrap_or(0),
            number("advisor_max_cpu").unwrap_or(0),
        );
    }
    let pages = if change.advisor_goes() {
        100
    } else {
        number("pages_to_scan").unwrap_or(0)
    };
    match number("sleep_millisecs") {
        Some(sleep) if sleep > 0 => {
            let scanners = number("scanners").unwrap_or(1);
            let rate = u128::from(pages) * u128::from(scanners) * 1000 / u128::from(sleep);
            let bytes = rate * u128::from(page_size());
            format!(
                "At most {} pages a second, {}",
                grouped(rate.try_into().unwrap_or(i128::MAX)),
                mib(bytes.try_into().unwrap_or(i128::MAX)),
            )
        }
        _ => "Scanners never sleep: each takes one CPU".into(),
    }
}
