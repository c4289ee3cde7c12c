//! One request: control judges it, and it goes on or is answered.

use super::Front;
use crate::carry::exchange::{Exchange, Pass, Request, Seen, Then, failed, has_start, hostile};
use crate::carry::refusal::{Body, JSON, Reply};
use crate::end::End;
use crate::limits::FRONT_IDLE;
use crate::reach::{judge, watched};
use crate::seam::{
    AdmissionLimits, ApiAnswer, ApiLabels, ApiRequest, ApiVerdict, ExchangeLabels, Forward, Held,
    Over, Phase, Reason, RecordKind, Side, StreamLimits, StreamRecord,
};
use eyesplice_proto::api::pod_stream;
use eyesplice_proto::causes::chain;
use eyesplice_proto::framing::{Framing, request_framing};
use eyesplice_proto::head::{Method, RequestHead};
use eyesplice_proto::headers::{HeaderName, HeaderValue, Headers};
use eyesplice_proto::hop;
use eyesplice_proto::upgrade::{self, Refusal, Upgrade};
use std::sync::Arc;

/// What is known of a request before control has seen it.
struct Asked {
    framing: Framing,
    upgrade: Option<Upgrade>,
    /// The client wants to go on.
    keep_alive: bool,
    /// It names a bearer token: whether that is good shows in the reply.
    has_token: bool,
    /// It asks with HEAD.
    is_head: bool,
}

/// How a request goes.
struct Way {
    limits: StreamLimits,
    /// Past the API server: what else than success comes of it, that is to say.
    short: bool,
    /// Over the connection of the request before.
    kept: bool,
    /// What the reply gets in place of the server's own.
    reply: Vec<(HeaderName, HeaderValue)>,
}

/// Why a request came to nothing.
struct Failed {
    failure: End,
    /// The server had closed the connection, perhaps before it saw the request.
    unseen: bool,
    /// What a kubelet failed in, to which it went past the API server.
    short: Option<&'static str>,
}

impl From<End> for Failed {
    fn from(failure: End) -> Self {
        Self {
            failure,
            unseen: false,
            short: None,
        }
    }
}

