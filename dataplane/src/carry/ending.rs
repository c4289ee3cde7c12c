//! Executes how a stream ends: what `eyesplice_proto::stream` asks for, until both legs are closed.

use crate::carry::waits::{kept, linger, seen, sent, settled};
use crate::context::StreamContext;
use crate::desk::InGauge;
use crate::end::{End, LegError};
use crate::leg::Leg;
use crate::limits::LINGER;
use crate::seam::{self, Phase, Reason};
use eyesplice_proto::stream::{Action, Actions, Cause, Cut, Event, Side};
use std::pin::pin;
use tokio::time::timeout;

/// For what a stream ends, as far as it is known, and what is to be done about it.
pub(crate) struct Ending {
    cause: Option<End>,
    todo: Actions,
}

/// Both legs of a stream that ends; each is closed when its time has come.
pub(crate) struct Legs<'a> {
    pub(crate) downstream: Option<Box<Leg>>,
    pub(crate) upstream: Option<(Box<Leg>, InGauge<'a>)>,
}

/// What the engine met, and in its words.
pub(crate) type Met = (Event, Option<End>);

impl Ending {
    /// Of a set-up or an exchange that failed without an answer.
    pub(crate) fn failed(cx: &StreamContext, failure: End) -> Self {
        Self::begin(cx, (Event::Failed(cause(&failure)), Some(failure)))
    }

    /// Of one that failed, and whose client was sent an answer that says why.
    pub(crate) fn told(cx: &StreamContext, failure: End) -> Self {
        Self::begin(cx, (Event::Told(cause(&failure)), Some(failure)))
    }

    /// Of a set-up that failed with an alert instead of an answer.
    pub(crate) fn alerted(cx: &StreamContext, failure: End) -> Self {
        Self::begin(cx, (Event::Alerted(cause(&failure)), Some(failure)))
    }

    /// Of a stream that was ended from outside.
    pub(crate) fn interrupted(cx: &StreamContext, failure: End) -> Self {
        Self::begin(cx, interruption(failure))
    }

    /// Begins with what was met.
    pub(crate) fn begin(cx: &StreamContext, met: Met) -> Self {
        let mut ending = Self {
            cause: None,
            todo: Actions::new(),
        };
        ending.on(cx, met);
        ending
    }

    /// Goes on with what was met.
    pub(crate) fn on(&mut self, cx: &StreamContext, (event, mut met): Met) {
        self.todo = cx.on(event);
        for action in &self.todo {
            match *action {
                Action::Blame => self.cause = met.take(),
                Action::Complete(side) => self.cause = Some(completed(side)),
                Action::Forgive(side) => {
                    self.cause = Some(
                        completed(side).detail("closed without reading what was still on its way"),
                    );
                }
                Action::Unseen => {
                    cx.counters().cuts_unseen.inc();
                    self.cause = self.cause.take().map(unseen);
                }
                _ => {}
            }
        }
    }

    /// What is to be done last, and perhaps waited for.
    pub(crate) fn last(&self) -> Option<Action> {
        self.todo.last().copied()
    }

    /// Carries it out until both legs are closed; returns how the stream ended. `phase` is the one that
    /// an abort meanwhile falls into.
    pub(crate) async fn run(mut self, cx: &StreamContext, mut legs: Legs<'_>, phase: Phase) -> End {
        loop {
            for action in &self.todo {
                legs.execute(cx, *action);
            }
            let Some(wait) = self.last().filter(|action| action.waits()) else {
                break;
            };
            let met = legs.wait(cx, wait, phase).await;
            self.on(cx, met);
        }
        self.cause
            .unwrap_or_else(|| End::new(Reason::Internal, seam::Side::Local, phase))
    }
}

