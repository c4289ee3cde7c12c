//! Answers what becomes of a request to the Kubernetes API, and where a connection to an API
//! server leads.

use super::Front;
use super::credentials;
use super::followed::Followed;
use super::labels::labels;
use super::names;
use super::quotas::{Full, Seats, Stream};
use super::servers::Next;
use super::short::{KubeletRequest, Kubelets, Outcome, Question, Short, Why};
use super::status::{UNAUTHORIZED, Words, answer};
use super::users::{CertificateUser, NoUser};
use crate::config::ApiServerTransport;
use crate::events::{AUDIT_ID, Passing, Unrecorded};
use eyesplice_dataplane::seam::{
    ApiAnswer, ApiLabels, ApiPath, ApiRequest, ApiVerdict, Connect, ConnectionKey, Follower,
    Forward, Fresh, Held, Mode, Over, Preamble, Reason, Refusal, Verdict, Way,
};
use eyesplice_identity::certificate;
use eyesplice_identity::verify::{Expected, UpstreamSpec, upstream_tls};
use eyesplice_process::resolve::Resolver;
use eyesplice_proto::api::{PodStream, pod_stream};
use eyesplice_proto::causes::chain;
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::route::Action;
use std::sync::Arc;
use std::time::SystemTime;

/// The name of an API server in errors and audit.
const API_SERVER: &str = "API server";

/// The label of what leads to API servers, in place of a rule's name.
const RULE: &str = "apiservers";

/// Why a stream goes through the API server where nothing else is configured.
const NOT_CONFIGURED: &str = "not_configured";

/// Why a stream goes through the API server whose path is spelled as no client spells it.
const PATH_UNKNOWN: &str = "path_unknown";

/// Decides on one request. Waits for API servers only where a stream may go past them, else for
/// nothing but the name of one that was never found before.
pub(crate) async fn judge(
    front: Option<&Front>,
    resolver: &Resolver,
    kubelets: &dyn Kubelets,
    request: ApiRequest,
) -> ApiVerdict {
    let mut labels = labels(&request.head.target);
    if labels.action != Action::Other {
        labels.path = ApiPath::Through(Some(NOT_CONFIGURED));
    }
    let Some(front) = front else {
        let why = "the configuration in force has no apiservers; add them, or restart without this \
                   listener";
        return unavailable(0, why, Reason::Internal, labels);
    };
    match front.user(&request, SystemTime::now()) {
        Ok(user) => {
            labels.user = user.as_ref().map(|user| Arc::clone(&user.name));
            match &front.short {
                Some(short) if labels.action != Action::Other => {
                    match front
                        .past(short, kubelets, &request, user.as_deref(), &mut labels)
                        .await
                    {
                        Some(forward) => forward,
                        None => front.through(resolver, request, user, labels).await,
                    }
                }
                _ => front.through(resolver, request, user, labels).await,
            }
        }
        Err(no_user) => {
            let glass = front.break_glass.as_ref().zip(front.short.as_ref());
            let claim = glass.and_then(|(glass, short)| {
                let claim = glass.claim(&request, SystemTime::now())?;
                Some(((glass, short), claim))
            });
            match claim {
                Some((glass, claim)) => {
                    front
                        .by_break_glass(glass, kubelets, &request, (claim, labels))
                        .await
                }
                None => ApiVerdict::Answer(Box::new(unauthorized(front, &no_user, labels))),
            }
        }
    }
}

/// Leads a connection whose TLS is not ours to an API server.
pub(crate) async fn lead(
    front: Option<&Front>,
    resolver: &Resolver,
    listener: ApiServerTransport,
) -> Verdict {
    let refuse = |words: String| {
        Verdict::Refuse(Refusal {
            status: 503,
            reason: Reason::DialFailed,
            words,
            rule: Some(RULE.into()),
        })
    };
    let Some(front) = front else {
        return refuse("the configuration in force has no apiservers".to_owned());
    };
    match front.servers.next(resolver, front.lookup).await {
        Ok(next) => Verdict::Connect(Box::new(Connect {
            generation: front.generation,
            rule: RULE.into(),
            node: None,
            way: Way::Dial(next.addresses),
            preamble: listener.proxy_protocol.then_some(Preamble::ProxyV2),
            mode: Mode::Splice,
            limits: front.limits,
            warm: None,
            tallies: next.tallies,
        })),
        Err(error) => refuse(chain(&error)),
    }
}

