//! What a stream's life asks of the engine.

use super::Side;
use smallvec::SmallVec;

/// What the engine must do. Those that wait end with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The stream ends for what this event told.
    Blame,
    /// The stream ends cleanly: this leg ended last.
    Complete(Side),
    /// The stream ends cleanly: the peer of this leg had ended, and does not want the rest.
    Forgive(Side),
    /// The stream ends with a cut that the client takes for an end.
    Unseen,
    /// Count the stream if the client will take the coming cut for an end.
    CountUnseen,
    /// Reset this leg when it closes, so that its peer takes it for no end.
    Cut(Side),
    /// Reset this leg when it closes although its write side was ended, if its peer has everything.
    Abandon(Side),
    /// Take and drop what this leg sent, so that its close does not reset it under an alert.
    Discard(Side),
    /// End the write side of this leg by FIN without close_notify, behind all that was sent.
    Truncate(Side),
    /// Close this leg.
    Close(Side),
    /// Look out for a peer of this leg that closes for good, and for an other leg that is silent,
    /// while the other direction goes on.
    Watch(Side),
    /// Waits: end the write side of this leg.
    ShutWrite(Side),
    /// Waits: the same, for the linger time at most, whatever aborts the stream meanwhile.
    Leave(Side),
    /// Waits: go on to deliver what this leg sent, for as long as it moves.
    Deliver(Side),
    /// Waits: read and drop what this leg sends until it ends, for the linger time at most.
    Linger(Side),
    /// Waits: the same, whatever aborts the stream meanwhile.
    Hear(Side),
    /// Waits: until the peer of this leg has all that was sent, so that a reset destroys nothing.
    Settle(Side),
    /// Waits: whether the client will see the cut.
    Show,
    /// Waits: until the kernel has sent all that it has for this leg.
    Part(Side),
    /// Waits: as `Settle` of the downstream leg, if it sent what nobody read: its close is a reset.
    Keep,
    /// Waits: take what the outer session of the downstream leg still says.
    Drain,
}

impl Action {
    /// Whether the engine reports an event when it is done with this.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(
            self,
            Self::ShutWrite(_)
                | Self::Leave(_)
                | Self::Deliver(_)
                | Self::Linger(_)
                | Self::Hear(_)
                | Self::Settle(_)
                | Self::Show
                | Self::Part(_)
                | Self::Keep
                | Self::Drain
        )
    }
}

/// The actions of one event.
pub type Actions = SmallVec<[Action; 6]>;
