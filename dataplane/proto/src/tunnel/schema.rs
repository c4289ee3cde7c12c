//! Has the protobuf messages of the tunnel as they are on the wire; docs/wire.md shows them as a
//! `.proto` file. Numbers are never used again for something else.

/// What a frame holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(
        oneof = "Kind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 17, 18, 19, 20, 21, 22, 23, 24"
    )]
    pub(super) kind: Option<Kind>,
}

/// The messages: below 16 those of the agent, from 16 on those of the gateway.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Control(Control),
    #[prost(message, tag = "2")]
    Data(Data),
    #[prost(uint64, tag = "3")]
    Pong(u64),
    #[prost(message, tag = "4")]
    Draining(Nothing),
    #[prost(message, tag = "5")]
    CannotDial(CannotDial),
    #[prost(message, tag = "6")]
    Accepted(Nothing),
    #[prost(message, tag = "7")]
    Connected(Connected),
    #[prost(message, tag = "8")]
    Failed(Failed),
    #[prost(message, tag = "17")]
    Registered(Registered),
    #[prost(message, tag = "18")]
    Refused(Refused),
    #[prost(uint64, tag = "19")]
    Ping(u64),
    #[prost(message, tag = "20")]
    Dial(Dial),
    #[prost(message, tag = "21")]
    Park(Park),
    #[prost(message, tag = "22")]
    Drain(Nothing),
    #[prost(message, tag = "23")]
    Open(Open),
    #[prost(message, tag = "24")]
    Gateways(Gateways),
}

impl Kind {
    /// Names the message, for errors.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Control(_) => "control",
            Self::Data(_) => "data",
            Self::Pong(_) => "pong",
            Self::Draining(_) => "draining",
            Self::CannotDial(_) => "cannot_dial",
            Self::Accepted(_) => "accepted",
            Self::Connected(_) => "connected",
            Self::Failed(_) => "failed",
            Self::Registered(_) => "registered",
            Self::Refused(_) => "refused",
            Self::Ping(_) => "ping",
            Self::Dial(_) => "dial",
            Self::Park(_) => "park",
            Self::Drain(_) => "drain",
            Self::Open(_) => "open",
            Self::Gateways(_) => "gateways",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Nothing {}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Control {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) instance: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(bool, tag = "3")]
    pub(super) draining: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Data {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) instance: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) id: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct CannotDial {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) words: String,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Connected {
    #[prost(string, tag = "1")]
    pub(super) address: String,
    #[prost(bool, tag = "2")]
    pub(super) inner_only: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Failed {
    #[prost(uint32, tag = "1")]
    pub(super) reason: u32,
    #[prost(string, tag = "2")]
    pub(super) words: String,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Registered {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) gateway: Vec<u8>,
    #[prost(string, optional, tag = "2")]
    pub(super) advertise: Option<String>,
    #[prost(uint32, tag = "3")]
    pub(super) ping_ms: u32,
    #[prost(uint32, tag = "4")]
    pub(super) park: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Refused {
    #[prost(string, tag = "1")]
    pub(super) words: String,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Dial {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(super) deadline_ms: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Park {
    #[prost(uint32, tag = "1")]
    pub(super) count: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Gateways {
    #[prost(string, repeated, tag = "1")]
    pub(super) addresses: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Open {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) host: String,
    #[prost(uint32, tag = "3")]
    pub(super) port: u32,
    #[prost(uint32, tag = "4")]
    pub(super) deadline_ms: u32,
    #[prost(bool, tag = "5")]
    pub(super) inner_only: bool,
}
