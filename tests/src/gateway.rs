//! A gateway in the test's process: the engine, a control, its records and its counters.

use crate::api_server::{ApiServer, Entry};
use crate::held::Held;
use crate::pki::pki;
use crate::scripted::{Answer, Scripted};
use crate::tls;
use crate::variant::{Transport, Variant, crypto_policy, io_policy, ktls_policy};
use crate::wait::{PATIENCE, eventually};
use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{Bind, COALESCE, Engine, EngineConfig, ListenerConfig, Role};
use eyesplice_dataplane::seam::{
    ActionPolicy, AdmissionLimits, AgentStatus, Control, DownstreamTls, Phase, Reason, RecordKind,
    Side, Snapshot, SnapshotCell, StreamLimits, StreamRecord, TunnelLimits,
};
use eyesplice_identity::verify::{Mode as Verification, client_verifier};
use eyesplice_proto::route::Action;
use eyesplice_proto::tunnel::ALPN;
use rustls::crypto::ring::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// What a test may change before the gateway starts.
#[derive(Debug)]
pub struct Setup {
    /// Worker threads.
    pub workers: usize,
    /// Pipes per worker.
    pub max_pipes: usize,
    /// Deadlines of each stream.
    pub limits: StreamLimits,
    /// Limits before a verdict.
    pub admission: AdmissionLimits,
    /// What control answers at first.
    pub answer: Answer,
    /// Actions that are denied, each with the rule that denies it.
    pub denied: Vec<(Action, &'static str)>,
    /// What happens to a kubelet that fails verification.
    pub verification: Verification,
    /// Records that may wait for control.
    pub record_queue: usize,
    /// How long a TCP peer that was asked may say nothing.
    pub user_timeout: Duration,
    /// Idle time before keepalive asks.
    pub keepalive_idle: Duration,
    /// The address of TCP listeners.
    pub listen: IpAddr,
    /// A TCP listener without TLS, to have bare legs on both sides.
    pub bare: bool,
    /// A UNIX listener beside the TCP one.
    pub also_unix: bool,
    /// The TCP listener gives session tickets, under kernel TLS as well.
    pub tickets: bool,
    /// Takes agents, on a listener of its own.
    pub tunnel: Option<TunnelLimits>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            max_pipes: 8,
            // A busy machine is slow, and a test that means a deadline sets its own.
            limits: StreamLimits {
                dial_timeout: PATIENCE,
                handshake_timeout: PATIENCE,
                head_timeout: PATIENCE,
                idle_timeout: None,
                half_closed_timeout: None,
            },
            admission: AdmissionLimits {
                max_streams: 10_000,
                max_streams_per_peer: 10_000,
                max_pending: 10_000,
                max_unauthenticated: 10_000,
                max_handshakes_per_second: 100_000,
                max_handshakes_per_second_per_address: 100_000,
                handshake_timeout: PATIENCE,
                head_timeout: PATIENCE,
                admit_timeout: PATIENCE,
            },
            answer: Answer::Kubelet,
            denied: Vec::new(),
            verification: Verification::Enforce,
            record_queue: 1024,
            user_timeout: PATIENCE,
            keepalive_idle: KEEPALIVE_IDLE,
            listen: Ipv4Addr::LOCALHOST.into(),
            bare: false,
            also_unix: false,
            tickets: false,
            tunnel: None,
        }
    }
}

/// A running gateway with a scripted control.
#[derive(Debug)]
pub struct Gateway {
    running: Running,
    variant: Variant,
    /// Its control.
    pub control: Arc<Scripted>,
    snapshots: Arc<SnapshotCell>,
    bare: bool,
}

impl Gateway {
    /// Starts one that terminates kubelets.
    pub fn start(variant: Variant) -> Self {
        Self::with(variant, |_| {})
    }

