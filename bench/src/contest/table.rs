//! A cell's results as a Markdown table, without the columns that say nothing in it.

use super::report::{CellReport, Entry, Figure};
use crate::run::Measured;
use crate::stats::Summary;
use crate::work::{Work, Workload};
use std::fmt;

/// From this share of its cores on the generator may have been the limit.
const BUSY: f64 = 0.95;

/// GiB/s below which three digits show nothing.
const SLOW: f64 = 0.0005;

/// An open loop that did less of what was due did not keep up.
const KEPT_UP: f64 = 0.99;

/// Explains the columns.
pub(super) const LEGEND: &str = "Medians over the rounds, ± the median deviation. *Ratio*: the first proxy's figure by \
     this one's, median of the rounds. *Of direct*: GiB/s by those of the direct connection. *Grows by*: the figure by \
     the one that is named below. *Busiest worker*: its share of all workers' CPU time. *Generator*: its share of its \
     cores; **from 95 % on** throughput is its own, and the proxy's CPU figures are those of a proxy that waits now \
     and then.";

/// One column: its head, what it says of a proxy, and what of the direct connection.
struct Column {
    head: &'static str,
    proxy: Box<dyn Fn(&Entry) -> String>,
    direct: Box<dyn Fn(f64) -> String>,
    of: fn(&Measured) -> f64,
}

impl fmt::Display for CellReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## {}\n", self.name)?;
        let works: Vec<_> = self.works.iter().map(describe).collect();
        writeln!(f, "{}.\n", works.join("; "))?;
        let columns = columns(self.figure);
        let mut rows = vec![Vec::new(); self.proxies.len() + 1];
        for column in &columns {
            for (row, entry) in rows.iter_mut().zip(&self.proxies) {
                row.push((column.proxy)(entry));
            }
            let direct = Summary::of(&self.direct.iter().map(column.of).collect::<Vec<_>>());
            if let Some(row) = rows.last_mut() {
                row.push((column.direct)(direct.median));
            }
        }
        let names = self.proxies.iter().map(|entry| entry.proxy.as_str());
        let names: Vec<_> = names.chain(["no proxy"]).collect();
        let said: Vec<_> = (0..columns.len())
            .filter(|&at| rows.iter().any(|row| !row[at].is_empty()))
            .collect();
        let heads: Vec<_> = said.iter().map(|&at| columns[at].head).collect();
        writeln!(f, "| proxy | {} |", heads.join(" | "))?;
        writeln!(f, "|---{}|", "|--:".repeat(said.len()))?;
        for (index, (name, row)) in names.iter().zip(&rows).enumerate() {
            let skipped = self.proxies.get(index).and_then(|one| one.skipped.as_ref());
            let cells: Vec<_> = said.iter().map(|&at| row[at].as_str()).collect();
            match skipped {
                Some(why) => writeln!(f, "| {name} | {why} |")?,
                None if index == self.proxies.len() && self.direct.is_empty() => {}
                None => writeln!(f, "| {name} | {} |", cells.join(" | "))?,
            }
        }
        self.remarks(f)
    }
}

impl CellReport {
    fn remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grows = self.proxies.iter().any(|entry| entry.growth.is_some());
        match &self.alone {
            Some(alone) => writeln!(f, "\nGrows by: each proxy by itself in \"{alone}\".")?,
            None if grows => writeln!(
                f,
                "\nGrows by: each proxy by the one that the scenario has it `against`."
            )?,
            None => {}
        }
        for entry in &self.proxies {
            let done = entry.median(|round| round.done_share);
            if (f64::MIN_POSITIVE..KEPT_UP).contains(&done) {
                writeln!(
                    f,
                    "\n**{}: did {:.0} % of what was due: its figures are of less work**",
                    entry.proxy,
                    100.0 * done
                )?;
            }
            if let Some(first) = entry.failures.first() {
                writeln!(
                    f,
                    "\n**{}: VOID: {} failures, the first: {first}**",
                    entry.proxy,
                    entry.failures.len()
                )?;
            }
        }
        Ok(())
    }
}

/// What a workload is, beyond its name.
fn describe(work: &Work) -> String {
    let streams = match work.connections {
        1 => "1 connection".into(),
        many => format!("{many} connections"),
    };
    let rate = match work.rate {
        Some(rate) => format!(", {rate} a second in all, due at fixed instants"),
        None => String::new(),
    };
    let sizes = match work.workload {
        Workload::Log => format!(", {} B a line", work.ask),
        Workload::Rr | Workload::Stall | Workload::Exec => {
            let back = match work.answer_to {
                Some(most) => format!("{} to {most}", work.answer),
                None => work.answer.to_string(),
            };
            format!(", {} B there and {back} B back", work.ask)
        }
        _ => String::new(),
    };
    format!("`{}`, {streams}{rate}{sizes}", work.workload.name())
}

