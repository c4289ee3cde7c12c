//! A control that answers as the test says, with the real certificate verification and leaves.

use crate::pki::{NODE, Pki, pki};
use crate::variant::ktls_policy;
use eyesplice::leaf::{Authority, ClientAuth, DEFAULT_CAPACITY, LeafIssuer, LeafOptions};
use eyesplice::tickets::{self, Tickets};
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{
    ActionPolicy, AgentGrant, AgentVerdict, ByName, Connect, Control, Inside, Mode, Proxy,
    ProxyAddress, ProxyTls, Reason, RecordKind, Refusal, Route, StreamLimits, StreamRequest,
    Tallies, Terminate, Through, UpstreamTls, Verdict, Warm, Way,
};
use eyesplice_identity::certificate;
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::pem::FileRef;
use eyesplice_identity::pins::Pins;
use eyesplice_identity::verify::{
    Expected, KubeletTrust, Mode as Verification, Trust, UpstreamSpec, client_verifier,
    upstream_tls,
};
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// What control answers to every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Terminate; the kubelet's API is inside.
    Kubelet,
    /// Terminate; anything is inside.
    Opaque,
    /// Terminate for the name that is asked for: the node's, which the kubelet has, [`OTHER_NAME`], which
    /// it has not, or none. Anything is inside.
    Named,
    /// Pass the bytes untouched.
    Splice,
    /// Speak TLS towards the target only.
    Originate,
    /// Refuse.
    Refuse(u16, &'static str),
    /// Never answer.
    Silence,
}

/// How long a spare connection may be used.
#[derive(Clone, Copy, Debug)]
pub struct SpareLasts {
    /// From when it is made.
    pub lifetime: Duration,
    /// Until the certificate ends that the gateway presents.
    pub client_until: SystemTime,
}

impl Default for SpareLasts {
    /// For longer than any test.
    fn default() -> Self {
        let lifetime = Duration::from_secs(24 * 3600);
        Self {
            lifetime,
            client_until: SystemTime::now() + lifetime,
        }
    }
}

/// A name that may be asked for, and that no kubelet's certificate has.
pub const OTHER_NAME: &str = "other.prod.svc";

