//! Generates bulk load through a proxy, and checks that all of it arrives.
//!
//! Each connection has a client and a server, each a thread with blocking calls. TLS generators seal
//! what they will send before the clock starts, and count the records that they receive without
//! opening them: so one core of generators keeps up with one core of proxy. A verifying run opens and
//! compares everything instead.

mod end;
mod incoming;
mod open;

pub use crate::wire::Content;
pub use open::{Field, connect, read_head};

use crate::cpu::CpuClock;
use crate::{Error, Result};
use clap::ValueEnum;
use end::{End, Outgoing};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Which way bulk goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the server (a kubelet) to the client (an API server).
    #[default]
    #[value(alias = "down")]
    #[serde(alias = "down")]
    Download,
    /// From the client to the server.
    #[value(alias = "up")]
    #[serde(alias = "up")]
    Upload,
    /// Both at once on each connection.
    Both,
}

impl Direction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Download, Self::Upload, Self::Both];

    fn ways(self) -> u64 {
        if self == Self::Both { 2 } else { 1 }
    }
}

/// One amount of work.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Which way.
    pub direction: Direction,
    /// Connections at once.
    pub connections: usize,
    /// Payload of all connections and ways together.
    pub bytes: u64,
    /// Whether content is compared, not only counted.
    pub verify: bool,
}

/// What the work took, from the first byte to the last end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Payload moved.
    pub bytes: u64,
    /// Wall-clock time.
    pub wall: Duration,
    /// CPU time of the proxy.
    pub proxy: Duration,
    /// CPU time of the generators.
    pub generators: Duration,
}

impl Outcome {
    /// The proxy's CPU seconds per GiB of payload.
    pub fn cpu_per_gib(&self) -> f64 {
        self.proxy.as_secs_f64() / self.gib()
    }

    /// Payload in GiB per second of wall-clock time.
    pub fn gib_per_second(&self) -> f64 {
        self.gib() / self.wall.as_secs_f64()
    }

    fn gib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 30)
    }
}

/// Runs one workload.
///
/// # Errors
/// If a connection fails or a byte is missing, doubled or (where compared) wrong.
pub fn run(
    field: &Field,
    content: &Arc<Content>,
    workload: Workload,
    proxy: CpuClock,
) -> Result<Outcome> {
    let share = workload.bytes / workload.connections as u64 / workload.direction.ways();
    let down = share * u64::from(workload.direction != Direction::Upload);
    let up = share * u64::from(workload.direction != Direction::Download);
    let mut ends = Vec::new();
    for _ in 0..workload.connections {
        let [client, server] = field.open()?;
        ends.push(End::new("client", client, content, up, down, workload)?);
        ends.push(End::new("server", server, content, down, up, workload)?);
    }
    let own = CpuClock::of(0)?;
    let start = Arc::new(Barrier::new(ends.len() + 1));
    let threads: Vec<_> = ends
        .into_iter()
        .map(|end| {
            let start = Arc::clone(&start);
            thread::spawn(move || {
                start.wait();
                end.run()
            })
        })
        .collect();
    let (proxy_before, own_before) = (proxy.used()?, own.used()?);
    let began = Instant::now();
    start.wait();
    let results: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
    let wall = began.elapsed();
    let outcome = Outcome {
        bytes: (down + up) * workload.connections as u64,
        wall,
        proxy: proxy.used()?.saturating_sub(proxy_before),
        generators: own.used()?.saturating_sub(own_before),
    };
    for result in results {
        result.map_err(|_| Error::Ended("generator"))??;
    }
    Ok(outcome)
}

/// What one end will send: sealed in advance where there is TLS.
fn outgoing(
    content: &Arc<Content>,
    bytes: u64,
    session: Option<&mut rustls::Connection>,
) -> Result<Outgoing> {
    match session {
        None => Ok(Outgoing::Plain {
            content: Arc::clone(content),
            bytes,
        }),
        Some(session) => end::seal(content, bytes, session).map(Outgoing::Sealed),
    }
}
