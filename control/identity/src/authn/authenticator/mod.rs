//! Tries each credential of a request in turn.

use super::certificate;
use super::error::{AuthnError, CredentialKind};
use super::sources::{Reviewed, Sources};
use crate::token::BearerToken;
use crate::token::serviceaccount::Discovery;
use crate::user::UserInfo;
use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::SystemTime;

/// Turns the credentials of requests into users.
#[derive(Debug)]
pub struct Authenticator {
    sources: ArcSwap<Sources>,
}

impl Authenticator {
    /// Begins with these sources.
    pub fn new(sources: Sources) -> Self {
        Self {
            sources: ArcSwap::from_pointee(sources),
        }
    }

    /// Puts other sources in force, for requests that come from now on.
    pub fn publish(&self, sources: Sources) {
        self.sources.store(Arc::new(sources));
    }

    /// Says who makes a request.
    ///
    /// `peer_chain` is the client's chain as rustls verified it for client authentication, `None`
    /// if it sent none; `authorization` is the value of the request's header of
    /// that name.
    ///
    /// # Errors
    /// There is no credential, none is accepted, or one could not be checked and no other is
    /// accepted.
    pub async fn authenticate(
        &self,
        peer_chain: Option<&[CertificateDer<'_>]>,
        authorization: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<UserInfo, AuthnError> {
        let certificate = peer_chain.map(|chain| certificate::certificate_user(chain, now));
        let refused = match certificate {
            Some(Ok(user)) => return Ok(user.authenticated()),
            Some(Err(reason)) => Some(AuthnError::Refused {
                credential: CredentialKind::ClientCertificate,
                reason: reason.into(),
            }),
            None => None,
        };
        let Some(header) = authorization else {
            return Err(refused.unwrap_or(AuthnError::Missing));
        };
        let token = BearerToken::from_header(header).map_err(AuthnError::bearer)?;
        let reviewed = self.review(&token, &[], now).await?;
        Ok(reviewed.user)
    }

    /// The discovery document and keys of the service-account tokens that are believed, if they are
    /// published.
    pub fn discovery(&self) -> Option<Arc<Discovery>> {
        self.sources.load().discovery()
    }

    /// Says whose a bearer token is, and for which of the audiences that are `wanted`; none: for
    /// our own.
    ///
    /// # Errors
    /// No source accepts it, or one that might could not be asked.
    pub async fn review(
        &self,
        token: &BearerToken,
        wanted: &[String],
        now: SystemTime,
    ) -> Result<Reviewed, AuthnError> {
        let sources = self.sources.load_full();
        sources.review(token, wanted, now).await
    }
}

#[cfg(test)]
mod tests;
