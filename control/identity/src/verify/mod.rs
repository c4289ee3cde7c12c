//! Verified TLS towards kubelets, pods and services: one verifier per stream.
//!
//! [`Trust`] is what a configuration generation trusts; [`upstream_tls`] binds it to one stream's
//! target. What is checked, and in which order it is told, stands in `check`.

mod any_server;
pub mod chain;
mod check;
mod client;
mod expected;
mod failure;
mod signatures;
mod trust;
mod verifier;

pub use any_server::AnyServer;
pub use client::{client_verifier, judged_later, taken_by_nobody};
pub use expected::Expected;
pub use failure::{Cause, Failure, MAX_MESSAGE};
pub use trust::{KubeletTrust, Mode, TargetTrust, Trust, TrustError};

use expected::server_name;
use eyesplice_dataplane::seam::{UpstreamTls, VerificationSlot};
use eyesplice_proto::target::Host;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use verifier::StreamVerifier;

/// One stream's TLS towards its target.
#[derive(Clone, Debug)]
pub struct UpstreamSpec {
    /// Whom to trust.
    pub trust: Arc<Trust>,
    /// What to find there.
    pub expected: Expected,
    /// What we present if asked.
    pub client: Option<Arc<CertifiedKey>>,
}

/// Why no TLS can be spoken to a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Its name cannot stand in a certificate.
    #[error("cannot verify {0}: no certificate can hold that name; use its IP or another name")]
    Name(Host),
}

/// Builds the TLS client of one stream.
///
/// The configuration is a clone of the generation's (a few reference counts) with a verifier of
/// its own. ALPN offers `http/1.1` only, and no session is resumed: a resumed session skips the
/// certificate, so that a kubelet could live on under a trust that was withdrawn.
///
/// # Errors
/// The name is unusable.
pub fn upstream_tls(spec: UpstreamSpec) -> Result<UpstreamTls, UpstreamError> {
    let UpstreamSpec {
        trust,
        mut expected,
        client,
    } = spec;
    if expected.node.is_none() {
        expected.node = trust.node_of(&expected.host).cloned();
    }
    let name = expected.server_name.as_ref().unwrap_or(&expected.host);
    let server_name = server_name(name).ok_or_else(|| UpstreamError::Name(name.clone()))?;
    let verification = VerificationSlot::default();
    let mut config = trust.base().clone();
    if let Some(client) = client {
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(client));
    }
    let verifier = StreamVerifier::new(trust, expected, Arc::clone(&verification));
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(verifier));
    Ok(UpstreamTls {
        config: Arc::new(config),
        server_name,
        verification,
    })
}

/// For benches: judges a chain, whose leaf is first.
///
/// # Errors
/// It is not what was expected.
#[cfg(feature = "bench")]
pub fn rehearse(
    trust: &Trust,
    expected: &Expected,
    chain: &[rustls::pki_types::CertificateDer<'_>],
    now: rustls::pki_types::UnixTime,
) -> Result<(), Box<Failure>> {
    let (leaf, intermediates) = chain.split_first().unwrap_or((&EMPTY, &[]));
    check::check(trust, expected, leaf, intermediates, now).map(drop)
}

/// Stands for a chain without certificates, which no TLS peer can present.
#[cfg(feature = "bench")]
static EMPTY: rustls::pki_types::CertificateDer<'static> =
    rustls::pki_types::CertificateDer::from_slice(&[]);

#[cfg(test)]
mod tests;
