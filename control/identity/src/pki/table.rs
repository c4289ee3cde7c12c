//! Renders the table of roles for the documents, from the table that certificates are made by.

use super::profile::{Issuer, Profile, Usage, profiles};
use super::spec::{Lifetimes, Spec};
use crate::document::{ConfigErrors, Document};
use std::fmt::Write as _;
use std::path::Path;
use time::Duration;

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
///
/// # Errors
/// The example is no document of a PKI.
pub fn role_table() -> Result<String, ConfigErrors> {
    let spec = Spec::parse(EXAMPLE, Path::new("example"))?.config;
    let mut text = String::from(
        "| File | Issuer | Subject | Usages | Names | Lifetime | Used by |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for profile in profiles(&spec) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {} | {} | {} | {} |",
            profile.name,
            issuer(&profile),
            subject(&profile),
            usages(profile.usage),
            names(&profile),
            lifetime(&profile, &spec.lifetimes),
            profile.used_by,
        );
    }
    Ok(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_table_of_the_documents_is_the_generated_one() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pki.md");
        let document = std::fs::read_to_string(document).unwrap();
        let (_, rest) = document.split_once("<!-- role-table:begin -->\n").unwrap();
        let (table, _) = rest.split_once("<!-- role-table:end -->").unwrap();
        assert!(
            table == role_table().unwrap(),
            "docs/pki.md is behind; put in the output of `eyesplice generate role-table DIR`"
        );
    }
}
