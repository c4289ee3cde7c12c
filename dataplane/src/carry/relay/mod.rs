//! The relay: two directions between two legs, until both have ended.
//!
//! A direction begins with copying (receive, seal, send) and moves to splice(2) when it proves
//! bulky and both legs carry plain bytes on the socket. It waits for readiness only while it holds
//! neither buffer nor pipe, save for bytes that a slow reader does not take: those cost this stream
//! alone.

use crate::carry::coalesce::Coalesce;
use crate::carry::ending::{Ending, Met, met};
use crate::carry::half_closed;
use crate::carry::waits::delivered;
use crate::context::StreamContext;
use crate::counters::WorkerCounters;
use crate::end::{End, LegError};
use crate::leg::{Leg, Next};
use crate::limits::{
    BULKY_READ, BULKY_READS, CHUNK, LINGER, SMALL_SPLICE, SMALL_SPLICES, TURN_BUDGET, WATCHED_READS,
};
use crate::pool::LentPipe;
use crate::seam::{Phase, Reason};
use eyesplice_proto::body::BodyDecoder;
use eyesplice_proto::stream::{self, Action, Event};
use eyesplice_proto::tls::Layout;
use eyesplice_sys::ktls::Trouble;
use eyesplice_sys::splice;
use eyesplice_sys::uring::{Op, Readiness, Watch};
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;
use tokio::time::sleep;

/// Where a pump stopped without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// The sender ended cleanly.
    End,
    /// The body that was asked for is complete; what follows it is kept as unread.
    Body,
}

/// Relays until both directions are over; returns how the stream ends.
pub(crate) async fn relay(cx: &StreamContext, downstream: &Leg, upstream: &Leg) -> Ending {
    let up = direction(cx, downstream, upstream);
    let down = direction(cx, upstream, downstream);
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (mut up_open, mut down_open) = (true, true);
    let mut half: Option<Pin<Box<dyn Future<Output = Met> + '_>>> = None;
    loop {
        let met = poll_fn(|task| {
            if up_open && let Poll::Ready(met) = up.as_mut().poll(task) {
                up_open = false;
                return Poll::Ready(met);
            }
            if down_open && let Poll::Ready(met) = down.as_mut().poll(task) {
                down_open = false;
                return Poll::Ready(met);
            }
            match &mut half {
                Some(half) => half.as_mut().poll(task),
                None => Poll::Pending,
            }
        })
        .await;
        let ending = Ending::begin(cx, met);
        match ending.last() {
            Some(Action::Watch(ended)) => {
                let (ended, open) = match ended {
                    stream::Side::Downstream => (downstream, upstream),
                    stream::Side::Upstream => (upstream, downstream),
                };
                half = Some(Box::pin(half_closed::over(cx, ended, open)));
            }
            // Boxed, as all rare waits are: an idle stream pays for the largest.
            Some(Action::Deliver(stream::Side::Downstream)) => {
                return Box::pin(deliver(cx, stream::Side::Downstream, up, ending)).await;
            }
            Some(Action::Deliver(stream::Side::Upstream)) => {
                return Box::pin(deliver(cx, stream::Side::Upstream, down, ending)).await;
            }
            _ => return ending,
        }
    }
}

/// Carries one direction to its end, and passes the end on.
async fn direction(cx: &StreamContext, from: &Leg, to: &Leg) -> Met {
    let way = Way {
        cx,
        from,
        to,
        phase: Phase::Relay,
    };
    if let Err(failure) = pump(way, None).await {
        return (met(from.side(), &failure), Some(failure));
    }
    for action in cx.on(Event::Ended(from.side())) {
        if action == Action::ShutWrite(to.side())
            && let Err(error) = to.shut_write(cx.pools()).await
        {
            let failure = error.at(to.side().into(), Phase::Relay);
            return (met(from.side(), &failure), Some(failure));
        }
    }
    (Event::Shut(to.side()), None)
}

/// Delivers the rest of what a leg had sent that takes no more.
async fn deliver(
    cx: &StreamContext,
    lost: stream::Side,
    rest: Pin<&mut impl Future<Output = Met>>,
    mut ending: Ending,
) -> Ending {
    let met = delivered(cx, lost, rest).await;
    ending.on(cx, met.unwrap_or((Event::Stalled, None)));
    ending
}

/// Decides between copy and splice from what the reads bring.
#[derive(Default)]
struct Bulk {
    bulky: u8,
    small: u8,
}

/// One direction: the leg that sends, the leg that receives, and what it is done for.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) cx: &'a StreamContext,
    pub(crate) from: &'a Leg,
    pub(crate) to: &'a Leg,
    pub(crate) phase: Phase,
}

