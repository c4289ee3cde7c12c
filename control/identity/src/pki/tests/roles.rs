//! The table of roles in docs/pki.md is the one that certificates are made by.

use super::profile::{Issuer, Profile, Usage, profiles};
use super::spec::{Lifetimes, Spec};
use super::*;
use std::fmt::Write as _;
use time::Duration;

/// If set, the table is written in place of being compared.
const WRITE: &str = "EYESPLICE_WRITE_DOCS";

const BEGIN: &str = "<!-- role-table:begin -->\n";
const END: &str = "<!-- role-table:end -->";

/// The cluster of the table.
const EXAMPLE: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: PKIConfig
cluster: {server: 'https://10.0.0.1:6443'}
names: {gateway: [10.0.0.1]}
etcd: [{name: cp-1, addresses: [10.0.0.1]}]
nodes: [{name: worker-1, addresses: [10.0.0.11]}]
users: [{name: jane, groups: [dev]}]
agents: [edge-1]
breakGlass: [jane]
";

/// Every certificate of a cluster of one control plane `cp-1` (10.0.0.1), one node `worker-1`
/// (10.0.0.11) and one user `jane` in the group `dev`, as a Markdown table.
fn role_table() -> String {
    let spec = Spec::parse(EXAMPLE, Path::new("example")).unwrap().config;
    let mut text = String::from(
        "| File | Issuer | Subject | Usages | Names | Lifetime | Used by |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for profile in profiles(&spec) {
        writeln!(
            text,
            "| `{}` | {} | `{}` | {} | {} | {} | {} |",
            profile.name,
            issuer(&profile),
            subject(&profile),
            usages(profile.usage),
            names(&profile),
            lifetime(&profile, &spec.lifetimes),
            profile.used_by,
        )
        .unwrap();
    }
    text
}

fn issuer(profile: &Profile) -> String {
    match &profile.issuer {
        Issuer::Itself => "itself, or `authorities.parent`".to_owned(),
        Issuer::Authority(name) => format!("`{name}`"),
    }
}

fn subject(profile: &Profile) -> String {
    let organizations = profile.organizations.iter();
    let parts = organizations.map(|organization| format!("O={organization}, "));
    format!("{}CN={}", parts.collect::<String>(), profile.common_name)
}

/// Extended key usages; the key usages are the same for all (see `issue`).
fn usages(usage: Usage) -> &'static str {
    match usage {
        Usage::Authority => "CA",
        Usage::Server => "serverAuth",
        Usage::Client => "clientAuth",
        Usage::Peer => "serverAuth, clientAuth",
    }
}

fn names(profile: &Profile) -> String {
    let names: Vec<String> = profile.names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn lifetime(profile: &Profile, lifetimes: &Lifetimes) -> String {
    let days = |lifetime: Duration| format!("{} days", lifetime.whole_days());
    match profile.usage {
        Usage::Authority => days(lifetimes.authorities),
        _ if profile.is_break_glass() => format!("{} hours", lifetimes.break_glass.whole_hours()),
        _ => days(lifetimes.certificates),
    }
}

#[test]
fn role_table_of_the_documents_is_the_generated_one() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pki.md");
    let text = fs::read_to_string(document).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let table = role_table();
    if std::env::var_os(WRITE).is_some() {
        fs::write(document, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        found == table,
        "docs/pki.md is behind; run this test with {WRITE}=1"
    );
}
