//! Writes the table of docs/performance.md from committed results.

mod idle;
mod rows;
mod shows;
mod source;

use crate::contest::ContestReport;
use crate::{Attempt, Error, Result};
use clap::Args;
use idle::Idle;
use rows::ROWS;
use serde::de::DeserializeOwned;
use shows::Line;
use source::Source;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";

/// The options of `readme`.
#[derive(Args, Clone, Debug)]
pub struct ReadmeOptions {
    /// Where results are
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
    /// The file whose section is written
    #[arg(long, default_value = "docs/performance.md")]
    pub readme: PathBuf,
    /// Writes nothing, and fails if the section is not what the results say
    #[arg(long)]
    pub check: bool,
}

/// Writes or checks the section.
///
/// # Errors
/// If a result or the document cannot be read, or the section is not as it should be.
pub fn readme(options: &ReadmeOptions) -> Result<()> {
    let section = section(&Results::read(&options.results)?);
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

/// The newest result of each kind, with its file's name without ending; any may be missing.
struct Results {
    contests: BTreeMap<String, (String, ContestReport)>,
    idle: Option<(String, Idle)>,
}

impl Results {
    fn read(directory: &Path) -> Result<Self> {
        let mut newest = BTreeMap::new();
        for name in files(directory)? {
            let stem = name.trim_end_matches(".json").to_string();
            // Dates in names sort, so the last of a kind is its newest.
            if let Some(kind) = stem.get(DATE.len()..) {
                newest.insert(kind.to_string(), stem);
            }
        }
        let mut contests = BTreeMap::new();
        for (kind, stem) in newest.iter().filter(|(kind, _)| kind.starts_with("peers-")) {
            contests.insert(kind.clone(), (stem.clone(), read(directory, stem)?));
        }
        Ok(Self {
            contests,
            idle: newest
                .get("idle")
                .map(|stem| result(directory, stem))
                .transpose()?,
        })
    }
}

/// How names of results begin.
const DATE: &str = "2026-01-01-";

/// The section: a table of all that results show, and where that comes from.
fn section(results: &Results) -> String {
    let mut lines = Vec::new();
    let mut sources = Vec::new();
    for (stem, report) in results.contests.values() {
        sources.push(Source::of_contest(stem, report));
    }
    for row in ROWS {
        if let Some((_, report)) = results.contests.get(row.scenario) {
            lines.extend(row.line(report));
        }
    }
    if let Some((stem, idle)) = &results.idle {
        lines.extend(idle.lines());
        sources.push(idle.source(stem));
    }
    if lines.is_empty() {
        return "No results are committed.\n".into();
    }
    let mut text = String::from("| Work | eyesplice | Against | Ratio |\n|---|---|---|---|\n");
    for Line {
        work,
        figure,
        against,
        ratio,
    } in lines
    {
        // Writing to a String does not fail; so below.
        let _ = writeln!(text, "| {work} | {figure} | {against} | {ratio} |");
    }
    let _ = writeln!(
        text,
        "\nThe ratio is eyesplice's figure relative to the other's in the same round \
         (1.0 = equal): the median over rounds and cells, in parentheses the worst cell.\n\
         Less is better, except for throughput and for handshakes per CPU second. \
         Every byte was checked.\n\n\
         | Full tables | Repeat with | On | Rounds | Cores that others used |\n\
         |---|---|---|--:|--:|"
    );
    for source in sources {
        let _ = writeln!(text, "{source}");
    }
    text
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

fn result<T: DeserializeOwned>(directory: &Path, stem: &str) -> Result<(String, T)> {
    Ok((stem.to_string(), read(directory, stem)?))
}

fn read<T: DeserializeOwned>(directory: &Path, stem: &str) -> Result<T> {
    let path = directory.join(format!("{stem}.json"));
    let text = std::fs::read(&path).attempt(format!("read {}", path.display()))?;
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
    fn document_says_what_the_committed_results_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let options = ReadmeOptions {
            results: root.join("results"),
            readme: root.join("../docs/performance.md"),
            check: true,
        };
        readme(&options).unwrap();
    }

    #[test]
    fn section_without_results_claims_nothing() {
        let empty = tempfile::tempdir().unwrap();
        let text = section(&Results::read(empty.path()).unwrap());
        assert!(!text.contains('|'), "{text}");
    }

    #[test]
    fn newest_of_each_kind_counts() {
        let directory = tempfile::tempdir().unwrap();
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let mut files = std::fs::read_dir(results).unwrap();
        let idle = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.get(DATE.len()..) == Some("idle.json")
        };
        let from = files
            .find_map(|file| Some(file.unwrap().path()).filter(idle))
            .unwrap();
        for day in ["2026-11-22", "2027-01-01", "2026-12-31"] {
            std::fs::copy(&from, directory.path().join(format!("{day}-idle.json"))).unwrap();
        }
        let text = section(&Results::read(directory.path()).unwrap());
        assert!(text.contains("bench/results/2027-01-01-idle.md"), "{text}");
        assert!(!text.contains("2026-"), "{text}");
    }
}