/// Moves payload from one leg to the other until the sender ends, or until `body` is complete.
pub(crate) async fn pump(way: Way<'_>, mut body: Option<&mut BodyDecoder>) -> Result<Pumped, End> {
    let Way {
        cx,
        from,
        to,
        phase,
    } = way;
    let reading = |error: LegError| error.at(from.side().into(), phase);
    let writing = |error: LegError| error.at(to.side().into(), phase);
    let may_splice = body.is_none() && from.is_plain() && to.is_plain();
    let mut sender = Sender::Unwatched;
    let mut bulk = Bulk::default();
    let mut arrivals = Arrivals::default();
    let mut coalesce = Coalesce::new(cx.desk().coalesce);
    let mut budget = TURN_BUDGET;
    loop {
        if bulk.bulky >= BULKY_READS {
            to.widen();
        }
        if may_splice && bulk.bulky >= BULKY_READS && !from.has_unread() {
            bulk = Bulk::default();
            if let Some(pipe) = cx.pools().pipe() {
                cx.counters().splice_starts.inc();
                if spliced(way, &mut sender, pipe).await? == Spliced::End {
                    return Ok(Pumped::End);
                }
            }
        }
        let mut buffer = cx.pools().buffer();
        // A body is looked at before it goes out.
        let layout = match body {
            Some(_) => Layout::Dense,
            None => to.layout(),
        };
        let step = from
            .read_as(layout, cx.pools(), &mut buffer)
            .map_err(reading)?;
        let mut payload = step.payload;
        let mut complete = false;
        if payload > 0 {
            if let Some(body) = body.as_deref_mut() {
                let read = buffer.get(..payload).unwrap_or_default();
                let taken = body.take(read).map_err(|error| {
                    End::new(Reason::Protocol, from.side().into(), phase).detail(error.to_string())
                })?;
                from.unread(read.get(taken.bytes..).unwrap_or_default());
                payload = taken.bytes;
                complete = taken.ended;
            }
            bulk.saw_read(payload);
            arrivals.saw_read(payload);
            budget = budget.saturating_sub(match step.next {
                // A full read is a full turn, however little of it was payload.
                Next::Read if !from.is_kernel() => payload.max(CHUNK),
                _ => payload,
            });
        }
        if payload > 0 {
            let mut wire = to
                .seal(cx.pools(), buffer, payload, step.layout)
                .map_err(writing)?;
            if !to.send_now(&mut wire).map_err(writing)? {
                let write = pin!(to.send(&mut wire));
                unless_gone(from, &mut sender, phase, write)
                    .await?
                    .map_err(writing)?;
            }
            cx.moved(from.side(), payload, false);
        } else {
            drop(buffer);
        }
        if complete {
            return Ok(Pumped::Body);
        }
        match step.next {
            Next::End => {
                if let Some(body) = body {
                    body.peer_ended().map_err(|_| {
                        End::new(Reason::Truncated, from.side().into(), phase)
                            .detail("ended in the middle of a body")
                    })?;
                }
                return Ok(Pumped::End);
            }
            Next::Read if budget > 0 => {}
            Next::Read | Next::Wait => {
                budget = TURN_BUDGET;
                if from.has_unread() {
                    continue;
                }
                let answered = cx.delivered(from.side().other());
                match coalesce.saw_read(step.payload, answered, Instant::now) {
                    Some(delay) => {
                        cx.counters().reads_deferred.inc();
                        arrivals.ignore();
                        Box::pin(sleep(delay)).await;
                    }
                    None => arrivals
                        .wait(cx.counters(), from, step.next)
                        .await
                        .map_err(|error| reading(error.into()))?,
                }
            }
        }
    }
}

/// How a direction waits for its sender.
///
/// One of small messages is watched. One of bulk, or whose reads are put off, arms a poll when it
/// waits, so that what arrives before that wakes nobody.
#[derive(Default)]
struct Arrivals {
    small: u8,
    /// Since the last bulky read; an error is the kernel's refusal.
    watch: Option<io::Result<Watch>>,
}

impl Arrivals {
    fn saw_read(&mut self, payload: usize) {
        if payload >= BULKY_READ {
            self.ignore();
        } else {
            self.small = self.small.saturating_add(1);
        }
    }

    fn ignore(&mut self) {
        self.small = 0;
        self.watch = None;
    }

    /// Waits after a read that emptied the socket, or used up what a turn may take.
    async fn wait(&mut self, counters: &WorkerCounters, from: &Leg, next: Next) -> io::Result<()> {
        if next == Next::Wait && self.small >= WATCHED_READS {
            let watch = self.watch.get_or_insert_with(|| {
                let watch = from.watch();
                if watch.is_err() {
                    counters.watches_refused.inc();
                }
                watch
            });
            if let Ok(watch) = watch {
                return watch.readable().await;
            }
        }
        from.readable().await.map(drop)
    }
}

impl Bulk {
    fn saw_read(&mut self, payload: usize) {
        self.bulky = if payload >= BULKY_READ {
            self.bulky.saturating_add(1)
        } else {
            0
        };
    }

    /// Returns whether the direction is no longer bulky.
    fn saw_splice(&mut self, moved: usize) -> bool {
        self.small = if moved < SMALL_SPLICE {
            self.small + 1
        } else {
            0
        };
        self.small >= SMALL_SPLICES
    }
}

