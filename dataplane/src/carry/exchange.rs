//! The kubelet's HTTP/1.1 API between two ended TLS legs: one request at a time, authorised by
//! action, heads written anew, bodies passed on as they are.
//!
//! One upstream connection serves one downstream connection and no other, so no identity ever meets
//! another's bytes. Raw bytes pass only after a 101 that matches what was asked (CVE-2018-1002105).

use crate::carry::ending::{Ending, met, wrote};
use crate::carry::refusal::{self, Body};
use crate::carry::relay::{Way, pump};
use crate::carry::renew;
use crate::carry::waits::delivered;
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::leg::{Leg, Next};
use crate::limits::LINGER;
use crate::seam::{
    ActionPolicy, ExchangeLabels, Phase, Reason, RecordKind, Side, Snapshot, StreamBytes,
    StreamRecord,
};
use eyesplice_proto::body::BodyDecoder;
use eyesplice_proto::causes::chain;
use eyesplice_proto::framing::{Framing, request_framing};
use eyesplice_proto::head::{Method, RequestHead, ResponseHead};
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::hop::{self, After, Identity};
use eyesplice_proto::limits::INTERIM_REPLIES;
use eyesplice_proto::parse::{HeadLimits, Progress, parse_request, parse_response};
use eyesplice_proto::route::{Action, Route, route};
use eyesplice_proto::serialize::{write_request, write_response};
use eyesplice_proto::stream::{self as legs, Event};
use eyesplice_proto::upgrade::{self, Reply, Upgrade, judge_reply};
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;

/// How the HTTP part of a connection ended.
pub(crate) enum Served {
    /// Both legs are done with; the exchange that ended so, unless its record is out already.
    Closed(Ending, Option<Box<Exchange>>),
    /// The legs carry raw bytes from here on.
    Upgraded(Box<Exchange>),
}

/// One request and what became of it.
pub(crate) struct Exchange {
    number: u32,
    started: Instant,
    started_at: SystemTime,
    labels: Option<ExchangeLabels>,
    status: Option<u16>,
    before: StreamBytes,
}

impl Exchange {
    /// The exchange's record: the stream's, with this request's part.
    pub(crate) fn record(
        &self,
        stream: &StreamRecord,
        cx: &StreamContext,
        failure: &End,
    ) -> StreamRecord {
        let mut record = stream.ended(cx, failure);
        record.exchange = self.number;
        record.exchange_labels.clone_from(&self.labels);
        record.status = self.status;
        record.started = self.started_at;
        record.duration = self.started.elapsed();
        record.bytes.up -= self.before.up;
        record.bytes.down -= self.before.down;
        record
    }

    fn is_upgrade(&self) -> bool {
        let labels = self.labels.as_ref();
        labels.is_some_and(|labels| labels.protocol.is_some())
    }

    fn start_record(&self, stream: &StreamRecord, cx: &StreamContext) -> StreamRecord {
        let open = End::new(Reason::Completed, Side::Local, Phase::Exchange);
        let mut record = self.record(stream, cx, &open);
        record.kind = RecordKind::Start;
        record.duration = Duration::ZERO;
        record
    }
}

/// What follows a finished exchange.
enum Then {
    /// Another request may come.
    Next,
    /// The connection is over, in this way.
    Close(Event),
    /// A 101 was passed on.
    Switch,
}

/// A request that came.
struct Asked {
    head: RequestHead,
    /// Why the kubelet will not answer it.
    broken: Option<End>,
}

/// A connection between an API server and a kubelet.
struct Conversation<'a> {
    cx: &'a StreamContext,
    downstream: &'a Leg,
    made: &'a Made,
    /// What the connection was made with, or renewed.
    generation: u64,
}

