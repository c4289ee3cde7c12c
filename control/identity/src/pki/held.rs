//! Judges a certificate that is no part of a tree, by the same rules.

use super::judge::{Flaw, Judged};
use super::profile::{Issuer, Profile, Usage};
use crate::certificate::CertificateFacts;
use crate::inventory::HostAddress;
use crate::pem::{NoteKind, Role};
use rustls::pki_types::CertificateDer;
use std::time::SystemTime;

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// As what it is presented.
    pub role: Role,
    /// Common name and organization, where they are known.
    pub subject: Option<(&'a str, &'a str)>,
    /// Exactly these names; without, any, but a server has at least one.
    pub names: Option<&'a [HostAddress]>,
    /// Who must have signed it, where that is known: what the certificates are called, and they.
    pub authorities: Option<(&'a str, &'a [CertificateDer<'static>])>,
}

/// Tells everything for which a certificate must not be used. The chain must not be empty, and its
/// first certificate be `facts`.
pub fn unfit(
    expected: &Expected<'_>,
    chain: &[CertificateDer<'static>],
    facts: &CertificateFacts,
    now: SystemTime,
) -> Vec<Flaw> {
    let (common_name, organization) = expected.subject.unwrap_or_default();
    let (place, authorities) = expected.authorities.unwrap_or_default();
    let profile = Profile {
        name: place.to_owned(),
        issuer: Issuer::Itself,
        common_name: common_name.to_owned(),
        organizations: vec![organization.to_owned()],
        usage: match expected.role {
            Role::Server => Usage::Server,
            Role::Client => Usage::Client,
        },
        names: expected.names.unwrap_or_default().to_vec(),
        used_by: "",
        kubeconfig: None,
    };
    let judged = Judged {
        profile: &profile,
        chain,
        authorities,
        now,
    };
    let matters = |flaw: &Flaw| match flaw {
        Flaw::Subject { .. } => expected.subject.is_some(),
        Flaw::ForeignName(_) | Flaw::UnwantedUsage(_) => expected.names.is_some(),
        Flaw::Chain { .. } => expected.authorities.is_some(),
        // Short lives are renewed late.
        Flaw::Validity(NoteKind::ExpiresSoon(_)) => false,
        _ => true,
    };
    let mut flaws: Vec<Flaw> = judged.flaws(facts).into_iter().filter(matters).collect();
    for flaw in &mut flaws {
        if let Flaw::Chain { authority, .. } = flaw {
            place.clone_into(authority);
        }
    }
    if expected.role == Role::Server && facts.names.is_empty() {
        flaws.push(Flaw::Nameless);
    }
    flaws
}
