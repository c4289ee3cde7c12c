//! Reads a user from a verified client certificate.

use crate::certificate::{CertificateFacts, FactsError, Weakness, instant};
use crate::user::{CREDENTIAL_ID, UserInfo};
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::time::SystemTime;
use time::OffsetDateTime;

/// Why a verified certificate is no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// It cannot be read.
    #[error("it {0}; issue it again")]
    Unreadable(FactsError),
    /// Its key proves too little.
    #[error("{0} {1}")]
    Weak(String, Weakness),
    /// It names no user.
    #[error("{0} has no common name, which is the user; issue it with one")]
    NoCommonName(String),
    /// Its time is over, while the connection lives.
    #[error("{0} expired {1}; renew it")]
    Expired(String, String),
    /// Its time has not come: a clock was set back.
    #[error("{0} is valid from {1}; check the clocks")]
    NotYetValid(String, String),
}

/// Reads the user of a chain that rustls verified for client authentication.
///
/// The common name is the user, each organization a group, attribute 1.3.6.1.4.1.57683.2 the UID.
/// Validity is checked again: a connection may outlive its certificate, and every request asks.
///
/// # Errors
/// It names nobody, or its time is not now.
pub fn certificate_user(
    chain: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<UserInfo, CertificateRefusal> {
    let leaf: &[u8] = chain.first().map_or(&[], |leaf| leaf.as_ref());
    let facts = CertificateFacts::read(leaf).map_err(CertificateRefusal::Unreadable)?;
    let described = facts.subject.to_string();
    if let Some(weakness) = facts.weakness().cloned() {
        return Err(CertificateRefusal::Weak(described, weakness));
    }
    let now = OffsetDateTime::from(now);
    if now > facts.not_after {
        return Err(CertificateRefusal::Expired(
            described,
            instant(facts.not_after),
        ));
    }
    if now < facts.not_before {
        return Err(CertificateRefusal::NotYetValid(
            described,
            instant(facts.not_before),
        ));
    }
    let subject = facts.subject;
    let Some(username) = subject.common_name.filter(|name| !name.is_empty()) else {
        return Err(CertificateRefusal::NoCommonName(described));
    };
    let credential = format!(
        "X509SHA256={}",
        HEXLOWER.encode(digest(&SHA256, leaf).as_ref())
    );
    Ok(UserInfo {
        username,
        uid: subject.uid.unwrap_or_default(),
        groups: subject.organizations,
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential])]),
    })
}
