//! Judges one certificate chain. Pure: the time is an argument.
//!
//! In this order, and the first that fails is told:
//! 1. it can be parsed;
//! 2. now is within its validity;
//! 3. its key is strong enough ([`Weakness`]);
//! 4. its key is pinned, where there are pins. For kubelets a pin is enough: it stands in for chain,
//!    usage, names and node, because a self-signed kubelet can have none of them. A node with pins
//!    must match one, whoever signed its certificate. For the pods and services of a rule with both a
//!    CA and pins, both must hold;
//! 5. the chain ends in the bundle, by signatures that are strong enough;
//! 6. it is for TLS servers: an extended key usage, if there is one, has serverAuth, a key usage has
//!    digitalSignature (RFC 5280, section 4.2.1; RFC 8446, section 4.4.2.2);
//! 7. its subject alternative names cover what was dialled; the common name never counts;
//! 8. its subject is the node that the inventory names for the address.

use super::chain::chain;
use super::expected::{Expected, server_name};
use super::failure::{Cause, Failure};
use super::trust::{Pinning, Trust};
use crate::certificate::{CertificateFacts, Weakness};
use crate::pem::Role;
use crate::pins::SpkiHash;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

/// Judges what the peer of a stream presented.
pub(super) fn check(
    trust: &Trust,
    expected: &Expected,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<CertificateFacts, Box<Failure>> {
    let failed = |cause, facts| Box::new(Failure::new(trust, expected, cause, facts));
    let facts =
        CertificateFacts::read(leaf).map_err(|problem| failed(Cause::Malformed(problem), None))?;
    match judge(trust, expected, leaf, intermediates, now, &facts) {
        Ok(()) => Ok(facts),
        Err(cause) => Err(failed(cause, Some(facts))),
    }
}

fn judge(
    trust: &Trust,
    expected: &Expected,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    facts: &CertificateFacts,
) -> Result<(), Cause> {
    validity(facts, now)?;
    // Its key proves who it is, pinned or not.
    if let Some(weakness) = &facts.weak_key {
        return Err(Cause::Weak(weakness.clone()));
    }
    match trust.pinning(expected.node.as_deref()) {
        Pinning::None => {}
        Pinning::Enough(pins) => return pinned(pins, facts),
        Pinning::Besides(pins) => pinned(pins, facts)?,
    }
    let certificate = EndEntityCert::try_from(leaf).map_err(Cause::Unusable)?;
    let anchors = trust.anchors();
    chain(
        anchors,
        &certificate,
        intermediates,
        now,
        Role::Server,
        facts,
    )
    .map_err(|cause| weakness(facts, intermediates).map_or(cause, Cause::Weak))?;
    if !facts.usage.sign {
        return Err(Cause::WrongKeyUsage);
    }
    names(expected, &certificate)?;
    if trust.is_kubelets() {
        node(expected, facts)
    } else {
        Ok(())
    }
}

/// What is weak in a chain that leads nowhere; the library that builds chains says less.
fn weakness(facts: &CertificateFacts, intermediates: &[CertificateDer<'_>]) -> Option<Weakness> {
    let of = |facts: &CertificateFacts| facts.weakness().cloned();
    of(facts).or_else(|| {
        let others = intermediates
            .iter()
            .filter_map(|der| CertificateFacts::read(der).ok());
        others.filter_map(|facts| of(&facts)).next()
    })
}

fn validity(facts: &CertificateFacts, now: UnixTime) -> Result<(), Cause> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < facts.not_before.unix_timestamp() {
        Err(Cause::NotYetValid)
    } else if now > facts.not_after.unix_timestamp() {
        Err(Cause::Expired)
    } else {
        Ok(())
    }
}

fn pinned(pins: &[SpkiHash], facts: &CertificateFacts) -> Result<(), Cause> {
    let presented = SpkiHash::of(&facts.spki);
    if pins.contains(&presented) {
        Ok(())
    } else {
        Err(Cause::PinMismatch { presented })
    }
}

fn names(expected: &Expected, certificate: &EndEntityCert<'_>) -> Result<(), Cause> {
    let covered = expected.accepted().iter().any(|host| {
        server_name(host)
            .is_some_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    });
    if covered {
        Ok(())
    } else {
        Err(Cause::WrongName)
    }
}

fn node(expected: &Expected, facts: &CertificateFacts) -> Result<(), Cause> {
    match &expected.node {
        Some(node) if facts.subject.is_node(node) => Ok(()),
        Some(_) => Err(Cause::WrongNode),
        None if expected.require_node => Err(Cause::NoNode),
        None => Ok(()),
    }
}
