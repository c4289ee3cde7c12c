//! The life of a stream's two legs: what an end, a cut, a failed write or an abort leads to.
//!
//! This is the one place that decides it. The engine reports what it met as an [`Event`] and
//! executes the [`Action`]s in their order; the last one may have to be waited for, and how it went
//! is the next event. There is no I/O here and no clock: how long a wait may take is the engine's
//! to know, and a wait that took too long is an event too.
//!
//! What must always hold: an end is passed on as an end and a cut as a cut, neither leg may mistake
//! one for the other. What was sent before a cut still arrives: nothing is reset before its peer
//! has what was sent to it, and a leg that was ended is not reset at all, save where its peer has
//! everything and must learn that nobody reads it any more. The upstream leg is closed before the
//! downstream one.

mod action;
mod carrying;
mod ending;
mod event;
mod state;

pub use action::{Action, Actions};
pub use event::{Cause, Cut, Event, Legs, Side};
pub use state::{After, Delivery, Direction, Outcome, Refusal, State};

use thiserror::Error;

/// Why an event cannot be: a fault of the engine, not of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Illegal {
    /// The stream is over.
    #[error("{0:?} after the stream was finished")]
    Finished(Event),
    /// This leg has ended before.
    #[error("{} leg ended twice", .0.as_str())]
    EndedTwice(Side),
    /// Nothing of the kind can happen in this state.
    #[error("{1:?} cannot happen while {0:?}")]
    Unexpected(State, Event),
}

/// Holds where both legs of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    state: State,
    /// Legs with TLS, which tell a truncation from an end.
    tls: Legs,
    /// Legs whose write side was ended.
    shut: Legs,
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// Starts with a downstream leg alone.
    #[must_use]
    pub const fn new() -> Self {
        Self::in_state(State::Opening)
    }

    /// Starts with a connection that is refused before it is a stream.
    #[must_use]
    pub const fn refused() -> Self {
        Self::in_state(State::Refusing)
    }

    const fn in_state(state: State) -> Self {
        let none = Legs {
            downstream: false,
            upstream: false,
        };
        Self {
            state,
            tls: none,
            shut: none,
        }
    }

    /// Whether both legs are closed.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Moves on by one event.
    ///
    /// # Errors
    /// `Illegal`, and the state is as before.
    pub fn on(&mut self, event: Event) -> Result<Actions, Illegal> {
        let mut next = *self;
        let mut todo = Actions::new();
        next.step(event, &mut todo)?;
        *self = next;
        Ok(todo)
    }

    fn step(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        match self.state {
            State::Refusing | State::Opening => self.opening(event, todo),
            State::Exchanging | State::Hearing(_) => self.exchanging(event, todo),
            State::Relaying { .. } => self.relaying(event, todo),
            State::Delivering(was) => self.delivering(was, event, todo),
            State::Forgiving(lost) => match event {
                Event::Done => {
                    todo.extend([Action::Abandon(lost.other()), Action::Forgive(lost)]);
                    self.part(Outcome::Clean(lost), todo);
                    Ok(())
                }
                event => self.interrupted(event, todo),
            },
            State::Leaving => self.leaving(event, todo),
            State::Telling(after) => self.telling(after, event, todo),
            State::Told(after) => self.told(after, event, todo),
            State::Settling(side, cut) => self.settling(side, cut, event, todo),
            State::Showing(_) => self.showing(event, todo),
            State::PartingUpstream(outcome) => {
                let outcome = self.parted(outcome, event, todo)?;
                self.linger_upstream(outcome, todo);
                Ok(())
            }
            State::LingeringUpstream(outcome) => {
                self.over(event)?;
                self.close_upstream(outcome, todo);
                Ok(())
            }
            State::LingeringDownstream(outcome) => {
                self.over(event)?;
                self.part_downstream(outcome, todo);
                Ok(())
            }
            State::PartingDownstream(outcome) => {
                let outcome = self.parted(outcome, event, todo)?;
                self.keep(outcome, todo);
                Ok(())
            }
            State::Keeping => {
                self.over(event)?;
                self.drain(todo);
                Ok(())
            }
            State::Draining if event == Event::Done => {
                self.close_downstream(todo);
                Ok(())
            }
            State::Draining => Err(self.unexpected(event)),
            State::Finished => Err(Illegal::Finished(event)),
        }
    }

    const fn unexpected(&self, event: Event) -> Illegal {
        Illegal::Unexpected(self.state, event)
    }

    /// What ends a stream from outside, whatever it does.
    fn interrupted(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        let cause = interruption(event).ok_or(self.unexpected(event))?;
        todo.push(Action::Blame);
        self.end(Outcome::Failed(cause), todo);
        Ok(())
    }

    /// A wait after which the next step is the same, whether it came to its end or was aborted.
    fn over(&self, event: Event) -> Result<(), Illegal> {
        if event == Event::Done || interruption(event).is_some() {
            Ok(())
        } else {
            Err(self.unexpected(event))
        }
    }
}

/// What ends a stream from outside.
const fn interruption(event: Event) -> Option<Cause> {
    match event {
        Event::Idle | Event::Aborted => Some(Cause::Local),
        Event::Lost(side) => Some(Cause::Cut(side, Cut::GivenUp)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
