//! Prints what a check found, and what came of a dial of every node: for people, or as JSON.

use super::say::columns;
use crate::dial::{AddressReport, DialReport, NodeReport, Outcome, Verdict};
use eyesplice_identity::document::CheckErrors;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A line for each address, the reasons below it, and a last line that counts.
pub(super) fn table(report: &DialReport) -> String {
    let mut lines = vec![["NODE", "ADDRESS", "RESULT", "IDENTITY OR CAUSE"].map(str::to_owned)];
    let mut messages = Vec::new();
    for node in &report.nodes {
        for AddressReport { address, outcome } in &node.addresses {
            let said = match outcome {
                Outcome::Verified { identity } => identity,
                Outcome::Refused { cause, .. } => *cause,
                Outcome::Unreached { .. } | Outcome::Denied { .. } | Outcome::NotDialled { .. } => {
                    "-"
                }
            };
            let (address, result) = (address.to_string(), outcome.as_str().to_owned());
            lines.push([node.name.to_string(), address, result, said.to_owned()]);
            messages.push(outcome.message());
        }
    }
    let mut text = String::new();
    let messages = std::iter::once(None).chain(messages);
    for (line, message) in columns(&lines, "  ").iter().zip(messages) {
        text.push_str(line);
        if let Some(message) = message {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {message}");
        }
    }
    let of = |verdict| report.count(verdict);
    let (good, bad) = (of(Verdict::Passes), of(Verdict::Fails));
    let _ = writeln!(
        text,
        "under verification: enforce {good} nodes would pass, {bad} would fail, {} cannot be \
         dialled from here",
        of(Verdict::NotDialled)
    );
    text
}

/// What was checked, for programs.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    /// The file.
    pub(super) file: String,
    /// What is allowed and probably not meant.
    pub(super) warnings: &'a [String],
    /// What the configuration comes to, in the words of the table.
    pub(super) summary: Option<String>,
    /// What is wrong.
    pub(super) errors: Option<&'a CheckErrors>,
    /// Why nobody was dialled.
    pub(super) undialled: Option<String>,
    /// What came of a dial.
    pub(super) dialled: Option<&'a DialReport>,
}

impl Checked<'_> {
    /// One JSON object.
    pub(super) fn json(&self) -> String {
        let mut root = json!({
            "file": self.file,
            "valid": self.errors.is_none(),
            "warnings": self.warnings,
            "errors": self.errors.map_or_else(Vec::new, errors),
        });
        if let Some(summary) = &self.summary {
            root["summary"] = summary.lines().collect();
        }
        if let Some(why) = &self.undialled {
            root["dial"] = json!({"error": why});
        }
        if let Some(report) = self.dialled {
            root["dial"] = json!({
                "nodes": report.nodes.iter().map(node).collect::<Vec<Value>>(),
                "passes": report.count(Verdict::Passes),
                "fails": report.count(Verdict::Fails),
                "notDialled": report.count(Verdict::NotDialled),
            });
        }
        format!("{root:#}\n")
    }
}

fn errors(all: &CheckErrors) -> Vec<Value> {
    let of_file = all.0.iter().flat_map(|file| {
        let name = file.file.display().to_string();
        let each = file.errors.iter();
        each.map(move |error| json!({"file": name, "message": error.to_string()}))
    });
    of_file.collect()
}

fn node(node: &NodeReport) -> Value {
    json!({
        "name": &*node.name,
        "verdict": node.verdict().as_str(),
        "addresses": node.addresses.iter().map(address).collect::<Vec<Value>>(),
    })
}

fn address(AddressReport { address, outcome }: &AddressReport) -> Value {
    let mut value = json!({"address": address.to_string(), "result": outcome.as_str()});
    match outcome {
        Outcome::Verified { identity } => value["identity"] = json!(identity),
        Outcome::Refused { cause, .. } => value["cause"] = json!(cause),
        Outcome::Unreached { .. } | Outcome::Denied { .. } | Outcome::NotDialled { .. } => {}
    }
    if let Some(message) = outcome.message() {
        value["message"] = json!(message);
    }
    value
}
