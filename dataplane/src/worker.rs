//! One worker: a ring, its listeners, its streams and its share of the limits.

use crate::context::StreamContext;
use crate::counters::WorkerCounters;
use crate::egress::refuse_politely;
use crate::failure::{Failure, exhausted};
use crate::ktls::Ktls;
use crate::leg::Leg;
use crate::limits::{ACCEPT_BATCH, ACCEPT_PAUSE, LAST_RECORDS, POLITE_REFUSALS};
use crate::liveness::{Liveness, Sweep};
use crate::placement::{Arrival, Place, Placement};
use crate::pool::Pools;
use crate::records::Records;
use crate::seam::{
    self, AdmissionLimits, Control, ListenerName, Peer, Phase, Reason, RecordKind, Snapshot,
    SnapshotCell, StreamId, StreamRecord,
};
use crate::stream::{self, Facts};
use eyesplice_proto::stream::Side;
use eyesplice_sys::ring::{self, Fd};
use eyesplice_sys::socket::{self, Address};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
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
    live: RefCell<HashMap<StreamId, Rc<StreamContext>>>,
    per_peer: RefCell<HashMap<PeerKey, usize>>,
    pending: Cell<usize>,
    handshakes: Cell<(Instant, u32)>,
    emptied: Notify,
}

/// Whose streams are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PeerKey {
    Uid(u32),
    Ip(IpAddr),
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
            per_peer: RefCell::default(),
            pending: Cell::new(0),
            handshakes: Cell::new((Instant::now(), 0)),
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
                Some(arrival) = arrivals.recv() => admit(&worker, arrival),
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
            admit(&worker, arrival);
        }
        for stream in worker.live.borrow().values() {
            stream.drain();
        }
        let mut aborted = 0;
        loop {
            let emptied = worker.emptied.notified();
            if worker.live.borrow().is_empty() {
                break;
            }
            tokio::select! {
                () = emptied => {}
                _ = command.wait_for(|command| *command >= Command::Abort), if aborted == 0 => {
                    let live: Vec<_> = worker.live.borrow().values().cloned().collect();
                    aborted = live.len();
                    for stream in live {
                        stream.abort(Reason::Drained);
                    }
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
        aborted
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

    /// Whether one more handshake may begin in this second.
    pub(crate) fn may_handshake(&self, per_second: u32) -> bool {
        let share = per_second
            .div_ceil(u32::try_from(self.workers).unwrap_or(1))
            .max(1);
        let (mut since, mut begun) = self.handshakes.get();
        if since.elapsed().as_secs() >= 1 {
            (since, begun) = (Instant::now(), 0);
        }
        let may = begun < share;
        self.handshakes.set((since, begun + u32::from(may)));
        may
    }

    /// This worker's part of a limit of the process.
    fn share(&self, limit: usize) -> usize {
        limit.div_ceil(self.workers).max(1)
    }

    fn next_id(&self) -> StreamId {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        StreamId::new(self.index, sequence)
    }
}

/// Accepts until the task is aborted; survives every error that is not the listener's own.
async fn accept_loop(worker: Rc<Worker>, name: ListenerName, listener: Fd) {
    loop {
        let mut outcome = ring::accept(&listener).await;
        for taken in 1..=ACCEPT_BATCH {
            match outcome {
                Ok(accepted) => {
                    let placement = &worker.placement;
                    let own = usize::from(worker.index);
                    if let Some(arrival) = placement.place(own, Arc::clone(&name), accepted) {
                        admit(&worker, arrival);
                    }
                }
                Err(ref error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    worker.counters.accept_errors.inc();
                    if exhausted(&error) {
                        tracing::warn!(
                            listener = %name, %error,
                            "cannot accept: out of descriptors or memory; raise LimitNOFILE"
                        );
                        sleep(ACCEPT_PAUSE).await;
                    } else if error.kind() != io::ErrorKind::ConnectionAborted {
                        tracing::error!(listener = %name, %error, "cannot accept");
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

/// Admits one connection: limits and peer credentials, then a task of its own.
fn admit(worker: &Rc<Worker>, arrival: Arrival) {
    let Arrival {
        listener: name,
        accepted,
        place,
    } = arrival;
    worker.counters.accepted.inc();
    let snapshot = worker.snapshots.load();
    let fd = Fd::from(accepted.fd);
    let (peer, key) = match accepted.peer {
        Address::Ip(address) => {
            worker.liveness.apply(&fd);
            (
                Peer::Tcp {
                    address,
                    identity: None,
                },
                PeerKey::Ip(address.ip()),
            )
        }
        Address::Unix => {
            let Ok(credentials) = socket::peer_credentials(fd.as_fd()) else {
                return;
            };
            let peer = Peer::Unix {
                pid: credentials.pid,
                uid: credentials.uid,
                gid: credentials.gid,
            };
            (peer, PeerKey::Uid(credentials.uid))
        }
    };
    if let Some(refusal) = limited(worker, &snapshot, &name, &peer, key) {
        worker.counters.limited.inc();
        let over = worker.live.borrow().len()
            >= worker.share(snapshot.admission.max_streams) + POLITE_REFUSALS;
        // A TLS handshake is too dear for a refusal; a UNIX peer gets to read why.
        if over || matches!(peer, Peer::Tcp { .. }) {
            tracing::warn!(listener = %name, %peer, "{}", refusal.1);
            return;
        }
        spawn(
            worker,
            &name,
            &snapshot,
            fd,
            peer,
            (key, place),
            Some(refusal),
        );
        return;
    }
    spawn(worker, &name, &snapshot, fd, peer, (key, place), None);
}

/// Why a UNIX peer may not use a listener, if it may not.
pub(crate) fn unwelcome(snapshot: &Snapshot, name: &ListenerName, peer: &Peer) -> Option<String> {
    let Peer::Unix { uid, .. } = peer else {
        return None;
    };
    let allowed = snapshot.allowed_uids.get(name)?;
    (!allowed.is_empty() && !allowed.contains(uid))
        .then(|| format!("uid {uid} may not use listener {name}; see listeners.unix.allowedUIDs"))
}

/// Why a connection is over a limit, if it is.
fn limited(
    worker: &Worker,
    snapshot: &Snapshot,
    name: &ListenerName,
    peer: &Peer,
    key: PeerKey,
) -> Option<(u16, String)> {
    if let Some(why) = unwelcome(snapshot, name, peer) {
        return Some((403, why));
    }
    let limits = &snapshot.admission;
    if worker.live.borrow().len() >= worker.share(limits.max_streams) {
        return Some((
            503,
            format!(
                "gateway is at its limit of {} streams; see limits.maxStreams",
                limits.max_streams
            ),
        ));
    }
    let of_peer = worker.per_peer.borrow().get(&key).copied().unwrap_or(0);
    if of_peer >= worker.share(limits.max_streams_per_peer) {
        return Some((
            503,
            format!(
                "peer is at its limit of {} streams; see limits.maxStreamsPerPeer",
                limits.max_streams_per_peer
            ),
        ));
    }
    None
}

fn spawn(
    worker: &Rc<Worker>,
    name: &ListenerName,
    snapshot: &Arc<Snapshot>,
    fd: Fd,
    peer: Peer,
    (key, place): (PeerKey, Place),
    refusal: Option<(u16, String)>,
) {
    let id = worker.next_id();
    let cx = StreamContext::new(
        id,
        Rc::clone(&worker.pools),
        Arc::clone(&worker.counters),
        worker.coalesce,
    );
    worker.live.borrow_mut().insert(id, Rc::clone(&cx));
    *worker.per_peer.borrow_mut().entry(key).or_default() += 1;
    worker.counters.streams_live.inc();
    let guard = Live {
        worker: Rc::clone(worker),
        id,
        key,
        _place: place,
    };
    let facts = Box::new(Facts::new(Arc::clone(name), peer, snapshot.generation));
    let downstream = Box::new(Leg::new(fd, Side::Downstream));
    let snapshot = Arc::clone(snapshot);
    let worker = Rc::clone(worker);
    match refusal {
        None => drop(ring::spawn(async move {
            let _guard = guard;
            stream::run(worker, cx, snapshot, downstream, facts).await;
        })),
        Some((status, reason)) => drop(ring::spawn(async move {
            let _guard = guard;
            refuse_politely(worker, cx, snapshot, *downstream, *facts, status, reason).await;
        })),
    }
}

/// Takes a stream off the worker's books, however its task ends.
struct Live {
    worker: Rc<Worker>,
    id: StreamId,
    key: PeerKey,
    _place: Place,
}

impl Drop for Live {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.live.borrow_mut().remove(&self.id);
        let mut per_peer = worker.per_peer.borrow_mut();
        if let Some(count) = per_peer.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                per_peer.remove(&self.key);
            }
        }
        worker.counters.streams_live.dec();
        if worker.live.borrow().is_empty() {
            worker.emptied.notify_one();
        }
    }
}
