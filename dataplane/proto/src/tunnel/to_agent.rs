//! Has the messages of a gateway to an agent.

use std::net::SocketAddr;
use std::time::Duration;

use super::frame;
use super::schema::{self, Kind};
use super::{FrameError, Instance, OpenId, Words};
use crate::limits;
use crate::parse::{Parsed, Progress};
use crate::target::{Host, Target};

/// What a gateway says. Times are whole milliseconds on the wire; they, and counts, are moved into
/// their range when they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// Answers `Control`.
    Registered(Registered),
    /// Answers `Control`; the gateway closes the connection.
    Refused {
        /// Why.
        words: Words,
    },
    /// Asks for a `Pong` with the same number.
    Ping(u64),
    /// Asks for a data connection with this id.
    Dial {
        /// The open that it is for.
        id: OpenId,
        /// How long the gateway waits for it, at most ten minutes.
        deadline: Duration,
    },
    /// Says how many data connections should be parked from now on.
    Park {
        /// At most 1024.
        count: u32,
    },
    /// The gateway takes no new streams: the agent should hold another.
    Drain,
    /// Says which gateways there are, this one among them, for an agent to choose from.
    Gateways {
        /// Their tunnel listeners; beyond 64 they are left out.
        addresses: Vec<SocketAddr>,
    },
    /// On a data connection: asks for a stream. Nothing follows before the agent's `Connected`.
    Open {
        /// Used once; an agent refuses it the second time.
        id: OpenId,
        /// What to dial.
        target: Target,
        /// How long the gateway waits for `Connected`, at most ten minutes.
        deadline: Duration,
        /// What is inside is TLS that the gateway verifies: the session between agent and gateway
        /// may end behind `Connected`. An agent that does not know the field keeps it.
        inner_only: bool,
    },
}

/// Welcomes an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The process of the gateway.
    pub gateway: Instance,
    /// Where data connections go; `None`: where the control connection went.
    pub advertise: Option<SocketAddr>,
    /// Time between two pings, 100 ms to ten minutes. Either end closes a control connection on
    /// which nothing came for three of them.
    pub ping: Duration,
    /// How many data connections should be parked at first, at most 1024.
    pub park: u32,
}

impl ToAgent {
    /// Appends the message as one frame of at most 4098 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Registered(registered) => Kind::Registered(schema::Registered {
                gateway: registered.gateway.0.to_vec(),
                advertise: registered.advertise.map(|address| address.to_string()),
                ping_ms: frame::millis(registered.ping, &limits::TUNNEL_PING_MS),
                park: registered.park.min(limits::TUNNEL_PARK),
            }),
            Self::Refused { words } => Kind::Refused(schema::Refused {
                words: words.as_str().to_owned(),
            }),
            Self::Ping(number) => Kind::Ping(*number),
            Self::Dial { id, deadline } => Kind::Dial(schema::Dial {
                id: id.0.to_vec(),
                deadline_ms: frame::deadline_ms(*deadline),
            }),
            Self::Park { count } => Kind::Park(schema::Park {
                count: (*count).min(limits::TUNNEL_PARK),
            }),
            Self::Drain => Kind::Drain(schema::Nothing {}),
            Self::Gateways { addresses } => Kind::Gateways(schema::Gateways {
                addresses: addresses
                    .iter()
                    .take(limits::TUNNEL_GATEWAYS)
                    .map(ToString::to_string)
                    .collect(),
            }),
            Self::Open {
                id,
                target,
                deadline,
                inner_only,
            } => Kind::Open(schema::Open {
                id: id.0.to_vec(),
                host: target.host.to_string(),
                port: target.port.into(),
                deadline_ms: frame::deadline_ms(*deadline),
                inner_only: *inner_only,
            }),
        };
        frame::put(kind, out);
    }

    /// Parses the frame at the beginning of a buffer, at an agent. Bytes from `consumed` on are the
    /// next frame; behind `Open` there must be none. A frame needs no progress.
    ///
    /// # Errors
    /// `FrameError`: close the connection.
    pub fn parse(bytes: &[u8], _: &mut Progress) -> Result<Parsed<Self>, FrameError> {
        frame::take(bytes)?.try_map(Self::read)
    }

    fn read(kind: Kind) -> Result<Self, FrameError> {
        Ok(match kind {
            Kind::Registered(registered) => Self::Registered(Registered::read(&registered)?),
            Kind::Refused(refused) => Self::Refused {
                words: refused.words.into(),
            },
            Kind::Ping(number) => Self::Ping(number),
            Kind::Dial(dial) => Self::Dial {
                id: OpenId(frame::id("dial.id", &dial.id)?),
                deadline: frame::deadline("dial.deadline_ms", dial.deadline_ms)?,
            },
            Kind::Park(park) => Self::Park {
                count: frame::within("park.count", park.count, 0..=limits::TUNNEL_PARK)?,
            },
            Kind::Drain(_) => Self::Drain,
            Kind::Gateways(gateways) => Self::Gateways {
                addresses: addresses(&gateways.addresses)?,
            },
            Kind::Open(open) => Self::Open {
                id: OpenId(frame::id("open.id", &open.id)?),
                target: target(&open)?,
                deadline: frame::deadline("open.deadline_ms", open.deadline_ms)?,
                inner_only: open.inner_only,
            },
            other => {
                return Err(FrameError::WrongDirection {
                    message: other.name(),
                });
            }
        })
    }
}

impl Registered {
    fn read(registered: &schema::Registered) -> Result<Self, FrameError> {
        let ping = frame::within(
            "registered.ping_ms",
            registered.ping_ms,
            limits::TUNNEL_PING_MS,
        )?;
        Ok(Self {
            gateway: Instance(frame::id("registered.gateway", &registered.gateway)?),
            advertise: match &registered.advertise {
                Some(address) => Some(frame::address("registered.advertise", address)?),
                None => None,
            },
            ping: Duration::from_millis(ping.into()),
            park: frame::within("registered.park", registered.park, 0..=limits::TUNNEL_PARK)?,
        })
    }
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>, FrameError> {
    let count = u32::try_from(texts.len()).unwrap_or(u32::MAX);
    let most = u32::try_from(limits::TUNNEL_GATEWAYS).unwrap_or(u32::MAX);
    frame::within("gateways.addresses", count, 0..=most)?;
    let read = |text: &String| frame::address("gateways.addresses", text);
    texts.iter().map(read).collect()
}

fn target(open: &schema::Open) -> Result<Target, FrameError> {
    let host: Host = open.host.parse().map_err(|cause| FrameError::Host {
        got: Words::new(&open.host),
        cause,
    })?;
    let out_of_range = |_| FrameError::OutOfRange {
        field: "open.port",
        got: open.port,
        range: 1..=u16::MAX.into(),
    };
    let port = u16::try_from(frame::within("open.port", open.port, 1..=u16::MAX.into())?)
        .map_err(out_of_range)?;
    Ok(Target { host, port })
}
