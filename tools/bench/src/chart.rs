// SPDX-License-Identifier: GPL-2.0

//! The charts of the report, as SVG.

use std::{error::Error, path::Path};

use anyhow::{anyhow, Result};
use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
};

use crate::{content::Kind, figures::Figure, provider::Provider, record::Record, report::Report};

const SIZE: (u32, u32) = (720, 420);

fn color(provider: Provider) -> RGBColor {
    match provider {
        Provider::InTree => RGBColor(200, 90, 30),
        Provider::Rksm => RGBColor(30, 100, 190),
    }
}

/// Lines, of which a provider may have several.
type Series = Vec<(Provider, Vec<(f64, f64)>)>;

/// The cost of a page at rest, against how many there are.
pub fn growth(report: &Report, path: &Path) -> Result<()> {
    let of = |provider| {
        let points = report
            .rows
            .iter()
            .filter(|row| row.workload.is_growth() && row.figure == Figure::RestNsPerPage);
        points
            .map(|row| {
                let spread = match provider {
                    Provider::InTree => row.in_tree,
                    Provider::Rksm => row.rksm,
                };
                let median = spread.map_or(0.0, |spread| spread.median);
                (row.workload.pages as f64, median)
            })
            .collect::<Vec<_>>()
    };
    let series: Series = Provider::BOTH
        .map(|provider| (provider, of(provider)))
        .into();
    let (Some(&(first, _)), Some(&(last, _))) = (series[0].1.first(), series[0].1.last()) else {
        return Ok(());
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let x = (first..last * 1.05).log_scale();
    draw(
        &area,
        &report.machine.caption(),
        x,
        top(&series),
        &series,
        "unique pages",
        "CPU per page at rest, ns",
    )
    .map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Pages saved, against time: all timed runs.
pub fn merging(records: &[Record], kind: Kind, caption: &str, path: &Path) -> Result<()> {
    let series: Series = records
        .iter()
        .filter(|record| {
            record.workload.kind == kind && record.pair > 0 && !record.workload.is_growth()
        })
        .map(|record| {
            let points = record
                .curve
                .iter()
                .map(|point| (point.seconds, point.saved_pages as f64));
            (record.provider, points.collect())
        })
        .collect();
    let last = series
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.0)
        .fold(0.0, f64::max);
    if last == 0.0 {
        return Ok(());
    }
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let x_name = format!("seconds ({})", kind.name());
    draw(
        &area,
        caption,
        0.0..last,
        top(&series),
        &series,
        &x_name,
        "pages saved",
    )
    .map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn top(series: &Series) -> f64 {
    series
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.1)
        .fold(1.0, f64::max)
        * 1.05
}

fn draw<'a, X>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    caption: &str,
    x: X,
    top: f64,
    series: &Series,
    x_name: &str,
    y_name: &str,
) -> Result<(), Box<dyn Error + 'a>>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(caption, ("sans-serif", 14))
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(x, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        // Without the odd digits of binary fractions.
        .x_label_formatter(&|value| ((value * 1e4).round() / 1e4).to_string())
        .y_label_formatter(&|value| value.to_string())
        .y_desc(y_name)
        .light_line_style(WHITE)
        .draw()?;
    for provider in Provider::BOTH {
        let style = color(provider).stroke_width(1);
        let lines = series.iter().filter(|line| line.0 == provider);
        for (number, (_, points)) in lines.enumerate() {
            let line = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            if number == 0 {
                line.label(provider.name())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