/// What a connection is made with; when it is renewed, all of it is replaced.
pub(crate) struct Made {
    pub(crate) upstream: Box<Leg>,
    pub(crate) terms: Terms,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// What a verdict says of the requests of a connection.
pub(crate) struct Terms {
    pub(crate) policy: Arc<ActionPolicy>,
    pub(crate) head_timeout: Duration,
}

/// Serves requests until the connection ends or is upgraded. Each is judged by the configuration in
/// force when it comes: after a reload the connection is renewed for it.
pub(crate) async fn serve(
    cx: &StreamContext,
    record: &mut StreamRecord,
    downstream: &Leg,
    made: &mut Made,
) -> Served {
    loop {
        let first = record.exchange == 0;
        let mut talk = Conversation {
            cx,
            downstream,
            made,
            generation: record.generation,
        };
        let next = {
            let next = pin!(talk.next_request(first));
            cx.until_aborted(Phase::Exchange, next).await
        };
        let mut asked = match next {
            Ok(Some(asked)) => asked,
            Ok(None) => return Served::Closed(over(cx, Event::Served), None),
            Err(failure) if failure.status.is_none() => {
                return Served::Closed(Ending::failed(cx, failure), None);
            }
            Err(failure) => {
                record.exchange += 1;
                let exchange = talk.begin(record.exchange);
                return talk.fail(exchange, failure, false).await;
            }
        };
        if !talk.is_current() {
            let renewed = {
                let work = pin!(renew::renew(cx, downstream, record, &asked.head));
                cx.until_aborted(Phase::Exchange, work).await
            };
            match renewed {
                Ok(renewed) => {
                    // It has had all that was its own.
                    drop(timeout(LINGER, made.upstream.shut_write(cx.pools())).await);
                    *made = renewed;
                    // Of the connection before.
                    asked.broken = None;
                    talk = Conversation {
                        cx,
                        downstream,
                        made,
                        generation: record.generation,
                    };
                }
                Err(failure) => {
                    record.exchange += 1;
                    let mut exchange = talk.begin(record.exchange);
                    let route = route(&asked.head.target).ok();
                    exchange.labels = route.map(|route| labels(&route, None));
                    let upgrade = asked.head.headers.contains("upgrade");
                    return talk.fail(exchange, failure, upgrade).await;
                }
            }
        }
        record.exchange += 1;
        let mut exchange = talk.begin(record.exchange);
        let result = {
            let work = pin!(talk.exchange(record, &mut exchange, asked));
            cx.until_aborted(Phase::Exchange, work).await
        };
        let done = End::new(Reason::Completed, Side::Upstream, Phase::Exchange);
        match result {
            Ok(Then::Switch) => return Served::Upgraded(exchange),
            Ok(Then::Next) => cx.desk().emit(exchange.record(record, cx, &done)),
            Ok(Then::Close(rest)) => {
                cx.desk().emit(exchange.record(record, cx, &done));
                return Served::Closed(over(cx, rest), None);
            }
            Err(failure) => {
                let upgrade = exchange.is_upgrade();
                return talk.fail(exchange, late(failure), upgrade).await;
            }
        }
    }
}

/// Gives what ended an exchange from outside the words of HTTP.
fn late(failure: End) -> End {
    match (failure.reason, failure.side) {
        (Reason::Idle, _) => failure
            .status(504)
            .detail("nothing moved for timeouts.idle"),
        (Reason::PeerLost, Side::Upstream) => failure.status(504),
        _ => failure,
    }
}

impl Conversation<'_> {
    fn begin(&self, number: u32) -> Box<Exchange> {
        self.cx.touch();
        Box::new(Exchange {
            number,
            started: Instant::now(),
            started_at: SystemTime::now(),
            labels: None,
            status: None,
            before: self.cx.bytes(),
        })
    }

