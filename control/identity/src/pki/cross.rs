//! Lets one CA certify another one's name and key, so that who trusts the one believes the other.
//!
//! While a CA is replaced, some have only the old one in memory and others only the new one. What the
//! new one signs goes out with *new with old* behind it: a certificate of the new CA's name and key,
//! signed by the old CA (RFC 4210, section 4.4). So both kinds verify the same chain, and nobody has
//! to be restarted to learn of the new CA. After a step back the roles are changed.

use super::authority::Authority;
use super::error::PkiError;
use super::issue;
use crate::certificate::CertificateFacts;
use crate::pem::{self, FileRef};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How many such certificates are sent behind a leaf: of the last rotations, one each. Verifiers
/// bound their search, and every handshake carries them.
const MAX_SENT: usize = 3;

/// Certifies `whom` by the CA `by` for as long as both are valid; nothing if `by` has expired, for
/// then nobody trusts it any more.
pub(super) fn certify(
    name: &str,
    whom: &Authority,
    by: &Authority,
    now: OffsetDateTime,
) -> Result<Option<CertificateDer<'static>>, PkiError> {
    if now >= by.facts().not_after {
        return Ok(None);
    }
    let failed = |source| PkiError::Issue(name.to_owned(), source);
    let request = issue::from_authority(whom.certificate()).map_err(failed)?;
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let lifetime = whom.facts().not_after - now;
    let chain = issue::sign(name, request, whom.key(), Some(by), lifetime, now)?;
    Ok(chain.into_iter().next())
}

/// The certificates of the CA `own` by CAs before it that its chain file holds, unless they have
/// expired; `above` is what leads to its root. None if there is no such file.
pub(super) fn kept(
    file: &FileRef,
    own: &CertificateDer<'_>,
    above: &[CertificateDer<'static>],
    now: OffsetDateTime,
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    if !file.path.exists() {
        return Ok(Vec::new());
    }
    let chain = pem::certificates(file)?;
    // The file of another CA: somebody put back one of the two.
    if chain.first() != Some(own) {
        return Ok(Vec::new());
    }
    let is_kept = |der: &CertificateDer<'static>| {
        let facts = CertificateFacts::read(der);
        !above.contains(der) && facts.is_ok_and(|facts| now < facts.not_after)
    };
    Ok(chain.into_iter().skip(1).filter(is_kept).collect())
}

/// What is sent when `cross` comes before those that are `kept`, among which nothing may be of the
/// CA `new` that this rotation brought.
pub(super) fn renewed(
    cross: Option<CertificateDer<'static>>,
    kept: Vec<CertificateDer<'static>>,
    new: &Authority,
) -> Vec<CertificateDer<'static>> {
    let before = kept.into_iter().filter(|der| !concerns(der, new));
    cross.into_iter().chain(before).take(MAX_SENT).collect()
}

/// Says whether a certificate is of a CA's key, or signed by it.
fn concerns(der: &CertificateDer<'_>, authority: &Authority) -> bool {
    let own = X509Certificate::from_der(authority.certificate());
    let (Ok((_, certificate)), Ok((_, own))) = (X509Certificate::from_der(der), own) else {
        return false;
    };
    let key = own.public_key();
    certificate.public_key().raw == key.raw || certificate.verify_signature(Some(key)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::PrivateKey;
    use crate::pki::testing::{Made, NOW, authority};
    use time::Duration;

    fn of(made: &Made) -> Authority {
        let key = PrivateKey::from(made.private_key());
        Authority::new(vec![made.der()], &key).unwrap()
    }

    #[test]
    fn certify_lasts_as_long_as_both_and_an_expired_ca_certifies_nobody() {
        let hour = Duration::hours(1);
        let short = of(&authority("ca").valid(-hour, hour).self_signed());
        let long = of(&authority("ca").valid(-hour, hour * 9).self_signed());
        for (whom, by) in [(&short, &long), (&long, &short)] {
            let made = certify("ca", whom, by, NOW).unwrap().unwrap();
            let facts = CertificateFacts::read(&made).unwrap();
            assert_eq!(facts.not_after, NOW + hour);
        }
        let late = NOW + hour;
        assert!(certify("ca", &long, &short, late).unwrap().is_none());
    }
}
