//! Counts what a simulated world does.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a gateway had and did.
pub(super) struct GatewayTally {
    pub(super) controls: usize,
    pub(super) controls_peak: usize,
    pub(super) parked_peak: usize,
    /// Parked and control connections in bytes by their bounds, at most.
    pub(super) memory_peak: u64,
    pub(super) handshakes: u64,
    pub(super) refused: u64,
    /// Those of the running second, which is that one.
    second: (u64, u64),
    pub(super) handshakes_peak: u64,
    pub(super) opens: Latency,
    pub(super) failed: u64,
}

/// Most bytes of a connection that waits, and of a control connection, at a gateway.
const PARKED_BYTES: u64 = 16 * 1024;
const CONTROL_BYTES: u64 = 24 * 1024;

impl GatewayTally {
    pub(super) fn new() -> Self {
        Self {
            controls: 0,
            controls_peak: 0,
            parked_peak: 0,
            memory_peak: 0,
            handshakes: 0,
            refused: 0,
            second: (0, 0),
            handshakes_peak: 0,
            opens: Latency::new(),
            failed: 0,
        }
    }

    pub(super) fn handshake(&mut self, at: Duration) {
        self.handshakes += 1;
        if self.second.0 != at.as_secs() {
            self.second = (at.as_secs(), 0);
        }
        self.second.1 += 1;
        self.handshakes_peak = self.handshakes_peak.max(self.second.1);
    }

    pub(super) fn connections(&mut self, controls: usize, parked: usize) {
        self.controls = controls;
        self.controls_peak = self.controls_peak.max(controls);
        self.parked_peak = self.parked_peak.max(parked);
        let bytes = controls as u64 * CONTROL_BYTES + parked as u64 * PARKED_BYTES;
        self.memory_peak = self.memory_peak.max(bytes);
    }

    /// Forgets what was before the warm-up was over.
    pub(super) fn restart(&mut self, parked: usize) {
        let controls = self.controls;
        *self = Self::new();
        self.connections(controls, parked);
    }
}

/// Times in microseconds, and in hundredths of the round trip.
pub(super) struct Latency {
    pub(super) micros: Histogram<u64>,
    pub(super) trips: Histogram<u64>,
}

/// Longest time that is counted as it is: an open has 10 s.
const LONGEST_MICROS: u64 = 60_000_000;

impl Latency {
    pub(super) fn new() -> Self {
        let histogram = || {
            let bounded = Histogram::new_with_bounds(1, LONGEST_MICROS, 2);
            bounded.unwrap_or_else(|_| unreachable!("bounds and precision are constants"))
        };
        Self {
            micros: histogram(),
            trips: histogram(),
        }
    }

    pub(super) fn note(&mut self, time: Duration, round_trip: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let trips = time.as_secs_f64() / round_trip.as_secs_f64();
        self.micros.saturating_record(micros);
        self.trips.saturating_record((trips * 100.0) as u64);
    }
}

/// Times when controls are missing that are nearer than this are one.
const APART: Duration = Duration::from_secs(30);

/// What all did.
pub(super) struct Tally {
    pub(super) opens: u64,
    pub(super) warm: Latency,
    pub(super) cold: Latency,
    /// Opens for which more than one connection was used.
    pub(super) retried: u64,
    /// Opens that another gateway passed on.
    pub(super) forwarded: u64,
    pub(super) failed: BTreeMap<String, u64>,
    /// Streams that a fault ended.
    pub(super) streams_cut: u64,
    /// Controls that are wanted and not registered.
    pub(super) missing: i64,
    pub(super) missing_peak: i64,
    pub(super) missing_since: Option<Duration>,
    /// For each time when some were missing: since when, until when, how many at most.
    pub(super) outages: Vec<(Duration, Duration, i64)>,
    /// Handshakes for streams while a gateway lacked controls, and those of controls.
    pub(super) data_meanwhile: u64,
    pub(super) controls_meanwhile: u64,
    /// Dials that found no port.
    pub(super) no_port: u64,
    /// Connections that a carrier cut, or a NAT forgot.
    pub(super) cut: u64,
    pub(super) forgotten: u64,
    pub(super) moved: u64,
    pub(super) events: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            opens: 0,
            warm: Latency::new(),
            cold: Latency::new(),
            retried: 0,
            forwarded: 0,
            failed: BTreeMap::new(),
            streams_cut: 0,
            missing: 0,
            missing_peak: 0,
            missing_since: None,
            outages: Vec::new(),
            data_meanwhile: 0,
            controls_meanwhile: 0,
            no_port: 0,
            cut: 0,
            forgotten: 0,
            moved: 0,
            events: 0,
        }
    }

    /// So many more controls are missing, or fewer.
    pub(super) fn missing(&mut self, more: i64, now: Duration) {
        self.missing += more;
        self.missing_peak = self.missing_peak.max(self.missing);
        if self.missing > 0 && self.missing_since.is_none() {
            self.missing_since = Some(now);
        }
        if self.missing == 0
            && let Some(since) = self.missing_since.take()
        {
            let peak = std::mem::take(&mut self.missing_peak);
            match self.outages.last_mut() {
                Some((_, until, most)) if since.saturating_sub(*until) < APART => {
                    (*until, *most) = (now, peak.max(*most));
                }
                _ => self.outages.push((since, now, peak)),
            }
        }
    }
}
