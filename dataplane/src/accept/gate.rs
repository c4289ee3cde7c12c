//! What all workers know together of those who come over TCP: whose turn it is to shake hands, who
//! authenticated lately, and what the log has said of the others.
//!
//! It is shared, so that a source is known on whichever worker its next connection arrives. The lock is
//! held for a few look-ups; a worker takes it for each ClientHello, never for a byte of a stream.

use crate::accept::strangers::{Bucket, Budgets, Known, Pace, Rate, Source, Unsaid};
use crate::limits::{KNOWN, KNOWN_FOR, SOURCES, STRANGERS_SHARE, TURN_WAIT};
use crate::seam::{AdmissionLimits, Reason};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Shared by all workers.
pub(crate) struct Gate {
    state: Mutex<State>,
    /// A source became known: what waits from there may go on.
    pub(crate) news: Notify,
}

struct State {
    sources: Budgets,
    strangers: Bucket,
    all: Bucket,
    known: Known,
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
}

/// When a handshake may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It begins now.
    Now,
    /// Its turn comes then, without another question.
    In(Duration),
    /// Its source's turn comes then; ask again, with [`Asked::Waited`].
    Ask(Duration),
    /// Not at all, because of this limit.
    Never(Limit),
}

/// Whether a handshake has had its source's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    First,
    Waited,
}

/// A limit of handshakes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Of one source.
    Source,
    /// Of all sources that are not known.
    Strangers,
    /// Of all.
    All,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                sources: Budgets::new(SOURCES, Instant::now()),
                strangers: Bucket::default(),
                all: Bucket::default(),
                known: Known::new(KNOWN, KNOWN_FOR),
                said: HashMap::new(),
            }),
            news: Notify::new(),
        }
    }

    /// Whether somebody from there authenticated lately.
    pub(crate) fn knows(&self, source: Source) -> bool {
        self.lock().known.knows(source, Instant::now())
    }

    /// Somebody from there authenticated.
    pub(crate) fn authenticated(&self, source: Source) {
        if self.lock().known.note(source, Instant::now()) {
            self.news.notify_waiters();
        }
    }

    /// When the handshake of a connection whose ClientHello is there may begin.
    pub(crate) fn turn(&self, source: Source, asked: Asked, limits: &AdmissionLimits) -> Turn {
        let now = Instant::now();
        self.lock().turn(source, asked, limits, now)
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

impl State {
    fn turn(
        &mut self,
        source: Source,
        asked: Asked,
        limits: &AdmissionLimits,
        now: Instant,
    ) -> Turn {
        let all = Rate::per_second(limits.max_handshakes_per_second);
        let wait = self.all.wait(all, now);
        if self.known.knows(source, now) {
            if wait > TURN_WAIT {
                return Turn::Never(Limit::All);
            }
            self.all.take(all, now);
            return match wait {
                Duration::ZERO => Turn::Now,
                wait => Turn::In(wait),
            };
        }
        if asked == Asked::First {
            let rate = Rate::per_second(limits.max_handshakes_per_second_per_address);
            let bucket = self.sources.of(source, now);
            let wait = bucket.wait(rate, now);
            if wait > TURN_WAIT {
                return Turn::Never(Limit::Source);
            }
            bucket.take(rate, now);
            if !wait.is_zero() {
                return Turn::Ask(wait);
            }
        }
        let strangers = strangers_share(limits);
        if !self.strangers.wait(strangers, now).is_zero() {
            return Turn::Never(Limit::Strangers);
        }
        if !wait.is_zero() {
            return Turn::Never(Limit::All);
        }
        self.strangers.take(strangers, now);
        self.all.take(all, now);
        Turn::Now
    }
}

/// What sources that are not known may have together; the rest is for those that are.
fn strangers_share(limits: &AdmissionLimits) -> Rate {
    Rate::per_second(limits.max_handshakes_per_second.div_ceil(STRANGERS_SHARE))
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

    /// The turns of so many that come at once.
    fn turns(gate: &Gate, source: Source, count: usize, now: Instant) -> Vec<Turn> {
        let mut state = gate.lock();
        (0..count)
            .map(|_| state.turn(source, Asked::First, &LIMITS, now))
            .collect()
    }

    fn now_of(turns: &[Turn]) -> usize {
        turns.iter().filter(|turn| **turn == Turn::Now).count()
    }

    #[test]
    fn stranger_gets_its_budget_then_waits_and_then_is_refused() {
        let (gate, now) = (Gate::new(), Instant::now());
        let turns = turns(&gate, source(1), 20, now);
        assert_eq!(now_of(&turns), 4);
        let quarter = Duration::from_millis(250);
        assert_eq!(turns[4..6], [Turn::Ask(quarter), Turn::Ask(2 * quarter)]);
        assert_eq!(turns[19], Turn::Never(Limit::Source));
        // Its turn came.
        let later = now + quarter;
        let asked = gate.lock().turn(source(1), Asked::Waited, &LIMITS, later);
        assert_eq!(asked, Turn::Now);
    }

    #[test]
    fn strangers_together_leave_the_rest_to_who_is_known() {
        let (gate, now) = (Gate::new(), Instant::now());
        gate.lock().known.note(source(0), now);
        let mut begun = 0;
        for n in 1..100 {
            begun += now_of(&turns(&gate, source(n), 10, now));
        }
        assert_eq!(begun, 10, "a quarter of 40");
        assert_eq!(now_of(&turns(&gate, source(0), 30, now)), 30);
        let more = turns(&gate, source(0), 50, now);
        assert_eq!(more[0], Turn::In(Duration::from_millis(25)));
        assert_eq!(more[49], Turn::Never(Limit::All));
    }

    #[test]
    fn first_that_authenticates_lets_the_others_of_its_source_go_on() {
        let (gate, now) = (Gate::new(), Instant::now());
        let before = turns(&gate, source(1), 6, now);
        assert_eq!(now_of(&before), 4);
        assert!(matches!(before[5], Turn::Ask(_)));
        gate.authenticated(source(1));
        let again = gate.lock().turn(source(1), Asked::First, &LIMITS, now);
        assert_eq!(again, Turn::Now);
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