    /// Starts one that the test adjusts.
    pub fn with(variant: Variant, adjust: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        adjust(&mut setup);
        let directory = tempfile::tempdir().unwrap();
        let denied = setup
            .denied
            .iter()
            .map(|(action, rule)| (*action, Arc::from(*rule)));
        let control = Arc::new(Scripted::new(
            setup.answer,
            setup.limits,
            ActionPolicy::new(denied.collect()),
            setup.verification,
            directory.path(),
        ));
        let snapshots = Arc::new(SnapshotCell::new(snapshot(variant, &setup)));
        let plan = Plan {
            transport: variant.transport,
            workers: setup.workers,
            max_pipes: setup.max_pipes,
            also_unix: setup.also_unix,
            record_queue: setup.record_queue,
            user_timeout: setup.user_timeout,
            keepalive_idle: setup.keepalive_idle,
            listen: setup.listen,
            tunnel: setup.tunnel.is_some(),
        };
        let shared: Arc<dyn Control> = Arc::clone(&control) as _;
        let running = Running::start(&plan, shared, Arc::clone(&snapshots), directory);
        Self {
            running,
            variant,
            control,
            snapshots,
            bare: setup.bare,
        }
    }

    /// An API server that uses this gateway.
    pub fn api_server(&self) -> ApiServer {
        let pki = pki();
        let entry = match self.running.tcp_address() {
            None => Entry::Unix(self.running.socket()),
            Some(address) if self.bare => Entry::Bare(address),
            Some(address) => {
                let version = self.variant.tls;
                let config = tls::client(Some(&pki.api_server), &pki.listeners, version);
                Entry::Tcp(address, Arc::new(config))
            }
        };
        let inner = tls::client(Some(&pki.api_server), &pki.egress, self.variant.tls);
        ApiServer::new(entry, inner)
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.load()
    }

    /// Puts the same snapshot in force under the next number, as a reload that changes nothing.
    pub fn reload(&self) {
        let current = Snapshot::clone(&self.snapshots.load());
        let generation = current.generation + 1;
        self.snapshots.publish(Snapshot {
            generation,
            ..current
        });
    }

    /// The same with other limits of its tunnels.
    pub fn limit_tunnel(&self, change: impl FnOnce(&mut TunnelLimits)) {
        let mut next = Snapshot::clone(&self.snapshots.load());
        next.generation += 1;
        change(next.tunnel.as_mut().unwrap());
        self.snapshots.publish(next);
    }

    /// The UNIX socket, if there is one.
    pub fn socket(&self) -> PathBuf {
        self.running.socket()
    }

    /// Where API servers and other gateways connect over TCP.
    pub fn address(&self) -> SocketAddr {
        self.running.address_of(LISTENER)
    }

    /// Where agents connect.
    pub fn tunnel_address(&self) -> SocketAddr {
        self.running.address_of(TUNNEL)
    }

    /// The agents that are connected.
    pub fn agents(&self) -> Vec<AgentStatus> {
        self.running.engine().agents()
    }

    /// The running engine.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// The counters.
    pub fn totals(&self) -> CounterTotals {
        self.running.totals()
    }

    /// The next record of an ended stream or exchange. What an agent left within its handshake is
    /// none.
    pub fn ended(&self) -> StreamRecord {
        loop {
            let record = self.running.ended();
            if &*record.listener != TUNNEL {
                return record;
            }
        }
    }

    /// The next record of an ended stream or exchange, which was ended so.
    #[track_caller]
    pub fn assert_ended(&self, reason: Reason, side: Side, phase: Phase) -> StreamRecord {
        let record = self.ended();
        assert_end(&record, reason, side, phase);
        record
    }

    /// The next record of a stream or exchange that begins.
    pub fn began(&self) -> StreamRecord {
        self.running.began()
    }

    /// Waits until the counters are so.
    pub fn until(&self, what: &str, holds: impl Fn(&CounterTotals) -> bool) {
        self.running.until(what, holds);
    }

    /// Waits until every gauge is where it was before the first stream.
    pub fn assert_back(&self) {
        self.running.assert_nothing_held();
    }

    /// Takes all records.
    pub fn taken_records(&self) -> Vec<StreamRecord> {
        self.running.records.take()
    }

    /// Waits until every gauge is where it was before the first stream, and no record is left over.
    pub fn assert_nothing_held(&self) {
        self.running.assert_nothing_held();
        let left = self.running.records.left();
        assert!(left.is_empty(), "records that nobody expected: {left:#?}");
    }
}

/// Asserts who ended a stream, why and when, and that the command of an exec is nowhere.
#[track_caller]
pub fn assert_end(record: &StreamRecord, reason: Reason, side: Side, phase: Phase) {
    let ended = (record.reason, record.side, record.phase);
    assert_eq!(ended, (reason, side, phase), "{record:#?}");
    let shown = format!("{record:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

impl Drop for Gateway {
    /// What the gateway has to say of a failed test.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for record in self.running.records.left() {
                if record.reason != Reason::Completed {
                    eprintln!("{record:?}");
                }
            }
        }
    }
}