    /// Waits for a request head; `None` when either side ended between two requests.
    ///
    /// A kubelet may refuse our certificate only after our side of the handshake is over: before the
    /// first request its failure is kept for the answer to that request, which tells the client why.
    async fn next_request(&self, first: bool) -> Result<Option<Asked>, End> {
        let mut broken: Option<End> = None;
        if self.made.upstream.has_unread() {
            return Err(talks_out_of_turn());
        }
        let patience = Patience {
            until: None,
            once_begun: Some(self.made.terms.head_timeout),
        };
        let parse = |head: &[u8], progress: &mut Progress| {
            parse_request(head, progress, &HeadLimits::REQUEST)
        };
        let idle = async || self.between_requests(first, &mut broken).await;
        let read = read_head(self.cx, self.downstream, patience, parse, idle).await;
        let NoHead { begun, why } = match read {
            Ok(head) => return Ok(Some(Asked { head, broken })),
            Err(none) => none,
        };
        Err(match why {
            Why::Read(error) => {
                let failure = failed(error, Side::Downstream);
                // Nothing is under way, so nothing is lost by a cut.
                if !begun && !first && failure.reason != Reason::Protocol {
                    return Ok(None);
                }
                failure
            }
            Why::Wait(error) => failed(error, Side::Downstream).status(408),
            Why::Ended if begun => End::new(Reason::Truncated, Side::Downstream, Phase::Exchange),
            Why::Ended => return broken.map_or(Ok(None), Err),
            Why::Malformed(error) => self.hostile(error.status(), chain(&error)),
            Why::Stopped(None) => return Ok(None),
            Why::Stopped(Some(failure)) => failure,
        })
    }

    /// Waits until the downstream may have sent something; fails where no request will be served, with
    /// nothing if that is no failure.
    async fn between_requests(
        &self,
        first: bool,
        broken: &mut Option<End>,
    ) -> Result<(), Option<End>> {
        // What came before the drain is served, and whoever has just connected will ask.
        if !first && (self.cx.is_draining() || !self.is_current()) {
            return Err(None);
        }
        tokio::select! {
            ready = self.downstream.readable() => {
                ready.map_err(|error| Some(failed(error.into(), Side::Downstream)))?;
            }
            () = self.cx.draining(), if !first => {}
            () = self.cx.until(|| !self.is_current()), if !first => {}
            ready = self.made.upstream.readable(), if broken.is_none() => {
                ready.map_err(|error| Some(failed(error.into(), Side::Upstream)))?;
                match self.upstream_left() {
                    Ok(false) => {}
                    Err(failure) if first => *broken = Some(failure),
                    Err(failure) if failure.reason != Reason::Protocol => return Err(None),
                    Err(failure) => return Err(Some(failure)),
                    Ok(true) => return Err(None),
                }
            }
        }
        Ok(())
    }

    /// Looks at an upstream that became readable between two requests: session tickets are fine, an
    /// end closes the connection, anything else is a kubelet that talks out of turn.
    fn upstream_left(&self) -> Result<bool, End> {
        let upstream = &self.made.upstream;
        let mut buffer = self.cx.pools().buffer();
        let step = upstream
            .read(self.cx.pools(), &mut buffer)
            .map_err(|error| failed(error, Side::Upstream))?;
        if step.payload == 0 {
            Ok(step.next == Next::End)
        } else {
            Err(talks_out_of_turn())
        }
    }

    fn hostile(&self, status: u16, detail: String) -> End {
        End::new(Reason::Protocol, Side::Downstream, Phase::Exchange)
            .status(status)
            .detail(detail)
    }

