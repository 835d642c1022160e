// SPDX-License-Identifier: GPL-2.0

//! Figures and names as people read them.

use std::{
    io::{self, ErrorKind, Write as _},
    time::Duration,
};

use anyhow::{Context, Result};

/// Prints what a command does. It is done even if nobody reads of it any more.
pub fn say(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot print what is done")
        }
        _ => Ok(()),
    }
}

use crate::system::knobs::Settings;

/// What `run` is set to.
pub fn running(settings: &Settings) -> &'static str {
    match settings.get("run") {
        Some("1") if settings.wait_for_pressure() => "waits until memory is short",
        Some("1") => "scans and merges",
        Some("2") => "stopped, and everything was unmerged",
        _ => "stopped; what is merged stays so",
    }
}

/// A name that others have chosen, in one line that does nothing to a terminal and may stand in XML.
pub fn plain(name: &str) -> String {
    let is_harmful = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    name.replace(is_harmful, "\u{fffd}")
}

/// Bytes as MiB, with a sign where there is one.
pub fn mib(bytes: i128) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib != 0.0 && mib.abs() < 10.0 {
        format!("{mib:.1} MiB")
    } else {
        format!("{} MiB", grouped(mib.round() as i128))
    }
}

/// With a narrow gap after each three digits: 12 345 678.
pub fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if number < 0 {
        text.insert(0, '-');
    }
    text
}

/// A count in six characters at most, with k, M or G for thousands where it is larger.
pub fn short_count(number: i128) -> String {
    if number.abs() < 100_000 {
        return number.to_string();
    }
    scaled(number as f64, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes in six characters at most: 1.5G.
pub fn short_bytes(bytes: i128) -> String {
    scaled(bytes as f64, 1024.0, &["", "K", "M", "G", "T"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut left = units.iter();
    let mut unit = left.next();
    while number.abs() >= step {
        let Some(next) = left.next() else { break };
        number /= step;
        unit = Some(next);
    }
    let unit = unit.copied().unwrap_or_default();
    if unit.is_empty() || number.abs() >= 99.95 {
        format!("{number:.0}{unit}")
    } else {
        format!("{number:.1}{unit}")
    }
}

/// A part of a whole in percent, with one digit where that says something.
pub fn percent(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    };
    if percent != 0.0 && percent.abs() < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A time, in the two largest units that it has.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..=9 => format!("{:.1} s", time.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `one` or `many`, behind the number of them.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    let what = if number == 1 { one } else { many };
    format!("{} {what}", grouped(number.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(plain("Bücher (1) <&>"), "Bücher (1) <&>");
        for harmful in ['\0', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{ffff}'] {
            assert_eq!(plain(&format!("a{harmful}[2J")), "a\u{fffd}[2J");
        }
    }

    #[test]
    fn figures() {
        assert_eq!(mib(0), "0 MiB");
        assert_eq!(mib(-3 << 19), "-1.5 MiB");
        assert_eq!(mib(12345 << 20), "12 345 MiB");
        assert_eq!(grouped(-1_000), "-1 000");
        assert_eq!(percent(1.0, 3.0), "33 %");
        assert_eq!(percent(1.0, 30.0), "3.3 %");
        assert_eq!(percent(1.0, 0.0), "0 %");
        assert_eq!(counted(1, "page", "pages"), "1 page");
        assert_eq!(short_count(-99_999), "-99999");
        assert_eq!(short_count(147_000), "147k");
        assert_eq!(short_count(1_250_000), "1.2M");
        assert_eq!(short_bytes(0), "0");
        assert_eq!(short_bytes(1023), "1023");
        assert_eq!(short_bytes(-3 << 29), "-1.5G");
        assert_eq!(short_bytes(514_500_000), "491M");
    }

    #[test]
    fn times() {
        let text = |ms| duration(Duration::from_millis(ms));
        assert_eq!(text(0), "0 ms");
        assert_eq!(text(1500), "1.5 s");
        assert_eq!(text(90_000), "90 s");
        assert_eq!(text(3_725_000), "62 min 5 s");
        assert_eq!(text(10_000_000), "2 h 46 min");
        assert_eq!(text(1_000_000_000), "11 days 13 h");
    }
}
