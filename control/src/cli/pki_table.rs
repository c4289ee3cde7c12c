//! Prints the files of a tree as a table or as JSON.

use super::say::columns;
use eyesplice_identity::certificate::{CertificateFacts, instant};
use eyesplice_identity::kubeconfig::Severity;
use eyesplice_identity::pki::{Flaw, Row};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Names in a column; JSON has them all.
const LISTED_NAMES: usize = 3;

/// All files, with the flaws of each below it.
pub(super) fn table(rows: &[Row]) -> String {
    let header = [
        "FILE", "KIND", "SUBJECT", "NAMES", "ISSUER", "EXPIRES", "USED BY",
    ];
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let mut text = String::new();
    for (index, line) in columns(&lines, "  ").iter().enumerate() {
        text.push_str(line);
        if let Some(row) = index.checked_sub(1).and_then(|index| rows.get(index)) {
            for flaw in &row.flaws {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {}: {flaw}", flaw.severity().as_str());
            }
        }
    }
    text
}

fn cells(row: &Row) -> [String; 7] {
    let absent = || "-".to_owned();
    let of = |part: fn(&CertificateFacts) -> String| row.facts.as_ref().map_or_else(absent, part);
    [
        row.file.clone(),
        row.kind.as_str().to_owned(),
        of(|facts| facts.subject.to_string()),
        of(names),
        of(|facts| facts.issuer.to_string()),
        of(|facts| instant(facts.not_after)),
        row.used_by.to_owned(),
    ]
}

fn names(facts: &CertificateFacts) -> String {
    let listed: Vec<&str> = facts
        .names
        .iter()
        .take(LISTED_NAMES)
        .map(String::as_str)
        .collect();
    match facts.names.len().saturating_sub(LISTED_NAMES) {
        0 if listed.is_empty() => "-".to_owned(),
        0 => listed.join(","),
        more => format!("{} +{more}", listed.join(",")),
    }
}

/// Only what is wrong, and a last line that counts.
pub(super) fn verdict(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for flaw in &row.flaws {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}: {}: {flaw}", row.file, flaw.severity().as_str());
        }
    }
    let of = |severity| {
        rows.iter()
            .filter(|row| row.severity() == Some(severity))
            .count()
    };
    let (bad, warned) = (of(Severity::Error), of(Severity::Warning));
    let good = rows.len() - bad - warned;
    let _ = writeln!(
        text,
        "{good} files are good, {warned} have warnings, {bad} are wrong"
    );
    text
}

/// Everything, for programs.
pub(super) fn json(rows: &[Row]) -> String {
    let rows: Vec<Value> = rows.iter().map(row).collect();
    format!("{:#}\n", json!({"files": rows}))
}

fn row(row: &Row) -> Value {
    let mut value = json!({
        "file": row.file,
        "kind": row.kind.as_str(),
        "authority": row.authority,
        "usedBy": row.used_by,
        "flaws": row.flaws.iter().map(flaw).collect::<Vec<Value>>(),
    });
    if let Some(facts) = &row.facts {
        value["certificate"] = json!({
            "subject": facts.subject.to_string(),
            "issuer": facts.issuer.to_string(),
            "serial": facts.serial,
            "names": facts.names,
            "usages": usages(facts),
            "notBefore": instant(facts.not_before),
            "notAfter": instant(facts.not_after),
        });
    }
    value
}

fn usages(facts: &CertificateFacts) -> Vec<&'static str> {
    let all = [
        (facts.authority, "CA"),
        (facts.usage.server && !facts.authority, "serverAuth"),
        (facts.usage.client && !facts.authority, "clientAuth"),
        (facts.usage.sign, "digitalSignature"),
        (
            facts.usage.sign_certificates && facts.authority,
            "keyCertSign",
        ),
    ];
    all.into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| name)
        .collect()
}

fn flaw(flaw: &Flaw) -> Value {
    json!({"severity": flaw.severity().as_str(), "message": flaw.to_string()})
}
