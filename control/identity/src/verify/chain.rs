//! Builds the path from a certificate to a trust anchor, and names what is wrong with it.

use super::failure::Cause;
use super::signatures::algorithms;
use crate::certificate::{CertificateFacts, Subject};
use crate::pem::Role;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::SystemTime;
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    anchor_from_trusted_cert,
};

/// Judges chain and extended key usage of a certificate whose own validity was checked before.
///
/// # Errors
/// It does not lead there.
pub fn chain(
    anchors: &[TrustAnchor<'_>],
    certificate: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    role: Role,
    facts: &CertificateFacts,
) -> Result<(), Cause> {
    let usage = match role {
        Role::Server => KeyUsage::server_auth(),
        Role::Client => KeyUsage::client_auth(),
    };
    match path(anchors, certificate, intermediates, now, &usage) {
        Ok(()) => Ok(()),
        // webpki looks at usages first; a stranger's certificate is a stranger's all the same.
        Err(Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension) => {
            match path(anchors, certificate, intermediates, now, &AnyUsage) {
                Ok(()) => Err(Cause::WrongKeyUsage),
                Err(error) => Err(chain_cause(error, facts)),
            }
        }
        Err(error) => Err(chain_cause(error, facts)),
    }
}

/// Judges a chain, whose leaf is first, against CAs at the time of a clock; nothing leads nowhere.
///
/// # Errors
/// It does not lead there.
pub(crate) fn leads(
    presented: &[CertificateDer<'_>],
    authorities: &[&CertificateDer<'_>],
    now: SystemTime,
    role: Role,
    facts: &CertificateFacts,
) -> Result<(), Cause> {
    let Some((leaf, intermediates)) = presented.split_first() else {
        return Err(Cause::UnknownIssuer);
    };
    let leaf = EndEntityCert::try_from(leaf).map_err(Cause::Unusable)?;
    let anchors = authorities
        .iter()
        .filter_map(|der| anchor_from_trusted_cert(der).ok());
    let anchors: Vec<TrustAnchor<'_>> = anchors.collect();
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
    chain(&anchors, &leaf, intermediates, now, role, facts)
}

fn path(
    anchors: &[TrustAnchor<'_>],
    certificate: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: &impl ExtendedKeyUsageValidator,
) -> Result<(), Error> {
    certificate
        .verify_for_usage(
            algorithms().all,
            anchors,
            intermediates,
            now,
            usage,
            None, // Kubernetes has no revocation.
            None,
        )
        .map(drop)
}

/// Accepts every usage, to tell a wrong usage from a wrong issuer.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

fn chain_cause(error: Error, facts: &CertificateFacts) -> Cause {
    match error {
        Error::UnknownIssuer | Error::CaUsedAsEndEntity if is_self_signed(facts) => {
            Cause::SelfSigned
        }
        Error::UnknownIssuer => Cause::UnknownIssuer,
        Error::CaUsedAsEndEntity => Cause::AuthorityAsServer,
        // The leaf's own validity was checked before.
        Error::CertExpired { .. } => Cause::IssuerExpired,
        Error::CertNotValidYet { .. } => Cause::IssuerNotYetValid,
        // The issuer's name is in the bundle, with another key.
        Error::InvalidSignatureForPublicKey => Cause::IssuerSignature,
        Error::NameConstraintViolation => Cause::NameConstraint,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Cause::WeakSignature,
        other => Cause::Unusable(other),
    }
}

/// Signed by its own key, or by the CA that a kubelet makes up at its first start and forgets:
/// `NAME-ca@TIME` signs `NAME@TIME` (client-go `util/cert`, `GenerateSelfSignedCertKey`).
fn is_self_signed(facts: &CertificateFacts) -> bool {
    facts.self_issued || {
        let stem = |subject: &Subject, suffix: &str| {
            let (name, time) = subject.common_name.as_deref()?.rsplit_once('@')?;
            let digits = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
            name.strip_suffix(suffix)
                .filter(|_| digits)
                .map(str::to_owned)
        };
        let leaf = stem(&facts.subject, "");
        leaf.is_some() && leaf == stem(&facts.issuer, "-ca")
    }
}
