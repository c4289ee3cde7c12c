//! Agents of tunnels: a second engine in the test's process, and raw ends of the protocol that do
//! as the test says.

use crate::conn::{Conn, Got};
use crate::gateway::{Gateway, Running, Setup, TUNNEL};
use crate::pki::{Identity, Leaf, pki};
use crate::scripted::{Answer, Scripted};
use crate::tls;
use crate::variant::{Variant, crypto_policy, io_policy, ktls_policy};
use crate::wait::{PATIENCE, eventually};
use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{COALESCE, EngineConfig};
use eyesplice_dataplane::seam::{
    ActionPolicy, AgentDuties, AgentGrant, Control, GatewayPeer, GatewayStatus, GatewayWay, Reason,
    RecordKind, Route, Snapshot, SnapshotCell, StreamRecord, TunnelLimits,
};
use eyesplice_identity::verify::Mode as Verification;
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_proto::tunnel::{
    ALPN, FrameError, Instance, OpenId, Patience, Register, ToAgent, ToGateway,
};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The name of the agent of most tests.
pub const AGENT: &str = "edge-1";

/// The route that it has.
pub const ROUTE: &str = "worker-3";

/// The common name of the certificate of an agent.
pub fn common_name(agent: &str) -> String {
    format!("eyesplice:agent:{agent}")
}

/// A certificate for an agent.
pub fn identity(agent: &str) -> Identity {
    pki().clients.issue(&Leaf::client(&common_name(agent)))
}

/// How control names its owner.
pub fn subject(agent: &str) -> String {
    format!("CN={}", common_name(agent))
}

/// Lets an agent stand for a node.
pub fn grant(agent: &str, node: &str) -> AgentGrant {
    AgentGrant {
        name: agent.into(),
        nodes: Arc::from([node.into()]),
        networks: Arc::default(),
        suffixes: Arc::default(),
    }
}

/// Limits that no test meets which does not mean it; none is parked.
pub fn limits() -> TunnelLimits {
    TunnelLimits {
        max_agents: 100,
        parked: 0..=0,
        max_parked: 100,
        max_parked_per_address: 100,
        advertise: None,
        ping: Duration::from_secs(10),
        patience: Patience {
            accept: PATIENCE..=PATIENCE,
            arrive: PATIENCE..=PATIENCE,
        },
    }
}

/// A gateway whose streams all go through [`AGENT`].
pub fn gateway(variant: Variant, adjust: impl FnOnce(&mut Setup)) -> Gateway {
    let gateway = Gateway::with(variant, |setup| {
        setup.answer = Answer::Splice;
        setup.tunnel = Some(limits());
        adjust(setup);
    });
    gateway.control.reach_by(vec![Route::Node(ROUTE.into())]);
    gateway
        .control
        .grant(&subject(AGENT), Some(grant(AGENT, ROUTE)));
    gateway
}

/// The TLS of an agent.
pub fn client(agent: &str) -> Arc<ClientConfig> {
    let mut config = tls::client(Some(&identity(agent)), &pki().listeners, &TLS13);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// The TLS of a gateway.
pub fn server() -> Arc<ServerConfig> {
    let mut config = tls::server(&pki().listener, &pki().clients, &TLS13);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// What the tests' agents call the tunnel listener of a gateway.
pub fn peer(name: &str, address: SocketAddr, tls: Arc<ClientConfig>) -> Arc<GatewayPeer> {
    Arc::new(GatewayPeer {
        name: name.into(),
        way: GatewayWay::Dial(vec![address]),
        server_name: ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()),
        tls,
    })
}

/// A running agent with a scripted control.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    /// Its control.
    pub control: Arc<Scripted>,
    snapshots: Arc<SnapshotCell>,
}

impl Agent {
    /// Starts the usual agent of one gateway, and waits until it is registered.
    pub fn of(gateway: &Gateway) -> Self {
        let agent = Self::holding(&[peer("gateway", gateway.tunnel_address(), client(AGENT))]);
        agent.until_registered(gateway);
        agent
    }

    /// Starts an agent that holds these gateways.
    pub fn holding(gateways: &[Arc<GatewayPeer>]) -> Self {
        Self::with(gateways, 1, |_| {})
    }