    /// One request, its body, its reply.
    async fn exchange(
        &self,
        record: &StreamRecord,
        exchange: &mut Exchange,
        Asked { mut head, broken }: Asked,
    ) -> Result<Then, End> {
        let framing = request_framing(&head).map_err(|error| self.hostile(400, chain(&error)))?;
        let route = route(&head.target).map_err(|error| self.hostile(400, chain(&error)))?;
        let asked = upgrade::asked(&head, framing)
            .map(|asked| asked.filter(|_| route.action.may_upgrade()))
            .map_err(|error| self.hostile(error.status(), chain(&error)));
        exchange.labels = Some(labels(&route, asked.as_ref().ok().and_then(Option::as_ref)));
        let asked = asked?;
        self.authorise(record, route.action)?;
        let begins = matches!(
            route.action,
            Action::Exec | Action::Attach | Action::PortForward
        );
        let kind = if begins {
            RecordKind::Start
        } else {
            RecordKind::End
        };
        self.cx.desk().recordable(kind, Phase::Exchange)?;
        if let Some(failure) = broken {
            return Err(failure.status(502));
        }
        if route.action.forbids_body() && !framing.is_empty() {
            let detail = format!("{} takes no request body", route.action);
            return Err(self.hostile(400, detail));
        }
        let keep_alive = hop::keeps_alive(head.version, &head.headers);
        let method = head.method.clone();
        hop::strip_identity(
            &mut head.headers,
            &[Identity::Remote, Identity::Impersonate],
        );
        hop::rewrite_request(&mut head, framing, asked.as_ref())
            .map_err(|error| self.hostile(400, chain(&error)))?;
        if begins {
            self.cx.desk().emit(exchange.start_record(record, self.cx));
        }
        let mut bytes = Vec::new();
        write_request(&head, &mut bytes);
        drop(head);
        let sent = self.made.upstream.write(self.cx.pools(), &bytes).await;
        drop(bytes);

        let body_done = Cell::new(framing.is_empty() && sent.is_ok());
        let mut feed = pin!(async {
            sent.map_err(|error| failed(error, Side::Upstream).status(502))?;
            self.feed(framing, &body_done).await
        });
        let keep_alive = keep_alive.then_some(&body_done);
        let mut reply = pin!(self.reply(exchange, &method, asked.as_ref(), keep_alive));
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
        // A body that the kubelet did not wait for cannot be skipped safely.
        Ok(if body_done.get() {
            then
        } else {
            Then::Close(Event::Unfinished)
        })
    }

    /// What a request comes to that could not be sent to its end. A kubelet that refuses it early answers
    /// and closes; the answer is still to be read, and its end tells more than the write that failed.
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

    /// Reports a write to a leg that failed; whether what that leg has sent is still to be delivered.
    fn hears(&self, failure: &End, to: legs::Side) -> bool {
        failure.side == to.into()
            && wrote(failure)
                .is_some_and(|event| self.cx.on(event).contains(&legs::Action::Deliver(to)))
    }

    fn authorise(&self, record: &StreamRecord, action: Action) -> Result<(), End> {
        authorise(&self.made.terms.policy, record, action)
    }

    /// Sends the request's body, then watches for the downstream to leave. Never ends well.
    async fn feed(&self, framing: Framing, done: &Cell<bool>) -> Result<Infallible, End> {
        if !framing.is_empty() {
            let mut body = BodyDecoder::new(framing);
            pump(
                self.way(self.downstream, &self.made.upstream),
                Some(&mut body),
            )
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

    fn way<'b>(&'b self, from: &'b Leg, to: &'b Leg) -> Way<'b> {
        Way {
            cx: self.cx,
            from,
            to,
            phase: Phase::Exchange,
        }
    }

    /// Whether a connection that is made now would be made as this one was. A kubelet judges each
    /// request by the certificate that its connection began with, and an API server never ends one
    /// that it uses: neither the last certificate nor the last policy must live on there.
    fn is_current(&self) -> bool {
        self.cx.desk().generation() <= self.generation
    }

