//! One request on its way to a server, beside its reply: what ends the one ends the other.

use super::answer::failed;
use super::record::{Exchange, Then};
use crate::carry::ending::{met, wrote};
use crate::carry::relay::{Way, pump};
use crate::carry::waits::delivered;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Phase, Reason, Side};
use eyesplice_proto::body::BodyDecoder;
use eyesplice_proto::framing::Framing;
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::serialize::write_request;
use eyesplice_proto::stream::{self as legs, Event};
use eyesplice_proto::tls::RECORD_PAYLOAD;
use eyesplice_proto::upgrade::Upgrade;
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::time::Duration;

/// The way of one request.
pub(crate) struct Pass<'a> {
    pub(crate) cx: &'a StreamContext,
    pub(crate) downstream: &'a Leg,
    pub(crate) upstream: &'a Leg,
    /// Who answers, in errors.
    pub(crate) server: &'a str,
    /// From the first byte of a reply's head to its last.
    pub(crate) head_timeout: Duration,
    /// Until the head of the reply to an upgrade is there; `None`: the server knows itself.
    pub(crate) upgrade_timeout: Option<Duration>,
    /// What the server answers to an upgrade instead of a 101 is passed on, whatever it is.
    pub(crate) any_answer: bool,
    /// The connection has served a request before: the server may close it just now.
    pub(crate) kept: bool,
    /// Both connections end together, and no later than the configuration of this number.
    pub(crate) tied: Option<u64>,
    /// The only status of a reply that is passed on; `None`: each is.
    pub(crate) only: Option<u16>,
    /// Headers that a reply gets in place of its own.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// Called with the status of the reply before that goes out.
    pub(crate) heard: &'a dyn Fn(u16),
    pub(crate) seen: Seen,
}

/// What was seen of the server.
#[derive(Default)]
pub(crate) struct Seen {
    /// Some of a reply.
    pub(crate) reply: Cell<bool>,
    /// It takes no further request on this connection.
    pub(crate) last: Cell<bool>,
}

/// A request that was judged.
pub(crate) struct Request<'a> {
    /// As it is sent.
    pub(crate) head: RequestHead,
    pub(crate) framing: Framing,
    pub(crate) upgrade: Option<&'a Upgrade>,
    /// The client wants to go on.
    pub(crate) keep_alive: bool,
}