impl Front<'_> {
    /// Takes one request to its end.
    pub(super) async fn exchange(
        &mut self,
        record: &mut StreamRecord,
        exchange: &mut Exchange,
        (mut head, admission): (RequestHead, &AdmissionLimits),
    ) -> Result<Then, End> {
        let asked = asked(&head)?;
        self.cx.end_at(None);
        hop::rewrite_request(&mut head, asked.framing, asked.upgrade.as_ref())
            .map_err(|error| hostile(400, chain(&error)))?;
        let held = self.held().await;
        let repeats = held.is_some() && may_repeat(&head, &asked);
        if repeats || may_be_short(&head, &asked) {
            *self.again.borrow_mut() = Some(head.clone());
        }
        let question = self.question(record, exchange, &asked, (head, held));
        let question = (question, admission);
        let first = self.judged(record, exchange, &asked, question).await;
        let again = self.again.take();
        let (head, short) = match (first, again) {
            (Ok(then), _) => return Ok(then),
            // It goes through the API server after all, and the client sees nothing of this; by
            // break-glass there is none, and control answers.
            (
                Err(Failed {
                    failure,
                    short: Some(why),
                    ..
                }),
                Some(head),
            ) => {
                let (stream, error) = (self.cx.id(), failure.detail.as_deref());
                tracing::warn!(%stream, why, error, "a stream does not reach its kubelet");
                self.part().await;
                (head, Some(why))
            }
            // As a client does with its own connections.
            (Err(Failed { unseen: true, .. }), Some(head)) if repeats => {
                drop(self.let_go());
                (head, None)
            }
            // The client repeats it by itself if it sees the same: a close without an answer.
            (
                Err(Failed {
                    failure, unseen, ..
                }),
                _,
            ) => {
                return Err(End {
                    status: failure.status.filter(|_| !unseen),
                    ..failure
                });
            }
        };
        if let Some(follower) = &exchange.follower {
            follower.judged_again();
        }
        let question = self.question(record, exchange, &asked, (head, None));
        let question = ApiRequest {
            short_failed: short,
            ..question
        };
        let second = self.judged(record, exchange, &asked, (question, admission));
        second.await.map_err(|Failed { failure, .. }| failure)
    }

    fn question(
        &self,
        record: &StreamRecord,
        exchange: &Exchange,
        asked: &Asked,
        (head, held): (RequestHead, Option<Held>),
    ) -> ApiRequest {
        ApiRequest {
            id: self.cx.id(),
            exchange: exchange.number,
            listener: Arc::clone(&record.listener),
            peer: self.peer,
            chain: self.chain.clone(),
            head,
            upgrade: asked.upgrade.as_ref().map(Upgrade::token),
            has_body: !asked.framing.is_empty(),
            held,
            short_failed: None,
            received: exchange.started_at,
        }
    }

    async fn judged(
        &mut self,
        record: &mut StreamRecord,
        exchange: &mut Exchange,
        asked: &Asked,
        (question, admission): (ApiRequest, &AdmissionLimits),
    ) -> Result<Then, Failed> {
        let judging = judge(self.cx, question, admission);
        match watched(self.cx, self.downstream, judging).await? {
            ApiVerdict::Forward(forward) => {
                self.forward(record, exchange, asked, (*forward, admission))
                    .await
            }
            ApiVerdict::Answer(answer) => {
                record.generation = answer.generation;
                Ok(self.answer(exchange, asked, *answer).await?)
            }
        }
    }

    /// Lets a request go on.
    async fn forward(
        &mut self,
        record: &mut StreamRecord,
        exchange: &mut Exchange,
        asked: &Asked,
        (forward, admission): (Forward, &AdmissionLimits),
    ) -> Result<Then, Failed> {
        let Forward {
            generation,
            mut head,
            over,
            limits,
            until,
            reply,
            labels,
            follower,
        } = forward;
        record.generation = generation;
        self.cx.set_limits(&limits);
        if until.is_some() {
            self.cx.end_at(until);
        }
        self.patience.set(limits.idle_timeout.unwrap_or(FRONT_IDLE));
        if labels.user.is_some() {
            self.is_introduced();
        }
        let begins = asked.upgrade.is_some() && has_start(labels.action);
        let short = labels.path.is_past_api_servers();
        if let Some(before) = std::mem::replace(&mut exchange.follower, follower) {
            before.superseded();
        }
        exchange.labels = Some(labels_of(labels, asked.upgrade.as_ref()));
        let desk = self.cx.desk();
        if begins {
            desk.recordable(RecordKind::Start, Phase::Exchange)?;
        }
        let kept = matches!(over, Over::Held);
        if let Over::New(fresh) = over {
            let reached = self.reach(record, *fresh, (limits, admission)).await;
            reached.map_err(|failure| Failed {
                short: (short && is_of_server(&failure)).then_some(KUBELET_FAILED),
                ..failure.into()
            })?;
        }
        if begins {
            desk.emit(exchange.start_record(record, self.cx));
        }
        hop::rewrite_request(&mut head, asked.framing, asked.upgrade.as_ref())
            .map_err(|error| misjudged(&chain(&error)))?;
        let way = Way {
            limits,
            short,
            kept,
            reply,
        };
        self.carried(exchange, asked, (head, way)).await
    }

    async fn carried(
        &mut self,
        exchange: &mut Exchange,
        asked: &Asked,
        (head, way): (RequestHead, Way),
    ) -> Result<Then, Failed> {
        let Way {
            limits,
            short,
            kept,
            reply,
        } = way;
        let granted = if asked.upgrade.is_some() { 101 } else { 200 };
        let replaced = short && self.again.borrow().is_some();
        let Some(server) = &self.server else {
            return Err(misjudged("there is no connection that it could go on over").into());
        };
        let follower = exchange.follower.clone();
        let heard = |status: u16| {
            if let Some(follower) = &follower {
                follower.answered(status);
            }
            self.heard(status, asked);
        };
        let pass = Pass {
            cx: self.cx,
            downstream: self.downstream,
            upstream: &server.leg,
            server: &server.name,
            head_timeout: limits.head_timeout,
            upgrade_timeout: short.then_some(limits.head_timeout),
            any_answer: !short,
            kept,
            only: replaced.then_some(granted),
            headers: &reply,
            tied: None,
            heard: &heard,
            seen: Seen::default(),
        };
        let request = Request {
            head,
            framing: asked.framing,
            upgrade: asked.upgrade.as_ref(),
            keep_alive: asked.keep_alive,
        };
        let then = pass.carry(exchange, request).await;
        let seen = pass.seen;
        match then {
            Ok(Then::Next) => {
                self.keep(seen.last.get()).await;
                Ok(Then::Next)
            }
            Ok(then) => Ok(then),
            Err(failure) => {
                let answered = seen.reply.get();
                let why = if answered {
                    KUBELET_REFUSED
                } else {
                    KUBELET_FAILED
                };
                Err(Failed {
                    unseen: kept && !answered && is_close(&failure),
                    short: (short && is_of_server(&failure)).then_some(why),
                    failure,
                })
            }
        }
    }

    /// The server has answered with this status.
    fn heard(&self, status: u16, asked: &Asked) {
        // It is not made again.
        self.again.take();
        if asked.has_token && status != 401 {
            self.is_introduced();
        }
        if !self.is_known() {
            // Whatever comes must be taken: nobody else would be given a place instead.
            self.cx.set_idle(Some(FRONT_IDLE.min(self.patience.get())));
        }
    }

    /// Answers in place of a server.
    async fn answer(
        &self,
        exchange: &mut Exchange,
        asked: &Asked,
        answer: ApiAnswer,
    ) -> Result<Then, End> {
        let ApiAnswer {
            status,
            reason,
            words,
            headers,
            body,
            labels,
            ..
        } = answer;
        let closes = !asked.keep_alive || !asked.framing.is_empty() || self.cx.is_draining();
        exchange.labels = Some(labels_of(labels, asked.upgrade.as_ref()));
        exchange.status = Some(status);
        exchange.is_answered(status);
        let reply = Reply {
            status,
            headers,
            body: Body {
                media_type: JSON,
                text: body,
            },
            closes,
            bodiless: asked.is_head,
        };
        self.downstream
            .write(self.cx.pools(), &reply.bytes())
            .await
            .map_err(|error| failed(error, Side::Downstream))?;
        let why = End::new(reason, Side::Local, Phase::Verdict).detail(words);
        Ok(match closes {
            true => Then::Refused(why),
            false => Then::Answered(why),
        })
    }
}

