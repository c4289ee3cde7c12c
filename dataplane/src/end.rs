//! How a stream ended: reason, side and phase, with the words for the log and for who waits for an answer.

use crate::seam::{Phase, Reason, Side};
use eyesplice_proto::causes::chain;
use eyesplice_proto::tls::TlsError;
pub(crate) use eyesplice_sys::errno::exhausted;
use eyesplice_sys::errno::peer_lost;
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
                if let Some(hint) = error.hint() {
                    words.push_str("; ");
                    words.push_str(&hint);
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
    use eyesplice_proto::tls::{Group, Groups};
    use rustls::{AlertDescription, Error, PeerIncompatible};

    fn words(error: TlsError) -> Arc<str> {
        let failure = LegError::Tls(error).at(Side::Upstream, Phase::UpstreamHandshake);
        failure.detail.unwrap()
    }

    #[test]
    fn handshake_without_anything_in_common_says_what_each_side_has() {
        let groups = Groups::only(&[Group::X25519, Group::P256]).unwrap();
        let apart = |source, offered: Option<&str>| TlsError::Apart {
            source,
            groups,
            offered: offered.map(Into::into),
        };
        let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
        let refused = words(apart(alert, None));
        assert!(refused.contains("groups X25519, CurveP256"), "{refused}");
        let none = Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon);
        let refused = words(apart(none, Some("X25519MLKEM768")));
        let expected =
            "it offers the key exchange groups X25519MLKEM768; allowed here are X25519, CurveP256";
        assert!(refused.contains(expected), "{refused}");
        let other = words(Error::AlertReceived(AlertDescription::UnknownCA).into());
        assert!(!other.contains("groups"), "{other}");
        let without = words(Error::AlertReceived(AlertDescription::InternalError).into());
        assert!(
            without.ends_with("approve its CSR (kubectl get csr)"),
            "{without}"
        );
    }
}
