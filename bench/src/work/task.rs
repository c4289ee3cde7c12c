//! What each connection of a workload has: its route, its share of the arrivals, its books.

use super::Work;
use crate::meter::{Pace, Recorder, Schedule, Window};
use crate::route::{Channel, Opened, Route};
use crate::wire::{Hello, Incoming, Job, Outgoing, Side, Way};
use crate::{Attempt, Result};
use rustls::HandshakeKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::io::{ReadHalf, WriteHalf};

/// Buffer of a stream that moves little.
const SMALL: usize = 4 * 1024;

/// Buffer of a stream with answers of many sizes.
const MEDIUM: usize = 64 * 1024;

/// Buffer of a stream that moves much.
const LARGE: usize = 256 * 1024;

/// What the connections of a workload did besides operations.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    streams: AtomicU64,
    full: AtomicU64,
    resumed: AtomicU64,
}

impl Tally {
    /// Streams opened so far.
    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// TLS handshakes so far: full ones, and resumed ones.
    pub(crate) fn handshakes(&self) -> [u64; 2] {
        [&self.full, &self.resumed].map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts a stream that was opened.
    pub(super) fn opened(&self, handshake: Option<HandshakeKind>) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        match handshake {
            None => {}
            Some(HandshakeKind::Resumed) => _ = self.resumed.fetch_add(1, Ordering::Relaxed),
            Some(_) => _ = self.full.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// One connection's share of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) work: Arc<Work>,
    pub(crate) route: Arc<Route>,
    pub(crate) side: Side,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) tally: Arc<Tally>,
    /// Numbers streams, over all workloads of a run.
    pub(crate) seeds: Arc<AtomicU64>,
    pub(crate) window: Window,
    /// Which of the work's connections.
    pub(crate) index: usize,
}

/// The halves of an open stream.
pub(crate) type Halves = (
    Incoming<ReadHalf<Box<dyn Channel>>>,
    Outgoing<WriteHalf<Box<dyn Channel>>>,
);

impl Task {
    /// Opens a stream for the work's job.
    pub(crate) async fn open(&self) -> Result<Halves> {
        self.open_for(self.work.job()).await
    }

    /// Opens a stream for `job`; what it is for goes out with the first payload.
    pub(crate) async fn open_for(&self, job: Job) -> Result<Halves> {
        let Opened { channel, handshake } = self.route.open().await?;
        self.tally.opened(handshake);
        let capacity = match job {
            Job::Bulk { .. } => LARGE,
            Job::Turns { .. } if self.work.answer_to.is_some() => MEDIUM,
            Job::Turns { .. } | Job::Sessions { .. } | Job::Lines { .. } => SMALL,
        };
        let hello = Hello {
            job,
            seed: self.seeds.fetch_add(1, Ordering::Relaxed),
        };
        let line = hello.line().map_err(std::io::Error::from);
        let (read, write) = tokio::io::split(channel);
        let down = hello.offset(Way::Down);
        let incoming = Incoming::new(read, self.side.clone(), down, capacity);
        let mut out = Outgoing::new(write, self.side.clone(), hello.offset(Way::Up));
        out.queue(&line.attempt("describe a job")?);
        Ok((incoming, out))
    }

    /// When this connection's operations are due.
    pub(crate) fn pace(&self) -> Result<Pace> {
        match self.work.rate {
            None => Ok(Pace::Closed),
            Some(rate) => Pace::open(Schedule::share(
                self.window.begins,
                rate,
                self.work.arrivals,
                self.index,
                self.work.connections,
            )),
        }
    }

    /// Waits until the next operation is due; none when no more shall begin.
    pub(crate) async fn next(&self, pace: &mut Pace) -> Result<Option<Instant>> {
        let due = pace.next().await?;
        if !self.window.over() {
            return Ok(Some(due));
        }
        let now = Instant::now();
        let late = (due < self.window.ends).then_some(due);
        for due in late.into_iter().chain(pace.rest(self.window.ends)) {
            if !matches!(pace, Pace::Closed) {
                self.recorder.unsent(due, now);
            }
        }
        Ok(None)
    }

    /// Records an operation that ends now.
    pub(crate) fn done(&self, due: Instant, began: Instant) {
        self.recorder.record(due, began, Instant::now());
    }
}