impl Pass<'_> {
    /// Sends a request with its body, and passes on the reply.
    pub(crate) async fn carry(
        &self,
        exchange: &mut Exchange,
        request: Request<'_>,
    ) -> Result<Then, End> {
        let Request {
            head,
            framing,
            upgrade,
            keep_alive,
        } = request;
        let mut bytes = Vec::new();
        write_request(&head, &mut bytes);
        let method = head.method.clone();
        drop(head);
        let mut body = BodyDecoder::new(framing);
        let begun = self.ride(self.downstream, (framing, &mut body), &mut bytes);
        let sent = self.upstream.write(self.cx.pools(), &bytes).await;
        drop(bytes);
        if begun > 0 && sent.is_ok() {
            self.cx.moved(self.downstream.side(), begun, false);
        }

        let body_done = Cell::new(body.ended() && sent.is_ok());
        let mut feed = pin!(async {
            sent.map_err(|error| failed(error, Side::Upstream).status(502))?;
            self.feed(&mut body, &body_done).await
        });
        let keep_alive = keep_alive.then_some(&body_done);
        let mut reply = pin!(self.reply(exchange, &method, upgrade, keep_alive));
        let then = tokio::select! {
            biased;
            then = &mut reply => match then {
                Err(failure) => return Err(self.sent(failure, feed).await),
                Ok(then) => then,
            },
            left = &mut feed => match left {
                Err(failure) => self.answered(failure, reply.as_mut()).await?,
                Ok(never) => match never {},
            },
        };
        // A body that the server did not wait for cannot be skipped safely.
        Ok(if body_done.get() {
            then
        } else {
            Then::Close(Event::Unfinished)
        })
    }

    /// One direction between the legs.
    pub(super) fn way<'b>(&'b self, from: &'b Leg, to: &'b Leg) -> Way<'b> {
        Way {
            cx: self.cx,
            from,
            to,
            phase: Phase::Exchange,
        }
    }

    /// Lets a body ride with its head if its begin is there and little: one record, one call of the
    /// kernel, one packet. Returns how much of it does.
    pub(super) fn ride(
        &self,
        from: &Leg,
        (framing, body): (Framing, &mut BodyDecoder),
        head: &mut Vec<u8>,
    ) -> usize {
        let there = from.unread_len();
        if there == 0 || body.ended() || head.len() + there > RECORD_PAYLOAD {
            return 0;
        }
        let mut buffer = self.cx.pools().buffer();
        let Ok(step) = from.read(self.cx.pools(), &mut buffer) else {
            return 0;
        };
        let read = buffer.get(..step.payload).unwrap_or_default();
        let taken = body.take(read).map_or_else(
            |_| {
                // For the pump to find behind the head.
                *body = BodyDecoder::new(framing);
                0
            },
            |taken| taken.bytes,
        );
        from.unread(read.get(taken..).unwrap_or_default());
        head.extend_from_slice(read.get(..taken).unwrap_or_default());
        taken
    }

    /// What a request comes to that could not be sent to its end. A server that refuses it early
    /// answers and closes; the answer is still to be read, and its end tells more than the write
    /// that failed.
    async fn answered(
        &self,
        failure: End,
        reply: Pin<&mut impl Future<Output = Result<Then, End>>>,
    ) -> Result<Then, End> {
        if !self.hears(&failure, legs::Side::Upstream) {
            return Err(failure);
        }
        let (event, later) = match Box::pin(delivered(self.cx, legs::Side::Upstream, reply)).await {
            Some(Ok(then)) => {
                self.cx.on(Event::Done);
                return Ok(then);
            }
            Some(Err(later)) => (met(legs::Side::Upstream, &later), Some(later)),
            None => (Event::Stalled, None),
        };
        let blamed = self.cx.on(event).contains(&legs::Action::Blame);
        Err(later.filter(|_| blamed).unwrap_or(failure))
    }

    /// After a reply that the client took no more of: what it had sent before still goes out.
    async fn sent<T>(&self, failure: End, feed: Pin<&mut impl Future<Output = T>>) -> End {
        if self.hears(&failure, legs::Side::Downstream) {
            let rest = delivered(self.cx, legs::Side::Downstream, feed);
            let rest = Box::pin(rest).await;
            self.cx.on(rest.map_or(Event::Stalled, |_| Event::Done));
        }
        failure
    }

    /// Reports a write to a leg that failed; whether what that leg has sent is still to be
    /// delivered.
    fn hears(&self, failure: &End, to: legs::Side) -> bool {
        failure.side == to.into()
            && wrote(failure)
                .is_some_and(|event| self.cx.on(event).contains(&legs::Action::Deliver(to)))
    }

    /// Sends the request's body, then watches for the downstream to leave. Never ends well.
    async fn feed(&self, body: &mut BodyDecoder, done: &Cell<bool>) -> Result<Infallible, End> {
        if !body.ended() {
            pump(self.way(self.downstream, self.upstream), Some(body))
                .await
                .map_err(|failure| match (failure.reason, failure.side) {
                    (Reason::Protocol, Side::Downstream) => failure.status(400),
                    _ => failure,
                })?;
            done.set(true);
        }
        let gone = self.downstream.hangup().await;
        gone.map_err(|error| failed(error.into(), Side::Downstream))?;
        Err(
            End::new(Reason::Cancelled, Side::Downstream, Phase::Exchange)
                .detail("client closed the connection before the reply was complete"),
        )
    }
}