    /// Passes on the reply. With `keep_alive` the client wants to go on, which it can if the cell
    /// says that its request is complete.
    async fn reply(
        &self,
        exchange: &mut Exchange,
        method: &Method,
        asked: Option<&Upgrade>,
        keep_alive: Option<&Cell<bool>>,
    ) -> Result<Then, End> {
        let deadline = asked.map(|_| Instant::now() + self.made.terms.head_timeout);
        for _ in 0..=INTERIM_REPLIES {
            let mut head = self.reply_head(exchange, deadline).await?;
            let (judged, framing) = judge_reply(asked, method, &head);
            let status = head.status;
            let (after, then) = match judged {
                Reply::Interim if asked.is_some() => continue,
                Reply::Interim => (After::KeepAlive, None),
                Reply::Relay101 => {
                    let Some(asked) = asked else { continue };
                    (After::Switch(asked), Some(Then::Switch))
                }
                Reply::Relay
                    if keep_alive.is_some_and(Cell::get)
                        && !self.cx.is_draining()
                        && self.is_current()
                        && framing != Framing::UntilClose
                        && hop::keeps_alive(head.version, &head.headers) =>
                {
                    (After::KeepAlive, Some(Then::Next))
                }
                Reply::Relay | Reply::RelayAndClose => {
                    (After::Close, Some(Then::Close(Event::Served)))
                }
                Reply::BadGateway(why) => {
                    let reason = if asked.is_some() {
                        Reason::BadUpgrade
                    } else {
                        Reason::Protocol
                    };
                    return Err(End::new(reason, Side::Upstream, Phase::Exchange)
                        .status(502)
                        .detail(chain(&why)));
                }
            };
            hop::rewrite_response(&mut head, framing, after).map_err(|error| {
                End::new(Reason::Protocol, Side::Upstream, Phase::Exchange)
                    .status(502)
                    .detail(chain(&error))
            })?;
            if then.is_some() {
                exchange.status = Some(status);
            }
            self.cx.touch();
            let mut bytes = Vec::new();
            write_response(&head, &mut bytes);
            drop(head);
            // Alone in its own write: Go's SPDY client loses what rides with a 101.
            self.downstream
                .write(self.cx.pools(), &bytes)
                .await
                .map_err(|error| failed(error, Side::Downstream))?;
            let Some(then) = then else { continue };
            if !framing.is_empty() && !matches!(then, Then::Switch) {
                let mut body = BodyDecoder::new(framing);
                pump(
                    self.way(&self.made.upstream, self.downstream),
                    Some(&mut body),
                )
                .await?;
            }
            return Ok(then);
        }
        Err(End::new(Reason::Protocol, Side::Upstream, Phase::Exchange)
            .status(502)
            .detail("kubelet sends interim replies without end"))
    }

    async fn reply_head(
        &self,
        exchange: &Exchange,
        deadline: Option<Instant>,
    ) -> Result<ResponseHead, End> {
        let patience = Patience {
            until: deadline,
            once_begun: Some(self.made.terms.head_timeout),
        };
        let parse = |head: &[u8], progress: &mut Progress| {
            parse_response(head, progress, &HeadLimits::RESPONSE)
        };
        let idle = async || first_byte(&self.made.upstream, deadline).await;
        let read = read_head(self.cx, &self.made.upstream, patience, parse, idle).await;
        let NoHead { begun, why } = match read {
            Ok(head) => return Ok(head),
            Err(none) => none,
        };
        // A kubelet may close an idle connection just when the next request arrives. The client
        // repeats such a request by itself if it sees the same: a close without an answer.
        let status = (begun || exchange.number == 1).then_some(502);
        Err(match why {
            Why::Read(error) => End {
                status,
                ..failed(error, Side::Upstream)
            },
            Why::Ended => {
                let failure = End::new(Reason::Truncated, Side::Upstream, Phase::Exchange)
                    .detail("kubelet closed the connection without a complete reply");
                End { status, ..failure }
            }
            Why::Malformed(error) => End::new(Reason::Protocol, Side::Upstream, Phase::Exchange)
                .status(502)
                .detail(chain(&error)),
            Why::Wait(error) | Why::Stopped(error) => self.no_reply(error, begun),
        })
    }

