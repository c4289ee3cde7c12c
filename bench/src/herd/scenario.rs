//! Says what happens in each simulated world.

use clap::ValueEnum;
use serde::Serialize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The world runs so long before anything is counted or goes wrong: all agents have come.
pub(super) const WARM_UP: Duration = Duration::from_secs(180);

/// All agents come within this time at the beginning.
pub(super) const ARRIVAL: Duration = Duration::from_secs(120);

/// After the last fault everything must be as before within this time.
pub(super) const CONVERGES: Duration = Duration::from_secs(60);

/// A herd of agents, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// An hour without faults
    Steady,
    /// A gateway restarts, at a bounded rate of handshakes; two connections of each agent wait
    Restart,
    /// The same through the engine's gate for strangers
    RestartGate,
    /// A third of the agents are cut off for five minutes
    Partition,
    /// A gateway is added, and then another one removed
    Change,
    /// Ten agents share an address with 64 ports, and idle connections are forgotten after a minute
    Nat,
    /// A carrier cuts each waiting connection within 30 s
    Carrier,
}

/// What goes wrong at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process of a gateway ends.
    Down(usize),
    /// A new process of it listens.
    Up(usize),
    /// A third of the agents reach no gateway.
    Cut,
    /// They do again.
    Heal,
    /// A gateway is on the list from now on.
    Listed(usize),
    /// A gateway is not on the list any more, and goes a minute later.
    Unlisted(usize),
}

/// Who may begin a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doors {
    /// So many a second; one waits for its turn for at most a second, else it is refused.
    Rate,
    /// As the engine's gate says: unknown addresses that do not authenticate have a quarter, and
    /// pools do not grow while handshakes wait for each other.
    Gate,
}

/// Network address translation before all agents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nat {
    /// Agents behind one address.
    pub(super) agents: usize,
    /// Connections of one address.
    pub(super) ports: u32,
    /// An idle connection is forgotten after this time; keepalive probes do not count.
    pub(super) forgets: Duration,
}

/// A whole world.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What happens, after the warm-up.
    pub(super) faults: Vec<(Duration, Fault)>,
    /// How long it runs after the warm-up.
    pub(super) length: Duration,
    pub(super) doors: Doors,
    /// Least and most connections that wait, of one agent at one gateway.
    pub(super) pool: RangeInclusive<usize>,
    pub(super) nat: Option<Nat>,
    /// When a carrier cuts a waiting connection.
    pub(super) carrier: Option<RangeInclusive<Duration>>,
    /// Gateways that are there but not listed at first.
    pub(super) unlisted: usize,
}

const SECOND: Duration = Duration::from_secs(1);

impl Scenario {
    /// Says what happens to so many gateways.
    pub(super) fn plan(self, gateways: usize) -> Plan {
        let mut plan = Plan {
            faults: Vec::new(),
            length: 600 * SECOND,
            doors: Doors::Rate,
            pool: 0..=8,
            nat: None,
            carrier: None,
            unlisted: 0,
        };
        match self {
            Self::Steady => plan.length = 3600 * SECOND,
            Self::Restart | Self::RestartGate => {
                plan.faults = vec![(60 * SECOND, Fault::Down(0)), (65 * SECOND, Fault::Up(0))];
                plan.pool = 2..=8;
                if self == Self::RestartGate {
                    plan.doors = Doors::Gate;
                }
            }
            Self::Partition => {
                plan.faults = vec![(60 * SECOND, Fault::Cut), (360 * SECOND, Fault::Heal)];
            }
            Self::Change => {
                plan.unlisted = 1;
                plan.faults = vec![
                    (60 * SECOND, Fault::Listed(gateways)),
                    (240 * SECOND, Fault::Unlisted(0)),
                ];
            }
            Self::Nat => {
                plan.nat = Some(Nat {
                    agents: 10,
                    ports: 64,
                    forgets: 60 * SECOND,
                });
            }
            Self::Carrier => {
                plan.carrier = Some(5 * SECOND..=30 * SECOND);
                plan.pool = 2..=8;
            }
        }
        plan
    }

    /// Says in words what happens.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Steady => "an hour without faults; no connection waits unless streams are opened",
            Self::Restart => {
                "gateway 0 ends and listens again 5 s later; handshakes by a bounded rate; each \
                 agent keeps two connections waiting at each gateway"
            }
            Self::RestartGate => {
                "the same, but handshakes begin as the engine's gate says: who does not \
                 authenticate has a quarter, and pools wait for controls"
            }
            Self::Partition => {
                "a third of the agents reach no gateway for 300 s, and no packet says so"
            }
            Self::Change => {
                "a gateway is added, and 180 s later gateway 0 removed; each agent learns of it \
                 within 30 s"
            }
            Self::Nat => {
                "ten agents share an address; a NAT has 64 ports for it, and forgets a connection \
                 that was idle for 60 s, whatever keepalive does"
            }
            Self::Carrier => {
                "a carrier resets each waiting connection 5 to 30 s after it began to wait; two \
                 are wanted from each agent at each gateway"
            }
        }
    }
}
