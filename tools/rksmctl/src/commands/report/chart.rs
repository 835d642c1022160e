// SPDX-License-Identifier: GPL-2.0

//! The charts of the report, as SVG.

use std::error::Error;

use anyhow::{anyhow, Result};
use plotters::{coord::Shift, prelude::*};

use super::figures::{self, Line};
use crate::{recording::Recording, system::Provider};

const SIZE: (u32, u32) = (760, 840);

fn color(provider: Provider) -> RGBColor {
    match provider {
        Provider::InTree => RGBColor(200, 90, 30),
        Provider::Rksm => RGBColor(30, 100, 190),
    }
}

/// Saved memory, the scanners' CPU and the length of passes, one below the other.
pub fn svg(recording: &Recording) -> Result<String> {
    let mut text = String::new();
    draw(recording, &mut text).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(text)
}

fn draw<'a>(recording: &Recording, text: &'a mut String) -> Result<(), Box<dyn Error + 'a>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let span = recording.samples.last().map_or(0.0, |last| last.seconds);
    let clock = Clock::fitting(span);
    let machine = &recording.header.machine;
    let caption = format!("Saved memory on {}, Linux {}", machine.host, machine.kernel);
    let parts = area.split_evenly((3, 1));
    let charts = [
        (caption.as_str(), "MiB", figures::saved(recording)),
        (
            "CPU of the scanners",
            "% of one CPU",
            figures::cpu(recording),
        ),
        ("Length of a pass", "seconds", figures::passes(recording)),
    ];
    for (number, (caption, unit, lines)) in charts.into_iter().enumerate() {
        let lines = figures::thinned(lines);
        // What the colours mean is said once, where lines rise and leave the corner free.
        chart(&parts[number], caption, unit, &lines, &clock, number == 0)?;
    }
    area.present()?;
    drop(parts);
    drop(area);
    Ok(())
}

/// The axis of time.
struct Clock {
    /// Seconds in a unit.
    unit: f64,
    name: &'static str,
    /// In units.
    span: f64,
}

impl Clock {
    fn fitting(seconds: f64) -> Self {
        let (unit, name) = match seconds {
            ..=300.0 => (1.0, "seconds"),
            ..=18_000.0 => (60.0, "minutes"),
            ..=432_000.0 => (3600.0, "hours"),
            _ => (86_400.0, "days"),
        };
        Self {
            unit,
            name,
            // A chart has to have some width.
            span: (seconds / unit).max(1e-3),
        }
    }
}

fn chart<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    caption: &str,
    unit: &str,
    lines: &[Line],
    clock: &Clock,
    legend: bool,
) -> Result<(), Box<dyn Error + 'a>> {
    let values = lines.iter().flat_map(|line| &line.points);
    let most = values.map(|point| point.1).fold(0.0, f64::max);
    let top = if most > 0.0 { most * 1.05 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(caption, ("sans-serif", 14))
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..clock.span, 0.0..top)?;
    let plain = |value: &f64| ((value * 1e4).round() / 1e4).to_string();
    chart
        .configure_mesh()
        .x_desc(clock.name)
        // Without the odd digits of binary fractions.
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .y_desc(unit)
        .light_line_style(WHITE)
        .draw()?;
    for provider in [Provider::Rksm, Provider::InTree] {
        let style = color(provider).stroke_width(2);
        let of_it = lines.iter().filter(|line| line.provider == provider);
        for (number, line) in of_it.enumerate() {
            let points = || line.points.iter().map(|&(x, y)| (x / clock.unit, y));
            let drawn = chart.draw_series(LineSeries::new(points(), style))?;
            if number == 0 {
                drawn
                    .label(provider.to_string())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
            // A line of one point cannot be seen.
            if line.points.len() == 1 {
                chart.draw_series(points().map(|point| Circle::new(point, 2, style.filled())))?;
            }
        }
    }
    if legend && !lines.is_empty() {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
    }
    Ok(())
}
