// SPDX-License-Identifier: GPL-2.0

//! Spans of time on the command line: `2`, `0.5`, `90s`, `10m`, `8h`, `7d`.

use std::time::Duration;

const DAY: f64 = 86_400.0;

/// How long to wait between two looks.
pub fn interval(text: &str) -> Result<Duration, String> {
    within(text, 0.1, DAY)
}

/// How long something goes on.
pub fn duration(text: &str) -> Result<Duration, String> {
    within(text, 0.1, 366.0 * DAY)
}

fn within(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let units = [
        ("s", 1.0),
        ("m", 60.0),
        ("min", 60.0),
        ("h", 3600.0),
        ("d", DAY),
    ];
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => Some(1.0),
        name => units
            .iter()
            .find(|unit| unit.0 == name)
            .map(|&(_, seconds)| seconds),
    };
    let seconds = unit.and_then(|unit| Some(digits.parse::<f64>().ok()? * unit));
    match seconds {
        Some(seconds) if (least..=most).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err(format!("it takes {least} to {most} seconds")),
        None => Err("it takes seconds, or a number with s, m, h or d behind it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "0", "-1", "NaN", "inf", "s", "1x", "1 s", "2d"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