fn snapshot(variant: Variant, setup: &Setup) -> Snapshot {
    let mut listener_tls = HashMap::new();
    if variant.transport == Transport::Tcp && !setup.bare {
        let mut config = tls::server(&pki().listener, &pki().clients, &TLS13);
        if variant.tls.version != TLS13.version {
            config = tls::server(&pki().listener, &pki().clients, variant.tls);
        }
        config.send_tls13_tickets = usize::from(setup.tickets);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if setup.tickets {
            config.ticketer = Ticketer::new().unwrap();
        }
        config.enable_secret_extraction = true;
        let tls = DownstreamTls {
            config: Arc::new(config),
            clients: Some(client_verifier(pki().clients.roots(), &[]).unwrap()),
        };
        listener_tls.insert(LISTENER.into(), tls);
    }
    if setup.tunnel.is_some() {
        let mut config = tls::server(&pki().listener, &pki().clients, &TLS13);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        listener_tls.insert(TUNNEL.into(), Arc::new(config).into());
    }
    Snapshot {
        generation: 1,
        listener_tls,
        allowed_uids: HashMap::new(),
        admission: setup.admission,
        tunnel: setup.tunnel.clone(),
        agent: None,
    }
}

/// The name of the listener for clients.
pub const LISTENER: &str = "egress";

/// The name of the listener for agents.
pub const TUNNEL: &str = "tunnel";

/// How an engine is built.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The transport of its listener.
    pub transport: Transport,
    /// Worker threads.
    pub workers: usize,
    /// Pipes per worker.
    pub max_pipes: usize,
    /// A UNIX listener beside it, if it is TCP.
    pub also_unix: bool,
    /// Records that may wait for control.
    pub record_queue: usize,
    /// How long a TCP peer that was asked may say nothing.
    pub user_timeout: Duration,
    /// Idle time before keepalive asks.
    pub keepalive_idle: Duration,
    /// The address of a TCP listener.
    pub listen: IpAddr,
    /// A listener for agents.
    pub tunnel: bool,
}

/// Of a test that does not mean it.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// An engine with whatever control, and what it told.
#[derive(Debug)]
pub struct Running {
    engine: Option<Engine>,
    /// Listening sockets: a TCP listener has one for each worker, a UNIX listener one.
    listening: u64,
    /// What the engine said of its streams.
    pub records: Records,
    directory: TempDir,
}

impl Running {
    /// Starts an engine with one listener.
    pub fn start(
        plan: &Plan,
        control: Arc<dyn Control>,
        snapshots: Arc<SnapshotCell>,
        directory: TempDir,
    ) -> Self {
        let unix = |name: &str| ListenerConfig {
            role: Role::Egress,
            name: name.into(),
            bind: Bind::Unix {
                path: directory.path().join(SOCKET),
                mode: 0o600,
                uid: None,
                gid: None,
            },
        };
        let tcp = ListenerConfig {
            role: Role::Egress,
            name: LISTENER.into(),
            bind: Bind::Tcp((plan.listen, 0).into()),
        };
        let mut listeners = match plan.transport {
            Transport::Unix => vec![unix(LISTENER)],
            Transport::Tcp if plan.also_unix => vec![tcp, unix("local")],
            Transport::Tcp => vec![tcp],
        };
        if plan.tunnel {
            listeners.push(ListenerConfig {
                role: Role::Tunnel,
                name: TUNNEL.into(),
                bind: Bind::Tcp((plan.listen, 0).into()),
            });
        }
        let config = EngineConfig {
            workers: plan.workers,
            listeners,
            ktls: ktls_policy(),
            io: io_policy(),
            crypto: crypto_policy(),
            max_pipes_per_worker: plan.max_pipes,
            room: Room::UNLIMITED,
            coalesce: COALESCE,
            keepalive_idle: plan.keepalive_idle,
            user_timeout: plan.user_timeout,
        };
        Self::of(config, control, snapshots, directory, plan.record_queue)
    }

