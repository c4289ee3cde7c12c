//! Decides whose turn it is to shake hands: what is known goes before what is not, and what is not
//! has a share of its own all the same.
//!
//! The share bounds what those cost that never authenticate. A client that does gives back what it
//! took, so a herd of agents that comes to a new process has the rate of all.

use super::{Bucket, Budgets, Known, Rate, Source};
use crate::limits::{CROWDED_FOR, KNOWN, KNOWN_FOR, SOURCES, STRANGERS_SHARE, TURN_WAIT};
use crate::seam::AdmissionLimits;
use std::time::{Duration, Instant};

/// When a handshake may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
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
pub enum Asked {
    /// It has not.
    First,
    /// It has waited for it.
    Waited,
}

/// A limit of handshakes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of one source.
    Source,
    /// Of all sources that are not known.
    Strangers,
    /// Of all.
    All,
}

/// The handshakes of one process: those that had their turn, and the sources that authenticated.
#[derive(Debug)]
pub struct Turns {
    sources: Budgets,
    strangers: Bucket,
    all: Bucket,
    known: Known,
    /// When a handshake found that the rate of all was used up.
    crowded: Option<Instant>,
}

impl Turns {
    /// Knows no source, and has given no turn.
    pub fn new(now: Instant) -> Self {
        Self {
            sources: Budgets::new(SOURCES, now),
            strangers: Bucket::default(),
            all: Bucket::default(),
            known: Known::new(KNOWN, KNOWN_FOR),
            crowded: None,
        }
    }

    /// Whether somebody from there authenticated lately.
    pub fn knows(&self, source: Source, now: Instant) -> bool {
        self.known.knows(source, now)
    }

    /// Somebody from there authenticated; tells whether that source was not known before.
    pub fn authenticated(
        &mut self,
        source: Source,
        limits: &AdmissionLimits,
        now: Instant,
    ) -> bool {
        let news = self.known.note(source, now);
        if news {
            self.strangers.give_back(strangers_share(limits));
        }
        news
    }

    /// Whether handshakes have come faster than they may begin lately: what can wait should, so
    /// that what cannot finds a turn. Strangers alone, who have a share, never cause it.
    pub fn is_crowded(&self, now: Instant) -> bool {
        self.crowded
            .is_some_and(|at| now.saturating_duration_since(at) < CROWDED_FOR)
    }

    /// When the handshake of a connection whose ClientHello is there may begin.
    pub fn turn(
        &mut self,
        source: Source,
        asked: Asked,
        limits: &AdmissionLimits,
        now: Instant,
    ) -> Turn {
        let all = Rate::per_second(limits.max_handshakes_per_second);
        let wait = self.all.wait(all, now);
        if !wait.is_zero() {
            self.crowded = Some(now);
        }
        if self.known.knows(source, now) {
            return self.in_turn(all, wait, now);
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
        let turn = self.in_turn(all, wait, now);
        if !matches!(turn, Turn::Never(_)) {
            self.strangers.take(strangers, now);
        }
        turn
    }

    /// One more of all, who has to wait so long.
    fn in_turn(&mut self, all: Rate, wait: Duration, now: Instant) -> Turn {
        if wait > TURN_WAIT {
            return Turn::Never(Limit::All);
        }
        self.all.take(all, now);
        match wait {
            Duration::ZERO => Turn::Now,
            wait => Turn::In(wait),
        }
    }
}

/// What sources that are not known may have together, as long as they do not authenticate; the rest
/// is for those that are.
fn strangers_share(limits: &AdmissionLimits) -> Rate {
    Rate::per_second(limits.max_handshakes_per_second.div_ceil(STRANGERS_SHARE))
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
    fn turns(turns: &mut Turns, source: Source, count: usize, now: Instant) -> Vec<Turn> {
        (0..count)
            .map(|_| turns.turn(source, Asked::First, &LIMITS, now))
            .collect()
    }

    fn now_of(turns: &[Turn]) -> usize {
        turns.iter().filter(|turn| **turn == Turn::Now).count()
    }

    #[test]
    fn stranger_gets_its_budget_then_waits_and_then_is_refused() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        let turns = turns(&mut gate, source(1), 20, now);
        assert_eq!(now_of(&turns), 4);
        let quarter = Duration::from_millis(250);
        assert_eq!(turns[4..6], [Turn::Ask(quarter), Turn::Ask(2 * quarter)]);
        assert_eq!(turns[19], Turn::Never(Limit::Source));
        // Its turn came.
        let later = now + quarter;
        let asked = gate.turn(source(1), Asked::Waited, &LIMITS, later);
        assert_eq!(asked, Turn::Now);
    }

