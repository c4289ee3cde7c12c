//! Finds a request's user by the certificate of its connection, each time again: it may end while
//! the connection lives.

use super::names;
use crate::config::UserHeaders;
use eyesplice_identity::authn::{CertificateRefusal, certificate_user};
use eyesplice_identity::certificate::{self, CertificateFacts};
use eyesplice_identity::recent::Recent;
use eyesplice_identity::user::UserInfo;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Users that are remembered by certificate: a signature is verified once for each, not for each
/// request. At some 2 KiB each, 2 MiB.
const REMEMBERED: usize = 1024;

/// SHA-256 of a leaf.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// Validates users' certificates by one listener's CAs.
#[derive(Debug)]
pub(super) struct Users {
    verifier: Arc<dyn ClientCertVerifier>,
    known: Recent<Digest, Arc<CertificateUser>>,
}

/// A user whose chain was validated.
#[derive(Debug)]
pub(super) struct CertificateUser {
    /// For audit.
    pub(super) name: Arc<str>,
    /// All that is known of it.
    pub(super) info: Arc<UserInfo>,
    /// What tells an API server who it is.
    pub(super) lines: Vec<names::Line>,
    from: SystemTime,
    /// The first end of a certificate of the chain.
    pub(super) until: SystemTime,
}

/// Why a certificate names no user.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoUser {
    /// Its chain does not lead to the CAs.
    #[error("client certificate of {0} is refused: {1}; check it, and the listener's clientCAFile")]
    Chain(Arc<str>, rustls::Error),
    /// It names nobody, or its time is not now.
    #[error("client certificate is refused: {0}")]
    Certificate(CertificateRefusal),
    /// A header cannot hold its names.
    #[error(
        "client certificate of {0} is refused: no header can hold its names as they are; issue it \
         without control characters and without spaces at an end of a name"
    )]
    Header(Arc<str>),
    /// Certificates are not taken.
    #[error(
        "client certificate of {0} is refused: this listener takes tokens alone; its clientCAFile \
         and front.frontProxyClientCertFile are absent"
    )]
    NotTaken(Arc<str>),
}

impl Users {
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self {
            verifier,
            known: Recent::new(REMEMBERED),
        }
    }

    /// Says whose a chain is; `None`: it names nobody, as if there were none.
    pub(super) fn find(
        &self,
        chain: &[CertificateDer<'_>],
        headers: &UserHeaders,
        now: SystemTime,
    ) -> Result<Option<Arc<CertificateUser>>, NoUser> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Ok(None);
        };
        let mut key = [0; SHA256_OUTPUT_LEN];
        key.copy_from_slice(digest(&SHA256, leaf).as_ref());
        let good = |user: &Arc<CertificateUser>| (user.from..=user.until).contains(&now);
        if let Some(user) = self.known.find(&key, good) {
            return Ok(Some(user));
        }
        let who = || certificate::identify(chain);
        let time = UnixTime::since_unix_epoch(since_epoch(now));
        let verified = self.verifier.verify_client_cert(leaf, intermediates, time);
        verified.map_err(|error| NoUser::Chain(who(), error))?;
        let user = match certificate_user(chain, now) {
            Ok(user) => user,
            // The API server goes on to a token then, and to nobody.
            Err(CertificateRefusal::NoCommonName(_)) => return Ok(None),
            Err(refusal) => return Err(NoUser::Certificate(refusal)),
        };
        let user = remembered(chain, user, headers, now).ok_or_else(|| NoUser::Header(who()))?;
        let user = Arc::new(user);
        self.known.insert(key, Arc::clone(&user));
        Ok(Some(user))
    }
}

fn remembered(
    chain: &[CertificateDer<'_>],
    user: UserInfo,
    headers: &UserHeaders,
    now: SystemTime,
) -> Option<CertificateUser> {
    let facts = chain.first().map(|leaf| CertificateFacts::read(leaf));
    Some(CertificateUser {
        name: user.username.as_str().into(),
        lines: names::lines(&user, headers).ok()?,
        info: Arc::new(user),
        // Of an unreadable one, this moment alone.
        from: facts.map_or(now, |facts| {
            facts.map_or(now, |facts| facts.not_before.into())
        }),
        until: certificate::valid_until(chain).unwrap_or(now),
    })
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_identity::pki::testing::{authority, client, now};
    use eyesplice_identity::verify::client_verifier;
    use time::Duration as Span;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn find_judges_the_time_of_a_remembered_certificate_each_time() {
        let ca = authority("users").self_signed();
        let users = Users::new(client_verifier(ca.roots(), &[]).unwrap());
        let headers = UserHeaders::default();
        let jane = client("jane").valid(-Span::DAY, Span::DAY).signed_by(&ca);
        let chain = [jane.der()];
        let found = |at| users.find(&chain, &headers, at);
        let first = found(now()).unwrap().unwrap();
        let second = found(now()).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &second), "verified once");
        for at in [now() + 2 * DAY, now() - 2 * DAY] {
            let error = found(at).unwrap_err();
            assert!(matches!(error, NoUser::Chain(..)), "{error}");
        }
        assert_eq!(&*found(now()).unwrap().unwrap().name, "jane");
    }

    #[test]
    fn find_takes_an_intermediate_from_the_chain_and_ends_with_it() {
        let root = authority("users").self_signed();
        let middle = authority("middle")
            .valid(-Span::DAY, Span::DAY)
            .signed_by(&root);
        let users = Users::new(client_verifier(root.roots(), &[]).unwrap());
        let headers = UserHeaders::default();
        let jane = client("jane").signed_by(&middle);
        let alone = users.find(&[jane.der()], &headers, now());
        assert!(matches!(alone, Err(NoUser::Chain(..))), "{alone:?}");
        let chain = [jane.der(), middle.der()];
        assert!(users.find(&chain, &headers, now()).unwrap().is_some());
        let later = users.find(&chain, &headers, now() + 2 * DAY);
        assert!(matches!(later, Err(NoUser::Chain(..))), "{later:?}");
    }
}
