//! What a row of the table of docs/performance.md says of a result.

use crate::contest::{CellReport, ContestReport, Entry, Figure, ratios};
use crate::run::Measured;
use crate::stats::Summary;

/// Between the proxies of a row.
const AND: &str = " · ";

/// A proxy that did less than this of what was due is measured at other work than the others.
const KEPT_UP: f64 = 0.95;

/// One row: some cells of one scenario.
pub(super) struct Row {
    pub(super) work: &'static str,
    /// The kind of result.
    pub(super) scenario: &'static str,
    /// How the cells' names begin.
    pub(super) cells: &'static str,
    /// Which proxy's figure it is.
    pub(super) subject: &'static str,
    pub(super) shown: Shown,
    /// Whose figures it is compared with, where the figure itself does not say.
    pub(super) against: &'static [&'static str],
}

/// Which figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    CpuPerGib,
    CpuPerMib,
    CpuPerOperation,
    P99,
    PerCpuSecond,
    RssPerStream,
    /// Throughput, by that of the direct connection.
    OfDirect,
    /// The cell's own figure, by what the result says it grows from.
    Growth,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) work: String,
    pub(super) figure: String,
    pub(super) against: String,
    pub(super) ratio: String,
}

impl Row {
    /// What a result says; nothing where it does not have the cells, or what is in them is void.
    pub(super) fn line(&self, report: &ContestReport) -> Option<Line> {
        let cells: Vec<_> = report
            .cells
            .iter()
            .filter(|cell| cell.name.starts_with(self.cells))
            .filter_map(|cell| Some((cell, valid(cell, self.subject)?)))
            .collect();
        let (first, _) = cells.first()?;
        let figures = cells.iter().map(|(cell, own)| {
            let of = |round: &Measured| self.shown.of(cell, round);
            own.summary(of).median
        });
        let figures: Vec<_> = figures.collect();
        let mut against = Vec::new();
        for other in self.others(first) {
            let ratios: Vec<_> = cells
                .iter()
                .filter_map(|(cell, own)| self.ratio(cell, own, &other))
                .collect();
            if !ratios.is_empty() {
                against.push((other, Summary::of(&ratios)));
            }
        }
        let names: Vec<_> = against.iter().map(|(name, _)| name.as_str()).collect();
        let ratios: Vec<_> = against
            .iter()
            .map(|(_, ratio)| self.shown.spread(ratio))
            .collect();
        (!against.is_empty()).then(|| Line {
            work: self.work.into(),
            figure: self.shown.figure(first, &Summary::of(&figures)),
            against: names.join(AND),
            ratio: ratios.join(AND),
        })
    }

    fn others(&self, cell: &CellReport) -> Vec<String> {
        match self.shown {
            Shown::OfDirect => vec!["no proxy".into()],
            Shown::Growth => match cell.alone {
                Some(_) => vec!["without them".into()],
                None => vec!["one worker".into()],
            },
            _ => self.against.iter().map(ToString::to_string).collect(),
        }
    }

    fn ratio(&self, cell: &CellReport, own: &Entry, other: &str) -> Option<f64> {
        let ratio = match self.shown {
            Shown::OfDirect => own.of_direct.clone()?,
            Shown::Growth => {
                let growth = own.growth.as_ref()?;
                if cell.alone.is_none() {
                    valid(cell, &growth.of)?;
                }
                growth.ratio.clone()
            }
            shown => ratios(&own.rounds, &valid(cell, other)?.rounds, |round| {
                shown.of(cell, round)
            }),
        };
        (!ratio.samples.is_empty()).then_some(ratio.median)
    }
}

/// A proxy's entry, if it was measured, nothing failed, and it did what was due.
fn valid<'a>(cell: &'a CellReport, proxy: &str) -> Option<&'a Entry> {
    let entry = cell.proxies.iter().find(|entry| entry.proxy == proxy)?;
    let done = entry.median(|round| round.done_share);
    // A closed loop has nothing due.
    let kept_up = done == 0.0 || done >= KEPT_UP;
    (kept_up && !entry.rounds.is_empty() && entry.failures.is_empty()).then_some(entry)
}

impl Shown {
    fn of(self, cell: &CellReport, round: &Measured) -> f64 {
        match self {
            Self::CpuPerGib => round.cpu_per_gib,
            Self::CpuPerMib => round.cpu_per_gib * 1000.0 / 1024.0,
            Self::CpuPerOperation => round.cpu_us_per_operation,
            Self::P99 => round.p99,
            Self::PerCpuSecond if round.cpu_us_per_operation > 0.0 => {
                1e6 / round.cpu_us_per_operation
            }
            Self::PerCpuSecond => 0.0,
            Self::RssPerStream => round.rss_per_stream / 1024.0,
            Self::OfDirect => round.gib_per_second,
            Self::Growth => cell.figure.of(round),
        }
    }

