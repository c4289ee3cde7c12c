//! A bar for each proxy in each cell: what the first one needs by what this one needs.

use super::ContestReport;
use crate::{Error, Result};
use plotters::prelude::*;
use std::path::Path;

/// Pixels: of a bar, between cells, and around.
const BAR: i32 = 16;
const GAP: i32 = 34;
const WIDTH: u32 = 860;
const LABELS: i32 = 250;
const ROOM: i32 = 90;
const TOP: i32 = 48;

/// A ratio from which on bars are cut, so that one slow peer does not flatten all others.
const WIDEST: f64 = 8.0;

/// Draws what each proxy needs in terms of what the first one does.
pub(super) fn draw(report: &ContestReport, path: &Path) -> Result<()> {
    bars(report, path)
        .map_err(|error| Error::Unfit(format!("cannot draw {}: {error}", path.display())))
}

fn bars(
    report: &ContestReport,
    path: &Path,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let bars: Vec<_> = report
        .cells
        .iter()
        .map(|cell| {
            let shown = cell.proxies.iter().enumerate();
            shown
                .filter(|(_, entry)| entry.ratio.median > 0.0)
                .collect::<Vec<_>>()
        })
        .collect();
    let rows: usize = bars.iter().map(Vec::len).sum();
    let height = TOP + rows as i32 * BAR + report.cells.len() as i32 * GAP;
    let widest = bars
        .iter()
        .flatten()
        .map(|(_, entry)| 1.0 / entry.ratio.median)
        .fold(1.0, f64::max)
        .min(WIDEST);
    let scale = f64::from(WIDTH as i32 - LABELS - ROOM) / widest;
    let area = SVGBackend::new(path, (WIDTH, height.unsigned_abs())).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    let title = format!("{} (1 is {}; less is better)", report.title, first(report));
    area.draw(&Text::new(title, (12, 14), text(16)))?;
    let mut y = TOP;
    for (cell, bars) in report.cells.iter().zip(&bars) {
        let head = format!("{}: {}", cell.name, cell.figure.unit());
        area.draw(&Text::new(head, (12, y - 2), text(13)))?;
        y += BAR + 2;
        for (index, entry) in bars {
            let times = 1.0 / entry.ratio.median;
            let end = LABELS + (times.min(WIDEST) * scale) as i32;
            area.draw(&Text::new(entry.proxy.clone(), (28, y), text(12)))?;
            area.draw(&Rectangle::new(
                [(LABELS, y + 1), (end, y + BAR - 3)],
                Palette99::pick(*index).filled(),
            ))?;
            area.draw(&Text::new(format!("{times:.2}"), (end + 6, y), text(12)))?;
            y += BAR;
        }
        y += GAP - BAR - 2;
    }
    area.present()?;
    Ok(())
}

fn first(report: &ContestReport) -> &str {
    report
        .cells
        .first()
        .and_then(|cell| cell.proxies.first())
        .map_or("", |entry| &entry.proxy)
}
