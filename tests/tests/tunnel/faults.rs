//! What networks and readers do to tunnels: a cable that is pulled, loss one way, and a reader that
//! takes nothing beside others that do.

use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::cable::{Cable, NEAR};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::{Gateway, Setup};
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::tunnel::{AGENT, Agent, assert_gateway_back, client, gateway, limits, peer};
use eyesplice_tests::variant::{UNIX_TLS13, Variant};
use eyesplice_tests::wait::eventually;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

matrix! { transports:
    stalled_reader_costs_its_own_stream_alone,
}

/// How long a peer that was asked may say nothing.
const USER_TIMEOUT: Duration = Duration::from_secs(1);

fn impatient(setup: &mut Setup) {
    setup.user_timeout = USER_TIMEOUT;
    setup.keepalive_idle = Duration::from_secs(1);
}

/// A gateway, and an agent with its target at the far end of a cable.
struct Apart {
    cable: Cable,
    gateway: Gateway,
    agent: Agent,
    target: Kubelet,
}

impl Apart {
    fn new(name: &str) -> Option<Self> {
        Self::pinged(name, Duration::from_secs(1))
    }

    /// With so long between two pings; three of them unheard are silence.
    fn pinged(name: &str, ping: Duration) -> Option<Self> {
        let cable = Cable::lay(name)?;
        let gateway = gateway(UNIX_TLS13, |setup| {
            impatient(setup);
            setup.listen = Ipv4Addr::from(NEAR).into();
            let mut limits = limits();
            limits.ping = ping;
            limits.parked = 1..=1;
            setup.tunnel = Some(limits);
        });
        let address = gateway.tunnel_address();
        let agent = cable.far(move || {
            let hold = [peer("gateway", address, client(AGENT))];
            Agent::with(&hold, 1, impatient)
        });
        agent.until_registered(&gateway);
        gateway.until("one parked", |totals| totals.tunnel_parked == 1);
        let target = cable.far(|| Kubelet::with(None, echo));
        Some(Self {
            cable,
            gateway,
            agent,
            target,
        })
    }

    /// Both ends of the tunnel notice: controls, parked connections and the stream end, and nothing
    /// stays behind.
    fn assert_noticed(self, fault: impl FnOnce(&Cable)) {
        let Self {
            cable,
            gateway,
            agent,
            target,
        } = self;
        let mut conn = gateway.api_server().tunnel(&target.target());
        conn.write_all(b"before").unwrap();
        assert_eq!(conn.read_exact(6).unwrap(), b"before");
        gateway.until("one parked", |totals| totals.tunnel_parked == 1);
        fault(&cable);
        conn.write_all(b"after").unwrap();
        gateway.until("no agent", |totals| {
            (totals.tunnel_agents, totals.tunnel_parked) == (0, 0)
        });
        agent.until("no gateway", |totals| {
            (totals.tunnel_gateways, totals.tunnel_waiting) == (0, 0)
        });
        let ours = gateway.ended();
        assert_ne!(ours.reason, Reason::Completed, "{ours:#?}");
        assert!(conn.read_to_end().0.len() <= b"after".len());
        drop(conn);
        let theirs = agent.ended();
        assert_ne!(theirs.reason, Reason::Completed, "{theirs:#?}");
        cable.far(move || target.finish());
        agent.finish();
        assert_gateway_back(&gateway);
    }
}

#[test]
fn cable_that_is_pulled_is_noticed_at_both_ends() {
    if let Some(apart) = Apart::new("cable_that_is_pulled") {
        apart.assert_noticed(Cable::pull);
    }
}

#[test]
fn loss_of_all_that_an_agent_sends_is_noticed_at_both_ends() {
    if let Some(apart) = Apart::new("loss_of_all_that_an_agent_sends") {
        apart.assert_noticed(Cable::lose_from_far);
    }
}

#[test]
fn loss_of_all_that_a_gateway_sends_is_noticed_at_both_ends() {
    if let Some(apart) = Apart::new("loss_of_all_that_a_gateway_sends") {
        apart.assert_noticed(Cable::lose_to_far);
    }
}

/// What the stalled reader is owed: far more than all buffers on the way hold.
const OWED: usize = 64 << 20;

static OWED_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| Rng::new(66).bytes(OWED));

/// Streams that go on, and their round trips.
const OTHERS: usize = 100;
const ROUNDS: usize = 20;

/// What each of them sends in a round: each byte comes back.
const MESSAGE: usize = 1000;

/// The stalled direction keeps one buffer that it cannot get rid of; while they read, streams need
/// up to three more, of one stream per worker at a time.
const BUFFERS: u64 = 1 + 2 * 3;

