//! The engine with one worker, and a control that answers every stream alike.

use super::crypto;
use crate::Result;
use crate::identity::Identity;
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{
    Bind, COALESCE, Engine, EngineConfig, KtlsPolicy, ListenerConfig, Role,
};
use eyesplice_dataplane::seam::{
    ActionPolicy, AdmissionLimits, Connect, Control, Inside, Mode, Reason, Refusal, Snapshot,
    SnapshotCell, StreamLimits, StreamRecord, StreamRequest, Tallies, Terminate, UpstreamTls,
    Verdict, Way,
};
use eyesplice_proto::target::Host;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Streams that the engine may carry: more than any measurement here opens.
const STREAMS: usize = 100_000;

/// Pipes of one worker: the default of GatewayConfig.
const PIPES: usize = 32;

/// What happens to every stream.
#[derive(Debug)]
pub enum Plan {
    /// Pass its bytes untouched.
    Splice,
    /// End TLS on both legs.
    Terminate {
        /// Towards the client.
        server: Arc<ServerConfig>,
        /// Towards the target.
        client: Arc<ClientConfig>,
        /// What the bytes inside are.
        inside: Inside,
    },
}

impl Plan {
    /// TLS on both legs around opaque bytes.
    ///
    /// # Errors
    /// If the certificates cannot be used.
    pub fn terminate(identity: &Identity) -> Result<Self> {
        Self::both_legs(identity, Inside::Opaque)
    }

    /// TLS on both legs of a kubelet's API, of which everything is allowed.
    ///
    /// # Errors
    /// If the certificates cannot be used.
    pub fn kubelet(identity: &Identity) -> Result<Self> {
        let all = Arc::new(ActionPolicy::new(Vec::new()));
        Self::both_legs(identity, Inside::Kubelet(all))
    }

    fn both_legs(identity: &Identity, inside: Inside) -> Result<Self> {
        Ok(Self::Terminate {
            server: identity.server()?,
            client: identity.client()?,
            inside,
        })
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
}

impl Gateway {
    /// Starts one worker on a UNIX socket.
    ///
    /// # Errors
    /// If the engine does not start.
    pub fn start(socket: &Path, plan: Plan) -> Result<Self> {
        Self::with_pipes(socket, plan, PIPES)
    }

    /// Starts one worker with so many pipes; with none it copies what it would splice.
    ///
    /// # Errors
    /// If the engine does not start.
    pub fn with_pipes(socket: &Path, plan: Plan, pipes: usize) -> Result<Self> {
        let (records, mut drained) = mpsc::channel::<StreamRecord>(1024);
        thread::spawn(move || while drained.blocking_recv().is_some() {});
        let engine = Engine::start(
            config(socket, pipes)?,
            Arc::new(Scripted { plan }),
            Arc::new(SnapshotCell::new(snapshot())),
            records,
        )?;
        Ok(Self { engine })
    }

    /// The engine's counters.
    pub fn totals(&self) -> CounterTotals {
        self.engine.totals()
    }

    /// Says on standard error when streams got no pipe, since the figures are another strategy's
    /// then.
    pub fn warn_of_shortages(&self) {
        let shortages = self.totals().pipe_shortages;
        if shortages > 0 {
            eprintln!(
                "eyesplice: no pipe was free {shortages} times (fs.pipe-user-pages-soft?), so some \
                 bytes were copied and not spliced"
            );
        }
    }
}

fn config(socket: &Path, pipes: usize) -> Result<EngineConfig> {
    Ok(EngineConfig {
        workers: 1,
        listeners: vec![ListenerConfig {
            role: Role::Egress,
            name: "bench".into(),
            bind: Bind::Unix {
                path: socket.to_path_buf(),
                mode: 0o600,
                uid: None,
                gid: None,
            },
        }],
        io: IoPolicy::default(),
        ktls: KtlsPolicy::Off,
        crypto: crypto::policy()?,
        max_pipes_per_worker: pipes,
        room: Room::UNLIMITED,
        coalesce: COALESCE,
        keepalive_idle: Duration::from_secs(30),
        user_timeout: Duration::from_secs(60),
    })
}

fn snapshot() -> Snapshot {
    Snapshot {
        generation: 1,
        listener_tls: HashMap::new(),
        allowed_uids: HashMap::new(),
        admission: AdmissionLimits {
            max_streams: STREAMS,
            max_streams_per_peer: STREAMS,
            max_pending: STREAMS,
            max_unauthenticated: 10_000,
            max_handshakes_per_second: 1_000_000,
            max_handshakes_per_second_per_address: 1_000_000,
            handshake_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(30),
            admit_timeout: Duration::from_secs(30),
        },
        tunnel: None,
        agent: None,
    }
}

struct Scripted {
    plan: Plan,
}

impl Control for Scripted {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let (send, receive) = oneshot::channel();
        // The engine may be gone; then nobody waits.
        let _ = send.send(self.decide(&request));
        receive
    }

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        format!("chain of {}", chain.len()).into()
    }
}

impl Scripted {
    fn decide(&self, request: &StreamRequest) -> Verdict {
        let Host::Ip(ip) = request.target.host else {
            return Verdict::Refuse(Refusal {
                status: 503,
                reason: Reason::Denied,
                words: "a bench dials addresses".into(),
                rule: None,
            });
        };
        Verdict::Connect(Box::new(Connect {
            generation: 1,
            rule: "bench".into(),
            node: Some("bench".into()),
            way: Way::Dial(vec![SocketAddr::new(ip, request.target.port)]),
            preamble: None,
            mode: self.mode(),
            limits: StreamLimits {
                dial_timeout: Duration::from_secs(30),
                handshake_timeout: Duration::from_secs(30),
                head_timeout: Duration::from_secs(30),
                idle_timeout: None,
                half_closed_timeout: None,
            },
            warm: None,
            tallies: Tallies::default(),
        }))
    }

    fn mode(&self) -> Mode {
        match &self.plan {
            Plan::Splice => Mode::Splice,
            Plan::Terminate {
                server,
                client,
                inside,
            } => Mode::Terminate(Terminate {
                downstream: Arc::clone(server).into(),
                upstream: UpstreamTls {
                    // Control gives every stream a configuration of its own, with its own verifier.
                    config: Arc::new(ClientConfig::clone(client)),
                    server_name: Identity::name(),
                    verification: Arc::default(),
                },
                inside: inside.clone(),
            }),
        }
    }
}