    #[test]
    fn strangers_together_leave_the_rest_to_who_is_known() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        gate.authenticated(source(0), &LIMITS, now);
        let mut begun = 0;
        for n in 1..100 {
            begun += now_of(&turns(&mut gate, source(n), 10, now));
        }
        assert_eq!(begun, 10, "a quarter of 40");
        assert_eq!(now_of(&turns(&mut gate, source(0), 30, now)), 30);
        let more = turns(&mut gate, source(0), 50, now);
        assert_eq!(more[0], Turn::In(Duration::from_millis(25)));
        assert_eq!(more[49], Turn::Never(Limit::All));
    }

    #[test]
    fn first_that_authenticates_lets_the_others_of_its_source_go_on() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        let before = turns(&mut gate, source(1), 6, now);
        assert_eq!(now_of(&before), 4);
        assert!(matches!(before[5], Turn::Ask(_)));
        gate.authenticated(source(1), &LIMITS, now);
        let again = gate.turn(source(1), Asked::First, &LIMITS, now);
        assert_eq!(again, Turn::Now);
    }
    #[test]
    fn herd_that_authenticates_has_the_rate_of_all() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        for n in 0..40 {
            let turn = gate.turn(source(n), Asked::First, &LIMITS, now);
            assert_eq!(turn, Turn::Now, "{n}");
            assert!(gate.authenticated(source(n), &LIMITS, now));
        }
        // Strangers among them have used up no more than their share.
        let mut begun = 0;
        let later = now + Duration::from_secs(2);
        for n in 100..200 {
            begun += now_of(&turns(&mut gate, source(n), 1, later));
        }
        assert_eq!(begun, 10);
    }

    #[test]
    fn stranger_has_its_share_while_the_known_want_everything() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        gate.authenticated(source(0), &LIMITS, now);
        turns(&mut gate, source(0), 50, now);
        let turn = gate.turn(source(1), Asked::First, &LIMITS, now);
        assert_eq!(turn, Turn::In(Duration::from_millis(11 * 25)));
        turns(&mut gate, source(0), 50, now);
        let turn = gate.turn(source(2), Asked::First, &LIMITS, now);
        assert_eq!(turn, Turn::Never(Limit::All));
    }

    #[test]
    fn gate_is_crowded_while_the_rate_of_all_is_used_up_and_not_by_strangers() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        for n in 1..100 {
            turns(&mut gate, source(n), 10, now);
        }
        assert!(!gate.is_crowded(now), "they have a quarter");
        gate.authenticated(source(0), &LIMITS, now);
        turns(&mut gate, source(0), 30, now);
        assert!(!gate.is_crowded(now));
        turns(&mut gate, source(0), 1, now);
        assert!(gate.is_crowded(now));
        let later = now + CROWDED_FOR;
        assert!(!gate.is_crowded(later));
    }

    #[test]
    fn agents_of_a_large_gateway_are_all_known() {
        let now = Instant::now();
        let mut gate = Turns::new(now);
        for n in 0..20_000 {
            gate.authenticated(source(n), &LIMITS, now);
        }
        assert!((0..20_000).all(|n| gate.knows(source(n), now)));
    }
}
