//! Verifies the clients of our own TLS servers: a required certificate of a CA, and of a name.

use super::signatures::signatures;
use super::trust::TrustError;
use crate::certificate::CertificateFacts;
use eyesplice_proto::tls::provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, RootCertStore};
use std::sync::Arc;

/// Requires a client certificate of one of `roots`, with one of `allowed_names` as its common name;
/// no names: anybody whom the roots vouch for.
///
/// # Errors
/// There are no roots.
pub fn client_verifier(
    roots: Arc<RootCertStore>,
    allowed_names: &[String],
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let provider = provider::shared();
    let inner = WebPkiClientVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(TrustError::ClientRoots)?;
    if allowed_names.is_empty() {
        return Ok(inner);
    }
    Ok(Arc::new(Clients {
        inner,
        rule: Rule::Named(allowed_names.into()),
    }))
}

/// Asks for a client certificate and checks that the client has its key; whether the chain is good
/// is for `inner`, after the handshake.
pub fn judged_later(inner: Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier> {
    Arc::new(Clients {
        inner,
        rule: Rule::Later,
    })
}

/// As [`judged_later`], where no chain will be good: a client that has a certificate can be told
/// so.
pub fn taken_by_nobody() -> Arc<dyn ClientCertVerifier> {
    Arc::new(Nobody)
}

/// Asks for a certificate of any issuer.
#[derive(Debug)]
struct Nobody;

impl ClientCertVerifier for Nobody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures!(|_own, certificate, found| found);
}

/// What is asked of a client's certificate beside what `inner` asks.
#[derive(Debug)]
struct Clients {
    inner: Arc<dyn ClientCertVerifier>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// That its common name is one of these.
    Named(Arc<[String]>),
    /// Nothing yet, and not even that there is one.
    Later,
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        matches!(self.rule, Rule::Later) || self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        !matches!(self.rule, Rule::Later) && self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Rule::Named(allowed) = &self.rule else {
            return Ok(ClientCertVerified::assertion());
        };
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        let facts = CertificateFacts::read(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match facts.subject.common_name {
            Some(name) if allowed.contains(&name) => Ok(verified),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    signatures!(|_own, certificate, found| found);
}