impl Front {
    /// Finds the user by the certificate of the connection; nothing: only the API server can know.
    ///
    /// A certificate that is no good does not matter beside a token, which the API server judges;
    /// it is an error beside none, and its owner is not anonymous (apiserver
    /// `pkg/authentication/request/union`).
    fn user(
        &self,
        request: &ApiRequest,
        now: SystemTime,
    ) -> Result<Option<Arc<CertificateUser>>, NoUser> {
        let Some(presented) = request.chain.as_ref().filter(|chain| !chain.is_empty()) else {
            return Ok(None);
        };
        let found = match self.users.get(&request.listener) {
            Some(users) if self.proxy_client.is_some() => users.find(presented, &self.headers, now),
            _ => Err(NoUser::NotTaken(certificate::identify(presented))),
        };
        match found {
            Err(_) if credentials::has_bearer(&request.head.headers, request.upgrade) => Ok(None),
            found => found,
        }
    }

    /// Sends a stream of a pod straight to its kubelet; `None`: it goes through an API server, and
    /// the labels say why.
    async fn past(
        &self,
        short: &Short,
        kubelets: &dyn Kubelets,
        request: &ApiRequest,
        user: Option<&CertificateUser>,
        labels: &mut ApiLabels,
    ) -> Option<ApiVerdict> {
        let through = |why| ApiPath::Through(Some(why));
        if let Some(why) = request.short_failed {
            labels.path = through(why);
            return None;
        }
        let Some(stream) = pod_stream(&request.head.target) else {
            labels.path = through(PATH_UNKNOWN);
            return None;
        };
        let question = Question {
            stream: &stream,
            head: &request.head,
            upgrade: request.upgrade,
            has_body: request.has_body,
            by_certificate: user.map(|user| (Arc::clone(&user.info), user.until)),
            peer: request.peer.ip().to_canonical(),
            now: SystemTime::now(),
        };
        match short.judge(kubelets, &question).await {
            Outcome::Through { why, user } => {
                labels.path = through(why.as_str());
                labels.user = labels.user.take().or(user);
                None
            }
            Outcome::Kubelet(to) => self.pass(request, &stream, *to, labels),
        }
    }

    /// Lets a stream pass the API servers, recorded as they would, if there is room for it; `None`:
    /// it goes through an API server, which records it.
    pub(super) fn pass(
        &self,
        request: &ApiRequest,
        stream: &PodStream,
        to: KubeletRequest,
        labels: &mut ApiLabels,
    ) -> Option<ApiVerdict> {
        labels.user = Some(to.user.username.as_str().into());
        let passing = Passing {
            request,
            stream,
            subresource: stream.subresource.as_str(),
            user: &to.user,
            allowed: &to.allowed,
            node: &to.node,
            break_glass: to.break_glass.as_ref(),
        };
        let mut reply = to.reply;
        let recorded = self.recorder.as_ref().map(|recorder| {
            if request.upgrade.is_none() {
                reply.push(audit_id(&recorder.id(request)?)?);
            }
            recorder.begin(&passing)
        });
        let trail = match recorded.transpose() {
            Ok(trail) => trail.flatten(),
            Err(Unrecorded) => {
                labels.path = ApiPath::Through(Some(Why::Audit.as_str()));
                return None;
            }
        };
        let seats = match self.seats(labels, Some(&to.node)) {
            Ok(seats) => seats,
            Err(full) => {
                let refusal = self.full(&full, labels.clone());
                if let Some(trail) = trail {
                    trail.answered(refusal.status);
                }
                return Some(ApiVerdict::Answer(Box::new(refusal)));
            }
        };
        Some(ApiVerdict::Forward(Box::new(Forward {
            generation: self.generation,
            head: to.head,
            over: Over::New(Box::new(to.fresh)),
            limits: self.limits,
            until: to.until,
            reply,
            labels: ApiLabels {
                container: to.container,
                path: match to.break_glass {
                    None => ApiPath::Short,
                    Some(_) => ApiPath::BreakGlass,
                },
                ..labels.clone()
            },
            follower: Some(Arc::new(Followed::new(seats, trail))),
        })))
    }

    /// The places of a stream under `front.limits`.
    fn seats(&self, labels: &ApiLabels, node: Option<&Arc<str>>) -> Result<Seats, Full> {
        let stream = Stream {
            user: labels.user.as_ref(),
            pod: labels.namespace.as_ref().zip(labels.pod.as_ref()),
            node,
        };
        self.quotas.take(&self.of_streams, stream)
    }

    fn full(&self, full: &Full, labels: ApiLabels) -> ApiAnswer {
        let (code, reason) = full.limit.answer();
        let told = full.to_string();
        let words = Words {
            code,
            reason,
            message: &format!("eyesplice: {told}"),
            told: &told,
            label: Reason::Limit,
        };
        answer(self.generation, words, labels)
    }

