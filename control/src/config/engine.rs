//! What the engine is told of a configuration.

use super::model::{Config, EngineSettings, Limits, Listener, Timeouts, Transport};
use eyesplice_dataplane::descriptors::{Demand, Room};
use eyesplice_dataplane::engine::{Bind, EngineConfig, ListenerConfig, Role};
use eyesplice_dataplane::seam::{AdmissionLimits, StreamLimits, TunnelLimits};
use eyesplice_proto::tunnel::Patience;

/// One in so many of `limits.maxStreams` may be connections of agents that wait for a stream,
/// unless configured.
const PARKED_PART: usize = 4;

/// The parts of a configuration that every engine has.
#[derive(Clone, Copy, Debug)]
pub struct EngineParts<'a> {
    /// Bounds.
    pub limits: &'a Limits,
    /// Deadlines.
    pub timeouts: &'a Timeouts,
    /// How it is built.
    pub engine: &'a EngineSettings,
}

impl EngineParts<'_> {
    /// How the engine is built, without regard to the limit of open files. `cores` stands in where
    /// `engine.workers` is 0.
    pub fn engine_config(&self, listeners: Vec<ListenerConfig>, cores: usize) -> EngineConfig {
        let workers = if self.engine.workers == 0 {
            cores.max(1)
        } else {
            self.engine.workers
        };
        EngineConfig {
            workers,
            listeners,
            io: self.engine.io,
            ktls: self.engine.ktls,
            crypto: self.engine.crypto,
            max_pipes_per_worker: self.limits.max_pipes_per_worker,
            room: Room::UNLIMITED,
            coalesce: self.engine.coalesce,
            keepalive_idle: self.timeouts.tcp_keepalive,
            user_timeout: self.timeouts.tcp_user_timeout,
        }
    }

    /// What an engine of so many workers and listening sockets has room for, in a process that may open
    /// `limit` descriptors and holds `held`.
    pub fn room(&self, workers: usize, sockets: usize, limit: u64, held: usize) -> Room {
        let demand = Demand {
            workers,
            listeners: sockets,
            unauthenticated: self.limits.max_unauthenticated,
            pipes_per_worker: self.limits.max_pipes_per_worker,
        };
        Room::within(limit, held, &demand)
    }

    /// The limits that hold before a verdict exists.
    pub fn admission_limits(&self) -> AdmissionLimits {
        AdmissionLimits {
            max_streams: self.limits.max_streams,
            max_streams_per_peer: self.limits.max_streams_per_peer,
            max_pending: self.limits.max_pending_dials,
            max_unauthenticated: self.limits.max_unauthenticated,
            max_handshakes_per_second: self.limits.max_handshakes_per_second,
            max_handshakes_per_second_per_address: self
                .limits
                .max_handshakes_per_second_per_address,
            handshake_timeout: self.timeouts.handshake,
            head_timeout: self.timeouts.request_head,
            admit_timeout: self.timeouts.verdict,
        }
    }

    /// The deadlines of one stream.
    pub fn stream_limits(&self) -> StreamLimits {
        StreamLimits {
            dial_timeout: self.timeouts.dial,
            handshake_timeout: self.timeouts.handshake,
            head_timeout: self.timeouts.request_head,
            idle_timeout: self.timeouts.idle,
            half_closed_timeout: self.timeouts.half_closed,
        }
    }
}

impl Config {
    /// What its engine is built of, without the listeners.
    pub fn parts(&self) -> EngineParts<'_> {
        EngineParts {
            limits: &self.limits,
            timeouts: &self.timeouts,
            engine: &self.engine,
        }
    }

    /// As [`EngineParts::engine_config`], with its listeners.
    pub fn engine_config(&self, cores: usize) -> EngineConfig {
        let listener = |listener: &Listener| ListenerConfig {
            role: role(&listener.transport),
            name: listener.name.clone(),
            bind: bind(&listener.transport),
        };
        let listeners = self.listeners.iter().map(listener).collect();
        self.parts().engine_config(listeners, cores)
    }

    /// Sockets that an engine of so many workers listens on.
    pub fn sockets(&self, workers: usize) -> usize {
        let sockets = |listener: &Listener| match listener.transport {
            Transport::Unix(_) => 1,
            Transport::Tcp(_)
            | Transport::Tunnel(_)
            | Transport::Front(_)
            | Transport::ApiServer(_) => workers,
        };
        self.listeners.iter().map(sockets).sum()
    }

    /// Whether agents connect to one of its listeners.
    pub fn takes_agents(&self) -> bool {
        let is_tunnel = |listener: &Listener| matches!(listener.transport, Transport::Tunnel(_));
        self.listeners.iter().any(is_tunnel)
    }

    /// The limits of its tunnels, if agents may connect.
    pub fn tunnel_limits(&self) -> Option<TunnelLimits> {
        let tunnel = self.tunnel.as_ref()?;
        Some(TunnelLimits {
            max_agents: tunnel.max_agents,
            parked: tunnel.pool.clone(),
            // The others are left to streams, which parked connections are to become.
            max_parked: tunnel
                .max_parked
                .unwrap_or((self.limits.max_streams / PARKED_PART).max(1)),
            max_parked_per_address: tunnel.max_parked_per_address,
            advertise: tunnel.advertise,
            ping: tunnel.ping,
            patience: Patience::default(),
        })
    }

    /// The deadlines of one stream.
    pub fn stream_limits(&self) -> StreamLimits {
        self.parts().stream_limits()
    }
}

fn role(transport: &Transport) -> Role {
    match transport {
        Transport::Unix(_) | Transport::Tcp(_) => Role::Egress,
        Transport::Tunnel(_) => Role::Tunnel,
        Transport::Front(_) => Role::Front,
        Transport::ApiServer(_) => Role::ApiServer,
    }
}

fn bind(transport: &Transport) -> Bind {
    match transport {
        Transport::Tcp(tcp) | Transport::Tunnel(tcp) => Bind::Tcp(tcp.address),
        Transport::Front(front) => Bind::Tcp(front.address),
        Transport::ApiServer(apiserver) => Bind::Tcp(apiserver.address),
        Transport::Unix(unix) => Bind::Unix {
            path: unix.path.clone(),
            mode: unix.mode,
            uid: unix.uid,
            gid: unix.gid,
        },
    }
}
