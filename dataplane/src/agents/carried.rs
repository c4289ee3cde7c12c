//! Counts the streams and opens of one peer of tunnels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What one peer has carried.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    streams: AtomicUsize,
    pub(crate) warm: AtomicU64,
    pub(crate) cold: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Tally {
    /// Streams that run, or are being opened.
    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Relaxed)
    }
}

/// A stream in the tally of its peer; taken off when dropped.
#[derive(Debug)]
pub(crate) struct Carried(Arc<Tally>);

impl Carried {
    pub(crate) fn begin(tally: &Arc<Tally>) -> Self {
        tally.streams.fetch_add(1, Relaxed);
        Self(Arc::clone(tally))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}
