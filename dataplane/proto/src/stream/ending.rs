//! How a stream takes leave: the answer that says why, a cut or an end of each leg, the closes.

use super::{
    Action, Actions, After, Cause, Cut, Event, Illegal, Outcome, Side, State, Stream, interruption,
};

impl Stream {
    pub(super) fn leaving(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
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

    pub(super) fn tell(&mut self, after: After, todo: &mut Actions) {
        self.state = State::Telling(after);
        todo.push(Action::ShutWrite(Side::Downstream));
    }

    pub(super) fn telling(
        &mut self,
        after: After,
        event: Event,
        todo: &mut Actions,
    ) -> Result<(), Illegal> {
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

    pub(super) fn told(
        &mut self,
        after: After,
        event: Event,
        todo: &mut Actions,
    ) -> Result<(), Illegal> {
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
    pub(super) fn end(&mut self, outcome: Outcome, todo: &mut Actions) {
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
                // FIN waits behind all that was sent, and a reset would destroy that. A leg without
                // TLS has no other way to tell of a cut.
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
    pub(super) fn cut(&self, side: Side, todo: &mut Actions) {
        if !self.shut.has(side) {
            todo.push(Action::Cut(side));
        }
    }

    pub(super) fn count_unseen(&self, todo: &mut Actions) {
        if !self.shut.downstream {
            todo.push(Action::CountUnseen);
        }
    }

    pub(super) fn settling(
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

    pub(super) fn showing(&mut self, event: Event, todo: &mut Actions) -> Result<(), Illegal> {
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

    /// A clean end that was aborted before all was sent was none.
    pub(super) fn parted(
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

    /// Takes both legs to their close. Closed on now, what the kernel still has for a reader that
    /// stalls would be lost to its impatience with sockets that nobody owns.
    pub(super) fn part(&mut self, outcome: Outcome, todo: &mut Actions) {
        if self.shut.upstream {
            self.state = State::PartingUpstream(outcome);
            todo.push(Action::Part(Side::Upstream));
        } else {
            self.linger_upstream(outcome, todo);
        }
    }

    pub(super) fn linger_upstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        if outcome.is_truncation_of(Side::Downstream) && self.shut.upstream {
            self.state = State::LingeringUpstream(outcome);
            todo.push(Action::Linger(Side::Upstream));
        } else {
            self.close_upstream(outcome, todo);
        }
    }

    pub(super) fn close_upstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        todo.push(Action::Close(Side::Upstream));
        self.linger_downstream(outcome, todo);
    }

    pub(super) fn linger_downstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        if outcome.is_truncation_of(Side::Upstream) && self.shut.downstream {
            self.state = State::LingeringDownstream(outcome);
            todo.push(Action::Linger(Side::Downstream));
        } else {
            self.part_downstream(outcome, todo);
        }
    }

    pub(super) fn part_downstream(&mut self, outcome: Outcome, todo: &mut Actions) {
        if self.shut.downstream {
            self.state = State::PartingDownstream(outcome);
            todo.push(Action::Part(Side::Downstream));
        } else {
            self.keep(outcome, todo);
        }
    }

    pub(super) fn keep(&mut self, outcome: Outcome, todo: &mut Actions) {
        if self.shut.downstream || outcome.side() == Some(Side::Downstream) {
            self.state = State::Keeping;
            todo.push(Action::Keep);
        } else {
            self.drain(todo);
        }
    }

    pub(super) fn drain(&mut self, todo: &mut Actions) {
        if self.shut.downstream {
            self.state = State::Draining;
            todo.push(Action::Drain);
        } else {
            self.close_downstream(todo);
        }
    }

    pub(super) fn close_downstream(&mut self, todo: &mut Actions) {
        self.state = State::Finished;
        todo.push(Action::Close(Side::Downstream));
    }
}
