//! What the engine meets on the two legs of a stream.

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

/// Something that holds for a leg, or does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Legs {
    /// For the downstream leg.
    pub downstream: bool,
    /// For the upstream leg.
    pub upstream: bool,
}

impl Legs {
    pub(super) const fn has(self, side: Side) -> bool {
        match side {
            Side::Downstream => self.downstream,
            Side::Upstream => self.upstream,
        }
    }

    pub(super) fn set(&mut self, side: Side) {
        match side {
            Side::Downstream => self.downstream = true,
            Side::Upstream => self.upstream = true,
        }
    }
}

/// Says how a leg was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Its connection is gone: reset by its peer.
    Reset,
    /// We gave it up: its machine is dead, a deadline passed, its certificate is refused.
    GivenUp,
    /// It ended where no end may be: FIN without close_notify, or in the middle of a body or
    /// record.
    Truncated,
    /// Its peer broke the protocol, and was told so by an alert or an answer.
    Broken,
}

/// Says for what a stream ends that does not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// This leg was cut.
    Cut(Side, Cut),
    /// Neither leg: a refusal, a limit, a deadline of the whole stream, a fault of ours.
    Local,
}

/// What the engine met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The stream is established and carries requests and replies. Says which legs carry TLS.
    Exchange(Legs),
    /// Raw bytes pass from here on: at once, or after an upgrade. Says which legs carry TLS.
    Relay(Legs),
    /// All that this leg sent was written to the other leg, and then it ended cleanly.
    Ended(Side),
    /// The write side of this leg was ended: close_notify where there is TLS, then FIN.
    Shut(Side),
    /// A read found this leg cut.
    Cut(Side, Cut),
    /// A write found this leg cut.
    Unwritable(Side, Cut),
    /// A write found that the peer of this leg takes no more (EPIPE), which a clean end of its own
    /// may have preceded.
    Closed(Side),
    /// The peer of a leg that had ended cleanly has closed it for good.
    Abandoned(Side),
    /// One leg had ended, and the other brought nothing for as long as it may.
    Silent,
    /// The stream has moved nothing for as long as it may.
    Idle,
    /// The stream is ended from outside: a drain whose deadline passed.
    Aborted,
    /// The watch over the peers found that of this leg dead.
    Lost(Side),
    /// A read or write failed for want of something of ours: descriptors, memory.
    Exhausted,
    /// The last action moved nothing for as long as it may.
    Stalled,
    /// What the last action waited for is there.
    Done,
    /// The client takes the cut that is about to come for an end.
    Unseen,
    /// The set-up or the exchange has failed, and the client is not told by an answer.
    Failed(Cause),
    /// The set-up or the exchange has failed, and the client was sent an answer that says why.
    Told(Cause),
    /// The set-up has failed behind the answer, and the write side of the downstream leg was ended
    /// with an alert that says why.
    Alerted(Cause),
    /// The last exchange is over, and the kubelet has had all that was its own.
    Served,
    /// The last exchange is over, and the kubelet answered before the request was complete.
    Unfinished,
}