/// Owes `OWED` to whom asks for it, and echoes to others.
fn floods_or_echoes() -> Kubelet {
    Kubelet::with(None, |conn, log| match conn.read_exact(1).as_deref() {
        Ok(b"f") => {
            if conn.write_all_patiently(&OWED_BYTES).is_ok() && conn.shut().is_ok() {
                log.ending(conn.read_to_end().1);
            }
        }
        _ => echo(conn, log),
    })
}

fn assert_bounded(totals: &CounterTotals) {
    assert!(totals.buffers_in_use <= BUFFERS, "{totals:?}");
}

/// Waits until no byte moves: every buffer on the way is full. Tells how many have.
fn until_still(gateway: &Gateway) -> u64 {
    let (mut last, mut looks) = (0, 0);
    eventually(
        || {
            let now = gateway.totals().bytes_down;
            looks = if now == last && now > 0 { looks + 1 } else { 0 };
            last = now;
            (looks == 50).then_some(now)
        },
        || "stillness".into(),
    )
}

fn stalled_reader_costs_its_own_stream_alone(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    let target = floods_or_echoes();
    let open = |first: &[u8]| {
        let mut conn = gateway.api_server().tunnel(&target.target());
        conn.write_all(first).unwrap();
        conn
    };
    let mut stalled = open(b"f");
    let held = until_still(&gateway);
    assert!(held < OWED as u64 / 2, "{held} bytes are on the way");
    assert_bounded(&gateway.totals());
    assert_bounded(&agent.totals());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (open, gateway, agent) = (&open, &gateway, &agent);
            scope.spawn(move || {
                let mut conns: Vec<Conn> = (0..OTHERS / 4).map(|_| open(b"e")).collect();
                for round in 0..ROUNDS {
                    let message = Rng::new((round * 4 + thread) as u64).bytes(MESSAGE);
                    for conn in &mut conns {
                        conn.write_all(&message).unwrap();
                    }
                    for conn in &mut conns {
                        assert!(conn.read_exact(MESSAGE).unwrap() == message);
                    }
                    assert_bounded(&gateway.totals());
                    assert_bounded(&agent.totals());
                }
                for conn in &mut conns {
                    conn.shut().unwrap();
                    assert_eq!(conn.read_to_end().1, Ending::Clean);
                }
            });
        }
    });
    // Every byte of theirs went through, and of its own what had not come to rest, if anything.
    let theirs = (OTHERS * ROUNDS * MESSAGE) as u64;
    let own = gateway.totals().bytes_down - theirs;
    assert!((held..OWED as u64 / 2).contains(&own), "{held}, {own}");
    for _ in 0..OTHERS {
        let ours = gateway.ended();
        assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
        assert_eq!(ours.bytes.down, (ROUNDS * MESSAGE) as u64);
        assert_eq!(agent.ended().reason, Reason::Completed);
    }
    // It takes all of it after all.
    let (received, ending) = stalled.read_to_end();
    assert!(received == *OWED_BYTES, "{} bytes", received.len());
    assert_eq!(ending, Ending::Clean);
    stalled.shut().unwrap();
    stalled.drain();
    drop(stalled);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    assert_eq!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

#[test]
fn agent_that_is_cut_off_for_a_while_comes_back_by_itself() {
    if let Some(apart) = Apart::new("agent_that_is_cut_off_for_a_while") {
        comes_back(apart, Cable::pull);
    }
}

/// What it has sent shows the death of the gateway, nearly always before anything else does.
#[test]
fn agent_whose_answer_is_not_acknowledged_comes_back_by_itself() {
    let name = "agent_whose_answer_is_not_acknowledged";
    let Some(apart) = Apart::pinged(name, 4 * USER_TIMEOUT) else {
        return;
    };
    comes_back(apart, |cable| {
        cable.lose_from_far();
        // Before the gateway takes the agent for dead, and says so.
        eventually(|| cable.far_owes().then_some(()), || "an answer".into());
        cable.pull();
    });
}

fn comes_back(apart: Apart, cut_off: impl FnOnce(&Cable)) {
    let Apart {
        cable,
        gateway,
        agent,
        target,
    } = apart;
    cut_off(&cable);
    gateway.until("no agent", |totals| totals.tunnel_agents == 0);
    agent.until("no gateway", |totals| totals.tunnel_gateways == 0);
    cable.plug();
    agent.until_registered(&gateway);
    let mut conn = gateway.api_server().tunnel(&target.target());
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    assert_eq!(agent.ended().reason, Reason::Completed);
    cable.far(move || target.finish());
    agent.finish();
    assert_gateway_back(&gateway);
}