/// The scripted control.
pub struct Scripted {
    answer: Mutex<Answer>,
    limits: Mutex<StreamLimits>,
    generation: AtomicU64,
    warm: Mutex<Option<SpareLasts>>,
    proxy: Mutex<Option<(ProxyAddress, Option<ProxyTls>)>>,
    actions: Arc<ActionPolicy>,
    trust: Arc<Trust>,
    client: Arc<CertifiedKey>,
    issuer: LeafIssuer,
    /// How targets are reached, if not directly.
    routes: Mutex<Vec<Route>>,
    /// TLS with the agent may end.
    inner_only: AtomicBool,
    /// Other gateways that may have an agent.
    elsewhere: Mutex<Vec<(SocketAddr, ProxyTls)>>,
    /// The identity that may pass streams on.
    neighbour: Mutex<Option<String>>,
    /// What agents may carry, by their identity.
    grants: Mutex<HashMap<String, Arc<AgentGrant>>>,
    /// Records that cannot be kept, and why.
    unrecorded: Mutex<Option<(RecordKind, &'static str)>>,
    /// Questions that are never answered.
    unanswered: Mutex<Vec<oneshot::Sender<Verdict>>>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl Scripted {
    /// Sets up trust, leaves and policy; files go to `directory`.
    pub fn new(
        answer: Answer,
        limits: StreamLimits,
        actions: ActionPolicy,
        verification: Verification,
        directory: &Path,
    ) -> Self {
        let pki = pki();
        let trust = KubeletTrust {
            roots: pki.kubelets.roots(),
            pins: Arc::new(Pins::default()),
            inventory: Some(Arc::new(inventory())),
            mode: verification,
        };
        let key = provider::shared()
            .key_provider
            .load_private_key(pki.gateway.key())
            .unwrap();
        Self {
            answer: Mutex::new(answer),
            limits: Mutex::new(limits),
            generation: AtomicU64::new(1),
            warm: Mutex::default(),
            proxy: Mutex::default(),
            actions: Arc::new(actions),
            trust: Arc::new(Trust::kubelets(trust).unwrap()),
            client: Arc::new(CertifiedKey::new(pki.gateway.chain.clone(), key)),
            issuer: issuer(pki, directory),
            routes: Mutex::default(),
            inner_only: AtomicBool::default(),
            elsewhere: Mutex::default(),
            neighbour: Mutex::default(),
            grants: Mutex::default(),
            unrecorded: Mutex::default(),
            unanswered: Mutex::default(),
        }
    }

    /// Decides by the configuration of this number from now on.
    pub fn decide_as(&self, generation: u64) {
        self.generation.store(generation, SeqCst);
    }

    /// Has spare connections kept from now on.
    pub fn keep_warm(&self, lasts: SpareLasts) {
        *self.warm.lock().unwrap() = Some(lasts);
    }

    /// Sends streams through another proxy from now on, whose name is `far`.
    pub fn go_through(&self, at: ProxyAddress, tls: Option<ProxyTls>) {
        *self.proxy.lock().unwrap() = Some((at, tls));
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How many questions it has left without an answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered.lock().unwrap().len()
    }

    /// Reaches targets through an agent that has one of these routes from now on.
    pub fn reach_by(&self, routes: Vec<Route>) {
        *self.routes.lock().unwrap() = routes;
    }

    /// Lets TLS with the agent end from now on, whatever is inside.
    pub fn ask_inner_only(&self) {
        self.inner_only.store(true, SeqCst);
    }

    /// Passes streams without an agent on to these gateways from now on.
    pub fn pass_on_to(&self, gateways: Vec<(SocketAddr, ProxyTls)>) {
        *self.elsewhere.lock().unwrap() = gateways;
    }

    /// Takes streams that this identity passes on from now on.
    pub fn take_from(&self, identity: &str) {
        *self.neighbour.lock().unwrap() = Some(identity.to_owned());
    }

    /// Lets an identity be an agent that carries this, or no agent any more. In force with the next
    /// snapshot for those that are connected.
    pub fn grant(&self, identity: &str, grant: Option<AgentGrant>) {
        let mut grants = self.grants.lock().unwrap();
        match grant {
            Some(grant) => drop(grants.insert(identity.to_owned(), Arc::new(grant))),
            None => drop(grants.remove(identity)),
        }
    }

    /// Can keep no records of starts, or none at all, from now on.
    pub fn keep_no_records(&self, kind: RecordKind, why: &'static str) {
        *self.unrecorded.lock().unwrap() = Some((kind, why));
    }

    /// Changes the deadlines of streams from now on.
    pub fn limit(&self, adjust: impl FnOnce(&mut StreamLimits)) {
        adjust(&mut self.limits.lock().unwrap());
    }

    fn decide(&self, request: &StreamRequest, answer: Answer) -> Verdict {
        let host = &request.target.host;
        if let Some(chain) = &request.hop {
            let identity = certificate::identify(chain);
            let neighbour = self.neighbour.lock().unwrap();
            if neighbour.as_deref() != Some(&*identity) {
                return Verdict::Refuse(Refusal {
                    status: 403,
                    reason: Reason::Denied,
                    words: format!("{identity} may not pass streams on"),
                    rule: None,
                });
            }
        }
        let mode = match answer {
            _ if request.hop.is_some() => Mode::Splice,
            Answer::Refuse(status, reason) => {
                return Verdict::Refuse(Refusal {
                    status,
                    reason: match status {
                        504 => Reason::Timeout,
                        _ => Reason::Denied,
                    },
                    words: reason.into(),
                    rule: Some("test".into()),
                });
            }
            Answer::Splice | Answer::Silence => Mode::Splice,
            Answer::Originate => Mode::Originate(self.upstream(request)),
            Answer::Kubelet => {
                let inside = Inside::Kubelet(Arc::clone(&self.actions));
                Mode::Terminate(self.terminate(request, inside))
            }
            Answer::Opaque => Mode::Terminate(self.terminate(request, Inside::Opaque)),
            Answer::Named => Mode::TerminateNamed(Arc::new(self.named(request))),
        };
        let routes = self.routes.lock().unwrap().clone();
        let proxy = self.proxy.lock().unwrap().clone();
        let way = match (host, proxy) {
            _ if !routes.is_empty() => Way::Tunnel(Through {
                routes,
                target: request.target.clone(),
                elsewhere: self.elsewhere(request),
                inner_only: self.inner_only.load(SeqCst),
            }),
            (_, Some((at, tls))) => Way::Proxy(Proxy {
                name: "far".into(),
                at,
                tls,
                target: request.target.clone(),
            }),
            (Host::Ip(ip), None) => Way::Dial(vec![SocketAddr::new(*ip, request.target.port)]),
            (Host::Name(_), None) => panic!("tests dial addresses, not {host}"),
        };
        Verdict::Connect(Box::new(Connect {
            generation: self.generation.load(SeqCst),
            rule: "test".into(),
            node: Some(NODE.into()),
            way,
            preamble: None,
            mode,
            limits: *self.limits.lock().unwrap(),
            warm: self.warm(request, answer),
            tallies: Tallies::default(),
        }))
    }

    fn elsewhere(&self, request: &StreamRequest) -> Vec<Proxy> {
        let gateways = self.elsewhere.lock().unwrap().clone();
        let asked = gateways.into_iter().filter(|_| request.hop.is_none());
        let proxy = |(address, tls): (SocketAddr, ProxyTls)| Proxy {
            name: address.to_string().into(),
            at: ProxyAddress::Tcp(vec![address]),
            tls: Some(tls),
            target: request.target.clone(),
        };
        asked.map(proxy).collect()
    }

    fn warm(&self, request: &StreamRequest, answer: Answer) -> Option<Warm> {
        let lasts = (*self.warm.lock().unwrap())?;
        (answer == Answer::Kubelet).then(|| Warm {
            tls: self.upstream(request),
            lifetime: lasts.lifetime,
            until: lasts.client_until,
        })
    }

    fn named(&self, request: &StreamRequest) -> Names {
        let of = |name: Option<&str>| {
            let mut asked = request.clone();
            if let Some(name) = name {
                asked.target.host = name.parse().unwrap();
            }
            let ends = self.terminate(&asked, Inside::Opaque);
            (name.map(str::to_owned), ends)
        };
        let names = [None, Some(NODE), Some(OTHER_NAME)];
        Names(Mutex::new(names.into_iter().map(of).collect()))
    }

    fn terminate(&self, request: &StreamRequest, inside: Inside) -> Terminate {
        let auth = match inside {
            Inside::Kubelet(_) => ClientAuth::Required,
            Inside::Opaque => ClientAuth::None,
        };
        let downstream = self
            .issuer
            .tls_server(&request.target.host, None, auth, SystemTime::now())
            .unwrap();
        Terminate {
            downstream,
            upstream: self.upstream(request),
            inside,
        }
    }

    fn upstream(&self, request: &StreamRequest) -> UpstreamTls {
        let target = &request.target;
        upstream_tls(UpstreamSpec {
            trust: Arc::clone(&self.trust),
            expected: Expected::kubelet(target.host.clone(), target.port, Some(NODE.into())),
            client: Some(Arc::clone(&self.client)),
        })
        .unwrap()
    }
}

/// Both TLS ends by name, for one stream.
#[derive(Debug)]
struct Names(Mutex<HashMap<Option<String>, Terminate>>);

impl ByName for Names {
    fn choose(&self, name: Option<&str>) -> oneshot::Receiver<Result<Terminate, Refusal>> {
        let (answer, receiver) = oneshot::channel();
        let ends = self.0.lock().unwrap().remove(&name.map(str::to_owned));
        let ends = ends.ok_or_else(|| Refusal {
            status: 403,
            reason: Reason::Denied,
            words: format!("{name:?} may not be asked for"),
            rule: Some("test".into()),
        });
        let _ = answer.send(ends);
        receiver
    }
}

fn inventory() -> Inventory {
    let text = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- name: {NODE}\n  \
         addresses: [127.0.0.1]\n"
    );
    Inventory::parse(&text, Path::new("inventory.yaml")).unwrap()
}

fn issuer(pki: &Pki, directory: &Path) -> LeafIssuer {
    let (certificate, key) = (
        directory.join("egress-ca.crt"),
        directory.join("egress-ca.key"),
    );
    pki.egress.write(&certificate, Some(&key));
    let authority = Authority::load(
        &FileRef::new("egressCA.certFile", &certificate),
        &FileRef::new("egressCA.keyFile", &key),
    )
    .unwrap();
    LeafIssuer::new(LeafOptions {
        authority,
        lifetime: Duration::from_secs(3600),
        capacity: DEFAULT_CAPACITY,
        clients: Some(client_verifier(pki.clients.roots(), &[]).unwrap()),
        tickets: match ktls_policy() {
            KtlsPolicy::Off => Tickets::new(tickets::DEFAULT_LIFETIME).unwrap(),
            KtlsPolicy::Auto | KtlsPolicy::Require => Tickets::none(),
        },
    })
    .unwrap()
}

impl Control for Scripted {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let (send, receive) = oneshot::channel();
        let answer = *self.answer.lock().unwrap();
        if answer == Answer::Silence {
            self.unanswered.lock().unwrap().push(send);
        } else {
            // The stream may be gone already.
            let _ = send.send(self.decide(&request, answer));
        }
        receive
    }

    fn unrecorded(&self, kind: RecordKind) -> Option<String> {
        let (lacking, why) = (*self.unrecorded.lock().unwrap())?;
        (lacking == RecordKind::End || lacking == kind).then(|| why.to_owned())
    }

    fn agent(&self, chain: &[CertificateDer<'_>]) -> AgentVerdict {
        let identity = certificate::identify(chain);
        let grants = self.grants.lock().unwrap();
        grants.get(&*identity).cloned().ok_or_else(|| Refusal {
            status: 403,
            reason: Reason::Denied,
            words: format!("{identity} is no agent here"),
            rule: None,
        })
    }

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        certificate::identify(chain)
    }

    fn valid_until(&self, chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
        certificate::valid_until(chain)
    }
}
