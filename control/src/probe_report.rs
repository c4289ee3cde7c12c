//! Shows what the kernel and sandbox can do: as a table, as JSON, as metrics.

use eyesplice_dataplane::cipher::{self, Choice, CryptoPolicy};
use eyesplice_process::metrics::Row;
use eyesplice_proto::tls::Group;
use eyesplice_sys::probe::{Capability, Finding, Probe, Requirement, State};
use serde_json::{Value, json};
use std::fmt::Write;

/// Where to find what a container runtime needs to be told.
const PROFILE: &str = "  (seccomp-eyesplice.json, shipped with eyesplice, is such a profile)\n";

/// What cryptography there is: of the build, and for this processor.
pub struct Crypto {
    /// What protects records under `engine.crypto: auto`, and why.
    records: Choice,
    /// The key exchange groups of the build, the preferred one first.
    groups: Vec<&'static str>,
}

impl Crypto {
    /// Looks, which takes about a millisecond.
    pub fn here() -> Self {
        Self {
            records: cipher::choose(CryptoPolicy::Auto),
            groups: Group::BUILT.iter().map(|group| group.as_str()).collect(),
        }
    }

    fn post_quantum(&self) -> bool {
        self.groups.contains(&Group::X25519MlKem768.as_str())
    }

    fn text(&self) -> String {
        let Choice { library, why } = &self.records;
        let groups = self.groups.join(", ");
        let mut text = format!("\nrecords of TLS: {library}\n  {why}\nkey exchange: {groups}\n");
        if !self.post_quantum() {
            text.push_str(
                "  no post-quantum group (X25519MLKEM768): this build leaves out aws-lc\n",
            );
        }
        text
    }
}

/// Renders aligned columns, and below them why something is missing and what to do.
pub fn table(probe: &Probe, crypto: &Crypto) -> String {
    let names = probe
        .findings
        .iter()
        .map(|finding| finding.capability.to_string());
    let names: Vec<_> = names.collect();
    let width = names.iter().map(String::len).max().unwrap_or_default();
    let mut text = format!("kernel {}\n\n", probe.kernel);
    let mut line = |name: &str, needed: &str, state: &str| {
        // Writing into a String has no way to fail.
        let _ = writeln!(text, "{name:width$}  {needed:8}  {state}");
    };
    line("CAPABILITY", "NEEDED", "STATE");
    for (name, finding) in names.iter().zip(&probe.findings) {
        let state = match &finding.state {
            State::Present => "yes",
            State::Measured(amount) => amount,
            State::Missing { .. } => "MISSING",
        };
        line(name, requirement(finding), state);
    }
    text.push_str(&remedies(&probe.findings));
    text.push_str(&crypto.text());
    text.push_str(match probe.usable() {
        Ok(()) => "\neyesplice runs on this kernel.\n",
        Err(unusable) if unusable.limit => {
            "\nio_uring cannot be used: a limit is too low. `engine.io: epoll` works.\n"
        }
        Err(_) => "\nio_uring cannot be used: something is missing. `engine.io: epoll` works.\n",
    });
    text
}

/// One paragraph for all that is missing for the same reason.
fn remedies(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut told: Vec<&State> = Vec::new();
    for finding in findings {
        let State::Missing { why, remedy } = &finding.state else {
            continue;
        };
        if told.contains(&&finding.state) {
            continue;
        }
        told.push(&finding.state);
        let same = findings.iter().filter(|other| other.state == finding.state);
        let names: Vec<_> = same.map(|other| other.capability.to_string()).collect();
        let names = shortened(&names);
        let remedy = remedy.as_deref().unwrap_or("no remedy is known");
        let _ = write!(text, "\n{names}:\n  {why}\n  {remedy}\n");
        if finding.capability == Capability::IoUring {
            text.push_str(PROFILE);
        }
    }
    text
}

/// The table has all names; a paragraph needs enough of them to find it there.
fn shortened(names: &[String]) -> String {
    match names {
        [first, _, _, rest @ ..] if !rest.is_empty() => {
            format!("{first} and {} more", names.len() - 1)
        }
        names => names.join(", "),
    }
}

/// Renders one JSON object, for scripts.
pub fn json(probe: &Probe, crypto: &Crypto) -> String {
    let capabilities: Vec<Value> = probe.findings.iter().map(capability).collect();
    let report = json!({
        "kernel": probe.kernel,
        "usable": probe.usable().is_ok(),
        "capabilities": capabilities,
        "crypto": {
            "records": crypto.records.library.as_str(),
            "why": crypto.records.why.to_string(),
            "groups": crypto.groups,
            "postQuantum": crypto.post_quantum(),
        },
    });
    format!("{report:#}\n")
}

