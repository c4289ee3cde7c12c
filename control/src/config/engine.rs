//! What the engine is told of a configuration.

use super::model::{Config, Listener, Transport};
use eyesplice_dataplane::descriptors::{Demand, Room};
use eyesplice_dataplane::engine::{Bind, EngineConfig, ListenerConfig, Role};
use eyesplice_dataplane::seam::{AdmissionLimits, StreamLimits};

impl Config {
    /// How the engine is built, without regard to the limit of open files. `cores` stands in where
    /// `engine.workers` is 0.
    pub fn engine_config(&self, cores: usize) -> EngineConfig {
        let workers = if self.engine.workers == 0 {
            cores.max(1)
        } else {
            self.engine.workers
        };
        EngineConfig {
            workers,
            listeners: self
                .listeners
                .iter()
                .map(|listener| ListenerConfig {
                    role: Role::Egress,
                    name: listener.name.clone(),
                    bind: bind(&listener.transport),
                })
                .collect(),
            ktls: self.engine.ktls,
            max_pipes_per_worker: self.limits.max_pipes_per_worker,
            room: Room::UNLIMITED,
            coalesce: self.engine.coalesce,
            keepalive_idle: self.timeouts.tcp_keepalive,
            user_timeout: self.timeouts.tcp_user_timeout,
        }
    }

    /// What an engine of so many workers has room for, in a process that may open `limit` descriptors
    /// and holds `held`.
    pub fn room(&self, workers: usize, limit: u64, held: usize) -> Room {
        let sockets = |listener: &Listener| match listener.transport {
            Transport::Tcp(_) => workers,
            Transport::Unix(_) => 1,
        };
        let demand = Demand {
            workers,
            listeners: self.listeners.iter().map(sockets).sum(),
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

fn bind(transport: &Transport) -> Bind {
    match transport {
        Transport::Tcp(tcp) => Bind::Tcp(tcp.address),
        Transport::Unix(unix) => Bind::Unix {
            path: unix.path.clone(),
            mode: unix.mode,
            uid: unix.uid,
            gid: unix.gid,
        },
    }
}
