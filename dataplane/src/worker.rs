//! One worker: a ring, its listeners, its streams and its share of the limits.

use crate::admission::{self, PeerKey};
use crate::context::StreamContext;
use crate::counters::WorkerCounters;
use crate::descriptors::Room;
use crate::door::{self, Lobby};
use crate::failure::{Failure, exhausted};
use crate::gate::{Gate, Notice};
use crate::ktls::Ktls;
use crate::limits::{ACCEPT_BATCH, ACCEPT_PAUSE, LAST_RECORDS};
use crate::liveness::{Liveness, Sweep};
use crate::placement::{Arrival, Placement};
use crate::pool::Pools;
use crate::records::Records;
use crate::seam::{
    self, AdmissionLimits, Control, ListenerName, Phase, Reason, RecordKind, Snapshot,
    SnapshotCell, StreamId, StreamRecord,
};
use eyesplice_sys::ring::{self, Fd};
use eyesplice_sys::socket::{self, Accepted, Address};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

/// What the engine tells its workers; later values include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Command {
    /// Accept and carry.
    Run,
    /// Accept nothing more; end when the last stream has ended.
    Drain,
    /// End every stream now.
    Abort,
}

/// What a worker is built from; crosses threads.
pub(crate) struct WorkerParts {
    pub(crate) index: u16,
    pub(crate) workers: usize,
    pub(crate) listeners: Vec<(ListenerName, std::os::fd::OwnedFd)>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) room: Room,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) records: mpsc::Sender<StreamRecord>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) max_pipes: usize,
    pub(crate) coalesce: Duration,
    pub(crate) liveness: Liveness,
    pub(crate) ktls: Ktls,
}

/// A running worker; never leaves its thread.
pub(crate) struct Worker {
    index: u16,
    workers: usize,
    placement: Arc<Placement>,
    gate: Arc<Gate>,
    room: Room,
    control: Arc<dyn Control>,
    snapshots: Arc<SnapshotCell>,
    records: Records,
    counters: Arc<WorkerCounters>,
    pools: Rc<Pools>,
    coalesce: Duration,
    liveness: Liveness,
    sweep: Rc<Sweep>,
    ktls: Ktls,
    sequence: Cell<u64>,
    /// Streams, and connections that are being refused.
    live: RefCell<HashMap<StreamId, Rc<StreamContext>>>,
    streams: Cell<usize>,
    refusing: Cell<usize>,
    per_peer: RefCell<HashMap<PeerKey, usize>>,
    pending: Cell<usize>,
    lobby: Lobby,
    emptied: Notify,
}

/// A place among the pending dials; given back when dropped.
pub(crate) struct Pending<'a>(&'a Worker);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
        self.0.counters.streams_pending.dec();
    }
}

/// An established stream in the gauge; taken off when dropped.
pub(crate) struct InGauge<'a>(&'a WorkerCounters);

impl Drop for InGauge<'_> {
    fn drop(&mut self) {
        self.0.streams_established.dec();
    }
}

