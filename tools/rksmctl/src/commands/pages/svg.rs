// SPDX-License-Identifier: GPL-2.0

//! The map as a picture.

use std::{error::Error, path::Path};

use anyhow::{anyhow, Result};
use plotters::prelude::*;

use super::{
    map::{prevailing, Map, CELLS},
    text,
};
use crate::{show::grouped, system::pagemap::State};

const MARGIN: i32 = 20;
const CELL: i32 = 12;
const LINE: i32 = 18;
const SIDE: i32 = 360;

const fn color(state: Option<State>) -> RGBColor {
    match state {
        Some(State::Merged) => RGBColor(30, 100, 190),
        Some(State::Zero) => RGBColor(110, 180, 230),
        Some(State::Unmerged) => RGBColor(230, 140, 50),
        Some(State::Unknown) => RGBColor(160, 120, 180),
        Some(State::File) => RGBColor(190, 190, 120),
        Some(State::Swapped) => RGBColor(120, 80, 60),
        Some(State::Never) => RGBColor(150, 150, 150),
        None => RGBColor(240, 240, 240),
    }
}

pub fn draw(map: &Map, path: &Path) -> Result<()> {
    paint(map, path).map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}

fn paint(map: &Map, path: &Path) -> Result<(), Box<dyn Error>> {
    // What is drawn goes to a text first: plotters does not say why it cannot write.
    let mut picture = String::new();
    {
        let lines = State::ALL.len() + 3 + map.rows.len();
        let width = 2 * MARGIN + CELLS as i32 * CELL + SIDE;
        let height = 2 * MARGIN + lines as i32 * LINE;
        let size = (width.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        let say = |text: String, x: i32, y: i32| {
            let font = ("sans-serif", 12).into_font().color(&BLACK);
            area.draw(&Text::new(text, (x, y), font))
                .map_err(|error| error.to_string())
        };
        let fill = |state, x: i32, y: i32| {
            let part = [(x, y), (x + CELL - 1, y + LINE - 4)];
            area.draw(&Rectangle::new(part, color(state).filled()))
                .map_err(|error| error.to_string())
        };
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        let mut y = MARGIN;
        say(
            format!("Process {}. Merging by {}.", map.pid, map.provider),
            MARGIN,
            y,
        )?;
        let states = State::ALL.map(Some).into_iter().chain([None]);
        for (state, pages) in states.zip(map.counts.into_iter().chain([map.absent])) {
            y += LINE;
            fill(state, MARGIN, y)?;
            let size = text::size(pages * map.page);
            let pages = grouped(pages.into());
            let line = format!("{}: {pages} pages, {size}", text::name(state));
            say(line, MARGIN + 2 * CELL, y)?;
        }
        y += LINE;
        for row in &map.rows {
            y += LINE;
            let mut x = MARGIN;
            for cell in &row.cells {
                fill(prevailing(cell), x, y)?;
                x += CELL;
            }
            let why_not = row.why_not.map(|why| format!("({why})"));
            let line = format!(
                "{:x} {} {} {}",
                row.start,
                text::size(row.end - row.start),
                row.name,
                why_not.unwrap_or_default()
            );
            say(line, MARGIN + CELLS as i32 * CELL + CELL, y)?;
        }
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(std::fs::write(path, picture)?)
}
