//! One worker: a ring, its listeners, its streams and its share of the limits.

use crate::accept::admission::{self, PeerKey};
use crate::accept::door::{self, Lobby};
use crate::accept::gate::{Gate, Notice};
use crate::accept::placement::{Arrival, Placement};
use crate::config::Listener;
use crate::context::StreamContext;
use crate::counters::WorkerCounters;
use crate::descriptors::Room;
use crate::desk::Desk;
use crate::end::exhausted;
use crate::ktls::Ktls;
use crate::limits::{ACCEPT_BATCH, ACCEPT_PAUSE, LAST_RECORDS};
use crate::liveness::{Liveness, Sweep};
use crate::pool::Pools;
use crate::records::Records;
use crate::seam::{Control, ListenerName, Reason, SnapshotCell, StreamId, StreamRecord};
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
    pub(crate) listeners: Vec<(Listener, std::os::fd::OwnedFd)>,
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
    placement: Arc<Placement>,
    gate: Arc<Gate>,
    room: Room,
    desk: Rc<Desk>,
    sequence: Cell<u64>,
    /// Streams, and connections that are being refused.
    live: RefCell<HashMap<StreamId, Rc<StreamContext>>>,
    streams: Cell<usize>,
    refusing: Cell<usize>,
    per_peer: RefCell<HashMap<PeerKey, usize>>,
    lobby: Lobby,
    emptied: Notify,
}

impl Worker {
    /// Runs until a drain is complete or aborted; returns the number of aborted streams.
    pub(crate) async fn run(
        parts: WorkerParts,
        ready: std::sync::mpsc::Sender<()>,
        mut command: watch::Receiver<Command>,
    ) -> usize {
        let desk = Rc::new(Desk {
            workers: parts.workers.max(1),
            control: parts.control,
            snapshots: parts.snapshots,
            records: Records::new(parts.records),
            pools: Pools::new(parts.max_pipes, Arc::clone(&parts.counters)),
            sweep: Sweep::new(parts.liveness, Arc::clone(&parts.counters)),
            counters: parts.counters,
            coalesce: parts.coalesce,
            liveness: parts.liveness,
            ktls: parts.ktls,
            pending: Cell::new(0),
        });
        let worker = Rc::new(Self {
            index: parts.index,
            placement: parts.placement,
            gate: parts.gate,
            room: parts.room,
            desk: Rc::clone(&desk),
            sequence: Cell::new(0),
            live: RefCell::default(),
            streams: Cell::new(0),
            refusing: Cell::new(0),
            per_peer: RefCell::default(),
            lobby: Lobby::default(),
            emptied: Notify::new(),
        });
        let counters = Arc::clone(&desk.counters);
        ring::watch_ops(move |ops| counters.ops_in_flight.set(ops as u64));
        let sweep = ring::spawn(Rc::clone(&desk.sweep).run());
        let listeners: Vec<_> = parts
            .listeners
            .into_iter()
            .map(|(of, fd)| ring::spawn(accept_loop(Rc::clone(&worker), of, Fd::from(fd))))
            .collect();
        let forwarding = {
            let desk = Rc::clone(&desk);
            ring::spawn(async move { desk.records.forward().await })
        };
        // The engine waits for this; if it has given up, the command says so at once.
        let _ = ready.send(());
        let mut arrivals = parts.arrivals;
        let mut published = desk.snapshots.published();
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
        let lost = &desk.counters.records_lost;
        desk.records.finish(LAST_RECORDS, lost).await;
        desk.pools.clear();
        aborted.unwrap_or_default()
    }

    /// What its streams share.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The context of a connection that began then, under a number of its own.
    pub(crate) fn context(&self, started: Instant) -> Rc<StreamContext> {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        let id = StreamId::new(self.index, sequence);
        StreamContext::new(id, started, Rc::clone(&self.desk))
    }

    /// Gives a connection to the worker with the fewest streams; returns it if that is this one.
    pub(crate) fn place(
        &self,
        listener: Listener,
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
        &self.desk.counters
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
        self.desk.share(self.room.refusals)
    }
}

/// Accepts until the task is aborted; survives every error that is not the listener's own.
async fn accept_loop(worker: Rc<Worker>, of: Listener, listener: Fd) {
    loop {
        let mut outcome = ring::accept(&listener).await;
        for taken in 1..=ACCEPT_BATCH {
            match outcome {
                Ok(accepted) => {
                    worker.counters().accepted.inc();
                    take(&worker, &of, accepted);
                }
                Err(ref error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    worker.counters().accept_errors.inc();
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        cannot_accept(&worker, &of.name, &error);
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
fn take(worker: &Rc<Worker>, of: &Listener, accepted: Accepted) {
    if let Some(from) = behind_a_door(worker, &of.name, &accepted) {
        return door::knock(worker, of.clone(), accepted, from);
    }
    if let Some(arrival) = worker.place(of.clone(), accepted, Instant::now()) {
        admission::arrived(worker, arrival);
    }
}

/// Goes on with a connection that any worker gave to this one.
fn arrived(worker: &Rc<Worker>, arrival: Arrival) {
    match behind_a_door(worker, &arrival.listener.name, &arrival.accepted) {
        Some(from) => door::arrived(worker, arrival, from),
        None => admission::arrived(worker, arrival),
    }
}

/// Where a connection comes from that must authenticate by TLS first.
fn behind_a_door(worker: &Worker, name: &ListenerName, accepted: &Accepted) -> Option<SocketAddr> {
    match accepted.peer {
        Address::Ip(from) if worker.desk.snapshot().listener_tls.contains_key(name) => Some(from),
        _ => None,
    }
}
