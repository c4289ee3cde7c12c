//! Writes the performance section of the README from committed results.

use crate::contest::ContestReport;
use crate::machine::Machine;
use crate::stats::Summary;
use crate::{Attempt, Error, Result};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";

/// What `readme` is told.
#[derive(Args, Clone, Debug)]
pub struct ReadmeOptions {
    /// Where results are
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
    /// The file whose section is written
    #[arg(long, default_value = "README.md")]
    pub readme: PathBuf,
    /// Writes nothing, and fails if the section is not what the results say
    #[arg(long)]
    pub check: bool,
}

/// Of an engine A/B, what the section tells.
#[derive(Deserialize)]
struct Ab {
    machine: Machine,
    rounds: usize,
    modes: Vec<Mode>,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
    baseline: String,
    median_ratio: f64,
    worst_ratio: f64,
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    subject_cpu_per_gib: Summary,
}

/// Of an idle measurement, what the section tells.
#[derive(Deserialize)]
struct Idle {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    mode: String,
    streams: usize,
    rss_per_stream: f64,
}

/// Writes or checks the section.
///
/// # Errors
/// If a result or the README cannot be read, or the section is not as it should be.
pub fn readme(options: &ReadmeOptions) -> Result<()> {
    let section = section(&options.results)?;
    let name = options.readme.display().to_string();
    let old = std::fs::read_to_string(&options.readme).attempt(format!("read {name}"))?;
    let new = replace(&old, &section)
        .ok_or_else(|| Error::Unfit(format!("{name} has no lines {BEGIN:?} and {END:?}")))?;
    if !options.check {
        return std::fs::write(&options.readme, new).attempt(format!("write {name}"));
    }
    if new == old {
        return Ok(());
    }
    Err(Error::Unfit(format!(
        "performance section of {name} is not what {} says; run scripts/bench readme",
        options.results.display()
    )))
}

fn replace(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{section}{END}{after}"))
}

/// The section, from the newest result of each kind.
fn section(results: &Path) -> Result<String> {
    let mut text = String::new();
    if let Some((file, ab)) = newest::<Ab>(results, "-ab.json")? {
        engine(
            &mut text,
            &file,
            &ab,
            newest::<Idle>(results, "-idle.json")?,
        );
    }
    for (file, report) in contests(results)? {
        contest(&mut text, &file, &report);
    }
    Ok(text)
}

fn engine(text: &mut String, file: &str, ab: &Ab, idle: Option<(String, Idle)>) {
    let kernel: Vec<_> = ab.machine.kernel.split('.').take(2).collect();
    // Writing to a String does not fail; so below.
    let _ = writeln!(
        text,
        "On {} cores of an {} with Linux {}, the proxy alone on one of them\n\
         ([bench/results/{file}](bench/results/{file}), {} interleaved rounds):\n\n\
         | Work | CPU seconds per GiB | Against | Ratio, median of the cells (worst) |\n|---|---|---|---|",
        ab.machine.cores,
        ab.machine.cpu,
        kernel.join("."),
        ab.rounds
    );
    for mode in &ab.modes {
        let cells: Vec<_> = mode
            .cells
            .iter()
            .map(|cell| cell.subject_cpu_per_gib.median)
            .collect();
        let range = Summary::of(&cells);
        let _ = writeln!(
            text,
            "| {} | {:.2} to {:.2} | {} | {:.2} ({:.2}) |",
            mode.mode,
            range.lowest,
            range.highest,
            mode.baseline,
            mode.median_ratio,
            mode.worst_ratio
        );
    }
    if let Some((file, idle)) = idle {
        let rows: Vec<_> = idle
            .rows
            .iter()
            .map(|row| format!("{:.1} KiB {}", row.rss_per_stream / 1024.0, row.mode))
            .collect();
        let streams = idle.rows.first().map_or(0, |row| row.streams);
        let _ = writeln!(
            text,
            "\nAn idle stream costs in resident memory: {} ({streams} streams, both TLS sessions included;\n\
             [{file}](bench/results/{file})).",
            rows.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "`scripts/bench ab` and `scripts/bench idle` repeat this; a cell is download, upload or both at once, \
         over 1 or 16\nconnections."
    );
}

/// A table with a column for each proxy: what the first one needs, in terms of that one.
fn contest(text: &mut String, file: &str, report: &ContestReport) {
    let Some(first) = report.cells.first() else {
        return;
    };
    let names: Vec<_> = first
        .proxies
        .iter()
        .map(|entry| entry.proxy.as_str())
        .collect();
    let stem = file.trim_end_matches(".json");
    let _ = writeln!(
        text,
        "\n**{}** ([bench/results/{stem}.md](bench/results/{stem}.md), {} interleaved rounds, every byte checked); what \
         {} needs,\nand that by what each other needs (less than 1: {} needs less):\n",
        report.title, report.rounds, names[0], names[0]
    );
    let _ = writeln!(
        text,
        "| Work | {} | / {} |",
        names[0],
        names[1..].join(" | / ")
    );
    let _ = writeln!(text, "|---|--:{}|", "|--:".repeat(names.len() - 1));
    for cell in &report.cells {
        let mut row = format!("| {} | ", cell.name);
        for (index, entry) in cell.proxies.iter().enumerate() {
            let _ = match (index, entry.rounds.is_empty()) {
                (0, _) => {
                    let digits = if entry.figure.median < 10.0 { 2 } else { 0 };
                    write!(
                        row,
                        "{:.digits$} {} |",
                        entry.figure.median,
                        cell.figure.unit()
                    )
                }
                (_, true) => write!(row, " |"),
                (_, false) => write!(row, " {:.2} |", entry.ratio.median),
            };
        }
        let _ = writeln!(text, "{row}");
    }
    let _ = writeln!(text, "\n![{}](bench/results/{stem}.svg)", report.title);
}

/// The newest result whose name ends so; dates in names sort.
fn newest<T: DeserializeOwned>(results: &Path, ending: &str) -> Result<Option<(String, T)>> {
    let name = files(results)?
        .into_iter()
        .rfind(|name| name.ends_with(ending));
    name.map(|name| Ok((name.replace(".json", ".md"), read(&results.join(&name))?)))
        .transpose()
}

/// The newest of each contest with peers.
fn contests(results: &Path) -> Result<Vec<(String, ContestReport)>> {
    let mut kinds = std::collections::BTreeMap::new();
    for name in files(results)? {
        if let Some((_, kind)) = name.split_once("-peers-") {
            kinds.insert(kind.to_string(), name.clone());
        }
    }
    kinds
        .into_values()
        .map(|name| Ok((name.clone(), read(&results.join(&name))?)))
        .collect()
}

fn files(results: &Path) -> Result<Vec<String>> {
    let listed = std::fs::read_dir(results).attempt(format!("list {}", results.display()))?;
    let mut names: Vec<_> = listed
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    Ok(names)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).attempt(format!("read {}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(std::io::Error::from)
        .attempt(format!("understand {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(
            replace(&text, "new\n").unwrap(),
            format!("a\n{BEGIN}new\n{END}\nb\n")
        );
        assert_eq!(replace("a\n", "new"), None);
    }

    #[test]
    fn readme_says_what_the_committed_results_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let options = ReadmeOptions {
            results: root.join("results"),
            readme: root.join("../README.md"),
            check: true,
        };
        readme(&options).unwrap();
    }
}
