//! The kubelet's HTTP/1.1 API: requests are authorised by action, and a connection never outlives
//! the configuration that it was made with.

use super::answer::{concluded, fail, failed, hostile, over};
use super::pass::{Pass, Request, Seen};
use super::record::{Exchange, Served, Then, has_start};
use crate::carry::ending::Ending;
use crate::carry::refusal::Form;
use crate::carry::renew;
use crate::context::StreamContext;
use crate::end::End;
use crate::heads::{NoHead, Patience, Why, read_head};
use crate::leg::{Leg, Next};
use crate::limits::LINGER;
use crate::seam::{
    ActionPolicy, ExchangeLabels, Phase, Reason, RecordKind, Side, Snapshot, StreamRecord,
};
use eyesplice_proto::causes::chain;
use eyesplice_proto::framing::request_framing;
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::hop::{self, Identity};
use eyesplice_proto::parse::{HeadLimits, Progress, parse_request};
use eyesplice_proto::route::{Action, Route, route};
use eyesplice_proto::stream::Event;
use eyesplice_proto::upgrade::{self, Upgrade};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

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
                let exchange = Exchange::begin(cx, record.exchange);
                return fail(cx, downstream, exchange, (failure, Form::Words)).await;
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
                    let mut exchange = Exchange::begin(cx, record.exchange);
                    let route = route(&asked.head.target).ok();
                    exchange.labels = route.map(|route| labels(&route, None));
                    let form = form(asked.head.headers.contains("upgrade"));
                    return fail(cx, downstream, exchange, (failure, form)).await;
                }
            }
        }
        record.exchange += 1;
        let mut exchange = Exchange::begin(cx, record.exchange);
        let result = {
            let work = pin!(talk.exchange(record, &mut exchange, asked));
            cx.until_aborted(Phase::Exchange, work).await
        };
        let form = form(exchange.is_upgrade());
        if let Some(served) = concluded(cx, downstream, record, exchange, (result, form)).await {
            return served;
        }
    }
}

impl Conversation<'_> {
    /// Whether a connection that is made now would be made as this one was. A kubelet judges each
    /// request by the certificate that its connection began with, and an API server never ends one
    /// that it uses: neither the last certificate nor the last policy must live on there.
    fn is_current(&self) -> bool {
        self.cx.desk().generation() <= self.generation
    }

    /// Waits for a request head; `None` when either side ended between two requests.
    ///
    /// A kubelet may refuse our certificate only after our side of the handshake is over: before
    /// the first request its failure is kept for the answer to that request, which tells the client
    /// why.
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
            Why::Malformed(error) => hostile(error.status(), chain(&error)),
            Why::Stopped(None) => return Ok(None),
            Why::Stopped(Some(failure)) => failure,
        })
    }

    /// Waits until the downstream may have sent something; fails where no request will be served,
    /// with nothing if that is no failure.
    async fn between_requests(
        &self,
        first: bool,
        broken: &mut Option<End>,
    ) -> Result<(), Option<End>> {
        // What came before the drain is served, and a client that has just connected will ask.
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

    /// Judges one request, and lets it pass.
    async fn exchange(
        &self,
        record: &StreamRecord,
        exchange: &mut Exchange,
        Asked { mut head, broken }: Asked,
    ) -> Result<Then, End> {
        let framing = request_framing(&head).map_err(|error| hostile(400, chain(&error)))?;
        let route = route(&head.target).map_err(|error| hostile(400, chain(&error)))?;
        let asked = upgrade::asked(&head, framing)
            .map(|asked| asked.filter(|_| route.action.may_upgrade()))
            .map_err(|error| hostile(error.status(), chain(&error)));
        exchange.labels = Some(labels(&route, asked.as_ref().ok().and_then(Option::as_ref)));
        let asked = asked?;
        authorise(&self.made.terms.policy, record, route.action)?;
        let begins = has_start(route.action);
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
            return Err(hostile(400, detail));
        }
        let keep_alive = hop::keeps_alive(head.version, &head.headers);
        hop::strip_identity(
            &mut head.headers,
            &[Identity::Remote, Identity::Impersonate],
        );
        hop::rewrite_request(&mut head, framing, asked.as_ref())
            .map_err(|error| hostile(400, chain(&error)))?;
        if begins {
            self.cx.desk().emit(exchange.start_record(record, self.cx));
        }
        let head_timeout = self.made.terms.head_timeout;
        let pass = Pass {
            cx: self.cx,
            downstream: self.downstream,
            upstream: &self.made.upstream,
            server: "kubelet",
            head_timeout,
            upgrade_timeout: Some(head_timeout),
            any_answer: false,
            kept: exchange.number > 1,
            only: None,
            headers: &[],
            tied: Some(self.generation),
            heard: &|_| {},
            seen: Seen::default(),
        };
        let request = Request {
            head,
            framing,
            upgrade: asked.as_ref(),
            keep_alive,
        };
        pass.carry(exchange, request).await
    }
}

/// Checks an action against a policy.
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

fn labels(route: &Route, asked: Option<&Upgrade>) -> ExchangeLabels {
    let pod = route.pod.as_ref();
    ExchangeLabels {
        action: route.action,
        namespace: pod.map(|pod| Arc::from(&*pod.namespace)),
        pod: pod.map(|pod| Arc::from(&*pod.name)),
        container: pod.and_then(|pod| pod.container.as_deref().map(Arc::from)),
        protocol: asked.map(Upgrade::token),
        user: None,
        path: None,
    }
}

/// In which form kubectl shows the words.
fn form(upgrade: bool) -> Form {
    match upgrade {
        true => Form::Status,
        false => Form::Words,
    }
}

fn talks_out_of_turn() -> End {
    End::new(Reason::Protocol, Side::Upstream, Phase::Exchange)
        .detail("kubelet sent bytes that no request asked for")
}
