//! What all workers know together of those who come over TCP: whose turn it is to shake hands, who
//! authenticated lately, and what the log has said of the others.
//!
//! It is shared, so that a source is known on whichever worker its next connection arrives. The lock is
//! held for a few look-ups; a worker takes it for each ClientHello, never for a byte of a stream.

pub(crate) use crate::accept::strangers::{Asked, Limit, Turn};
use crate::accept::strangers::{Pace, Source, Turns, Unsaid};
use crate::agents::Door;
use crate::limits::STRANGERS_SHARE;
use crate::seam::{AdmissionLimits, Reason};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Shared by all workers.
pub(crate) struct Gate {
    state: Mutex<State>,
    /// A source became known: what waits from there may go on.
    pub(crate) news: Notify,
}

struct State {
    turns: Turns,
    said: HashMap<Notice, Pace>,
}

/// Kinds of lines, each said once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    /// A connection ended before anybody had authenticated on it.
    Unauthenticated(Reason),
    /// A connection was closed at a limit without an answer.
    Closed,
    /// A user id that may not use the listener was refused.
    Uid,
    /// accept(2) failed.
    Accept,
    /// A connection of an agent was closed.
    Tunnel(Reason),
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                turns: Turns::new(Instant::now()),
                said: HashMap::new(),
            }),
            news: Notify::new(),
        }
    }

    /// Whether somebody from there authenticated lately.
    pub(crate) fn knows(&self, source: Source) -> bool {
        self.lock().turns.knows(source, Instant::now())
    }

    /// Somebody from there authenticated.
    pub(crate) fn authenticated(&self, source: Source, limits: &AdmissionLimits) {
        let now = Instant::now();
        if self.lock().turns.authenticated(source, limits, now) {
            self.news.notify_waiters();
        }
    }

    /// When the handshake of a connection whose ClientHello is there may begin.
    pub(crate) fn turn(&self, source: Source, asked: Asked, limits: &AdmissionLimits) -> Turn {
        let now = Instant::now();
        self.lock().turns.turn(source, asked, limits, now)
    }

    /// Whether to say a line of this kind now.
    pub(crate) fn says(&self, notice: Notice) -> Option<Unsaid> {
        let now = Instant::now();
        self.lock().said.entry(notice).or_default().say(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door for Gate {
    fn is_crowded(&self) -> bool {
        self.lock().turns.is_crowded(Instant::now())
    }
}

impl Limit {
    /// What happened, and what to do.
    pub(crate) fn words(self, source: Source, limits: &AdmissionLimits) -> String {
        match self {
            Self::Source => format!(
                "more than {} TLS handshakes in a second from {source}, where nobody has authenticated \
                 lately; raise limits.maxHandshakesPerSecondPerAddress if this load is wanted",
                limits.max_handshakes_per_second_per_address
            ),
            Self::Strangers => format!(
                "more than {} TLS handshakes in a second from addresses where nobody has authenticated \
                 lately; they have a part of limits.maxHandshakesPerSecond: raise it if this load is wanted",
                limits.max_handshakes_per_second.div_ceil(STRANGERS_SHARE)
            ),
            Self::All => format!(
                "more than {} TLS handshakes in a second; raise limits.maxHandshakesPerSecond if this \
                 load is wanted",
                limits.max_handshakes_per_second
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Duration;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        max_streams: 1,
        max_streams_per_peer: 1,
        max_pending: 1,
        max_unauthenticated: 1,
        max_handshakes_per_second: 40,
        max_handshakes_per_second_per_address: 4,
        handshake_timeout: Duration::from_secs(1),
        head_timeout: Duration::from_secs(1),
        admit_timeout: Duration::from_secs(1),
    };

    fn source(n: u32) -> Source {
        Source::from(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn each_limit_names_its_field() {
        for (limit, field) in [
            (Limit::Source, "limits.maxHandshakesPerSecondPerAddress"),
            (Limit::Strangers, "10 TLS handshakes"),
            (Limit::All, "limits.maxHandshakesPerSecond if"),
        ] {
            let words = limit.words(source(1), &LIMITS);
            assert!(words.contains(field), "{words}");
        }
    }
}
