//! Line charts as SVG.

use crate::{Error, Result};
use plotters::prelude::*;
use std::path::Path;

/// Pixels.
const SIZE: (u32, u32) = (800, 420);

/// What is drawn above the largest value, so that the line does not touch the frame.
const HEADROOM: f64 = 1.08;

/// How the x axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Plain numbers.
    Linear,
    /// Nines: 1 is the 90th percentile, 2 the 99th, 3 the 99.9th.
    Nines,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) axis: Axis,
    pub(crate) series: Vec<Series>,
}

impl Chart<'_> {
    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.len() < 2)
    }

    /// Draws into a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        self.draw(path)
            .map_err(|error| Error::Unfit(format!("cannot draw {}: {error}", path.display())))
    }

    fn draw(&self, path: &Path) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let most = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(0.0, f64::max);
        let (width, height) = (most(|point| point.0), most(|point| point.1));
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(
                0.0..width.max(f64::EPSILON),
                0.0..(height * HEADROOM).max(1e-9),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(if self.axis == Axis::Nines { 5 } else { 8 })
            .x_label_formatter(&|at| self.axis.label(*at))
            .y_label_formatter(&|at| number(*at))
            .light_line_style(WHITE)
            .draw()?;
        for (index, series) in self.series.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            chart
                .draw_series(LineSeries::new(
                    series.points.clone(),
                    color.stroke_width(2),
                ))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

impl Axis {
    fn label(self, at: f64) -> String {
        match self {
            Self::Linear => number(at),
            Self::Nines => {
                let share = 100.0 * (1.0 - 10_f64.powf(-at));
                let digits = (at.ceil() as usize).saturating_sub(2);
                format!("p{share:.digits$}")
            }
        }
    }
}

/// With three digits, and thousands as k, M, G.
fn number(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || scaled.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_has_its_title_and_a_line_for_each_series() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.svg");
        let series = |name: &str| Series {
            name: name.into(),
            points: vec![(0.0, 1.0), (1.0, 3.0)],
        };
        let chart = Chart {
            title: "throughput & more",
            x: "seconds",
            y: "GiB/s",
            axis: Axis::Linear,
            series: vec![series("first"), series("second")],
        };
        chart.write(&path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("throughput &amp; more"));
        assert!(svg.contains("second") && svg.matches("<polyline").count() >= 2);
    }

    #[test]
    fn nines_are_percentiles() {
        let labels = [0.0, 1.0, 2.0, 3.0, 4.0].map(|at| Axis::Nines.label(at));
        assert_eq!(labels, ["p0", "p90", "p99", "p99.9", "p99.99"]);
        assert_eq!(
            [number(0.5), number(12_500.0), number(3e9)],
            ["0.50", "12.5k", "3G"]
        );
    }
}