    /// Sends a request on to an API server.
    async fn through(
        &self,
        resolver: &Resolver,
        request: ApiRequest,
        user: Option<Arc<CertificateUser>>,
        labels: ApiLabels,
    ) -> ApiVerdict {
        let is_stream = labels.action != Action::Other;
        let follower = match is_stream.then(|| self.seats(&labels, None)).transpose() {
            Ok(seats) => {
                seats.map(|seats| Arc::new(Followed::new(seats, None)) as Arc<dyn Follower>)
            }
            Err(full) => return ApiVerdict::Answer(Box::new(self.full(&full, labels))),
        };
        let same = self
            .recorder
            .as_ref()
            .filter(|_| request.short_failed.is_some());
        let same = same.and_then(|recorder| audit_id(&recorder.id(&request).ok()?).ok());
        let ApiRequest {
            mut head,
            peer,
            held,
            ..
        } = request;
        names::strip(&mut head.headers, &self.headers);
        if let Some(user) = &user {
            credentials::strip(&mut head.headers);
            for (name, value) in &user.lines {
                head.headers.append(name.clone(), value.clone());
            }
        }
        if let Some((name, value)) = names::forwarded_for(peer.ip()) {
            head.headers.append(name, value);
        }
        // What was recorded of it goes on there, under the same id.
        if let Some((name, value)) = same {
            head.headers.set(name, value);
        }
        let named = user.is_some();
        let key = self.key(named);
        let over = if held.is_some_and(|held| self.may_hold(held, key)) {
            Over::Held
        } else {
            match self.fresh(resolver, named).await {
                Ok(fresh) => Over::New(Box::new(fresh)),
                Err(why) => return unavailable(self.generation, &why, Reason::DialFailed, labels),
            }
        };
        ApiVerdict::Forward(Box::new(Forward {
            generation: self.generation,
            head,
            over,
            limits: self.limits,
            until: None,
            reply: Vec::new(),
            labels,
            follower,
        }))
    }

    /// Whether a connection that is open may serve a request of this kind.
    fn may_hold(&self, held: Held, key: ConnectionKey) -> bool {
        let serves = |address| self.servers.serves(address);
        held.key == key && held.address.is_some_and(serves)
    }

    /// The name of connections by which users are `named`, or not: they present other certificates.
    fn key(&self, named: bool) -> ConnectionKey {
        ConnectionKey(self.generation << 1 | u64::from(named))
    }

    /// How a connection is made.
    async fn fresh(&self, resolver: &Resolver, named: bool) -> Result<Fresh, String> {
        let next = self.servers.next(resolver, self.lookup).await;
        let Next {
            addresses,
            tallies,
            host,
            port,
        } = next.map_err(|error| chain(&error))?;
        let (names, server_name) = (Arc::clone(&self.names), self.server_name.clone());
        let spec = UpstreamSpec {
            trust: Arc::clone(&self.trust),
            expected: Expected {
                one_of_several: addresses.len() > 1,
                ..Expected::target(host, port, names, server_name)
            },
            client: self.proxy_client.clone().filter(|_| named),
        };
        Ok(Fresh {
            way: Way::Dial(addresses),
            tls: upstream_tls(spec).map_err(|error| error.to_string())?,
            server: API_SERVER.into(),
            node: None,
            key: Some(self.key(named)),
            tallies,
        })
    }
}

/// The header that names a request in audit.
fn audit_id(id: &str) -> Result<(HeaderName, HeaderValue), Unrecorded> {
    let value = HeaderValue::new(id.as_bytes().to_vec());
    let value = value.map_err(|_| Unrecorded)?;
    Ok((HeaderName::from_static(AUDIT_ID), value))
}

fn unauthorized(front: &Front, no_user: &NoUser, labels: ApiLabels) -> ApiAnswer {
    let told = no_user.to_string();
    // What concerns this gateway alone no API server would say.
    let message = match no_user {
        NoUser::Chain(..) | NoUser::Certificate(_) => UNAUTHORIZED.to_owned(),
        NoUser::Header(_) | NoUser::NotTaken(_) => format!("eyesplice: {told}"),
    };
    let words = Words {
        code: 401,
        reason: UNAUTHORIZED,
        message: &message,
        told: &told,
        label: Reason::Unverified,
    };
    answer(front.generation, words, labels)
}

fn unavailable(generation: u64, why: &str, label: Reason, labels: ApiLabels) -> ApiVerdict {
    let words = Words {
        code: 503,
        reason: "ServiceUnavailable",
        message: &format!("eyesplice: {why}"),
        told: why,
        label,
    };
    ApiVerdict::Answer(Box::new(answer(generation, words, labels)))
}
