//! What a process and an engine hold, to see whether it came back.

use eyesplice_dataplane::counters::CounterTotals;

/// The gauges of an engine that must return to where they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Connections that are or may become streams, and streams in other states.
    pub streams: [u64; 3],
    /// Buffers that are lent.
    pub buffers: u64,
    /// Pipes that are lent.
    pub pipes: u64,
    /// Ring operations in flight: each listener has one.
    pub ops: u64,
}

impl Held {
    /// Reads the gauges.
    pub fn of(totals: &CounterTotals) -> Self {
        Self {
            streams: [
                totals.streams_live + totals.unauthenticated,
                totals.streams_established,
                totals.streams_pending,
            ],
            buffers: totals.buffers_in_use,
            pipes: totals.pipes_in_use,
            ops: totals.ops_in_flight,
        }
    }
}

/// The number of open descriptors of this process.
pub fn open_descriptors() -> usize {
    // The listing has one open itself.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}
