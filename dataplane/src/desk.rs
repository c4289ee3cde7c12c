//! What a worker's streams share: control, its configuration and records, pools, counters, limits.

use crate::agents::Agents;
use crate::counters::WorkerCounters;
use crate::end::End;
use crate::ktls::Ktls;
use crate::liveness::Sweep;
use crate::pool::Pools;
use crate::records::Records;
use crate::seam::{
    AdmissionLimits, Control, Phase, Reason, RecordKind, Side, Snapshot, SnapshotCell, StreamRecord,
};
use crate::spares::Spares;
use eyesplice_proto::tls::RecordLibrary;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// One worker's desk, at which its streams ask; never leaves its thread.
pub(crate) struct Desk {
    /// How many workers share the limits of the process.
    pub(crate) workers: usize,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) records: Records,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) pools: Rc<Pools>,
    /// How long reads of a steady one-way flow may be put off.
    pub(crate) coalesce: Duration,
    pub(crate) sweep: Rc<Sweep>,
    pub(crate) ktls: Ktls,
    /// What protects records in user space.
    pub(crate) library: RecordLibrary,
    /// Dials that are pending.
    pub(crate) pending: Cell<usize>,
    /// The process stops.
    pub(crate) draining: Cell<bool>,
    /// Something that a drain waits for is over.
    pub(crate) emptied: Notify,
    /// Streams of the process that its limit of open files has room for.
    pub(crate) room: usize,
    pub(crate) spares: Spares,
    /// The other ends of tunnels, which all workers share.
    pub(crate) agents: Arc<Agents>,
}

/// A place among the pending dials; given back when dropped.
pub(crate) struct Pending<'a>(&'a Desk);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let desk = self.0;
        desk.pending.set(desk.pending.get() - 1);
        desk.counters.streams_pending.dec();
        if desk.draining.get() && desk.pending.get() == 0 {
            desk.emptied.notify_one();
        }
    }
}

/// An established stream in the gauge; taken off when dropped.
pub(crate) struct InGauge<'a>(&'a WorkerCounters);

impl Drop for InGauge<'_> {
    fn drop(&mut self) {
        self.0.streams_established.dec();
    }
}

impl Desk {
    /// The configuration that streams begin with now.
    pub(crate) fn generation(&self) -> u64 {
        self.snapshot().generation
    }

    /// What control published last.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.load()
    }

    /// Hands a record to control, without waiting for it.
    pub(crate) fn emit(&self, record: StreamRecord) {
        self.records.push(record, &self.counters.records_lost);
    }

    /// Hands control a record that may be lost while it is behind: nobody promised it. Says whether it
    /// was taken.
    pub(crate) fn offer(&self, record: StreamRecord) -> bool {
        self.records.offer(record)
    }

    /// Fails where control can keep no record of what is about to begin.
    pub(crate) fn recordable(&self, kind: RecordKind, phase: Phase) -> Result<(), End> {
        let Some(words) = self.control.unrecorded(kind) else {
            return Ok(());
        };
        let failure = End::new(Reason::Unaudited, Side::Local, phase);
        Err(failure.status(503).detail(words))
    }

    /// Takes a place among the pending dials; fails with words for the client where none is free.
    pub(crate) fn pending(
        &self,
        limits: &AdmissionLimits,
        phase: Phase,
    ) -> Result<Pending<'_>, End> {
        if self.pending.get() >= self.share(limits.max_pending) {
            self.counters.limited.inc();
            let words = format!(
                "gateway is at its limit of {} pending dials; retry, or raise limits.maxPendingDials",
                limits.max_pending
            );
            let failure = End::new(Reason::Limit, Side::Local, phase);
            return Err(failure.status(503).detail(words));
        }
        self.pending.set(self.pending.get() + 1);
        self.counters.streams_pending.inc();
        Ok(Pending(self))
    }

    /// Streams that this worker may carry.
    pub(crate) fn most_streams(&self, limits: &AdmissionLimits) -> usize {
        self.share(limits.max_streams.min(self.room))
    }

    /// Whether there is a place for one more spare connection, which counts as a stream. None is
    /// begun while pending dials are at their limit.
    pub(crate) fn has_room_for_a_spare(&self) -> bool {
        let limits = &self.snapshot().admission;
        self.spares.len() < self.places_for_spares(limits)
            && self.pending.get() < self.share(limits.max_pending)
    }

    /// Throws away the spare connections whose places streams have taken.
    pub(crate) fn shrink_spares(&self, limits: &AdmissionLimits) {
        self.spares.shrink(self.places_for_spares(limits));
    }

    fn places_for_spares(&self, limits: &AdmissionLimits) -> usize {
        let live = usize::try_from(self.counters.streams_live.value()).unwrap_or(usize::MAX);
        self.most_streams(limits).saturating_sub(live)
    }

    /// How many connections of tunnels this worker may have beside its streams: each takes the
    /// place of one.
    pub(crate) fn places_for_links(&self, limits: &AdmissionLimits) -> usize {
        self.places_for_spares(limits)
            .saturating_sub(self.spares.len())
    }

    /// Counts an established stream.
    pub(crate) fn established(&self) -> InGauge<'_> {
        self.counters.streams_established.inc();
        InGauge(&self.counters)
    }

    /// This worker's part of a limit of the process.
    pub(crate) fn share(&self, limit: usize) -> usize {
        limit.div_ceil(self.workers).max(1)
    }
}
