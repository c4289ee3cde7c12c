//! A front in the test's process: the engine with listeners for clients of the Kubernetes API and
//! for those who speak to an API server themselves, and a control that judges as the test says.

use crate::api_server::name_of;
use crate::conn::{Conn, Got};
use crate::gateway::{KEEPALIVE_IDLE, Running, Setup, TUNNEL, assert_end};
use crate::kubelet::{Kubelet, Log};
use crate::pki::{Identity, Presented, pki};
use crate::tls;
use crate::tunnel;
use crate::variant::{Variant, crypto_policy, io_policy, ktls_policy};
use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{Bind, COALESCE, EngineConfig, ListenerConfig, Role};
use eyesplice_dataplane::seam::{
    AgentGrant, AgentVerdict, ApiAnswer, ApiLabels, ApiPath, ApiRequest, ApiVerdict, Connect,
    ConnectionKey, Control, DownstreamTls, Forward, Fresh, Mode, Over, Phase, Preamble, Reason,
    RecordKind, Refusal, Route, Side, Snapshot, SnapshotCell, StreamLimits, StreamRecord,
    StreamRequest, Tallies, Through, UpstreamTls, Verdict, Way,
};
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::route::Action;
use eyesplice_proto::tls::provider;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::Ticketer;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The name of the listener for clients of the Kubernetes API.
pub const FRONT: &str = "front";

/// The name of the listener for those who speak to an API server themselves.
pub const NODES: &str = "nodes";

/// A token that must never show up in a record.
pub const TOKEN: &str = "Bearer hunter2";

/// Where a request goes, and as whose.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The server.
    pub to: SocketAddr,
    /// Its name for the next request.
    pub key: Option<u64>,
    /// We present a certificate to it.
    pub certificate: bool,
    /// The issuer of its certificate is not known to us.
    pub distrusted: bool,
    /// An agent reaches it that has the usual route.
    pub tunnel: bool,
    /// The user, if it is known.
    pub user: Option<&'static str>,
    /// How it goes.
    pub path: ApiPath,
    /// What it does.
    pub action: Action,
    /// Headers that are set.
    pub headers: Vec<(&'static str, &'static str)>,
}

impl Rule {
    /// A request of nobody in particular through an API server.
    pub fn to(server: SocketAddr) -> Self {
        Self {
            to: server,
            key: Some(1),
            certificate: false,
            distrusted: false,
            tunnel: false,
            user: None,
            path: ApiPath::Through(None),
            action: Action::Other,
            headers: Vec::new(),
        }
    }
}

/// What control says of a request.
#[derive(Clone, Debug)]
pub enum Judged {
    /// It goes on.
    On(Rule),
    /// The same, said by another thread.
    Later(Rule),
    /// The gateway answers.
    Answer(u16, &'static str),
    /// Never anything.
    Silence,
    /// Nothing, because control is broken.
    Dropped,
}

/// What a stream to an API server comes to.
#[derive(Clone, Copy, Debug)]
pub enum Lead {
    /// It goes there.
    To(SocketAddr, Option<Preamble>),
    /// It is refused.
    Nowhere,
}

/// A request as control saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number on its connection.
    pub exchange: u32,
    /// Its method and target.
    pub line: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The connection that it was offered.
    pub held: Option<u64>,
    /// Certificates that its client presented.
    pub chain: usize,
    /// What it asks to be upgraded to.
    pub upgrade: Option<&'static str>,
    /// A body is announced.
    pub has_body: bool,
}

impl Seen {
    fn of(request: &ApiRequest) -> Self {
        let head = &request.head;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            exchange: request.exchange,
            line: format!("{} {}", head.method.as_str(), head.target.as_str()),
            headers: (head.headers.iter())
                .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
                .collect(),
            held: request.held.map(|held| held.key.0),
            chain: request.chain.as_ref().map_or(0, |chain| chain.len()),
            upgrade: request.upgrade,
            has_body: request.has_body,
        }
    }
}

type Script = dyn Fn(&Seen) -> Judged + Send + Sync;

