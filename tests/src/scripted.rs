//! A control that answers as the test says, with the real certificate verification and leaves.

use crate::pki::{NODE, Pki, pki};
use crate::variant::ktls_policy;
use eyesplice::leaf::{Authority, ClientAuth, DEFAULT_CAPACITY, LeafIssuer, LeafOptions};
use eyesplice::tickets::{self, Tickets};
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{
    ActionPolicy, ByName, Connect, Control, Inside, Mode, Reason, RecordKind, Refusal,
    StreamLimits, StreamRequest, Terminate, UpstreamTls, Verdict,
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
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
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

/// A name that may be asked for, and that no kubelet's certificate has.
pub const OTHER_NAME: &str = "other.prod.svc";

/// The scripted control.
pub struct Scripted {
    answer: Mutex<Answer>,
    limits: Mutex<StreamLimits>,
    actions: Arc<ActionPolicy>,
    trust: Arc<Trust>,
    client: Arc<CertifiedKey>,
    issuer: LeafIssuer,
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
        let key = any_supported_type(&pki.gateway.key()).unwrap();
        Self {
            answer: Mutex::new(answer),
            limits: Mutex::new(limits),
            actions: Arc::new(actions),
            trust: Arc::new(Trust::kubelets(trust).unwrap()),
            client: Arc::new(CertifiedKey::new(pki.gateway.chain.clone(), key)),
            issuer: issuer(pki, directory),
            unrecorded: Mutex::default(),
            unanswered: Mutex::default(),
        }
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
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
        let mode = match answer {
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
        let Host::Ip(ip) = host else {
            panic!("tests dial addresses, not {host}");
        };
        Verdict::Connect(Box::new(Connect {
            generation: 1,
            rule: "test".into(),
            node: Some(NODE.into()),
            addresses: vec![SocketAddr::new(*ip, request.target.port)],
            mode,
            limits: *self.limits.lock().unwrap(),
        }))
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

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        certificate::identify(chain)
    }
}