impl Worker {
    /// Runs until a drain is complete or aborted; returns the number of aborted streams.
    pub(crate) async fn run(
        parts: WorkerParts,
        ready: std::sync::mpsc::Sender<()>,
        mut command: watch::Receiver<Command>,
    ) -> usize {
        let worker = Rc::new(Self {
            index: parts.index,
            workers: parts.workers.max(1),
            placement: parts.placement,
            gate: parts.gate,
            room: parts.room,
            control: parts.control,
            snapshots: parts.snapshots,
            records: Records::new(parts.records),
            pools: Pools::new(parts.max_pipes, Arc::clone(&parts.counters)),
            sweep: Sweep::new(parts.liveness, Arc::clone(&parts.counters)),
            counters: parts.counters,
            coalesce: parts.coalesce,
            liveness: parts.liveness,
            ktls: parts.ktls,
            sequence: Cell::new(0),
            live: RefCell::default(),
            streams: Cell::new(0),
            refusing: Cell::new(0),
            per_peer: RefCell::default(),
            pending: Cell::new(0),
            lobby: Lobby::default(),
            emptied: Notify::new(),
        });
        let counters = Arc::clone(&worker.counters);
        ring::watch_ops(move |ops| counters.ops_in_flight.set(ops as u64));
        let sweep = ring::spawn(Rc::clone(&worker.sweep).run());
        let listeners: Vec<_> = parts
            .listeners
            .into_iter()
            .map(|(name, fd)| ring::spawn(accept_loop(Rc::clone(&worker), name, Fd::from(fd))))
            .collect();
        let forwarding = {
            let worker = Rc::clone(&worker);
            ring::spawn(async move { worker.records.forward().await })
        };
        // The engine waits for this; if it has given up, the command says so at once.
        let _ = ready.send(());
        let mut arrivals = parts.arrivals;
        let mut published = worker.snapshots.published();
        loop {
            tokio::select! {
                Ok(()) = published.changed() => {
                    for stream in worker.live.borrow().values() {
                        stream.nudge();
                    }
                }
                // A dropped sender means that the engine is gone: drain what is left.
                _ = command.wait_for(|command| *command >= Command::Drain) => break,
                Some(arrival) = arrivals.recv() => arrived(&worker, arrival),
            }
        }
        for listener in &listeners {
            listener.abort();
        }
        for listener in listeners {
            let _ = listener.await;
        }
        // What others accepted before they heard of the drain.
        arrivals.close();
        while let Ok(arrival) = arrivals.try_recv() {
            arrived(&worker, arrival);
        }
        worker.lobby.close();
        for stream in worker.live.borrow().values() {
            stream.drain();
        }
        let mut aborted = None;
        loop {
            let emptied = worker.emptied.notified();
            if worker.is_empty() {
                break;
            }
            tokio::select! {
                () = emptied => {}
                _ = command.wait_for(|command| *command >= Command::Abort), if aborted.is_none() => {
                    let live: Vec<_> = worker.live.borrow().values().cloned().collect();
                    aborted = Some(live.len());
                    for stream in live {
                        stream.abort(Reason::Drained);
                    }
                    worker.lobby.abort();
                }
            }
        }
        sweep.abort();
        forwarding.abort();
        // It was aborted.
        let _ = forwarding.await;
        let lost = &worker.counters.records_lost;
        worker.records.finish(LAST_RECORDS, lost).await;
        worker.pools.clear();
        aborted.unwrap_or_default()
    }

    pub(crate) fn control(&self) -> &dyn Control {
        &*self.control
    }

    /// The configuration that streams begin with now.
    pub(crate) fn generation(&self) -> u64 {
        self.snapshot().generation
    }