#[derive(PartialEq, Eq)]
enum Spliced {
    /// The sender ended.
    End,
    /// The direction is not bulky any more, or no pipe is free.
    Copy,
}

async fn spliced(way: Way<'_>, sender: &mut Sender, first: LentPipe) -> Result<Spliced, End> {
    let Way {
        cx,
        from,
        to,
        phase,
    } = way;
    let reading = |error: LegError| error.at(from.side().into(), phase);
    let writing = |error: LegError| error.at(to.side().into(), phase);
    let mut bulk = Bulk::default();
    let mut budget = TURN_BUDGET;
    let mut lent = Some(first);
    loop {
        let Some(mut pipe) = lent.take().or_else(|| cx.pools().pipe()) else {
            return Ok(Spliced::Copy);
        };
        from.before_splice().map_err(reading)?;
        let moved = match fill(from, &mut pipe) {
            // In kernel TLS a cut looks like an end here; a read tells.
            Ok(0) if from.is_kernel() => return Ok(Spliced::Copy),
            Ok(0) => {
                from.not_lost().map_err(reading)?;
                return Ok(Spliced::End);
            }
            Ok(moved) => {
                from.after_splice(true).map_err(reading)?;
                moved
            }
            Err(error) if from.is_kernel() && Trouble::of(&error) == Trouble::ControlRecord => {
                return Ok(Spliced::Copy);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if from.after_splice(false).map_err(reading)? {
                    lent = Some(pipe);
                    continue;
                }
                // The pipe goes back to its pool while the stream waits.
                drop(pipe);
                budget = TURN_BUDGET;
                from.readable()
                    .await
                    .map_err(|error| reading(error.into()))?;
                continue;
            }
            Err(error) => return Err(reading(from.gone(error))),
        };
        while pipe.filled > 0 {
            match empty(&mut pipe, to) {
                Ok(n) => {
                    to.count_sealed(n).map_err(writing)?;
                    cx.moved(from.side(), n, true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let write = pin!(to.writable());
                    unless_gone(from, sender, phase, write)
                        .await?
                        .map_err(|error| writing(error.into()))?;
                }
                Err(error) => return Err(writing(to.gone(error))),
            }
        }
        if bulk.saw_splice(moved) {
            return Ok(Spliced::Copy);
        }
        budget = budget.saturating_sub(moved);
        if budget == 0 {
            drop(pipe);
            budget = TURN_BUDGET;
            from.readable()
                .await
                .map_err(|error| reading(error.into()))?;
        } else {
            lent = Some(pipe);
        }
    }
}

fn fill(from: &Leg, pipe: &mut LentPipe) -> io::Result<usize> {
    let Some(inner) = pipe.pipe() else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let moved = splice::from_socket(from.fd().as_fd(), inner, inner.capacity())?;
    pipe.filled += moved;
    Ok(moved)
}

fn empty(pipe: &mut LentPipe, to: &Leg) -> io::Result<usize> {
    let Some(inner) = pipe.pipe() else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let moved = splice::to_socket(inner, to.fd().as_fd(), pipe.filled)?;
    pipe.filled -= moved;
    Ok(moved)
}

/// What is known of a leg while it is not read, because what it sent cannot be written.
///
/// Its poll is armed at the first write that has to wait, and kept until the direction is over: a
/// poll and its cancellation with every wait cost as much as the wait.
enum Sender {
    Unwatched,
    Watched(Op<io::Result<Readiness>>),
    /// It sent a FIN: what was sent before it is still wanted. It hides what comes after it.
    Ended,
    /// It was reset, or closed for good.
    Gone,
}

impl Sender {
    /// Waits until `from` has been gone for so long that nobody will take what it left.
    async fn gone(&mut self, from: &Leg, phase: Phase) -> End {
        loop {
            match self {
                Self::Unwatched => *self = Self::Watched(from.hangup()),
                Self::Watched(hangup) => {
                    *self = match hangup.await {
                        Ok(readiness) if !readiness.gone() => Self::Ended,
                        // The error itself, if there is one, is found by the next read.
                        _ => Self::Gone,
                    }
                }
                Self::Gone if !from.is_shut() => break,
                Self::Ended | Self::Gone => return pending().await,
            }
        }
        Box::pin(sleep(LINGER)).await;
        End::new(Reason::Reset, from.side().into(), phase)
            .detail("closed, and the other side does not take what it had sent before")
    }
}

/// Runs a write of what `from` sent, unless `from` is gone for good and nobody takes what it left.
///
/// While a write waits, nobody reads `from`; without this a stream whose reader stalls would not
/// notice that its sender was reset.
async fn unless_gone<T>(
    from: &Leg,
    sender: &mut Sender,
    phase: Phase,
    write: Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    tokio::select! {
        biased;
        result = write => Ok(result),
        failure = sender.gone(from, phase) => Err(failure),
    }
}

#[cfg(test)]
mod tests;