    /// A kubelet may take its time to begin a reply, unless it is to an upgrade: a command may run for
    /// long before it says anything. A reply that has begun costs memory until its head is complete.
    fn no_reply(&self, error: LegError, begun: bool) -> End {
        let timed_out = matches!(error, LegError::TimedOut);
        let failure = failed(error, Side::Upstream);
        if !timed_out {
            return failure.status(502);
        }
        let missing = match begun {
            true => "finish the head of its reply",
            false => "answer the upgrade",
        };
        failure.status(504).detail(format!(
            "kubelet did not {missing} within {} s; see timeouts.requestHead",
            self.made.terms.head_timeout.as_secs_f64()
        ))
    }

    /// Ends the connection for what an exchange failed for, with an answer if it can have one.
    async fn fail(&self, mut exchange: Box<Exchange>, failure: End, upgrade: bool) -> Served {
        let ending = match failure.status {
            Some(status) if exchange.status.is_none() => {
                exchange.status = Some(status);
                self.refuse(failure, status, upgrade).await
            }
            _ => Ending::failed(self.cx, failure),
        };
        Served::Closed(ending, Some(exchange))
    }

    /// Answers a request that does not reach the kubelet, or whose reply does not reach the client.
    async fn refuse(&self, failure: End, status: u16, upgrade: bool) -> Ending {
        let detail = failure.detail.as_deref().unwrap_or("request refused");
        let Body { media_type, text } = refusal::body(status, detail, upgrade);
        let mut head = ResponseHead::new(status, "");
        for (name, value) in [
            ("Content-Type", HeaderValue::from_static(media_type)),
            ("Content-Length", HeaderValue::from(text.len() as u64)),
            ("Connection", HeaderValue::from_static("close")),
        ] {
            head.headers.append(HeaderName::from_static(name), value);
        }
        let mut bytes = Vec::new();
        write_response(&head, &mut bytes);
        bytes.extend_from_slice(text.as_bytes());
        // For as long as the stream may last: a reader that stalls is owed it when it reads on. The client
        // may be gone, too; the failure stands either way.
        let write = pin!(async {
            let written = self.downstream.write(self.cx.pools(), &bytes).await;
            written.map_err(|error| failed(error, Side::Downstream))
        });
        match self.cx.until_aborted(Phase::Exchange, write).await {
            Ok(()) => Ending::told(self.cx, failure),
            Err(_) => Ending::failed(self.cx, failure),
        }
    }
}

/// The end of a connection whose last exchange is over.
fn over(cx: &StreamContext, event: Event) -> Ending {
    let completed = End::new(Reason::Completed, Side::Downstream, Phase::Exchange);
    Ending::begin(cx, (event, Some(completed)))
}

/// Holds an action against a policy.
pub(crate) fn authorise(
    policy: &ActionPolicy,
    record: &StreamRecord,
    action: Action,
) -> Result<(), End> {
    let Some(rule) = policy.denies(action) else {
        return Ok(());
    };
    let node = record.node.as_deref().unwrap_or("this node");
    Err(End::new(Reason::Denied, Side::Local, Phase::Exchange)
        .status(403)
        .detail(format!(
            "{action} on {node} is denied by the gateway's rule {rule} (kubelet.actions)"
        )))
}

fn talks_out_of_turn() -> End {
    End::new(Reason::Protocol, Side::Upstream, Phase::Exchange)
        .detail("kubelet sent bytes that no request asked for")
}

fn failed(error: LegError, side: Side) -> End {
    error.at(side, Phase::Exchange)
}

fn labels(route: &Route, asked: Option<&Upgrade>) -> ExchangeLabels {
    let pod = route.pod.as_ref();
    ExchangeLabels {
        action: route.action,
        namespace: pod.map(|pod| Arc::from(&*pod.namespace)),
        pod: pod.map(|pod| Arc::from(&*pod.name)),
        container: pod.and_then(|pod| pod.container.as_deref().map(Arc::from)),
        protocol: asked.map(Upgrade::token),
    }
}
