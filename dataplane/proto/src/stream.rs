//! The life of a relayed stream: two directions that each end once, and what the other leg must be
//! told.
//!
//! An end is passed on as an end (shut the write side), a cut as a cut (abort the leg): neither leg
//! may mistake one for the other. A leg that was reset is dead both ways, so a reset may follow a
//! clean end; nothing else may follow an end.

use smallvec::SmallVec;
use thiserror::Error;

/// Names a leg of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The leg that was accepted.
    Downstream,
    /// The leg that was dialled.
    Upstream,
}

impl Side {
    /// Gives the other leg.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
    }

    /// Gives the name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

/// Says how a leg was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// The connection is gone: reset, timed out, unreachable, or a write to it failed.
    Reset,
    /// It ended where no end may be: FIN without close_notify, or in the middle of a body or record.
    Truncated,
}

/// Says how the bytes that a leg sends came to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// FIN, and close_notify before it where there is TLS.
    Clean,
    /// Anything else.
    Cut(Cut),
}

/// What the relay saw. A clean end is reported after the last byte before it was written to the
/// other leg, not when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The downstream leg ended.
    DownstreamEnd(End),
    /// The upstream leg ended.
    UpstreamEnd(End),
}

/// What the relay must do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send an end to this leg (close_notify where there is TLS, then FIN); go on reading from it.
    ShutWrite(Side),
    /// Cut this leg (reset it, no close_notify).
    Abort(Side),
    /// Both directions are over: cancel what is in flight, await it, close both.
    Finished,
}

/// The actions of one event: three at most.
pub type Actions = SmallVec<[Action; 3]>;

/// Says where one direction is: the bytes that one leg sends to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Bytes may come.
    Open,
    /// It ended clean.
    HalfClosed,
    /// It was cut.
    Cut(Cut),
}

/// Why an event cannot be: a fault of the relay, not of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Illegal {
    /// The stream is over; after `Action::Finished` the relay ignores what legs still report.
    #[error("leg ended after the stream was finished")]
    Finished,
    /// This leg has ended before.
    #[error("{} leg ended twice", .0.as_str())]
    EndedTwice(Side),
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both legs ended clean.
    Clean,
    /// This leg was cut.
    Cut(Side, Cut),
}

/// Holds where both directions of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    downstream: Direction,
    upstream: Direction,
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// Starts with both directions open.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            downstream: Direction::Open,
            upstream: Direction::Open,
        }
    }

    /// Says where the bytes are that a leg sends.
    #[must_use]
    pub const fn direction(&self, from: Side) -> Direction {
        match from {
            Side::Downstream => self.downstream,
            Side::Upstream => self.upstream,
        }
    }

    /// Gives the outcome once the stream is over.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        match (self.downstream, self.upstream) {
            (Direction::Cut(cut), _) => Some(Outcome::Cut(Side::Downstream, cut)),
            (_, Direction::Cut(cut)) => Some(Outcome::Cut(Side::Upstream, cut)),
            (Direction::HalfClosed, Direction::HalfClosed) => Some(Outcome::Clean),
            _ => None,
        }
    }

    /// Moves on by one event.
    ///
    /// # Errors
    /// `Illegal`, and the state is as before.
    pub fn on(&mut self, event: Event) -> Result<Actions, Illegal> {
        if self.outcome().is_some() {
            return Err(Illegal::Finished);
        }
        let (side, end) = match event {
            Event::DownstreamEnd(end) => (Side::Downstream, end),
            Event::UpstreamEnd(end) => (Side::Upstream, end),
        };
        let other = side.other();
        let mut actions = Actions::new();
        let next = match (self.direction(side), end) {
            (Direction::Open, End::Clean) => {
                actions.push(Action::ShutWrite(other));
                Direction::HalfClosed
            }
            (Direction::Open, End::Cut(cut)) => {
                actions.push(Action::Abort(other));
                // A leg that was truncated may still read, and the bytes to it stop here too.
                if cut == Cut::Truncated && self.direction(other) == Direction::Open {
                    actions.push(Action::Abort(side));
                }
                Direction::Cut(cut)
            }
            (Direction::HalfClosed, End::Cut(Cut::Reset)) => {
                actions.push(Action::Abort(other));
                Direction::Cut(Cut::Reset)
            }
            (Direction::HalfClosed | Direction::Cut(_), _) => {
                return Err(Illegal::EndedTwice(side));
            }
        };
        match side {
            Side::Downstream => self.downstream = next,
            Side::Upstream => self.upstream = next,
        }
        if self.outcome().is_some() {
            actions.push(Action::Finished);
        }
        Ok(actions)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
