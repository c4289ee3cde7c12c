//! Holds what `kubeconfig check` says against what kubectl said of the same files.
//!
//! `corpus.jsonl` is written by `scripts/e2e.d/kubeconfigs.py`: which parts of a good document each case
//! changes, and what each version of kubectl made of it.

use super::*;
use crate::kubeconfig::Severity;
use crate::pki::testing::{authority, client, now};
use data_encoding::{BASE64, BASE64URL};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const CORPUS: &str = include_str!("../corpus.jsonl");

type Parts = HashMap<String, String>;

#[derive(Deserialize)]
struct Head {
    versions: Vec<String>,
    base: Parts,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// kubectl got its answer.
    Takes,
    /// It failed at what is not in the file.
    Tries,
    /// It does not use the file.
    Refuses,
}

#[derive(Deserialize)]
struct Row {
    case: String,
    /// By version, or `all`.
    verdicts: HashMap<String, Verdict>,
    /// Absent: one file of `parts`. A file that is null is not there.
    files: Option<Vec<Option<Parts>>>,
    #[serde(flatten)]
    parts: HashMap<String, serde_json::Value>,
}

impl Row {
    fn texts(&self, base: &Parts) -> Vec<Option<String>> {
        let own = self.parts.iter();
        let own = own.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()));
        let one = [Some(own.collect())];
        let files = self.files.as_deref().unwrap_or(&one);
        let text = |parts: &Option<Parts>| Some(expand(base, parts.as_ref()?));
        files.iter().map(text).collect()
    }

    fn by(&self, version: &str) -> Verdict {
        let verdict = self.verdicts.get(version);
        *verdict.unwrap_or_else(|| &self.verdicts["all"])
    }
}

/// Puts a document together: `<name>` stands for the part of that name.
fn expand(base: &Parts, parts: &Parts) -> String {
    let mut text = "<document>".to_owned();
    let names: Vec<&String> = base.keys().collect();
    while let Some(name) = names
        .iter()
        .find(|name| text.contains(&format!("<{name}>")))
    {
        let part = parts.get(*name).unwrap_or(&base[*name]);
        text = text.replace(&format!("<{name}>"), part);
    }
    text
}

/// A directory like the one in which kubectl was asked, and what stands for `@NAME@`.
struct Site {
    dir: TempDir,
    words: Vec<(String, String)>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority("ca").self_signed();
        let (user, other) = (
            client("user").signed_by(&ca),
            client("other").signed_by(&ca),
        );
        let mut words = Vec::new();
        for (word, name, text) in [
            ("CA", "ca.crt", ca.certificate.pem()),
            ("CERT", "user.crt", user.certificate.pem()),
            ("KEY", "user.key", user.key.serialize_pem()),
            ("OTHERKEY", "other.key", other.key.serialize_pem()),
        ] {
            fs::write(dir.path().join(name), &text).unwrap();
            words.extend(variants(word, text.as_bytes()));
        }
        for (name, text) in [("token", "abc\n"), ("empty", ""), ("garbage", "hello\n")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::create_dir(dir.path().join("folder")).unwrap();
        for version in ["v1", "v1beta1", "v1alpha1"] {
            let plugin = dir.path().join(format!("plugin-{version}"));
            fs::write(&plugin, "").unwrap();
            fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let whole = dir.path().to_str().unwrap().to_owned();
        for (word, text) in [
            ("DIR", whole.as_str()),
            ("JWT", "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQwNzA5MDg4MDB9.c2ln"),
            ("HOST", "127.0.0.1:6443"),
            ("URL", "https://127.0.0.1:6443"),
            ("PLAINHOST", "127.0.0.1:8001"),
            ("PLAINURL", "http://127.0.0.1:8001"),
        ] {
            words.push((format!("@{word}@"), text.to_owned()));
        }
        Self { dir, words }
    }

    fn write(&self, index: usize, text: Option<String>) -> PathBuf {
        let path = self.dir.path().join(format!("config{index}"));
        let _ = fs::remove_file(&path);
        if let Some(mut text) = text {
            for (word, value) in &self.words {
                text = text.replace(word, value);
            }
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }
}

/// One file as base64, written in the ways that people write it.
fn variants(name: &str, raw: &[u8]) -> Vec<(String, String)> {
    let whole = BASE64.encode(raw);
    let bytes = whole.as_bytes();
    let lines: Vec<&str> = bytes
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let joined = |separator: &str| lines.join(separator);
    let url = BASE64URL.encode(&[b"\xff\xff\xff", raw].concat());
    [
        ("", whole.clone()),
        (" lines", joined("\n      ")),
        (" escapes", joined("\\n")),
        (" carriages", joined("\\r\\n")),
        (" tabs", joined("\\t")),
        (" spaces", joined(" ")),
        (" cut", whole[..whole.len() - 5].to_owned()),
        (" url", url),
    ]
    .map(|(variant, text)| (format!("@{name}{variant}@"), text))
    .to_vec()
}

/// What kubectl takes, and is an error all the same: it is not safe, or no API server reads it.
fn is_beyond_kubectl(flaw: &Flaw) -> bool {
    matches!(
        flaw,
        Flaw::PlainServer(_) | Flaw::Insecure(_) | Flaw::Basic(_) | Flaw::Token(_)
    )
}

/// Words that the YAML library reads otherwise than Go's: a boolean in mixed case, which is text to Go, and
/// a number with two underscores, which is text to the library.
const OTHERWISE: [&str; 2] = [
    "tokenFile beside a token: tRue",
    "tokenFile beside a token: 1__0",
];

#[test]
fn check_says_of_every_case_what_the_newest_kubectl_says() {
    let mut lines = CORPUS.lines();
    let head: Head = serde_json::from_str(lines.next().unwrap()).unwrap();
    let newest = head.versions.last().unwrap();
    let site = Site::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines {
        let row: Row = serde_json::from_str(line).unwrap();
        let texts = row.texts(&head.base).into_iter().enumerate();
        let paths: Vec<PathBuf> = texts.map(|(index, text)| site.write(index, text)).collect();
        let flaws = check_all(&paths, &CheckOptions::at(now())).flaws;
        let is_error = |flaw: &&Flaw| flaw.severity() == Severity::Error;
        let errors: Vec<&Flaw> = flaws.iter().filter(is_error).collect();
        let all_beyond = errors.iter().all(|flaw| is_beyond_kubectl(flaw));
        let fits = match row.by(newest) {
            Verdict::Takes => all_beyond,
            Verdict::Tries => true,
            Verdict::Refuses => !errors.is_empty(),
        };
        count += 1;
        if fits == OTHERWISE.contains(&row.case.as_str()) {
            let said: Vec<String> = flaws.iter().map(ToString::to_string).collect();
            wrong.push(format!(
                "{}: {:?}, and we say {said:?}",
                row.case,
                row.by(newest)
            ));
        }
    }
    assert!(count > 600, "{count}");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
