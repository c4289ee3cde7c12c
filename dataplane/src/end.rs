//! How a stream ended: reason, side and phase, with the words for the log and for who waits for an answer.

use crate::seam::{Phase, Reason, Side};
use eyesplice_proto::causes::chain;
use eyesplice_proto::tls::TlsError;
pub(crate) use eyesplice_sys::errno::exhausted;
use eyesplice_sys::errno::peer_lost;
use rustls::AlertDescription;
use std::io;
use std::sync::Arc;

/// How a stream ended, or what would not let it begin or go on.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    pub(crate) side: Side,
    pub(crate) phase: Phase,
    pub(crate) detail: Option<Arc<str>>,
    /// What a request that waits for its answer is told, where it can be.
    pub(crate) status: Option<u16>,
    /// A write met a socket that its peer had closed or shut, which a clean end may have preceded.
    pub(crate) closed: bool,
}

impl End {
    pub(crate) fn new(reason: Reason, side: Side, phase: Phase) -> Self {
        Self {
            reason,
            side,
            phase,
            detail: None,
            status: None,
            closed: false,
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<Arc<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

/// What went wrong on one leg; the caller knows the phase.
#[derive(Debug)]
pub(crate) enum LegError {
    /// The connection is gone: reset, broken pipe, timed out by the kernel.
    Gone(io::Error),
    /// TLS failed.
    Tls(TlsError),
    /// It ended without close_notify, or inside of a record.
    Truncated,
    /// A deadline passed.
    TimedOut,
}

impl LegError {
    pub(crate) fn at(self, side: Side, phase: Phase) -> End {
        match self {
            Self::Gone(error) if exhausted(&error) => {
                End::new(Reason::Exhausted, Side::Local, phase).detail(error.to_string())
            }
            Self::Gone(error) if peer_lost(&error) => End::new(Reason::PeerLost, side, phase)
                .detail(format!(
                    "{error}: it did not answer for timeouts.tcpUserTimeout"
                )),
            Self::Gone(error) => {
                let mut failure = End::new(Reason::Reset, side, phase).detail(error.to_string());
                failure.closed = error.kind() == io::ErrorKind::BrokenPipe;
                failure
            }
            Self::Tls(error) => {
                let mut words = chain(&error);
                if let Some(hint) = hint(&error) {
                    words.push_str(hint);
                }
                let reason = if error.is_certificate() {
                    Reason::Unverified
                } else {
                    Reason::Protocol
                };
                End::new(reason, side, phase).detail(words)
            }
            Self::Truncated => End::new(Reason::Truncated, side, phase),
            Self::TimedOut => End::new(Reason::Timeout, side, phase),
        }
    }
}

/// What is likely behind a handshake that the two ends cannot agree on.
fn hint(error: &TlsError) -> Option<&'static str> {
    use rustls::PeerIncompatible::{
        NoCipherSuitesInCommon, NoKxGroupsInCommon, NoSignatureSchemesInCommon,
        ServerDoesNotSupportTls12Or13, Tls12NotOffered,
    };
    let apart = match error {
        TlsError::Rustls(rustls::Error::PeerIncompatible(why)) => {
            matches!(
                why,
                NoCipherSuitesInCommon
                    | NoKxGroupsInCommon
                    | NoSignatureSchemesInCommon
                    | ServerDoesNotSupportTls12Or13
                    | Tls12NotOffered
            )
        }
        _ => matches!(
            error.peer_alert(),
            Some(
                AlertDescription::HandshakeFailure
                    | AlertDescription::InsufficientSecurity
                    | AlertDescription::ProtocolVersion
            )
        ),
    };
    apart.then_some(
        "; it may allow only versions, ciphers or key exchange groups that the gateway does not have \
         (TLS 1.2 and 1.3 with AES-GCM or ChaCha20-Poly1305, X25519, P-256 and P-384; not \
         X25519MLKEM768)",
    )
}

impl From<io::Error> for LegError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
            Self::TimedOut
        } else {
            Self::Gone(error)
        }
    }
}

impl From<TlsError> for LegError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{Error, PeerIncompatible};

    #[test]
    fn handshake_without_anything_in_common_says_what_we_have() {
        let words = |error| {
            let failure = LegError::Tls(TlsError::Rustls(error));
            let failure = failure.at(Side::Upstream, Phase::UpstreamHandshake);
            failure.detail.unwrap()
        };
        for error in [
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
        ] {
            let words = words(error);
            assert!(words.contains("not X25519MLKEM768"), "{words}");
        }
        let words = words(Error::AlertReceived(AlertDescription::UnknownCA));
        assert!(!words.contains("MLKEM"), "{words}");
    }
}
