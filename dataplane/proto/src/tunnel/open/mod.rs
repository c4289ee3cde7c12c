//! Opens one stream at the gateway: decides on which connections of which agents it is tried.
//!
//! A connection that is taken may be dead, which shows only in that no `Accepted` comes. So before
//! `Accepted` the open is sent on further connections too, with the same id: parked ones of the
//! agent, a fresh one, then those of the next agent. Earlier ones stay open: the agent may only be
//! slow, and then it refuses the second connection, because it has seen the id. The first
//! `Accepted` wins, and all others are closed. After it nothing is tried, unless the agent says
//! that it did not dial.

mod failure;

pub use failure::{Awaited, OpenFailure, Trouble};

use smallvec::SmallVec;
use thiserror::Error;

use super::{FailReason, Words};
use crate::limits;

/// Names a candidate by its index.
pub type AgentIndex = usize;

/// Names a connection on which the open was sent: 0 for the first one, then 1, and so on.
pub type Attempt = usize;

/// An agent that may carry the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How many connections it has parked. It is only a hint: they may be gone when one is taken.
    pub parked: usize,
    /// It can be asked for a fresh one: its control connection is up.
    pub can_dial: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The parked connection is here.
    Taken,
    /// No connection is parked any more.
    NoneParked,
    /// The connection that was asked for is here.
    Arrived,
    /// The connection that was asked for will not come: `CannotDial`, or its agent left.
    CannotDial(Words),
    /// `Accepted` came.
    Accepted(Attempt),
    /// `Connected` came.
    Connected(Attempt),
    /// `Failed` came; the connection is closed.
    Failed(Attempt, FailReason, Words),
    /// The connection was lost, or spoke out of turn; it is closed.
    Died(Attempt),
    /// The time of the last `Send`, `Extend` or `AskDial` is over.
    TimedOut,
    /// The deadline of the open passed.
    Deadline,
}

/// What is to be done. At most one thing is in progress beside the connections on which the open
/// was sent: a connection is taken, one is asked for, or a time runs. Each action but `Wait` gives
/// up what was in progress before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take a parked connection of this agent.
    TakeParked(AgentIndex),
    /// Ask this agent for a connection. If `arrive_within` passes, say `TimedOut`.
    AskDial(AgentIndex),
    /// Send the open on the connection that came. If `accept_within` passes, say `TimedOut`.
    Send(AgentIndex, Attempt),
    /// Wait for `accept_within` of this agent once more, then say `TimedOut`.
    Extend(AgentIndex),
    /// Go on waiting; a time that runs, runs on.
    Wait,
    /// Close all other connections, and wait for `Connected` until the deadline.
    Keep(Attempt),
    /// The connection is the stream.
    Done(Attempt),
    /// Close all connections.
    Fail(OpenFailure),
}

/// An event that cannot happen in this state: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an opening that is {state} got {event:?}")]
pub struct Unexpected {
    /// What the opening did.
    pub state: &'static str,
    /// What came.
    pub event: Event,
}

/// One open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opening {
    state: State,
    candidates: SmallVec<[Candidate; 4]>,
    /// The candidate that is tried now, or next, and how many of its parked connections were.
    agent: AgentIndex,
    parked_tries: usize,
    /// Connections that were taken or asked for.
    tries: usize,
    /// Connections on which the open was sent, and that are open still.
    sent: SmallVec<[(Attempt, AgentIndex); 4]>,
    attempts: usize,
    trouble: Option<(AgentIndex, Trouble)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    /// A parked connection of this agent is being taken.
    Taking(AgentIndex),
    /// A fresh connection of this agent was asked for.
    Dialling(AgentIndex),
    /// The open was sent, at last on this attempt.
    Sent(Attempt),
    /// This attempt was accepted.
    Accepted(Attempt, AgentIndex),
    Over,
}