fn capability(finding: &Finding) -> Value {
    let mut value = json!({
        "name": finding.capability.to_string(),
        "required": finding.requirement == Requirement::Required,
        "present": finding.present(),
    });
    match &finding.state {
        State::Present => {}
        State::Measured(amount) => value["amount"] = amount.as_str().into(),
        State::Missing { why, remedy } => {
            value["why"] = why.as_str().into();
            value["remedy"] = remedy.as_deref().into();
        }
    }
    value
}

/// Rows of the metric `eyesplice_probe`: 1 for what is there, 0 for what is missing.
pub fn rows(probe: &Probe) -> Vec<Row> {
    let row = |finding: &Finding| Row {
        labels: vec![
            ("capability", finding.capability.to_string()),
            ("needed", requirement(finding).to_owned()),
        ],
        value: finding.present().into(),
    };
    probe.findings.iter().map(row).collect()
}

fn requirement(finding: &Finding) -> &'static str {
    match finding.requirement {
        Requirement::Required => "required",
        Requirement::Optional => "optional",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_proto::tls::RecordLibrary;

    fn finding(capability: Capability, requirement: Requirement, state: State) -> Finding {
        Finding {
            capability,
            requirement,
            state,
        }
    }

    fn denied() -> Probe {
        let missing = State::Missing {
            why: "a sandbox denies io_uring_setup".to_owned(),
            remedy: Some("allow it in the seccomp profile".to_owned()),
        };
        let hopeless = State::Missing {
            why: "no pipe".to_owned(),
            remedy: None,
        };
        let measured = State::Measured("1024, at most 4096".to_owned());
        Probe {
            kernel: "6.1.0".to_owned(),
            findings: vec![
                finding(Capability::IoUring, Requirement::Required, missing.clone()),
                finding(Capability::SingleIssuer, Requirement::Required, missing),
                finding(Capability::CancelOne, Requirement::Required, State::Present),
                finding(Capability::LargePipe, Requirement::Optional, hopeless),
                finding(Capability::OpenFiles, Requirement::Optional, measured),
            ],
        }
    }

    fn crypto(groups: &[&'static str]) -> Crypto {
        Crypto {
            records: cipher::choose(CryptoPolicy::Fixed(RecordLibrary::Ring)),
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn table_tells_each_cause_once_with_its_remedy() {
        let expected = "\
kernel 6.1.0

CAPABILITY                       NEEDED    STATE
io_uring                         required  MISSING
io_uring SINGLE_ISSUER           required  MISSING
io_uring cancellation by number  required  yes
pipes of 1 MiB                   optional  MISSING
open files                       optional  1024, at most 4096

io_uring, io_uring SINGLE_ISSUER:
  a sandbox denies io_uring_setup
  allow it in the seccomp profile
  (seccomp-eyesplice.json, shipped with eyesplice, is such a profile)

pipes of 1 MiB:
  no pipe
  no remedy is known

records of TLS: ring
  configured
key exchange: X25519, CurveP256
  no post-quantum group (X25519MLKEM768): this build leaves out aws-lc

io_uring cannot be used: something is missing. `engine.io: epoll` works.
";
        assert_eq!(
            table(&denied(), &crypto(&["X25519", "CurveP256"])),
            expected
        );
    }

    #[test]
    fn json_has_every_capability() {
        let value: Value =
            serde_json::from_str(&json(&denied(), &crypto(&["X25519MLKEM768"]))).unwrap();
        assert_eq!(value["usable"], false);
        let capabilities = value["capabilities"].as_array().unwrap();
        assert_eq!(capabilities.len(), 5);
        assert_eq!(capabilities[0]["name"], "io_uring");
        assert_eq!(capabilities[0]["present"], false);
        assert_eq!(capabilities[0]["remedy"], "allow it in the seccomp profile");
        assert_eq!(capabilities[3]["remedy"], Value::Null);
        assert_eq!(capabilities[4]["amount"], "1024, at most 4096");
        assert_eq!(value["crypto"]["records"], "ring");
        assert_eq!(value["crypto"]["postQuantum"], true);
    }

    #[test]
    fn rows_are_zero_for_what_is_missing() {
        let values: Vec<_> = rows(&denied()).into_iter().map(|row| row.value).collect();
        assert_eq!(values, [0, 0, 1, 0, 1]);
    }
}
