//! Judges the client of a resumed session by its certificate, which a full handshake would have shown.
//!
//! rustls restores the client's chain from the ticket and verifies nothing: what was good when the
//! ticket was given may have ended since.

use super::TlsError;
use super::handshake::Handshake;
use rustls::server::danger::ClientCertVerifier;
use rustls::{AlertDescription, Error, HandshakeKind, ServerConfig};
use std::sync::Arc;

/// Who judges the clients of resumed sessions, and by whose clock.
pub(super) struct Judge {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Judge {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Self {
        Self { config, clients }
    }

    /// Judges the client of a handshake that is over; a full one has done so itself.
    pub(super) fn judge(&self, handshake: &Handshake) -> Result<(), TlsError> {
        if handshake.common().handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let Some(clients) = &self.clients else {
            return Err(TlsError::ResumedUnjudged);
        };
        match handshake.peer_certificates() {
            Some([leaf, intermediates @ ..]) if clients.offer_client_auth() => {
                let now = self.config.time_provider.current_time();
                let now = now.ok_or(Error::FailedToGetCurrentTime)?;
                clients.verify_client_cert(leaf, intermediates, now)?;
                Ok(())
            }
            // Whom nobody asks shows none; a ticket that has one is of another server.
            Some([_, ..]) => Err(TlsError::ResumedUnjudged),
            Some([]) | None if clients.client_auth_mandatory() => {
                Err(Error::NoCertificatesPresented.into())
            }
            Some([]) | None => Ok(()),
        }
    }
}

/// The alert that a full handshake would have sent for the same error.
pub(super) fn alert(error: &TlsError) -> AlertDescription {
    match error {
        TlsError::Rustls(Error::InvalidCertificate(why)) => why.clone().into(),
        TlsError::Rustls(Error::NoCertificatesPresented) => AlertDescription::CertificateRequired,
        TlsError::ResumedUnjudged => AlertDescription::AccessDenied,
        _ => AlertDescription::InternalError,
    }
}

#[cfg(test)]
mod tests;
