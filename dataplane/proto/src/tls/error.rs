//! Why a TLS session ends.

use super::record::PENDING_MAX;
use super::turn::OUTGOING_MAX;
use rustls::AlertDescription;

/// Why a TLS session ended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The peer broke the protocol, its certificate was refused, or it sent an alert.
    #[error("TLS failed")]
    Rustls(#[from] rustls::Error),
    /// The peer offered early data although none was allowed.
    #[error("peer sent TLS early data, which is never accepted")]
    EarlyData,
    /// The peer split a record or handshake message so that it needs more room than is given.
    #[error("peer's unfinished TLS message exceeds {PENDING_MAX} bytes")]
    PendingOverflow,
    /// Kernel TLS met a control record that it cannot follow, a key update most likely.
    #[error("peer sent a key update or another control record that kernel TLS cannot follow")]
    ControlRecord,
    /// More handshake data waits than a flight can have.
    #[error("TLS handshake output exceeds {OUTGOING_MAX} bytes")]
    OutgoingOverflow,
    /// Data was to be sealed before the handshake was done or after close_notify.
    #[error("TLS session cannot send application data in its state")]
    NotWritable,
    /// The output buffer was smaller than [`sealed_bound`](super::sealed_bound).
    #[error("TLS output buffer is too small: {required} bytes are needed")]
    OutputTooSmall {
        /// What would have been enough.
        required: usize,
    },
    /// The cipher's limit for one key was reached and the key could not be updated.
    #[error("TLS key is used up and cannot be updated")]
    KeyExhausted,
}

impl TlsError {
    /// The alert that the peer sent, if that is what ended the session.
    pub fn peer_alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Rustls(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        }
    }

    /// Whether the session ended because the peer's certificate was refused by us.
    pub fn is_certificate(&self) -> bool {
        matches!(
            self,
            Self::Rustls(
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
            )
        )
    }
}