impl Opening {
    /// Begins with the agents in the order in which they are to be tried.
    #[must_use]
    pub fn new(candidates: &[Candidate]) -> (Self, Action) {
        let mut opening = Self {
            state: State::Over,
            candidates: candidates.into(),
            agent: 0,
            parked_tries: 0,
            tries: 0,
            sent: SmallVec::new(),
            attempts: 0,
            trouble: None,
        };
        let action = opening.advance();
        (opening, action)
    }

    /// Takes an event, and says what to do.
    ///
    /// # Errors
    /// `Unexpected`; the opening is as it was.
    pub fn on(&mut self, event: Event) -> Result<Action, Unexpected> {
        use State::{Accepted, Dialling, Sent, Taking};
        Ok(match (self.state, event) {
            (Taking(agent), Event::Taken) | (Dialling(agent), Event::Arrived) => self.send(agent),
            (Taking(agent), Event::NoneParked) => self.none_parked(agent),
            (Dialling(agent), Event::CannotDial(words)) => {
                self.failed_try(agent, Trouble::CannotDial(words))
            }
            (Dialling(_) | Sent(_), Event::TimedOut) => self.timed_out(),
            (Taking(_) | Dialling(_) | Sent(_), Event::Accepted(attempt))
                if self.is_sent(attempt) =>
            {
                self.accepted(attempt)
            }
            (Taking(_) | Dialling(_) | Sent(_), Event::Died(attempt)) if self.is_sent(attempt) => {
                self.died(attempt)
            }
            (Accepted(attempt, _), Event::Connected(connected)) if attempt == connected => {
                self.over(Action::Done(attempt))
            }
            (Accepted(attempt, agent), Event::Died(died)) if attempt == died => {
                self.over(Action::Fail(OpenFailure::Lost { agent }))
            }
            (
                Taking(_) | Dialling(_) | Sent(_) | Accepted(..),
                Event::Failed(attempt, why, words),
            ) if self.is_sent(attempt) => self.failed(attempt, why, words),
            (Taking(_) | Dialling(_) | Sent(_) | Accepted(..), Event::Deadline) => self.deadline(),
            (_, event) => {
                let state = self.state.name();
                return Err(Unexpected { state, event });
            }
        })
    }

    /// Takes or asks for the next connection; without one, goes on waiting for those that are open.
    fn advance(&mut self) -> Action {
        if let Some(action) = self.next() {
            return action;
        }
        if let Some((attempt, _)) = self.sent.last() {
            self.state = State::Sent(*attempt);
            return Action::Wait;
        }
        let tries = self.tries;
        let failure = match self.trouble.take() {
            Some((agent, trouble)) => OpenFailure::Tunnel {
                agent,
                trouble,
                tries,
            },
            None => OpenFailure::NoAgent,
        };
        self.over(Action::Fail(failure))
    }

    fn next(&mut self) -> Option<Action> {
        while self.tries < limits::TUNNEL_TRIES {
            let agent = self.agent;
            let candidate = self.candidates.get_mut(agent)?;
            if candidate.parked > 0 && self.parked_tries < limits::TUNNEL_PARKED_TRIES {
                candidate.parked -= 1;
                self.parked_tries += 1;
                self.tries += 1;
                self.state = State::Taking(agent);
                return Some(Action::TakeParked(agent));
            }
            if candidate.can_dial {
                candidate.can_dial = false;
                self.tries += 1;
                self.state = State::Dialling(agent);
                return Some(Action::AskDial(agent));
            }
            self.next_agent();
        }
        None
    }

    fn next_agent(&mut self) {
        self.agent += 1;
        self.parked_tries = 0;
    }

    fn send(&mut self, agent: AgentIndex) -> Action {
        let attempt = self.attempts;
        self.attempts += 1;
        self.sent.push((attempt, agent));
        self.state = State::Sent(attempt);
        Action::Send(agent, attempt)
    }

    fn none_parked(&mut self, agent: AgentIndex) -> Action {
        if let Some(candidate) = self.candidates.get_mut(agent) {
            candidate.parked = 0;
        }
        self.failed_try(agent, Trouble::NoneParked)
    }