    fn unit(self, cell: &CellReport) -> &'static str {
        match self {
            Self::CpuPerGib => "CPU s/GiB",
            Self::CpuPerMib => "CPU ms/MiB",
            Self::CpuPerOperation => "CPU µs",
            Self::P99 => "µs p99",
            Self::PerCpuSecond => "per CPU second",
            Self::RssPerStream => "KiB resident",
            Self::OfDirect => "GiB/s",
            Self::Growth => match cell.figure {
                Figure::P99 => Self::P99.unit(cell),
                Figure::CpuPerOperation => Self::CpuPerOperation.unit(cell),
                figure => figure.unit(),
            },
        }
    }

    fn figure(self, cell: &CellReport, figures: &Summary) -> String {
        format!("{} {}", range(figures), self.unit(cell))
    }

    /// The median of cells, and the worst.
    fn spread(self, ratio: &Summary) -> String {
        let more_is_better = matches!(self, Self::OfDirect | Self::PerCpuSecond);
        let worst = match more_is_better {
            true => ratio.lowest,
            false => ratio.highest,
        };
        match ratio.samples.len() {
            1 => format!("{:.2}", ratio.median),
            _ => format!("{:.2} ({worst:.2})", ratio.median),
        }
    }
}

/// One number, or from the lowest to the highest.
pub(super) fn range(figures: &Summary) -> String {
    let digits = match figures.highest {
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    let one = |value: f64| format!("{value:.digits$}");
    let (lowest, highest) = (one(figures.lowest), one(figures.highest));
    if lowest == highest {
        lowest
    } else {
        format!("{lowest} to {highest}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;
    use serde_json::json;

    fn report(failures: &[&str]) -> ContestReport {
        let round = |cpu: f64| json!({"cpu_per_gib": cpu, "cpu_us_per_operation": cpu});
        let summary = json!({"median": 0, "lowest": 0, "highest": 0, "samples": []});
        let entry = |proxy: &str, rounds: [f64; 2], failures: &[&str]| {
            json!({
                "proxy": proxy, "cores": [1], "skipped": null, "failures": failures,
                "rounds": rounds.map(round), "figure": summary, "ratio": summary,
                "of_direct": null, "growth": null,
            })
        };
        let cell = |name: &str, own: [f64; 2]| {
            json!({
                "name": name, "works": [], "figure": "cpu_per_gib", "alone": null, "direct": [],
                "proxies": [
                    entry("eyesplice", own, &[]),
                    entry("haproxy", [2.0, 4.0], &[]),
                    entry("nginx stream", [1.0, 1.0], failures),
                ],
            })
        };
        serde_json::from_value(json!({
            "title": "t", "machine": {
                "cpu": "C", "cores": 2, "memory_mib": 1, "kernel": "6.18.1", "strategy": "s",
                "congestion_control": "reno", "revision": "r", "command": "c"
            },
            "quiet": {
                "loadavg_before": "", "loadavg_after": "", "others_cores": 0.0, "seconds": 1.0
            },
            "rounds": 2, "seconds": 1.0, "suite": "Aes128", "fresh": false,
            "generator_cores": [0],
            "cells": [
                cell("bulk, down", [1.0, 2.0]),
                cell("bulk, up", [1.5, 3.0]),
                cell("full handshakes", [1.0, 2.0]),
            ],
        }))
        .unwrap()
    }

    fn line(work: &str, failures: &[&str]) -> Option<Line> {
        let row = ROWS.iter().find(|row| row.work == work).unwrap();
        row.line(&report(failures))
    }

    #[test]
    fn ratios_are_of_rounds_and_the_worst_cell_is_named() {
        let line = line("TLS to TLS, bulk", &[]).unwrap();
        assert_eq!(line.figure, "1.50 to 2.25 CPU s/GiB");
        assert_eq!(line.against, "haproxy · nginx stream");
        assert_eq!(line.ratio, "0.62 (0.75) · 1.88 (2.25)");
    }

    #[test]
    fn handshakes_are_counted_by_cpu_second_and_more_is_better() {
        let line = line("full handshakes, TLS to TLS", &[]).unwrap();
        assert_eq!(line.figure, "750000 per CPU second");
        assert_eq!(line.ratio, "2.00 · 0.75");
    }

    #[test]
    fn void_figures_and_missing_cells_are_not_claimed() {
        let line = |work| line(work, &["a byte was wrong"]);
        assert_eq!(line("TLS to TLS, bulk").unwrap().against, "haproxy");
        assert_eq!(line("idle streams, TLS to TLS"), None);
        let mut late = report(&[]);
        for round in &mut late.cells[2].proxies[1].rounds {
            round.done_share = 0.9;
        }
        let row = ROWS.iter().find(|row| row.cells == "full handshakes");
        assert_eq!(row.unwrap().line(&late).unwrap().against, "nginx stream");
    }
}