impl Legs<'_> {
    fn leg(&self, side: Side) -> Option<&Leg> {
        match side {
            Side::Downstream => self.downstream.as_deref(),
            Side::Upstream => self.upstream.as_ref().map(|(leg, _)| &**leg),
        }
    }

    /// Does what does not wait.
    fn execute(&mut self, cx: &StreamContext, action: Action) {
        let of = |side, work: fn(&Leg)| {
            if let Some(leg) = self.leg(side) {
                work(leg);
            }
        };
        match action {
            Action::Cut(side) => of(side, Leg::cut),
            Action::Abandon(side) => of(side, Leg::abandon),
            Action::Truncate(side) => of(side, Leg::truncate),
            Action::Discard(side) => {
                if let Some(leg) = self.leg(side) {
                    leg.discard(cx.pools());
                }
            }
            Action::CountUnseen => {
                let unseen = self
                    .leg(Side::Downstream)
                    .is_some_and(|it| !it.shows_a_cut());
                cx.counters().cuts_unseen.add(u64::from(unseen));
            }
            Action::Close(Side::Downstream) => self.downstream = None,
            Action::Close(Side::Upstream) => self.upstream = None,
            _ => {}
        }
    }

    /// Does what waits, and says what came of it.
    async fn wait(&self, cx: &StreamContext, action: Action, phase: Phase) -> Met {
        let (side, abortable) = match action {
            Action::ShutWrite(side)
            | Action::Linger(side)
            | Action::Settle(side)
            | Action::Part(side) => (side, true),
            Action::Keep => (Side::Downstream, true),
            Action::Leave(side) | Action::Hear(side) => (side, false),
            _ => (Side::Downstream, false),
        };
        let Some(leg) = self.leg(side) else {
            // It was ended before.
            let met = match action {
                Action::Leave(side) => Event::Shut(side),
                _ => Event::Done,
            };
            return (met, None);
        };
        if !abortable {
            return (done(cx, action, leg).await, None);
        }
        let work = pin!(async { Ok(done(cx, action, leg).await) });
        match cx.until_aborted(phase, work).await {
            Ok(event) => (event, None),
            Err(failure) => interruption(failure),
        }
    }
}

async fn done(cx: &StreamContext, action: Action, leg: &Leg) -> Event {
    match action {
        Action::ShutWrite(_) => shut(leg, leg.shut_write(cx.pools()).await),
        Action::Leave(_) => match timeout(LINGER, leg.shut_write(cx.pools())).await {
            Ok(result) => shut(leg, result),
            Err(_) => Event::Stalled,
        },
        Action::Linger(_) | Action::Hear(_) => {
            linger(cx, leg).await;
            Event::Done
        }
        Action::Settle(_) => {
            settled(leg).await;
            Event::Done
        }
        Action::Keep => {
            kept(leg).await;
            Event::Done
        }
        Action::Part(_) => {
            sent(leg).await;
            Event::Done
        }
        Action::Show if !seen(leg).await => Event::Unseen,
        Action::Drain => {
            // A peer that stays is closed on all the same.
            drop(timeout(LINGER, leg.drain(cx.pools())).await);
            Event::Done
        }
        _ => Event::Done,
    }
}

/// What came of ending a leg.
fn shut(leg: &Leg, result: Result<(), LegError>) -> Event {
    match result {
        Ok(()) => Event::Shut(leg.side()),
        Err(error) => wrote(&error.at(leg.side().into(), Phase::Relay)).unwrap_or(Event::Exhausted),
    }
}

/// What a write to a leg met; `None` if that was not of its making.
pub(crate) fn wrote(failure: &End) -> Option<Event> {
    let side = leg_of(failure.side)?;
    Some(match failure.closed {
        true => Event::Closed(side),
        false => Event::Unwritable(side, cut(failure.reason)),
    })
}

/// What a direction met that carries what `from` sends.
pub(crate) fn met(from: Side, failure: &End) -> Event {
    match leg_of(failure.side) {
        Some(side) if side == from => Event::Cut(side, cut(failure.reason)),
        Some(_) => wrote(failure).unwrap_or(Event::Exhausted),
        None => Event::Exhausted,
    }
}

fn interruption(failure: End) -> Met {
    let event = match (leg_of(failure.side), failure.reason) {
        (Some(side), _) => Event::Lost(side),
        (None, Reason::Idle) => Event::Idle,
        (None, _) => Event::Aborted,
    };
    (event, Some(failure))
}

fn cause(failure: &End) -> Cause {
    match leg_of(failure.side) {
        Some(side) => Cause::Cut(side, cut(failure.reason)),
        None => Cause::Local,
    }
}

fn cut(reason: Reason) -> Cut {
    match reason {
        Reason::Reset => Cut::Reset,
        Reason::Truncated => Cut::Truncated,
        Reason::Protocol | Reason::BadUpgrade | Reason::HandshakeFailed => Cut::Broken,
        _ => Cut::GivenUp,
    }
}

fn leg_of(side: seam::Side) -> Option<Side> {
    match side {
        seam::Side::Downstream => Some(Side::Downstream),
        seam::Side::Upstream => Some(Side::Upstream),
        seam::Side::Local => None,
    }
}

fn completed(side: Side) -> End {
    End::new(Reason::Completed, side.into(), Phase::Relay)
}

/// Gives a cut its own reason that the client will take for an end.
fn unseen(failure: End) -> End {
    let End { reason, detail, .. } = &failure;
    let why = detail.as_deref().unwrap_or("without close_notify");
    let words = format!(
        "{reason} ({why}), and the client takes it for an end: a UNIX socket without TLS knows no \
         cut; use a TCP listener with mutual TLS for such targets"
    );
    End {
        reason: Reason::CutUnseen,
        ..failure
    }
    .detail(words)
}
