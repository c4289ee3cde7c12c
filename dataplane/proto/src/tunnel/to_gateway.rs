//! Has the messages of an agent to a gateway.

use std::net::SocketAddr;

use super::frame;
use super::schema::{self, Kind};
use super::{FailReason, FrameError, Instance, OpenId, Version, Words};
use crate::parse::{Parsed, Progress};

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGateway {
    /// First of a control connection; `Registered` or `Refused` answers it.
    Control(Register),
    /// First of a data connection. Nothing follows before the gateway's `Open`.
    Data {
        /// The process, which has registered on a control connection.
        instance: Instance,
        /// The `Dial` that this answers; `None`: the connection is parked.
        id: Option<OpenId>,
    },
    /// Answers the `Ping` with this number.
    Pong(u64),
    /// On a control connection: the agent takes no new streams.
    Draining,
    /// On a control connection: no connection will come for this `Dial`.
    CannotDial {
        /// Which.
        id: OpenId,
        /// Why.
        words: Words,
    },
    /// Answers `Open` at once, before the agent dials.
    Accepted,
    /// The target is connected: all bytes behind this frame belong to the stream.
    Connected {
        /// The address that was dialled.
        address: SocketAddr,
        /// The session between agent and gateway ends here, by close_notify of both, and the stream
        /// begins behind that. Only where the `Open` allows it.
        inner_only: bool,
    },
    /// The open failed; the agent closes the connection.
    Failed {
        /// Why.
        reason: FailReason,
        /// Why in words.
        words: Words,
    },
}

/// Introduces a process of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Which process of its identity.
    pub instance: Instance,
    /// The version that it claims.
    pub version: Version,
    /// It takes no new streams already.
    pub draining: bool,
}

impl ToGateway {
    /// Appends the message as one frame of at most 4098 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Control(register) => Kind::Control(schema::Control {
                instance: register.instance.0.to_vec(),
                version: register.version.as_str().to_owned(),
                draining: register.draining,
            }),
            Self::Data { instance, id } => Kind::Data(schema::Data {
                instance: instance.0.to_vec(),
                id: id.map(|id| id.0.to_vec()),
            }),
            Self::Pong(number) => Kind::Pong(*number),
            Self::Draining => Kind::Draining(schema::Nothing {}),
            Self::CannotDial { id, words } => Kind::CannotDial(schema::CannotDial {
                id: id.0.to_vec(),
                words: words.as_str().to_owned(),
            }),
            Self::Accepted => Kind::Accepted(schema::Nothing {}),
            Self::Connected {
                address,
                inner_only,
            } => Kind::Connected(schema::Connected {
                address: address.to_string(),
                inner_only: *inner_only,
            }),
            Self::Failed { reason, words } => Kind::Failed(schema::Failed {
                reason: reason.number(),
                words: words.as_str().to_owned(),
            }),
        };
        frame::put(kind, out);
    }

    /// Parses the frame at the beginning of a buffer, at a gateway. Bytes from `consumed` on are
    /// the next frame, or behind `Connected` the stream's. A frame needs no progress.
    ///
    /// # Errors
    /// `FrameError`: close the connection.
    pub fn parse(bytes: &[u8], _: &mut Progress) -> Result<Parsed<Self>, FrameError> {
        frame::take(bytes)?.try_map(Self::read)
    }

    fn read(kind: Kind) -> Result<Self, FrameError> {
        Ok(match kind {
            Kind::Control(control) => Self::Control(Register {
                instance: Instance(frame::id("control.instance", &control.instance)?),
                version: control.version.into(),
                draining: control.draining,
            }),
            Kind::Data(data) => Self::Data {
                instance: Instance(frame::id("data.instance", &data.instance)?),
                id: match data.id {
                    Some(id) => Some(OpenId(frame::id("data.id", &id)?)),
                    None => None,
                },
            },
            Kind::Pong(number) => Self::Pong(number),
            Kind::Draining(_) => Self::Draining,
            Kind::CannotDial(cannot) => Self::CannotDial {
                id: OpenId(frame::id("cannot_dial.id", &cannot.id)?),
                words: cannot.words.into(),
            },
            Kind::Accepted(_) => Self::Accepted,
            Kind::Connected(connected) => Self::Connected {
                address: frame::address("connected.address", &connected.address)?,
                inner_only: connected.inner_only,
            },
            Kind::Failed(failed) => Self::Failed {
                reason: FailReason::from_number(failed.reason),
                words: failed.words.into(),
            },
            other => {
                return Err(FrameError::WrongDirection {
                    message: other.name(),
                });
            }
        })
    }
}
