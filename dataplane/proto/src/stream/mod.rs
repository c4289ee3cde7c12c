//! The life of a stream's two legs: what an end, a cut, a failed write or an abort leads to.
//!
//! This is the one place that decides it. The engine reports what it met as an [`Event`] and executes
//! the [`Action`]s in their order; the last one may have to be waited for, and how it went is the next
//! event. There is no I/O here and no clock: how long a wait may take is the engine's to know, and a
//! wait that took too long is an event too.
//!
//! What must always hold: an end is passed on as an end and a cut as a cut, neither leg may mistake one
//! for the other. What was sent before a cut still arrives: nothing is reset before its peer has what
//! was sent to it, and a leg that was ended is not reset at all, save where its peer has everything
//! and must learn that nobody reads it any more. The upstream leg is closed before the downstream one.

mod action;
mod event;

pub use action::{Action, Actions};
pub use event::{Cause, Cut, Event, Legs, Side};

use thiserror::Error;

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
    const fn side(self) -> Option<Side> {
        match self {
            Self::Clean(side) | Self::Failed(Cause::Cut(side, _)) => Some(side),
            Self::Failed(Cause::Local) => None,
        }
    }

    fn is_truncation_of(self, side: Side) -> bool {
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

const RELAYING: State = State::Relaying {
    downstream: Direction::Open,
    upstream: Direction::Open,
};

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

    /// Says where the stream is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
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

    fn opening(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        let refusing = self.state == State::Refusing;
        match event {
            Event::Exchange(tls) if !refusing => {
                self.tls = tls;
                self.state = State::Exchanging;
            }
            Event::Relay(tls) if !refusing => {
                self.tls = tls;
                self.state = RELAYING;
            }
            Event::Alerted(cause) if !refusing => {
                self.shut.downstream = true;
                todo.push(Action::Blame);
                self.linger_downstream(Outcome::Failed(cause), todo);
            }
            Event::Told(cause) => {
                let after = match refusing {
                    true => After::Close,
                    false => After::Part(cause),
                };
                self.state = State::Telling(after);
                todo.extend([Action::Blame, Action::ShutWrite(Side::Downstream)]);
            }
            Event::Failed(cause) => {
                todo.push(Action::Blame);
                match refusing {
                    true => self.close_downstream(todo),
                    false => self.linger_downstream(Outcome::Failed(cause), todo),
                }
            }
            event => return Err(self.unexpected(event)),
        }
        Ok(())
    }

    fn exchanging(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        let heard = match self.state {
            State::Hearing(side) => Some(side),
            _ => None,
        };
        match (heard, event) {
            (None, Event::Relay(tls)) => {
                self.tls = tls;
                self.state = RELAYING;
            }
            (None, Event::Served) => {
                self.state = State::Leaving;
                todo.extend([Action::Blame, Action::Leave(Side::Upstream)]);
            }
            (None, Event::Unfinished) => {
                todo.push(Action::Blame);
                self.cut(Side::Upstream, todo);
                self.tell(After::End(Outcome::Clean(Side::Downstream)), todo);
            }
            (_, Event::Told(cause)) => {
                todo.push(Action::Blame);
                self.tell(After::End(Outcome::Failed(cause)), todo);
            }
            (_, Event::Failed(cause)) => {
                todo.push(Action::Blame);
                self.end(Outcome::Failed(cause), todo);
            }
            // A server that refuses a request early answers and closes: the answer is still to be read.
            (None, Event::Closed(side) | Event::Unwritable(side, Cut::Reset)) => {
                self.state = State::Hearing(side);
                todo.push(Action::Deliver(side));
            }
            (None, Event::Unwritable(..)) => {}
            // How its end was met tells more than the write that failed before.
            (
                Some(Side::Upstream),
                Event::Cut(Side::Upstream, _)
                | Event::Unwritable(Side::Upstream, _)
                | Event::Closed(Side::Upstream),
            ) => {
                self.state = State::Exchanging;
                todo.push(Action::Blame);
            }
            (
                Some(_),
                Event::Done
                | Event::Stalled
                | Event::Exhausted
                | Event::Cut(..)
                | Event::Unwritable(..)
                | Event::Closed(_),
            ) => self.state = State::Exchanging,
            (_, event) => return Err(self.unexpected(event)),
        }
        Ok(())
    }

    fn relaying(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        use Direction::{Ended, Ending, Open};
        match event {
            Event::Ended(side) => {
                if self.direction(side) != Open {
                    return Err(Illegal::EndedTwice(side));
                }
                self.set_direction(side, Ending);
                todo.push(Action::ShutWrite(side.other()));
            }
            Event::Shut(to) if self.direction(to.other()) == Ending => {
                self.shut.set(to);
                self.passed_on(to.other(), todo);
            }
            // It has all that was sent and takes no goodbye. Whether it was cut is for its own direction
            // to say: Go's TLS closes without an alert while it writes, and with one otherwise.
            Event::Closed(to) if self.direction(to.other()) == Ending => {
                self.passed_on(to.other(), todo);
            }
            Event::Closed(lost) if self.direction(lost.other()) == Open => {
                self.lost_reader(lost, Refusal::Closed, todo);
            }
            Event::Unwritable(lost, cut) if self.direction(lost.other()) != Ended => match cut {
                Cut::Reset => self.lost_reader(lost, Refusal::Reset, todo),
                cut => {
                    todo.push(Action::Blame);
                    self.end(Outcome::Failed(Cause::Cut(lost, cut)), todo);
                }
            },
            Event::Cut(side, cut) if self.direction(side) == Open => {
                todo.push(Action::Blame);
                self.end(Outcome::Failed(Cause::Cut(side, cut)), todo);
            }
            Event::Cut(side, _) => return Err(Illegal::EndedTwice(side)),
            Event::Abandoned(side) if self.direction(side) == Ended => self.forgive(side, todo),
            // Both have all that was sent, so a reset destroys nothing and tells who waits.
            Event::Silent
                if self.direction(Side::Downstream) == Ended
                    || self.direction(Side::Upstream) == Ended =>
            {
                todo.push(Action::Blame);
                self.count_unseen(todo);
                todo.extend([Side::Upstream, Side::Downstream].map(Action::Abandon));
                self.part(Outcome::Failed(Cause::Local), todo);
            }
            Event::Exhausted => {
                todo.push(Action::Blame);
                self.end(Outcome::Failed(Cause::Local), todo);
            }
            event => return self.interrupted(event, todo),
        }
        Ok(())
    }

    const fn direction(&self, from: Side) -> Direction {
        match (self.state, from) {
            (State::Relaying { downstream, .. }, Side::Downstream) => downstream,
            (State::Relaying { upstream, .. }, Side::Upstream) => upstream,
            _ => Direction::Ended,
        }
    }

    fn set_direction(&mut self, from: Side, to: Direction) {
        if let State::Relaying {
            downstream,
            upstream,
        } = &mut self.state
        {
            match from {
                Side::Downstream => *downstream = to,
                Side::Upstream => *upstream = to,
            }
        }
    }

    /// The clean end of a leg was passed on.
    fn passed_on(&mut self, from: Side, todo: &mut Actions) {
        self.set_direction(from, Direction::Ended);
        if self.direction(from.other()) == Direction::Ended {
            todo.push(Action::Complete(from));
            self.part(Outcome::Clean(from), todo);
        } else {
            todo.push(Action::Watch(from));
        }
    }

    /// A write may tell of a cut before a read has come to it. What was sent before is still to be read;
    /// how that ends tells whether it was a cut.
    fn lost_reader(&mut self, lost: Side, refusal: Refusal, todo: &mut Actions) {
        match self.direction(lost) {
            Direction::Ended => self.forgive(lost, todo),
            direction => {
                self.state = State::Delivering(Delivery {
                    lost,
                    refusal,
                    ending: direction == Direction::Ending,
                });
                todo.extend([Action::Blame, Action::Deliver(lost)]);
            }
        }
    }

    /// A peer that closed for good after it had ended cleanly has not cut anything: it does not want the
    /// rest.
    fn forgive(&mut self, lost: Side, todo: &mut Actions) {
        self.state = State::Forgiving(lost);
        todo.push(Action::Linger(lost.other()));
    }

    fn delivering(
        &mut self,
        was: Delivery,
        event: Event,
        todo: &mut Actions,
    ) -> Result<(), Illegal> {
        let lost = was.lost;
        let reader = lost.other();
        match (event, was.ending) {
            (Event::Ended(side), _) if side == lost => {
                if was.ending {
                    return Err(Illegal::EndedTwice(side));
                }
                self.state = State::Delivering(Delivery {
                    ending: true,
                    ..was
                });
                todo.push(Action::ShutWrite(reader));
            }
            (Event::Shut(side), true) if side == reader => {
                self.shut.set(reader);
                self.forgive(lost, todo);
            }
            (Event::Closed(side), true) if side == reader => self.forgive(lost, todo),
            // A broken pipe is what a write met. What the reads met is what happened.
            (Event::Cut(side, cut), false) if side == lost && was.refusal == Refusal::Closed => {
                todo.push(Action::Blame);
                self.end(Outcome::Failed(Cause::Cut(lost, cut)), todo);
            }
            (Event::Cut(side, _), true) if side == lost => return Err(Illegal::EndedTwice(side)),
            (Event::Cut(side, _), false) if side == lost => self.reset(lost, todo),
            (Event::Unwritable(side, _) | Event::Closed(side), _) if side == reader => {
                self.reset(lost, todo);
            }
            (Event::Exhausted | Event::Stalled, _) => self.reset(lost, todo),
            (event, _) => return self.interrupted(event, todo),
        }
        Ok(())
    }

    fn reset(&mut self, side: Side, todo: &mut Actions) {
        self.end(Outcome::Failed(Cause::Cut(side, Cut::Reset)), todo);
    }

    /// What ends a stream from outside, whatever it does.
    fn interrupted(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        let cause = interruption(event).ok_or(self.unexpected(event))?;
        todo.push(Action::Blame);
        self.end(Outcome::Failed(cause), todo);
        Ok(())
    }

    fn leaving(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        match event {
            Event::Shut(Side::Upstream) => self.shut.upstream = true,
            // Whether it hears of it changes nothing: it has had all that was its own.
            Event::Unwritable(Side::Upstream, _)
            | Event::Closed(Side::Upstream)
            | Event::Exhausted
            | Event::Stalled => {}
            event => return Err(self.unexpected(event)),
        }
        self.tell(After::End(Outcome::Clean(Side::Downstream)), todo);
        Ok(())
    }

    fn tell(&mut self, after: After, todo: &mut Actions) {
        self.state = State::Telling(after);
        todo.push(Action::ShutWrite(Side::Downstream));
    }

    fn telling(&mut self, after: After, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        match event {
            Event::Shut(Side::Downstream) => {
                self.shut.downstream = true;
                self.state = State::Told(after);
                // Who sent more behind its request would lose the answer to a reset.
                todo.push(match after {
                    After::End(_) => Action::Hear(Side::Downstream),
                    After::Close | After::Part(_) => Action::Linger(Side::Downstream),
                });
                Ok(())
            }
            Event::Unwritable(Side::Downstream, _)
            | Event::Closed(Side::Downstream)
            | Event::Exhausted => {
                self.go_on(after, todo);
                Ok(())
            }
            event => self.told_no_more(after, event, todo),
        }
    }

    fn told(&mut self, after: After, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        match (after, event) {
            (_, Event::Done) => {
                self.go_on(after, todo);
                Ok(())
            }
            (After::End(_), event) => Err(self.unexpected(event)),
            (after, event) => self.told_no_more(after, event, todo),
        }
    }

    /// The stream is ended from outside while its client is being told.
    fn told_no_more(
        &mut self,
        after: After,
        event: Event,
        todo: &mut Actions,
    ) -> Result<(), Illegal> {
        let cause = interruption(event).ok_or(self.unexpected(event))?;
        let after = match after {
            // Why an exchange failed does not change any more.
            After::End(outcome) => After::End(outcome),
            After::Part(_) => {
                todo.push(Action::Blame);
                After::Part(cause)
            }
            After::Close => {
                todo.push(Action::Blame);
                After::Close
            }
        };
        self.go_on(after, todo);
        Ok(())
    }

    fn go_on(&mut self, after: After, todo: &mut Actions) {
        match after {
            After::Close => self.close_downstream(todo),
            After::Part(cause) => self.linger_downstream(Outcome::Failed(cause), todo),
            After::End(outcome) => self.end(outcome, todo),
        }
    }

    /// Lets each peer see what happened: an end as an end, a cut as a cut.
    fn end(&mut self, outcome: Outcome, todo: &mut Actions) {
        match outcome {
            Outcome::Clean(_) => self.part(outcome, todo),
            Outcome::Failed(Cause::Local) => {
                self.count_unseen(todo);
                self.cut(Side::Upstream, todo);
                self.cut(Side::Downstream, todo);
                self.part(outcome, todo);
            }
            Outcome::Failed(Cause::Cut(side, cut)) => {
                match cut {
                    // It was told by an alert or an answer, which a reset would destroy.
                    Cut::Broken => todo.push(Action::Discard(side)),
                    Cut::Reset | Cut::GivenUp | Cut::Truncated => self.cut(side, todo),
                }
                let victim = side.other();
                // FIN waits behind all that was sent, and a reset would destroy that. A leg without TLS
                // has no other way to tell of a cut.
                if cut == Cut::Truncated && self.tls.has(victim) {
                    todo.push(Action::Truncate(victim));
                    self.shut.set(victim);
                    self.part(outcome, todo);
                } else {
                    self.state = State::Settling(side, cut);
                    todo.push(Action::Settle(victim));
                }
            }
        }
    }

    /// A leg that was ended is not reset any more.
    fn cut(&self, side: Side, todo: &mut Actions) {
        if !self.shut.has(side) {
            todo.push(Action::Cut(side));
        }
    }

    fn count_unseen(&self, todo: &mut Actions) {
        if !self.shut.downstream {
            todo.push(Action::CountUnseen);
        }
    }

    fn settling(
        &mut self,
        side: Side,
        cut: Cut,
        event: Event,
        todo: &mut Actions,
    ) -> Result<(), Illegal> {
        // What comes next is the same however the wait ended.
        self.over(event)?;
        if side == Side::Upstream && !self.shut.downstream {
            self.state = State::Showing(cut);
            todo.push(Action::Show);
        } else {
            self.cut(side.other(), todo);
            self.part(Outcome::Failed(Cause::Cut(side, cut)), todo);
        }
        Ok(())
    }

    fn showing(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
        match event {
            Event::Done => {}
            Event::Unseen => todo.push(Action::Unseen),
            event => return Err(self.unexpected(event)),
        }
        self.cut(Side::Downstream, todo);
        let State::Showing(cut) = self.state else {
            return Err(self.unexpected(event));
        };
        self.part(Outcome::Failed(Cause::Cut(Side::Upstream, cut)), todo);
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

    /// A clean end that was aborted before all was sent was none.
    fn parted(
        &self,
        outcome: Outcome,
        event: Event,
        todo: &mut Actions,
    ) -> Result<Outcome, Illegal> {
        self.over(event)?;
        Ok(match (outcome, interruption(event)) {
            (Outcome::Clean(_), Some(late)) => {
                todo.push(Action::Blame);
                Outcome::Failed(late)
            }
            _ => outcome,
        })
    }

    /// Takes both legs to their close. Closed on now, what the kernel still has for a reader that stalls
    /// would be lost to its impatience with sockets that nobody owns.
    fn part(&mut self, outcome: Outcome, todo: &mut Actions) {
        if self.shut.upstream {
            self.state = State::PartingUpstream(outcome);
            todo.push(Action::Part(Side::Upstream));
        } else {
            self.linger_upstream(outcome, todo);
        }
    }

    fn linger_upstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        if outcome.is_truncation_of(Side::Downstream) && self.shut.upstream {
            self.state = State::LingeringUpstream(outcome);
            todo.push(Action::Linger(Side::Upstream));
        } else {
            self.close_upstream(outcome, todo);
        }
    }

    fn close_upstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        todo.push(Action::Close(Side::Upstream));
        self.linger_downstream(outcome, todo);
    }

    fn linger_downstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        if outcome.is_truncation_of(Side::Upstream) && self.shut.downstream {
            self.state = State::LingeringDownstream(outcome);
            todo.push(Action::Linger(Side::Downstream));
        } else {
            self.part_downstream(outcome, todo);
        }
    }

    fn part_downstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        if self.shut.downstream {
            self.state = State::PartingDownstream(outcome);
            todo.push(Action::Part(Side::Downstream));
        } else {
            self.keep(outcome, todo);
        }
    }

    fn keep(&mut self, outcome: Outcome, todo: &mut Actions) {
        if self.shut.downstream || outcome.side() == Some(Side::Downstream) {
            self.state = State::Keeping;
            todo.push(Action::Keep);
        } else {
            self.drain(todo);
        }
    }

    fn drain(&mut self, todo: &mut Actions) {
        if self.shut.downstream {
            self.state = State::Draining;
            todo.push(Action::Drain);
        } else {
            self.close_downstream(todo);
        }
    }

    fn close_downstream(&mut self, todo: &mut Actions) {
        self.state = State::Finished;
        todo.push(Action::Close(Side::Downstream));
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
