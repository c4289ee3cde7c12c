//! Verifies the clients of our own TLS servers: a required certificate of a CA, and of a name.

use super::trust::TrustError;
use crate::certificate::CertificateFacts;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
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
    let provider = Arc::new(default_provider());
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
