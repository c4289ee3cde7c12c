//! Says when a handshake may begin at a gateway.

use super::scenario;
use eyesplice_dataplane::seam::AdmissionLimits;
use eyesplice_dataplane::strangers::{Asked, Bucket, Rate, Source, Turn, Turns};
use std::time::{Duration, Instant};

/// How long one may wait under a plain rate, as at the engine's gate.
const WAIT: Duration = Duration::from_secs(1);

/// The doors of one process of a gateway.
pub(super) enum Doors {
    Rate(Bucket, Rate),
    Gate(Box<Turns>, AdmissionLimits),
}

impl Doors {
    pub(super) fn new(kind: scenario::Doors, per_second: u32, now: Instant) -> Self {
        match kind {
            scenario::Doors::Rate => Self::Rate(Bucket::default(), Rate::per_second(per_second)),
            scenario::Doors::Gate => Self::Gate(Box::new(Turns::new(now)), limits(per_second)),
        }
    }

    pub(super) fn turn(&mut self, source: Source, asked: Asked, now: Instant) -> Turn {
        match self {
            Self::Rate(bucket, rate) => match bucket.wait(*rate, now) {
                wait if wait > WAIT => Turn::Never(eyesplice_dataplane::strangers::Limit::All),
                wait => {
                    bucket.take(*rate, now);
                    Turn::In(wait)
                }
            },
            Self::Gate(turns, limits) => turns.turn(source, asked, limits, now),
        }
    }

    pub(super) fn authenticated(&mut self, source: Source, now: Instant) {
        if let Self::Gate(turns, limits) = self {
            turns.authenticated(source, limits, now);
        }
    }

    /// Whether handshakes wait for each other, so that no pool grows.
    pub(super) fn is_crowded(&self, now: Instant) -> bool {
        match self {
            Self::Rate(..) => false,
            Self::Gate(turns, _) => turns.is_crowded(now),
        }
    }
}

/// The defaults of a gateway, with another rate.
fn limits(per_second: u32) -> AdmissionLimits {
    AdmissionLimits {
        max_streams: 65_536,
        max_streams_per_peer: 65_536,
        max_pending: 2_000,
        max_unauthenticated: 1_024,
        max_handshakes_per_second: per_second,
        max_handshakes_per_second_per_address: 100,
        handshake_timeout: Duration::from_secs(10),
        head_timeout: Duration::from_secs(10),
        admit_timeout: Duration::from_secs(10),
    }
}