/// Reads of a head what control is not asked about.
fn asked(head: &RequestHead) -> Result<Asked, End> {
    if head.method == Method::CONNECT {
        return Err(hostile(405, "a front listener takes no CONNECT".to_owned()));
    }
    let framing = request_framing(head).map_err(|error| hostile(400, chain(&error)))?;
    let upgrade = match upgrade::asked(head, framing) {
        Ok(upgrade) => upgrade,
        // It may be read over (RFC 9110 section 7.8), and no server of the Kubernetes API knows it.
        Err(Refusal::Protocol) => None,
        Err(error) => return Err(hostile(error.status(), chain(&error))),
    };
    Ok(Asked {
        framing,
        upgrade,
        keep_alive: hop::keeps_alive(head.version, &head.headers),
        has_token: has_token(&head.headers),
        is_head: head.method == Method::HEAD,
    })
}

/// Whether a request names a bearer token as the API server reads it, which takes all else for
/// nobody's.
fn has_token(headers: &Headers) -> bool {
    let Some(value) = headers.first("authorization") else {
        return false;
    };
    let mut parts = value.as_bytes().splitn(3, |byte| *byte == b' ');
    let scheme = parts.next().unwrap_or_default();
    let token = parts.next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()
}

/// Whether a request may be made once more that no server has seen.
fn may_repeat(head: &RequestHead, asked: &Asked) -> bool {
    matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && asked.framing.is_empty()
        && asked.upgrade.is_none()
}

/// Whether control may send a request past the API server, which may have to carry it after all: an
/// upgrade that is not granted has begun nothing, and a log may be read twice.
fn may_be_short(head: &RequestHead, asked: &Asked) -> bool {
    asked.framing.is_empty() && pod_stream(&head.target).is_some()
}

/// Whether a request failed for its server.
fn is_of_server(failure: &End) -> bool {
    failure.side == Side::Upstream || failure.phase == Phase::Tunnel
}

/// The kubelet of a stream could not be reached, or did not answer.
const KUBELET_FAILED: &str = "kubelet_failed";

/// It answered something else than what was wanted.
const KUBELET_REFUSED: &str = "kubelet_refused";

/// Whether a server closed a connection that it may close.
fn is_close(failure: &End) -> bool {
    failure.side == Side::Upstream && matches!(failure.reason, Reason::Truncated | Reason::Reset)
}

fn labels_of(labels: ApiLabels, upgrade: Option<&Upgrade>) -> ExchangeLabels {
    let ApiLabels {
        user,
        action,
        namespace,
        pod,
        container,
        path,
    } = labels;
    ExchangeLabels {
        action,
        namespace,
        pod,
        container,
        protocol: upgrade.map(Upgrade::token),
        user,
        path: Some(path),
    }
}

/// A verdict that cannot be carried out: a fault of ours.
fn misjudged(why: &str) -> End {
    End::new(Reason::Internal, Side::Local, Phase::Exchange)
        .status(500)
        .detail(format!("the request was misjudged: {why}; this is a bug"))
}
