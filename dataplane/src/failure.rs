//! Why a stream could not go on: reason, side and phase, with the words for the log.

use crate::seam::{Phase, Reason, Side};
use std::io;
use std::sync::Arc;

/// The end of a stream that was not clean.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) side: Side,
    pub(crate) phase: Phase,
    pub(crate) detail: Option<Arc<str>>,
    /// What a CONNECT that waits for its answer is told; 0 where nothing can be told.
    pub(crate) status: u16,
    /// A write met a socket that its peer had closed or shut, which a clean end may have preceded.
    pub(crate) closed: bool,
}

impl Failure {
    pub(crate) fn new(reason: Reason, side: Side, phase: Phase) -> Self {
        Self {
            reason,
            side,
            phase,
            detail: None,
            status: 0,
            closed: false,
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<Arc<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

/// What went wrong on one leg; the caller knows the phase.
#[derive(Debug)]
pub(crate) enum LegError {
    /// The connection is gone: reset, broken pipe, timed out by the kernel.
    Gone(io::Error),
    /// TLS failed.
    Tls(eyesplice_proto::tls::TlsError),
    /// It ended without close_notify, or inside of a record.
    Truncated,
    /// A deadline passed.
    TimedOut,
}

impl LegError {
    /// Whether a write met a socket that its peer had closed or shut.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Gone(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn at(self, side: Side, phase: Phase) -> Failure {
        match self {
            Self::Gone(error) if exhausted(&error) => {
                Failure::new(Reason::Exhausted, Side::Local, phase).detail(error.to_string())
            }
            Self::Gone(error) if lost(&error) => Failure::new(Reason::PeerLost, side, phase)
                .detail(format!(
                    "{error}: it did not answer for timeouts.tcpUserTimeout"
                )),
            Self::Gone(error) => {
                let mut failure =
                    Failure::new(Reason::Reset, side, phase).detail(error.to_string());
                failure.closed = error.kind() == io::ErrorKind::BrokenPipe;
                failure
            }
            Self::Tls(error) => {
                let mut words = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    words.push_str(": ");
                    words.push_str(&cause.to_string());
                    source = cause.source();
                }
                let reason = if error.is_certificate() {
                    Reason::Unverified
                } else {
                    Reason::Protocol
                };
                Failure::new(reason, side, phase).detail(words)
            }
            Self::Truncated => Failure::new(Reason::Truncated, side, phase),
            Self::TimedOut => Failure::new(Reason::Timeout, side, phase),
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

impl From<eyesplice_proto::tls::TlsError> for LegError {
    fn from(error: eyesplice_proto::tls::TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Whether the kernel gave up on the peer: no answer to keepalive, or no way to it.
fn lost(error: &io::Error) -> bool {
    // ETIMEDOUT, EHOSTUNREACH, ENETUNREACH on Linux.
    matches!(error.raw_os_error(), Some(110 | 113 | 101))
}

/// Whether the machine, not the peer, is at the end of its means.
pub(crate) fn exhausted(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM on Linux.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}