/// A control that judges as a test says.
pub struct Judge {
    script: Mutex<Arc<Script>>,
    lead: Mutex<Lead>,
    limits: StreamLimits,
    generation: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    unrecorded: Mutex<Option<&'static str>>,
    agent: Mutex<Option<Arc<AgentGrant>>>,
    /// Questions that are never answered.
    unanswered: Mutex<Vec<oneshot::Sender<ApiVerdict>>>,
    variant: Variant,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

impl Judge {
    /// Judges so from now on.
    pub fn say(&self, script: impl Fn(&Seen) -> Judged + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Leads streams to API servers so from now on.
    pub fn lead(&self, lead: Lead) {
        *self.lead.lock().unwrap() = lead;
    }

    /// Can keep no records of what begins from now on.
    pub fn keep_no_records(&self, why: &'static str) {
        *self.unrecorded.lock().unwrap() = Some(why);
    }

    /// Lets every agent carry this, or nothing any more: in force with the next snapshot.
    pub fn grant(&self, grant: Option<AgentGrant>) {
        *self.agent.lock().unwrap() = grant.map(Arc::new);
    }

    /// All requests that it was asked about.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn forward(&self, mut request: ApiRequest, rule: Rule) -> ApiVerdict {
        let held = request.held.map(|held| held.key.0);
        let over = match held.is_some() && held == rule.key {
            true => Over::Held,
            false => Over::New(Box::new(self.fresh(&rule))),
        };
        for (name, value) in &rule.headers {
            request.head.headers.set(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        ApiVerdict::Forward(Box::new(Forward {
            generation: self.generation.load(SeqCst),
            head: request.head,
            over,
            limits: self.limits,
            until: None,
            reply: Vec::new(),
            labels: labels(rule.user, rule.action, rule.path),
            follower: None,
        }))
    }

    fn fresh(&self, rule: &Rule) -> Fresh {
        let pki = pki();
        let identity = rule.certificate.then_some(&pki.gateway);
        let servers = match rule.distrusted {
            true => &pki.strangers,
            false => &pki.kubelets,
        };
        let mut config: ClientConfig = tls::client(identity, servers, self.variant.tls);
        config.enable_secret_extraction = true;
        Fresh {
            way: match rule.tunnel {
                true => Way::Tunnel(Through {
                    routes: vec![Route::Node(tunnel::ROUTE.into())],
                    target: rule.to.to_string().parse().unwrap(),
                    elsewhere: Vec::new(),
                    inner_only: false,
                }),
                false => Way::Dial(vec![rule.to]),
            },
            tls: UpstreamTls {
                config: Arc::new(config),
                server_name: name_of(&rule.to.to_string()),
                verification: Arc::default(),
            },
            server: "API server".into(),
            node: None,
            key: rule.key.map(ConnectionKey),
            tallies: Tallies::default(),
        }
    }
}

fn labels(user: Option<&'static str>, action: Action, path: ApiPath) -> ApiLabels {
    ApiLabels {
        user: user.map(Into::into),
        action,
        namespace: None,
        pod: None,
        container: None,
        path,
    }
}

impl Control for Judge {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let (send, receive) = oneshot::channel();
        let lead = *self.lead.lock().unwrap();
        let verdict = match lead {
            Lead::Nowhere => Verdict::Refuse(Refusal {
                status: 503,
                reason: Reason::DialFailed,
                words: "no API server is healthy".into(),
                rule: None,
            }),
            Lead::To(address, preamble) => Verdict::Connect(Box::new(Connect {
                generation: self.generation.load(SeqCst),
                rule: Arc::clone(&request.listener),
                node: None,
                way: Way::Dial(vec![address]),
                preamble,
                mode: Mode::Splice,
                limits: self.limits,
                warm: None,
                tallies: Tallies::default(),
            })),
        };
        // The stream may be gone already.
        let _ = send.send(verdict);
        receive
    }

    fn judge(&self, request: ApiRequest) -> Option<oneshot::Receiver<ApiVerdict>> {
        let (send, receive) = oneshot::channel();
        let seen = Seen::of(&request);
        let script = Arc::clone(&self.script.lock().unwrap());
        let judged = script(&seen);
        self.seen.lock().unwrap().push(seen);
        // Whoever asked may be gone already.
        match judged {
            Judged::On(rule) => drop(send.send(self.forward(request, rule))),
            Judged::Later(rule) => {
                let verdict = self.forward(request, rule);
                std::thread::spawn(move || drop(send.send(verdict)));
            }
            Judged::Answer(status, body) => {
                let headers = vec![(
                    HeaderName::from_static("Www-Authenticate"),
                    HeaderValue::from_static("Test"),
                )];
                drop(send.send(ApiVerdict::Answer(Box::new(ApiAnswer {
                    generation: self.generation.load(SeqCst),
                    status,
                    reason: Reason::Denied,
                    words: "the test denies it".into(),
                    headers,
                    body: body.to_owned(),
                    labels: labels(None, Action::Other, ApiPath::Answered),
                }))));
            }
            Judged::Silence => self.unanswered.lock().unwrap().push(send),
            Judged::Dropped => drop(send),
        }
        Some(receive)
    }

    fn unrecorded(&self, _: RecordKind) -> Option<String> {
        self.unrecorded.lock().unwrap().map(ToOwned::to_owned)
    }

    fn agent(&self, _: &[CertificateDer<'_>]) -> AgentVerdict {
        let grant = self.agent.lock().unwrap().clone();
        grant.ok_or_else(|| Refusal {
            status: 403,
            reason: Reason::Denied,
            words: "this is no agent here".into(),
            rule: None,
        })
    }

    fn identify(&self, _: &[CertificateDer<'_>]) -> Arc<str> {
        "a chain that nobody has validated".into()
    }
}

/// A running front.
#[derive(Debug)]
pub struct Front {
    running: Running,
    variant: Variant,
    snapshots: Arc<SnapshotCell>,
    /// Its control.
    pub control: Arc<Judge>,
}

impl Front {
    /// Starts one.
    pub fn start(variant: Variant) -> Self {
        Self::with(variant, |_| {})
    }

    /// Starts one that the test adjusts.
    pub fn with(variant: Variant, adjust: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        adjust(&mut setup);
        let control = Arc::new(Judge {
            script: Mutex::new(Arc::new(|_: &Seen| Judged::Dropped)),
            lead: Mutex::new(Lead::Nowhere),
            limits: setup.limits,
            generation: AtomicU64::new(1),
            seen: Mutex::default(),
            unrecorded: Mutex::default(),
            agent: Mutex::default(),
            unanswered: Mutex::default(),
            variant,
        });
        let mut listener_tls = HashMap::from([(FRONT.into(), front_tls(variant, setup.tickets))]);
        if setup.tunnel.is_some() {
            let mut config = ServerConfig::clone(&tunnel::server());
            config.enable_secret_extraction = true;
            listener_tls.insert(TUNNEL.into(), Arc::new(config).into());
        }
        let snapshots = Arc::new(SnapshotCell::new(Snapshot {
            generation: 1,
            listener_tls,
            allowed_uids: HashMap::new(),
            admission: setup.admission,
            tunnel: setup.tunnel.clone(),
            agent: None,
        }));
        let listener = |name: &str, role: Role| ListenerConfig {
            name: name.into(),
            bind: Bind::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            role,
        };
        let mut listeners = vec![
            listener(FRONT, Role::Front),
            listener(NODES, Role::ApiServer),
        ];
        if setup.tunnel.is_some() {
            listeners.push(listener(TUNNEL, Role::Tunnel));
        }
        let config = EngineConfig {
            workers: setup.workers,
            listeners,
            ktls: ktls_policy(),
            io: io_policy(),
            crypto: crypto_policy(),
            max_pipes_per_worker: setup.max_pipes,
            room: Room::UNLIMITED,
            coalesce: COALESCE,
            keepalive_idle: KEEPALIVE_IDLE,
            user_timeout: setup.user_timeout,
        };
        let running = Running::of(
            config,
            Arc::clone(&control) as _,
            Arc::clone(&snapshots),
            tempfile::tempdir().unwrap(),
            setup.record_queue,
        );
        Self {
            running,
            variant,
            snapshots,
            control,
        }
    }

    /// Lets all requests go on by this rule.
    pub fn leads(self, rule: Rule) -> Self {
        self.control.say(move |_| Judged::On(rule.clone()));
        self
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.running.address_of(FRONT)
    }

    /// A client without a certificate.
    pub fn client(&self) -> Conn {
        self.client_with(None)
    }

    /// A client that presents this.
    pub fn client_with(&self, identity: Option<&Identity>) -> Conn {
        self.client_of(&Arc::new(self.client_config(identity)))
    }

    /// A client with TLS of its own.
    pub fn client_of(&self, config: &Arc<ClientConfig>) -> Conn {
        let address = self.address();
        let mut conn = Conn::new(TcpStream::connect(address).unwrap());
        conn.start_client(config, name_of(&address.to_string()))
            .unwrap();
        conn
    }

    /// TLS of clients.
    pub fn client_config(&self, identity: Option<&Identity>) -> ClientConfig {
        tls::client(identity, &pki().listeners, self.variant.tls)
    }

    /// Connects to the listener for those who speak to an API server themselves.
    pub fn node(&self) -> Conn {
        Conn::new(TcpStream::connect(self.node_address()).unwrap())
    }

    /// Where those connect who speak to an API server themselves.
    pub fn node_address(&self) -> SocketAddr {
        self.running.address_of(NODES)
    }

    /// Puts the same snapshot in force under the next number, as a reload that changes nothing.
    pub fn reload(&self) {
        let current = Snapshot::clone(&self.snapshots.load());
        let generation = current.generation + 1;
        self.control.generation.store(generation, SeqCst);
        self.snapshots.publish(Snapshot {
            generation,
            ..current
        });
    }

    /// The running engine.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// The counters.
    pub fn totals(&self) -> CounterTotals {
        self.running.totals()
    }

    /// Waits until the counters are so.
    pub fn until(&self, what: &str, holds: impl Fn(&CounterTotals) -> bool) {
        self.running.until(what, holds);
    }

    /// The next record of an ended connection or request.
    pub fn ended(&self) -> StreamRecord {
        let record = self.running.ended();
        let shown = format!("{record:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        record
    }

    /// The next record of an ended connection or request, which was ended so.
    #[track_caller]
    pub fn assert_ended(&self, reason: Reason, side: Side, phase: Phase) -> StreamRecord {
        let record = self.running.ended();
        assert_end(&record, reason, side, phase);
        record
    }

    /// The next record of a request that ended as it should.
    #[track_caller]
    pub fn assert_passed(&self) -> StreamRecord {
        self.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange)
    }

    /// The next record of a request that begins.
    pub fn began(&self) -> StreamRecord {
        self.running.began()
    }

    /// Takes all records.
    pub fn taken_records(&self) -> Vec<StreamRecord> {
        self.running.records.take()
    }

    /// Waits until every gauge is where it was before the first connection.
    pub fn assert_back(&self) {
        self.running.assert_nothing_held();
    }

    /// Waits until every gauge is where it was before the first connection, and no record is left
    /// over.
    pub fn assert_nothing_held(&self) {
        self.running.assert_nothing_held();
        let left = self.running.records.left();
        assert!(left.is_empty(), "records that nobody expected: {left:#?}");
    }
}

impl Drop for Front {
    /// What the gateway has to say of a failed test.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for record in self.running.records.left() {
                eprintln!("{record:?}");
            }
        }
    }
}

/// An API server that does with each connection as its script says; it asks for a client
/// certificate, and takes whoever has none.
pub fn server(
    variant: Variant,
    script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
) -> Kubelet {
    let pki = pki();
    let identity = Presented::Good.identity(pki);
    let config = tls::open_server(&identity, &pki.clients, variant.tls);
    Kubelet::with(Some(config), script)
}

/// Ends a client that has had all that it asked for.
pub fn leave(mut conn: Conn) {
    conn.shut().unwrap();
    let (left, ending) = conn.read_to_end();
    assert!(left.is_empty() && !ending.is_cut(), "{left:?} {ending:?}");
}

/// Reads until so many bytes are there.
pub fn read_some(conn: &mut Conn, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while all.len() < len {
        match conn.read(&mut buffer) {
            Got::Data(n) => all.extend_from_slice(&buffer[..n]),
            Got::End(ending) => panic!("{ending:?} after {} bytes", all.len()),
            Got::Blocked => {}
        }
    }
    all
}

fn front_tls(variant: Variant, tickets: bool) -> DownstreamTls {
    let clients: Arc<dyn ClientCertVerifier> = Arc::new(AnyClient);
    let listener = &pki().listener;
    let mut config = ServerConfig::builder_with_provider(provider::shared())
        .with_protocol_versions(&[variant.tls])
        .unwrap()
        .with_client_cert_verifier(Arc::clone(&clients))
        .with_single_cert(listener.chain.clone(), listener.key())
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = usize::from(tickets);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tickets {
        config.ticketer = Ticketer::new().unwrap();
    }
    config.enable_secret_extraction = true;
    DownstreamTls {
        config: Arc::new(config),
        clients: Some(clients),
    }
}

/// Takes any certificate whose key its client has, and whoever has none, as control's own verifier
/// for fronts does.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider::shared().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider::shared().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::shared()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