    /// Starts one of this instance, which the test adjusts.
    pub fn with(
        gateways: &[Arc<GatewayPeer>],
        instance: u8,
        adjust: impl FnOnce(&mut Setup),
    ) -> Self {
        let mut setup = Setup {
            answer: Answer::Splice,
            ..Setup::default()
        };
        adjust(&mut setup);
        let directory = tempfile::tempdir().unwrap();
        let control = Arc::new(Scripted::new(
            setup.answer,
            setup.limits,
            ActionPolicy::new(Vec::new()),
            Verification::Enforce,
            directory.path(),
        ));
        let duties = AgentDuties {
            instance: [instance; 16],
            version: "v0.0.0-test".into(),
            listener: "tunnel".into(),
            gateways: gateways.into(),
            inner_only: None,
            backoff: (Duration::from_millis(10), Duration::from_millis(100)),
        };
        let snapshots = Arc::new(SnapshotCell::new(Snapshot {
            generation: 1,
            listener_tls: HashMap::new(),
            allowed_uids: HashMap::new(),
            admission: setup.admission,
            tunnel: None,
            agent: Some(Arc::new(duties)),
        }));
        let config = EngineConfig {
            workers: setup.workers,
            listeners: Vec::new(),
            io: io_policy(),
            ktls: ktls_policy(),
            crypto: crypto_policy(),
            max_pipes_per_worker: setup.max_pipes,
            room: Room::UNLIMITED,
            coalesce: COALESCE,
            keepalive_idle: setup.keepalive_idle,
            user_timeout: setup.user_timeout,
        };
        let shared: Arc<dyn Control> = Arc::clone(&control) as _;
        let cell = Arc::clone(&snapshots);
        let running = Running::of(config, shared, cell, directory, setup.record_queue);
        Self {
            running,
            control,
            snapshots,
        }
    }

    /// Waits until a gateway has this agent.
    pub fn until_registered(&self, gateway: &Gateway) {
        gateway.until("an agent", |totals| totals.tunnel_agents >= 1);
        self.until("a gateway", |totals| totals.tunnel_gateways >= 1);
    }

    /// Holds these gateways from now on.
    pub fn hold(&self, gateways: &[Arc<GatewayPeer>]) {
        let current = Snapshot::clone(&self.snapshots.load());
        let duties = current.agent.as_ref().unwrap();
        let duties = AgentDuties {
            gateways: gateways.into(),
            ..AgentDuties::clone(duties)
        };
        self.snapshots.publish(Snapshot {
            generation: current.generation + 1,
            agent: Some(Arc::new(duties)),
            ..current
        });
    }

    /// Permits that TLS with the gateway ends on streams to this target from now on.
    pub fn permit_inner_only(&self, target: Option<SocketAddr>) {
        let current = Snapshot::clone(&self.snapshots.load());
        let duties = current.agent.as_ref().unwrap();
        let duties = AgentDuties {
            inner_only: target,
            ..AgentDuties::clone(duties)
        };
        self.snapshots.publish(Snapshot {
            generation: current.generation + 1,
            agent: Some(Arc::new(duties)),
            ..current
        });
    }

    /// The gateways that it holds.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        self.running.engine().gateways()
    }

    /// The running engine.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// The counters.
    pub fn totals(&self) -> CounterTotals {
        self.running.totals()
    }

    /// The next record of an ended stream.
    pub fn ended(&self) -> StreamRecord {
        self.running.ended()
    }

    /// Waits until the counters are so.
    pub fn until(&self, what: &str, holds: impl Fn(&CounterTotals) -> bool) {
        self.running.until(what, holds);
    }

    /// Lets go of all gateways, and waits until nothing is held.
    pub fn finish(self) {
        let left = self.finish_counting();
        assert!(left.is_empty(), "records that nobody expected: {left:#?}");
    }

    /// Lets go of all gateways for now, and waits until nothing is held.
    pub fn let_go(&self) {
        self.hold(&[]);
        self.until("no gateway", |totals| totals.tunnel_gateways == 0);
        self.running.assert_nothing_held();
    }

    /// The same for good; returns the records of streams that nobody has asked for.
    pub fn finish_counting(mut self) -> Vec<StreamRecord> {
        self.let_go();
        let left = self.running.records.left();
        assert_eq!(self.running.take_engine().drain(PATIENCE), 0);
        left
    }
}

impl Drop for Agent {
    /// What the agent has to say of a failed test.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for record in self.running.records.left() {
                if record.reason != Reason::Completed {
                    eprintln!("agent: {record:?}");
                }
            }
        }
    }
}

/// Waits until a gateway has no agent and holds nothing.
pub fn assert_back(gateway: &Gateway) {
    gateway.until("no agent", |totals| {
        (totals.tunnel_agents, totals.tunnel_parked) == (0, 0)
    });
    gateway.assert_back();
}

