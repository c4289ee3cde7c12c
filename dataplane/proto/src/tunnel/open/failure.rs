//! Says why an open failed at the gateway.

use thiserror::Error;

use super::AgentIndex;
use crate::tunnel::{FailReason, Words};

/// Why an open failed. `agent` is an index into the candidates.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenFailure {
    /// There is no agent to ask, or none that could be asked.
    #[error("no agent has a waiting connection or can be asked for one")]
    NoAgent,
    /// The agent's answer: report it as a failed dial of our own.
    #[error("{words}")]
    Answer {
        /// Who answered.
        agent: AgentIndex,
        /// What.
        reason: FailReason,
        /// What in words.
        words: Words,
    },
    /// Every connection failed before an agent accepted; the last one thus.
    #[error("no agent accepted within {tries} tries; the last: {trouble}")]
    Tunnel {
        /// The agent of the last try.
        agent: AgentIndex,
        /// How it failed.
        trouble: Trouble,
        /// How many connections were taken or asked for.
        tries: usize,
    },
    /// The connection was lost after the agent had accepted: it may have dialled.
    #[error("the connection was lost after the agent had accepted the open")]
    Lost {
        /// Whose.
        agent: AgentIndex,
    },
    /// The deadline passed.
    #[error("the deadline passed before {awaited}")]
    Deadline {
        /// Who was waited for.
        agent: AgentIndex,
        /// What was waited for.
        awaited: Awaited,
    },
}

/// How one try failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum Trouble {
    /// No connection was parked any more.
    #[error("no connection was waiting")]
    NoneParked,
    /// The agent cannot connect back, or has left.
    #[error("no connection was made: {0}")]
    CannotDial(Words),
    /// The connection was lost.
    #[error("the connection was lost")]
    Died,
    /// The agent did not answer in time.
    #[error("the agent did not answer in time")]
    Late,
    /// The agent takes no stream, and has not dialled.
    #[error("the agent refused the open ({reason}): {words}")]
    Refused {
        /// Why.
        reason: FailReason,
        /// Why in words.
        words: Words,
    },
}

/// What an opening waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Awaited {
    /// A parked connection from its worker.
    #[error("a waiting connection was handed over")]
    Parked,
    /// A connection of the agent.
    #[error("the agent connected back")]
    Fresh,
    /// `Accepted`.
    #[error("the agent accepted the open")]
    Acceptance,
    /// `Connected`.
    #[error("the agent connected to the target")]
    Connection,
}