    /// Notes why the try in progress failed, and goes on.
    fn failed_try(&mut self, agent: AgentIndex, trouble: Trouble) -> Action {
        self.trouble = Some((agent, trouble));
        self.advance()
    }

    fn timed_out(&mut self) -> Action {
        let before = self.state;
        let late = match before {
            State::Dialling(agent) => agent,
            _ => self.sent.last().map_or(self.agent, |(_, agent)| *agent),
        };
        match self.next() {
            Some(action) => {
                self.trouble = Some((late, Trouble::Late));
                action
            }
            // What was asked for may come still; it is given up only for something else.
            None => {
                self.state = before;
                Action::Wait
            }
        }
    }

    fn accepted(&mut self, attempt: Attempt) -> Action {
        self.sent.retain(|(each, _)| *each == attempt);
        let agent = self.sent.first().map_or(self.agent, |(_, agent)| *agent);
        self.state = State::Accepted(attempt, agent);
        Action::Keep(attempt)
    }

    fn died(&mut self, attempt: Attempt) -> Action {
        let agent = self.close(attempt);
        match self.state {
            State::Sent(last) if last == attempt || self.sent.is_empty() => {
                self.failed_try(agent, Trouble::Died)
            }
            _ => Action::Wait,
        }
    }

    /// The agent says no. If it had dialled that is the answer; else another agent may be asked.
    fn failed(&mut self, attempt: Attempt, reason: FailReason, words: Words) -> Action {
        let agent = self.close(attempt);
        if reason.is_answer() {
            return self.over(Action::Fail(OpenFailure::Answer {
                agent,
                reason,
                words,
            }));
        }
        let tried_now = match self.state {
            State::Taking(tried) | State::Dialling(tried) => tried == agent,
            _ => self.agent == agent,
        };
        if self.agent == agent {
            self.next_agent();
        }
        let sibling = self.sent.iter().rev().find(|(_, of)| *of == agent);
        match (self.state, sibling) {
            // It has the open from a connection that is open still, on which it will answer.
            (_, Some((sibling, _))) if reason == FailReason::Seen && tried_now => {
                self.state = State::Sent(*sibling);
                Action::Extend(agent)
            }
            (State::Taking(_) | State::Dialling(_), _) if !tried_now => Action::Wait,
            (State::Sent(last), _) if last != attempt && !tried_now => Action::Wait,
            _ => self.failed_try(agent, Trouble::Refused { reason, words }),
        }
    }

    fn deadline(&mut self) -> Action {
        let (agent, awaited) = match self.state {
            State::Taking(agent) => (agent, Awaited::Parked),
            State::Dialling(agent) => (agent, Awaited::Fresh),
            State::Accepted(_, agent) => (agent, Awaited::Connection),
            State::Sent(_) | State::Over => {
                let agent = self.sent.last().map_or(self.agent, |(_, agent)| *agent);
                (agent, Awaited::Acceptance)
            }
        };
        self.over(Action::Fail(OpenFailure::Deadline { agent, awaited }))
    }

    /// Whether a connection is still wanted that was taken or asked for. One that is not is dropped
    /// by the driver: what comes of it would be unexpected.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        matches!(self.state, State::Taking(_) | State::Dialling(_))
    }

    fn is_sent(&self, attempt: Attempt) -> bool {
        self.sent.iter().any(|(each, _)| *each == attempt)
    }

    /// Forgets a connection; returns its agent.
    fn close(&mut self, attempt: Attempt) -> AgentIndex {
        let agent = self.sent.iter().find(|(each, _)| *each == attempt);
        let agent = agent.map_or(self.agent, |(_, agent)| *agent);
        self.sent.retain(|(each, _)| *each != attempt);
        agent
    }

    fn over(&mut self, action: Action) -> Action {
        self.state = State::Over;
        self.sent.clear();
        action
    }
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Taking(_) => "taking a parked connection",
            Self::Dialling(_) => "waiting for a fresh connection",
            Self::Sent(_) => "waiting for its acceptance",
            Self::Accepted(..) => "accepted",
            Self::Over => "over",
        }
    }
}

#[cfg(test)]
mod tests;