/// The same; nor are there records of streams that nobody expected.
pub fn assert_gateway_back(gateway: &Gateway) {
    assert_back(gateway);
    // An agent that came again may have left within its handshake.
    let streams =
        |record: &StreamRecord| record.kind == RecordKind::End && &*record.listener != TUNNEL;
    let left: Vec<_> = gateway
        .taken_records()
        .into_iter()
        .filter(streams)
        .collect();
    assert!(left.is_empty(), "records that nobody expected: {left:#?}");
}

/// One connection that speaks the protocol as the test says, from either end.
#[derive(Debug)]
pub struct Wire {
    /// The connection below.
    pub conn: Conn,
    bytes: Vec<u8>,
}

impl Wire {
    /// Connects to a gateway as an agent.
    pub fn agent(gateway: &Gateway, tls: &Arc<ClientConfig>) -> Self {
        Self::agent_at(gateway.tunnel_address(), tls)
    }

    /// Connects to the tunnel listener at an address as an agent.
    pub fn agent_at(address: SocketAddr, tls: &Arc<ClientConfig>) -> Self {
        let mut conn = Conn::new(TcpStream::connect(address).unwrap());
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
        conn.start_client(tls, name).unwrap();
        Self {
            conn,
            bytes: Vec::new(),
        }
    }

    /// Takes a connection of an agent as a gateway.
    pub fn gateway(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().unwrap();
        let mut conn = Conn::new(socket);
        conn.start_server(&server()).unwrap();
        Self {
            conn,
            bytes: Vec::new(),
        }
    }

    /// Registers as an agent.
    pub fn register(gateway: &Gateway, tls: &Arc<ClientConfig>, instance: u8) -> Self {
        let mut wire = Self::agent(gateway, tls);
        wire.say(&ToGateway::Control(Register {
            instance: Instance([instance; 16]),
            version: "v0".into(),
            draining: false,
        }));
        let ToAgent::Registered(_) = wire.hear() else {
            panic!("not registered")
        };
        wire
    }

    /// A data connection of an agent.
    pub fn data(
        gateway: &Gateway,
        tls: &Arc<ClientConfig>,
        instance: u8,
        id: Option<OpenId>,
    ) -> Self {
        Self::data_at(gateway.tunnel_address(), tls, instance, id)
    }

    /// The same at the address of a tunnel listener.
    pub fn data_at(
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        instance: u8,
        id: Option<OpenId>,
    ) -> Self {
        let mut wire = Self::agent_at(address, tls);
        wire.say(&ToGateway::Data {
            instance: Instance([instance; 16]),
            id,
        });
        wire
    }

    /// Says something as an agent.
    pub fn say(&mut self, message: &ToGateway) {
        let mut frame = Vec::new();
        message.write(&mut frame);
        self.conn.write_all(&frame).unwrap();
    }

    /// Says something as an agent, with payload right behind it.
    pub fn say_with(&mut self, message: &ToGateway, payload: &[u8]) {
        let mut frame = Vec::new();
        message.write(&mut frame);
        frame.extend_from_slice(payload);
        self.conn.write_all(&frame).unwrap();
    }

    /// Says something as a gateway.
    pub fn order(&mut self, message: &ToAgent) {
        let mut frame = Vec::new();
        message.write(&mut frame);
        self.conn.write_all(&frame).unwrap();
    }

    /// The next that a gateway says, without pings.
    pub fn hear(&mut self) -> ToAgent {
        loop {
            match self.next(ToAgent::parse) {
                ToAgent::Ping(number) => self.say(&ToGateway::Pong(number)),
                message => return message,
            }
        }
    }

    /// The next that an agent says.
    pub fn answer(&mut self) -> ToGateway {
        self.next(ToGateway::parse)
    }

    fn next<M>(&mut self, parse: fn(&[u8], &mut Progress) -> Result<Parsed<M>, FrameError>) -> M {
        let mut chunk = [0; 4096];
        loop {
            if let Parsed::Complete { head, consumed } =
                parse(&self.bytes, &mut Progress::default()).unwrap()
            {
                self.bytes.drain(..consumed);
                return head;
            }
            match self.conn.read(&mut chunk) {
                Got::Data(n) => self.bytes.extend_from_slice(&chunk[..n]),
                end => panic!("no frame: {end:?} ({:?})", self.conn.trouble()),
            }
        }
    }

    /// The id of the open for which the gateway asks for a connection.
    pub fn dial(&mut self) -> OpenId {
        match self.hear() {
            ToAgent::Dial { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until the gateway knows so many agents.
pub fn until_agents(gateway: &Gateway, count: usize) {
    eventually(
        || (gateway.agents().len() == count).then_some(()),
        || format!("{count} agents ({:?})", gateway.agents()),
    );
}
