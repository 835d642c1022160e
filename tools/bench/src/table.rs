// SPDX-License-Identifier: GPL-2.0

//! The table of the report.

use std::fmt::Write;

use comfy_table::{presets::ASCII_MARKDOWN, CellAlignment, Table};

use crate::{
    figures::Target,
    report::{GaveUp, Report, Row, Spread, Verdict},
};

pub fn render(report: &Report) -> String {
    let mut out = format!(
        "{}\n\nMedian (least–most) of the runs; the ratio is the median of those of the pairs.\n\n",
        report.machine.heading(),
    );
    if let Some(reading) = report.machine.readings() {
        writeln!(out, "{reading}.\n").expect("a string takes all");
    }
    if let Some(warning) = report.warning() {
        writeln!(out, "Note: {warning}.\n").expect("a string takes all");
    }
    for growth in [false, true] {
        let rows: Vec<_> = report
            .rows
            .iter()
            .filter(|row| row.workload.is_growth() == growth)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN);
        table.set_header([
            "workload", "pages", "figure", "in-tree", "rksm", "ratio", "target", "",
        ]);
        for column in [1, 3, 4, 5, 6] {
            table
                .column_mut(column)
                .expect("no column")
                .set_cell_alignment(CellAlignment::Right);
        }
        let mut last = None;
        for row in rows {
            let named = last.replace(row.workload) == Some(row.workload);
            table.add_row(cells(row, named));
        }
        writeln!(out, "{table}\n").expect("a string takes all");
    }
    for growth in &report.growth {
        let target = growth.target.map_or(String::new(), |target| {
            format!(" (target: at most {target:.2})")
        });
        writeln!(
            out,
            "CPU per page at rest, {} against {} pages, {}: {:.2} times{target}",
            growth.to_pages,
            growth.from_pages,
            growth.provider.name(),
            growth.factor,
        )
        .expect("a string takes all");
    }
    out
}

fn cells(row: &Row, named: bool) -> [String; 8] {
    let blank = |text: String| if named { String::new() } else { text };
    [
        blank(row.workload.name()),
        blank(row.workload.pages.to_string()),
        row.figure.name().to_owned(),
        column(row.in_tree, row.in_tree_gave_up),
        column(row.rksm, row.rksm_gave_up),
        row.ratio.map_or(String::new(), |ratio| match ratio {
            100.0.. => format!("{ratio:.0}"),
            _ => format!("{ratio:.2}"),
        }),
        row.target.map_or(String::new(), target),
        row.verdict.map_or(String::new(), verdict),
    ]
}

fn verdict(verdict: Verdict) -> String {
    let Verdict { met, agree, pairs } = verdict;
    let word = if met { "met" } else { "MISSED" };
    format!("{word}, {agree} of {pairs}")
}

/// A ratio, or, where it is not one, on which side of it the figure of rksm is to be.
fn target(target: Target) -> String {
    match target {
        Target::RatioAtMost(ratio) | Target::RatioAtLeast(ratio) => format!("{ratio:.2}"),
        Target::AtMost(most) => format!("rksm ≤ {}", short(most)),
        Target::AtLeast(least) => format!("rksm ≥ {}", short(least)),
    }
}

/// What came, and what did not.
fn column(values: Option<Spread>, gave_up: Option<GaveUp>) -> String {
    let not = |gave_up: GaveUp| format!("not in {} s", short(gave_up.seconds));
    match (values, gave_up) {
        (None, Some(gave_up)) => not(gave_up),
        (Some(_), Some(gave_up)) => {
            format!("{}; {} {}", spread(values), gave_up.runs, not(gave_up))
        }
        (values, None) => spread(values),
    }
}

/// The median, and how far the runs lie apart.
fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, min, max }) if min == max => short(median),
        Some(Spread { median, min, max }) => {
            format!("{} ({}–{})", short(median), short(min), short(max))
        }
    }
}

/// Three digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits() {
        assert_eq!(super::short(0.0), "0");
        assert_eq!(super::short(1234.5), "1234");
        assert_eq!(super::short(12.34), "12.3");
        assert_eq!(super::short(0.012_34), "0.0123");
    }
}
