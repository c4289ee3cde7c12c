//! Whom a certificate names: Kubernetes' user, groups and UID in its subject.
//!
//! As Kubernetes reads it (apiserver `authentication/request/x509`): the common name is the user,
//! each organization a group, and attribute 1.3.6.1.4.1.57683.2 the UID.

pub(crate) mod der;
mod facts;
mod strength;
mod text;
mod time;

pub use self::time::rfc3339;
pub use facts::instant;
pub use facts::{CertificateFacts, FactsError, KeyUsages};
pub use strength::Weakness;
pub(crate) use strength::{judge_key, judge_rsa, judge_signature};
pub use text::printable;
pub(crate) use text::shorten;

use rustls::pki_types::CertificateDer;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Longest identity in bytes; the rest is cut. Names in real clusters stay below 100; a peer's
/// certificate may hold 64 KiB of them.
pub const MAX_IDENTITY: usize = 256;

/// Organizations that are kept of a subject; a user of more groups than that is a mistake or an
/// attack on memory.
const MAX_ORGANIZATIONS: usize = 64;

const UID_ATTRIBUTE: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);

/// What a certificate whose subject cannot be read is called in audit and metrics.
const UNREADABLE: &str = "(unreadable subject)";

/// The subject of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user; of several, the last, as Go has it.
    pub common_name: Option<String>,
    /// The groups, at most 64.
    pub organizations: Vec<String>,
    /// The user's UID.
    pub uid: Option<String>,
}

impl Subject {
    /// Reads the attributes that matter; one that is no string (a BMPString, say) counts as absent,
    /// which never matches anything.
    pub(crate) fn of(name: &X509Name<'_>) -> Self {
        let string =
            |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
        Self {
            common_name: name.iter_common_name().last().and_then(string),
            organizations: name
                .iter_organization()
                .filter_map(string)
                .take(MAX_ORGANIZATIONS)
                .collect(),
            uid: name.iter_by_oid(&UID_ATTRIBUTE).last().and_then(string),
        }
    }

    /// Says whether this is the kubelet of `node`: `CN=system:node:NODE` and `O=system:nodes`.
    pub fn is_node(&self, node: &str) -> bool {
        let common_name = self.common_name.as_deref();
        common_name.and_then(|name| name.strip_prefix("system:node:")) == Some(node)
            && self
                .organizations
                .iter()
                .any(|organization| organization == "system:nodes")
    }
}

/// Writes `CN=system:node:worker-3,O=system:nodes`: visible ASCII, at most [`MAX_IDENTITY`] bytes.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let attributes = self
            .common_name
            .iter()
            .map(|name| ("CN", name))
            .chain(
                self.organizations
                    .iter()
                    .map(|organization| ("O", organization)),
            )
            .chain(self.uid.iter().map(|uid| ("UID", uid)));
        for (key, value) in attributes {
            if text.len() > MAX_IDENTITY {
                break;
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(key);
            text.push('=');
            text::escape_into(value, MAX_IDENTITY, &mut text);
        }
        f.write_str(if text.is_empty() {
            "(empty subject)"
        } else {
            shorten(&mut text, MAX_IDENTITY)
        })
    }
}

/// Names the owner of a verified chain, for audit and metrics.
pub fn identify(chain: &[CertificateDer<'_>]) -> Arc<str> {
    match chain.first().map(|leaf| CertificateFacts::read(leaf)) {
        Some(Ok(facts)) => facts.subject.to_string().into(),
        Some(Err(_)) | None => UNREADABLE.into(),
    }
}

/// Says when the first certificate of a chain ends; `None`: there is none, or one cannot be read.
pub fn valid_until(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let ends = chain
        .iter()
        .map(|certificate| CertificateFacts::read(certificate).map(|facts| facts.not_after.into()));
    ends.collect::<Result<Vec<_>, _>>().ok()?.into_iter().min()
}

#[cfg(test)]
mod tests;