    /// Starts an engine as it is configured.
    pub fn of(
        config: EngineConfig,
        control: Arc<dyn Control>,
        snapshots: Arc<SnapshotCell>,
        directory: TempDir,
        record_queue: usize,
    ) -> Self {
        let (send, receive) = mpsc::channel(record_queue);
        let sockets = |listener: &ListenerConfig| match listener.bind {
            Bind::Tcp(_) => config.workers,
            Bind::Unix { .. } => 1,
        };
        let listening: usize = config.listeners.iter().map(sockets).sum();
        let engine = Engine::start(config, control, snapshots, send).unwrap();
        Self {
            engine: Some(engine),
            listening: listening as u64,
            records: Records::collect(receive),
            directory,
        }
    }

    /// The directory of its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The UNIX socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// The address, if the listener is TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        let addresses = self.engine.as_ref()?.tcp_addresses();
        let mut of_clients = addresses.iter().filter(|(name, _)| &**name != TUNNEL);
        of_clients.next().map(|(_, address)| *address)
    }

    /// The address of a TCP listener.
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        let addresses = self.engine().tcp_addresses();
        let found = addresses.iter().find(|(name, _)| &**name == listener);
        found.unwrap().1
    }

    /// The engine, while it runs.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// The counters.
    pub fn totals(&self) -> CounterTotals {
        self.engine.as_ref().map(Engine::totals).unwrap_or_default()
    }

    /// Takes the engine, to end it.
    pub fn take_engine(&mut self) -> Engine {
        self.engine.take().unwrap()
    }

    /// The next record of an ended stream or exchange.
    pub fn ended(&self) -> StreamRecord {
        eventually(
            || self.records.next(RecordKind::End),
            || format!("the end of a stream ({:?})", self.totals()),
        )
    }

    /// The next record of a stream or exchange that begins.
    pub fn began(&self) -> StreamRecord {
        eventually(
            || self.records.next(RecordKind::Start),
            || "the start of a stream".into(),
        )
    }

    /// Waits until the counters are so.
    pub fn until(&self, what: &str, holds: impl Fn(&CounterTotals) -> bool) {
        eventually(
            || holds(&self.totals()).then_some(()),
            || format!("{what} ({:?})", self.totals()),
        );
    }

    /// What an engine without streams holds: one accept per listening socket.
    pub fn at_rest(&self) -> Held {
        Held {
            streams: [0; 3],
            buffers: 0,
            pipes: 0,
            ops: self.listening,
        }
    }

    /// Waits until every gauge is where it was before the first stream.
    pub fn assert_nothing_held(&self) {
        let rest = self.at_rest();
        self.until(&format!("{rest:?}"), |totals| Held::of(totals) == rest);
    }
}

const SOCKET: &str = "egress.sock";

/// Records as they come, taken off the engine's queue by a thread of their own.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<VecDeque<StreamRecord>>,
    /// While set, nothing is taken off: a control that stalls.
    stalled: Mutex<bool>,
    resumed: Condvar,
}

impl Records {
    fn collect(mut receive: mpsc::Receiver<StreamRecord>) -> Self {
        let records = Self::default();
        let shared = Arc::clone(&records.0);
        std::thread::spawn(move || {
            while let Some(record) = receive.blocking_recv() {
                let stalled = shared.stalled.lock().unwrap();
                drop(
                    shared
                        .resumed
                        .wait_while(stalled, |stalled| *stalled)
                        .unwrap(),
                );
                shared.queue.lock().unwrap().push_back(record);
            }
        });
        records
    }

    /// Stops or resumes taking records.
    pub fn stall(&self, stalled: bool) {
        *self.0.stalled.lock().unwrap() = stalled;
        self.0.resumed.notify_all();
    }

    /// Takes the first record of a kind.
    pub fn next(&self, kind: RecordKind) -> Option<StreamRecord> {
        let mut queue = self.0.queue.lock().unwrap();
        let at = queue.iter().position(|record| record.kind == kind)?;
        queue.remove(at)
    }

    /// All that nobody took, save for starts.
    pub fn left(&self) -> Vec<StreamRecord> {
        let queue = self.0.queue.lock().unwrap();
        queue
            .iter()
            .filter(|record| record.kind == RecordKind::End)
            .cloned()
            .collect()
    }

    /// Takes all.
    pub fn take(&self) -> Vec<StreamRecord> {
        self.0.queue.lock().unwrap().drain(..).collect()
    }
}