fn columns(figure: Figure) -> Vec<Column> {
    // Shown of every proxy and of the direct connection alike.
    let plain = |head, digits, of| Column {
        head,
        proxy: Box::new(move |entry| number(entry.median(of), digits)),
        direct: Box::new(move |median| number(median, digits)),
        of,
    };
    let proxies = |head, proxy: Box<dyn Fn(&Entry) -> String>| Column {
        head,
        proxy,
        direct: Box::new(|_| String::new()),
        of: |_| 0.0,
    };
    let mut columns = vec![
        proxies(
            figure.unit(),
            Box::new(|entry| spread(&entry.figure, digits(entry.figure.median))),
        ),
        proxies("ratio", Box::new(|entry| spread(&entry.ratio, 2))),
        proxies(
            "grows by",
            Box::new(|entry| {
                let growth = entry.growth.as_ref();
                growth.map_or_else(String::new, |growth| spread(&growth.ratio, 2))
            }),
        ),
        proxies(
            "busiest worker",
            Box::new(|entry| percent(entry.median(|round| round.busiest_worker))),
        ),
    ];
    if figure != Figure::CpuPerGib {
        // Per byte of next to nothing it would say nothing.
        let of = |round: &Measured| match round.gib_per_second {
            speed if speed < SLOW => 0.0,
            _ => round.cpu_per_gib,
        };
        columns.push(proxies(
            "CPU s/GiB",
            Box::new(move |entry| number(entry.median(of), digits(entry.median(of)))),
        ));
    }
    if figure != Figure::CpuPerOperation {
        let of = |round: &Measured| round.cpu_us_per_operation;
        columns.push(proxies(
            "CPU µs/operation",
            Box::new(move |entry| number(entry.median(of), digits(entry.median(of)))),
        ));
    }
    columns.extend([
        plain("GiB/s", 3, |round| round.gib_per_second),
        proxies(
            "of direct",
            Box::new(|entry| {
                let of = entry.of_direct.as_ref();
                of.map_or_else(String::new, |ratio| spread(ratio, 2))
            }),
        ),
        plain("operations/s", 0, |round| round.operations_per_second),
        proxies(
            "resumed",
            Box::new(|entry| percent(entry.median(|round| round.resumed_share))),
        ),
        plain("p50 µs", 0, |round| round.p50),
        match figure {
            Figure::P99 => proxies("p99 µs", Box::new(|_| String::new())),
            _ => plain("p99 µs", 0, |round| round.p99),
        },
        plain("p99.99 µs", 0, |round| round.p99_99),
        proxies(
            "MiB",
            Box::new(|entry| {
                let bytes = entry.median(|round| round.peak_rss);
                number(bytes / f64::from(1 << 20), 0)
            }),
        ),
        Column {
            head: "generator",
            proxy: Box::new(|entry| share(entry.median(|round| round.generator_share))),
            direct: Box::new(share),
            of: |round| round.generator_share,
        },
    ]);
    columns
}

/// Digits behind the point: three places in all.
fn digits(value: f64) -> usize {
    match value {
        value if value < 10.0 => 3,
        value if value < 100.0 => 1,
        _ => 0,
    }
}

/// A number, or nothing where there was nothing to measure, or nothing that these digits show.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let nothing = text.chars().all(|letter| matches!(letter, '0' | '.'));
    if nothing { String::new() } else { text }
}

fn spread(summary: &Summary, digits: usize) -> String {
    if summary.samples.is_empty() || summary.median == 0.0 {
        return String::new();
    }
    format!(
        "{:.digits$} ± {:.digits$}",
        summary.median, summary.deviation
    )
}

fn percent(share: f64) -> String {
    if share > 0.0 {
        format!("{:.0} %", 100.0 * share)
    } else {
        String::new()
    }
}

fn share(share: f64) -> String {
    let mark = if share >= BUSY { "**" } else { "" };
    match percent(share) {
        none if none.is_empty() => none,
        shown => format!("{mark}{shown}{mark}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_generator_is_shown() {
        assert_eq!([share(0.5), share(0.97)], ["50 %", "**97 %**"]);
    }

    #[test]
    fn what_was_not_measured_is_not_a_zero() {
        assert_eq!(number(0.0, 2), "");
        assert_eq!(number(0.0004, 3), "");
        assert_eq!(number(0.254, 2), "0.25");
        assert_eq!(spread(&Summary::default(), 2), "");
        assert_eq!(spread(&Summary::of(&[1.0, 3.0]), 1), "2.0 ± 1.0");
    }

    fn cell(yaml: &str) -> CellReport {
        let work: crate::work::WorkOptions = serde_saphyr::from_str(yaml).unwrap();
        let proxies: Vec<_> =
            serde_saphyr::from_str("[{name: ours}, {name: theirs, skip: {x: cannot}}]").unwrap();
        CellReport::new("x", &[work.resolve().unwrap()], &proxies, None)
    }

    #[test]
    fn table_of_a_transfer_has_no_latencies_and_says_who_is_left_out() {
        let mut cell = cell("{workload: bulk}");
        let measured = Measured {
            cpu_per_gib: 0.5,
            gib_per_second: 2.0,
            generator_share: 0.5,
            ..Measured::default()
        };
        cell.add(0, measured, vec!["a stream broke off".into()]);
        let text = cell.to_string();
        assert!(text.contains("| proxy | GiB/s | generator |"), "{text}");
        assert!(text.contains("| ours | 2.000 | 50 % |"), "{text}");
        assert!(text.contains("| theirs | cannot |"), "{text}");
        assert!(text.contains("ours: VOID: 1 failures"), "{text}");
        assert!(!text.contains("no proxy"), "{text}");
    }

    #[test]
    fn open_loop_that_did_not_keep_up_is_named() {
        let mut cell = cell("{workload: rr, rate: 1000, reply: 1MiB}");
        assert_eq!(cell.figure, Figure::CpuPerGib);
        let done = |done_share| Measured {
            done_share,
            ..Measured::default()
        };
        cell.add(0, done(0.8), Vec::new());
        cell.add(1, done(1.0), Vec::new());
        let text = cell.to_string();
        assert!(text.contains("ours: did 80 %"), "{text}");
        assert!(!text.contains("theirs: did"), "{text}");
    }
}
