//! What a stream meets while it is set up and carries bytes.

use super::state::RELAYING;
use super::{
    Action, Actions, After, Cause, Cut, Delivery, Direction, Event, Illegal, Outcome, Refusal,
    Side, State, Stream,
};

impl Stream {
    pub(super) fn opening(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
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

    pub(super) fn exchanging(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
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
            // A server that refuses a request early answers and closes: the answer is still to be
            // read.
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

    pub(super) fn relaying(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
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
            // It has all that was sent and takes no goodbye. Whether it was cut is for its own
            // direction to say: Go's TLS closes without an alert while it writes, and with one
            // otherwise.
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

    /// A write may tell of a cut before a read has come to it. What was sent before is still to be
    /// read; how that ends tells whether it was a cut.
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

    /// A peer that closed for good after it had ended cleanly has not cut anything: it does not
    /// want the rest.
    fn forgive(&mut self, lost: Side, todo: &mut Actions) {
        self.state = State::Forgiving(lost);
        todo.push(Action::Linger(lost.other()));
    }

    pub(super) fn delivering(
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
}
