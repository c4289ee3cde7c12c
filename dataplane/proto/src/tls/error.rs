//! Why a TLS session ends.

use super::group::{Group, Groups};
use super::handshake::OUTGOING_MAX;
use super::messages::MessageFault;
use super::record::PENDING_MAX;
use rustls::AlertDescription;

/// Why a TLS session ended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The peer broke the protocol, its certificate was refused, or it sent an alert.
    #[error("TLS failed")]
    Rustls(#[from] rustls::Error),
    /// The two ends have no version, cipher, signature or key exchange group in common, or a peer
    /// says that it found none.
    #[error("TLS failed")]
    Apart {
        /// What rustls says.
        source: rustls::Error,
        /// The key exchange groups that are allowed on this side.
        groups: Groups,
        /// Those that a client offers; unknown of a server, which says nothing of its own.
        offered: Option<Box<str>>,
    },
    /// The peer broke the record protocol after the handshake.
    #[error("TLS failed")]
    Record(#[from] RecordFault),
    /// The peer offered early data although none was allowed.
    #[error("peer sent TLS early data, which is never accepted")]
    EarlyData,
    /// A session was resumed, and nothing that could verify its client again was given along.
    #[error(
        "peer resumed a TLS session of another server: its certificate cannot be verified again"
    )]
    ResumedUnjudged,
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
    /// Another AEAD was negotiated than the configuration can have offered.
    #[error("TLS negotiated a cipher that records cannot be protected with")]
    UnknownCipher,
}

/// What was wrong with a record after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// It was not made with the session's key, or was changed on its way.
    #[error("peer's record cannot be decrypted: it was altered or forged on its way")]
    Authentication,
    /// It is longer than a record may be.
    #[error("peer's record is longer than TLS allows")]
    Oversized,
    /// Its type, or the handshake message in it, may not come now. TLS 1.2's renegotiation is one.
    #[error("peer sent a TLS record or message that may not follow the handshake")]
    Unexpected,
    /// A handshake message or an alert of a length that it cannot have.
    #[error("peer sent a malformed TLS message or alert")]
    Malformed,
    /// A handshake message or an alert with a value that TLS does not know.
    #[error("peer sent a TLS message or alert with a value that TLS does not know")]
    IllegalValue,
    /// More of them came without data between than any honest peer sends.
    #[error("peer sent too many TLS records without data")]
    TooManyControls,
}

impl RecordFault {
    /// The alert that tells the peer (RFC 8446 section 6.2).
    pub(super) fn alert(self) -> AlertDescription {
        match self {
            Self::Authentication => AlertDescription::BadRecordMac,
            Self::Oversized => AlertDescription::RecordOverflow,
            Self::Unexpected | Self::TooManyControls => AlertDescription::UnexpectedMessage,
            Self::Malformed => AlertDescription::DecodeError,
            Self::IllegalValue => AlertDescription::IllegalParameter,
        }
    }
}

impl From<MessageFault> for RecordFault {
    fn from(fault: MessageFault) -> Self {
        match fault {
            MessageFault::Unexpected => Self::Unexpected,
            MessageFault::Malformed => Self::Malformed,
            MessageFault::IllegalValue => Self::IllegalValue,
        }
    }
}

impl TlsError {
    /// The alert that tells the peer why an established session ends; `None` if the peer ended it.
    pub fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Record(fault) => Some(fault.alert()),
            Self::Rustls(rustls::Error::AlertReceived(_)) | Self::Apart { .. } => None,
            // Nothing else is the peer's doing.
            _ => Some(AlertDescription::InternalError),
        }
    }

    /// The alert that the peer sent, if that is what ended the session.
    pub fn peer_alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Rustls(rustls::Error::AlertReceived(alert))
            | Self::Apart {
                source: rustls::Error::AlertReceived(alert),
                ..
            } => Some(*alert),
            _ => None,
        }
    }

    /// What is likely behind a handshake that failed; `None` where the error says it.
    pub fn hint(&self) -> Option<String> {
        let (groups, offered) = match self {
            Self::Apart {
                groups, offered, ..
            } => (groups, offered),
            // Kubernetes 1.20 `pkg/kubelet/kubelet.go`.
            Self::Rustls(rustls::Error::AlertReceived(AlertDescription::InternalError)) => {
                let words = "a kubelet answers so until it has a serving certificate: approve its \
                             CSR (kubectl get csr)";
                return Some(words.to_owned());
            }
            _ => return None,
        };
        let missing = match Group::X25519MlKem768.is_built() {
            true => "",
            false => "; this build has no X25519MLKEM768",
        };
        Some(match offered {
            Some(offered) => format!(
                "it offers the key exchange groups {offered}; allowed here are {groups}{missing}"
            ),
            None => format!(
                "it may allow only versions, ciphers or key exchange groups that the gateway does \
                 not offer (TLS 1.2 and 1.3 with AES-GCM or ChaCha20-Poly1305; groups {groups})\
                 {missing}"
            ),
        })
    }

    /// Whether the session ended because the peer's certificate was refused by us.
    pub fn is_certificate(&self) -> bool {
        matches!(
            self,
            Self::Rustls(
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
            ) | Self::ResumedUnjudged
        )
    }
}
