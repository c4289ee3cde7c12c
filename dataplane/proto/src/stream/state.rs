//! Where a stream can be.

use super::{Cause, Cut, Side};

/// Says where one direction is: the bytes that one leg sends to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Bytes may come.
    Open,
    /// The leg ended cleanly, and the end is being passed on.
    Ending,
    /// The end was passed on.
    Ended,
}

/// Says how a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Cleanly; this leg ended last.
    Clean(Side),
    /// In another way.
    Failed(Cause),
}

impl Outcome {
    /// The leg that is behind it, if it is one.
    pub(super) const fn side(self) -> Option<Side> {
        match self {
            Self::Clean(side) | Self::Failed(Cause::Cut(side, _)) => Some(side),
            Self::Failed(Cause::Local) => None,
        }
    }

    pub(super) fn is_truncation_of(self, side: Side) -> bool {
        self == Self::Failed(Cause::Cut(side, Cut::Truncated))
    }
}

/// Says why a write to a leg found its peer gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It had closed or shut its socket.
    Closed,
    /// It had reset the connection.
    Reset,
}

/// Says of which leg the rest is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The leg that takes no more.
    pub lost: Side,
    /// How a write found it.
    pub refusal: Refusal,
    /// It ended cleanly, and the end is being passed on.
    pub ending: bool,
}

/// Says what follows when the downstream leg was ended behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// It is closed: it never was a stream.
    Close,
    /// It is parted from: its stream was not established.
    Part(Cause),
    /// Both legs are ended.
    End(Outcome),
}

/// Where a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The connection is no stream and is about to be told so.
    Refusing,
    /// There is no upstream leg yet.
    Opening,
    /// Requests and replies pass.
    Exchanging,
    /// Within an exchange this leg took no more; what it had sent before is still delivered.
    Hearing(Side),
    /// Raw bytes pass; where the bytes of each leg are. Never are both ended.
    Relaying {
        /// Those that the downstream leg sends.
        downstream: Direction,
        /// Those that the upstream leg sends.
        upstream: Direction,
    },
    /// A leg takes no more; what it had sent before is still delivered.
    Delivering(Delivery),
    /// This leg ended cleanly and takes no more; the other may still be sending.
    Forgiving(Side),
    /// The exchanges are over, and the upstream leg is being ended.
    Leaving,
    /// The downstream leg is being ended behind its answer.
    Telling(After),
    /// It was ended, and its peer has yet to take the answer.
    Told(After),
    /// A leg was cut; the other has yet to receive what was sent to it.
    Settling(Side, Cut),
    /// The upstream leg was cut; whether the client will see that shows within a moment.
    Showing(Cut),
    /// The upstream leg was ended; the kernel has yet to send what it has for it.
    PartingUpstream(Outcome),
    /// The upstream leg was truncated; its peer has yet to take what was sent before.
    LingeringUpstream(Outcome),
    /// The upstream leg is closed. The downstream one was truncated, and the same holds.
    LingeringDownstream(Outcome),
    /// The downstream leg was ended; the kernel has yet to send what it has for it.
    PartingDownstream(Outcome),
    /// The close of the downstream leg must not destroy what is on its way to it.
    Keeping,
    /// The outer session of the downstream leg has yet to end.
    Draining,
    /// Both legs are closed.
    Finished,
}

pub(super) const RELAYING: State = State::Relaying {
    downstream: Direction::Open,
    upstream: Direction::Open,
};
