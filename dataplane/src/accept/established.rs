//! What runs on a stream that is set up.

use crate::carry::exchange::Terms;
use crate::leg::Leg;
use std::net::SocketAddr;

/// A stream that is set up.
pub(crate) enum Established {
    /// Opaque bytes, to this leg and back.
    Relay(Box<Leg>),
    /// The kubelet's HTTP API.
    Kubelet(Box<Leg>, Terms),
    /// Requests to the Kubernetes API, of a client at this address: for each an upstream leg is
    /// there or is made.
    Front(SocketAddr),
}

impl Established {
    /// The upstream leg, if there is one already.
    pub(crate) fn upstream(&self) -> Option<&Leg> {
        match self {
            Self::Relay(upstream) | Self::Kubelet(upstream, _) => Some(upstream),
            Self::Front(_) => None,
        }
    }
}
