//! Has the agents, gateways, connections and opens of a simulated world.

use super::arena::Key;
use super::doors::Doors;
use super::tally::GatewayTally;
use eyesplice_proto::tunnel::open::{Attempt, Opening};
use eyesplice_proto::tunnel::{Backoff, FailReason, OpenId, PoolPolicy, SeenIds};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// An agent process.
pub(super) struct Agent {
    /// Its round trip to the nearest gateway.
    pub(super) round_trip: Duration,
    /// No packet goes either way.
    pub(super) cut: bool,
    pub(super) seen: SeenIds,
    pub(super) holds: Vec<Hold>,
    /// The gateways that should hold it, by the whole list, best first.
    pub(super) ranked: Vec<usize>,
}

/// A gateway that an agent holds, or lets go of.
pub(super) struct Hold {
    pub(super) gateway: usize,
    pub(super) backoff: Backoff,
    /// The control connection, from the dial on.
    pub(super) control: Option<Key>,
    /// Since when it is registered.
    pub(super) registered: Option<Duration>,
    /// It is not wanted any more, since then.
    pub(super) retired: Option<Duration>,
    pub(super) slots: Vec<Slot>,
    pub(super) next_slot: u32,
}

/// A place for a connection that waits.
pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) connection: Option<Key>,
    pub(super) pause: Duration,
}

/// A gateway.
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) listed: bool,
    pub(super) up: bool,
    pub(super) doors: Doors,
    pub(super) members: HashMap<usize, Member>,
    pub(super) pending: BTreeMap<OpenId, Key>,
    pub(super) parked: usize,
    pub(super) tally: GatewayTally,
}

/// An agent that is registered at a gateway.
pub(super) struct Member {
    pub(super) control: Key,
    pub(super) round_trip: Option<Duration>,
    /// The last one parked is the last of them.
    pub(super) parked: Vec<Key>,
    pub(super) pool: PoolPolicy,
    pub(super) streams: usize,
    pub(super) draining: bool,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Control,
    /// It waits; in this slot of the agent.
    Parked(u32),
    /// It answers a request for this open.
    Fresh(Key, OpenId),
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Agent,
    Gateway,
}

/// A connection, from its dial on.
pub(super) struct Connection {
    pub(super) agent: usize,
    pub(super) gateway: usize,
    pub(super) purpose: Purpose,
    /// It is open at the agent, at the gateway.
    pub(super) near: bool,
    pub(super) far: bool,
    /// The NAT has a port for it.
    pub(super) port: bool,
    /// The NAT has forgotten it: nothing passes.
    pub(super) forgotten: bool,
    /// Since when it is parked at the gateway.
    pub(super) parked: Option<Duration>,
    /// An open was sent on it.
    pub(super) used: bool,
    /// Since when one end alone is open, after both were.
    pub(super) half_closed: Option<Duration>,
    /// The last arrival at the agent, at the gateway: nothing overtakes on one connection.
    pub(super) arrivals: [Duration; 2],
}

/// What is said on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Registered(usize),
    Park(usize),
    Dial(Key, OpenId),
    CannotDial(OpenId),
    /// The agent takes no new streams from this gateway.
    Draining,
    Open(Key, OpenId),
    Accepted(Key),
    Connected(Key),
    Failed(Key, FailReason),
    /// The other end has closed.
    Closed,
}

/// What becomes of a target when it is dialled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Connects(Duration),
    Refuses(Duration),
    Silent,
}

/// An open at a gateway; and its stream, once it is connected.
pub(super) struct Open {
    pub(super) id: OpenId,
    pub(super) gateway: usize,
    /// When the client asked.
    pub(super) began: Duration,
    pub(super) until: Duration,
    pub(super) opening: Opening,
    pub(super) agents: Vec<usize>,
    pub(super) sent: Vec<Sent>,
    /// The connection that came, and how long it had been parked.
    pub(super) came: Option<(Key, Option<Duration>)>,
    /// The agent of which a connection was asked for.
    pub(super) asked: bool,
    /// Numbers the times that run: one that was given up is not the last.
    pub(super) time: u32,
    pub(super) fate: Fate,
    /// The agent that carries it.
    pub(super) carried: Option<usize>,
    /// Its stream lives.
    pub(super) connected: bool,
}

/// A connection on which an open was sent.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) attempt: Attempt,
    pub(super) agent: usize,
    pub(super) connection: Key,
    /// How long it had been parked.
    pub(super) age: Option<Duration>,
    /// When its agent should have answered.
    pub(super) due: Duration,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// An agent dials a gateway that it holds.
    Hold(usize, usize),
    /// A SYN goes out for the n-th time.
    Syn(Key, usize),
    /// A ClientHello is at the gateway; it has had its source's turn.
    Hello(Key, bool),
    /// The handshake is over, and the first frame is at the gateway.
    Ready(Key),
    /// An agent learns that a dial failed, or gives it up.
    DialFailed(Key),
    /// The gateway knows the round trip.
    Measured(Key),
    /// With a ping the gateway looks how many connections should wait.
    Look(Key),
    /// An end of a control connection has heard nothing for too long.
    Silent(Key, End),
    /// A slot may dial.
    Slot(usize, usize, u32),
    Deliver(Key, End, Message),
    /// Clients open streams.
    Clients,
    Client(usize),
    Due(Key, u32),
    Deadline(Key),
    /// An agent comes to read an open.
    Read(Key, Key, OpenId),
    /// The target answered an agent.
    Target(Key, Key),
    StreamEnds(Key),
    CarrierCuts(Key),
    NatForgets(Key),
    /// Probes of keepalive were not answered.
    Unanswered(Key),
    Fault(usize),
    /// An agent learns the list of gateways.
    Learn(usize),
    /// A list of an agent is complete, or has had its time: what it does not want goes.
    Retire(usize),
    LetGo(usize, usize),
    /// A gateway that is not listed ends.
    Leave(usize),
    Converged,
}