    /// What control published last.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.load()
    }

    pub(crate) fn liveness(&self) -> Liveness {
        self.liveness
    }

    /// Watches for peers that die.
    pub(crate) fn sweep(&self) -> &Rc<Sweep> {
        &self.sweep
    }

    pub(crate) fn ktls(&self) -> &Ktls {
        &self.ktls
    }

    /// Hands a record to control, without waiting for it.
    pub(crate) fn emit(&self, record: StreamRecord) {
        self.records.push(record, &self.counters.records_lost);
    }

    /// Fails where control can keep no record of what is about to begin.
    pub(crate) fn recordable(&self, kind: RecordKind, phase: Phase) -> Result<(), Failure> {
        let Some(words) = self.control.unrecorded(kind) else {
            return Ok(());
        };
        let failure = Failure::new(Reason::Unaudited, seam::Side::Local, phase);
        Err(failure.status(503).detail(words))
    }

    /// Hands control a record that may be lost while it is behind: nobody promised it. Tells whether it
    /// was taken.
    pub(crate) fn offer(&self, record: StreamRecord) -> bool {
        self.records.offer(record)
    }

    /// Takes a place among the pending dials, if one is free.
    pub(crate) fn pending(&self, limits: &AdmissionLimits) -> Option<Pending<'_>> {
        if self.pending.get() >= self.share(limits.max_pending) {
            self.counters.limited.inc();
            return None;
        }
        self.pending.set(self.pending.get() + 1);
        self.counters.streams_pending.inc();
        Some(Pending(self))
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

    /// The context of a connection, under a number of its own.
    pub(crate) fn context(&self) -> Rc<StreamContext> {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        StreamContext::new(
            StreamId::new(self.index, sequence),
            Rc::clone(&self.pools),
            Arc::clone(&self.counters),
            self.coalesce,
        )
    }

    /// Gives a connection to the worker with the fewest streams; returns it if that is this one.
    pub(crate) fn place(
        &self,
        listener: ListenerName,
        accepted: Accepted,
        since: Instant,
    ) -> Option<Arrival> {
        let own = usize::from(self.index);
        self.placement.place(own, listener, accepted, since)
    }

    /// A stream, a refusal or a guest of the lobby is over.
    pub(crate) fn ended(&self) {
        if self.is_empty() {
            self.emptied.notify_one();
        }
    }

    fn is_empty(&self) -> bool {
        self.live.borrow().is_empty() && self.lobby.is_empty()
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn lobby(&self) -> &Lobby {
        &self.lobby
    }

    pub(crate) fn live(&self) -> RefMut<'_, HashMap<StreamId, Rc<StreamContext>>> {
        self.live.borrow_mut()
    }

    pub(crate) fn per_peer(&self) -> RefMut<'_, HashMap<PeerKey, usize>> {
        self.per_peer.borrow_mut()
    }

    /// Streams of this worker.
    pub(crate) fn streams(&self) -> &Cell<usize> {
        &self.streams
    }

    /// Connections that are being refused.
    pub(crate) fn refusing(&self) -> &Cell<usize> {
        &self.refusing
    }

    /// How many connections this worker may refuse at a time.
    pub(crate) fn refusals(&self) -> usize {
        self.share(self.room.refusals)
    }
}

/// Accepts until the task is aborted; survives every error that is not the listener's own.
async fn accept_loop(worker: Rc<Worker>, name: ListenerName, listener: Fd) {
    loop {
        let mut outcome = ring::accept(&listener).await;
        for taken in 1..=ACCEPT_BATCH {
            match outcome {
                Ok(accepted) => {
                    worker.counters.accepted.inc();
                    take(&worker, &name, accepted);
                }
                Err(ref error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    worker.counters.accept_errors.inc();
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        cannot_accept(&worker, &name, &error);
                        sleep(ACCEPT_PAUSE).await;
                    }
                    break;
                }
            }
            if taken == ACCEPT_BATCH {
                break;
            }
            outcome = socket::accept(listener.as_fd());
        }
    }
}

fn cannot_accept(worker: &Worker, name: &ListenerName, error: &io::Error) {
    let Some(unsaid) = worker.gate.says(Notice::Accept) else {
        return;
    };
    if exhausted(error) {
        tracing::warn!(
            listener = %name, %error,
            "cannot accept: out of descriptors or memory; raise LimitNOFILE{unsaid}"
        );
    } else {
        tracing::error!(listener = %name, %error, "cannot accept{unsaid}");
    }
}

/// Goes on with a connection that was accepted here: at the door where there is one.
fn take(worker: &Rc<Worker>, name: &ListenerName, accepted: Accepted) {
    let name = Arc::clone(name);
    if let Some(from) = behind_a_door(worker, &name, &accepted) {
        return door::knock(worker, name, accepted, from);
    }
    if let Some(arrival) = worker.place(name, accepted, Instant::now()) {
        admission::arrived(worker, arrival);
    }
}

/// Goes on with a connection that any worker gave to this one.
fn arrived(worker: &Rc<Worker>, arrival: Arrival) {
    match behind_a_door(worker, &arrival.listener, &arrival.accepted) {
        Some(from) => door::arrived(worker, arrival, from),
        None => admission::arrived(worker, arrival),
    }
}

/// Where a connection comes from that must authenticate by TLS first.
fn behind_a_door(worker: &Worker, name: &ListenerName, accepted: &Accepted) -> Option<SocketAddr> {
    match accepted.peer {
        Address::Ip(from) if worker.snapshots.load().listener_tls.contains_key(name) => Some(from),
        _ => None,
    }
}
