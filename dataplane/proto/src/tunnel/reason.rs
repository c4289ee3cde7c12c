//! Names why an agent did not connect to the target of an open.

use std::fmt;

/// Why an open failed at the agent. A gateway reports it as it reports its own failed dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailReason {
    /// The target refused the connection.
    Refused,
    /// There is no route to the target.
    Unreachable,
    /// The target did not answer by the deadline.
    Timeout,
    /// The agent's own allow-list does not have the target.
    Denied,
    /// The name of the target does not resolve at the agent.
    Unresolved,
    /// A limit of the agent is reached: streams, descriptors, memory.
    Exhausted,
    /// The agent takes no new streams.
    Draining,
    /// The agent has seen this open before.
    Seen,
    /// Something else at the agent, or a reason that this version does not know.
    Internal,
}

impl FailReason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Internal,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Denied,
        Self::Unresolved,
        Self::Exhausted,
        Self::Draining,
        Self::Seen,
    ];

    /// Gives the name of the reason, for metrics and audit: one word in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::Unresolved => "unresolved",
            Self::Exhausted => "exhausted",
            Self::Draining => "draining",
            Self::Seen => "seen",
            Self::Internal => "internal",
        }
    }

    /// Says whether it is the answer of the target, or could be. Else the agent has not dialled,
    /// and another one may be asked.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        match self {
            Self::Refused
            | Self::Unreachable
            | Self::Timeout
            | Self::Unresolved
            | Self::Internal => true,
            Self::Denied | Self::Exhausted | Self::Draining | Self::Seen => false,
        }
    }

    /// Gives the number that stands for it in a frame.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Internal => 0,
            Self::Refused => 1,
            Self::Unreachable => 2,
            Self::Timeout => 3,
            Self::Denied => 4,
            Self::Unresolved => 5,
            Self::Exhausted => 6,
            Self::Draining => 7,
            Self::Seen => 8,
        }
    }

    /// Reads a number; one that is not known is `Internal`.
    pub(super) fn from_number(number: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|reason| reason.number() == number)
            .unwrap_or(Self::Internal)
    }
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
