//! Runs one worker: a ring, its listeners, its streams and its share of the limits.

use crate::accept::admission;
use crate::accept::agent::held::Held;
use crate::accept::agent::hold;
use crate::accept::departure::{Leaver, Stage};
use crate::accept::door;
use crate::accept::gate::{Gate, Notice};
use crate::accept::link;
use crate::accept::links::Links;
use crate::accept::lobby::Lobby;
use crate::accept::placement::{Arrival, Connection, Placement};
use crate::accept::worker::Worker;
use crate::agents::Agents;
use crate::config::{Listener, Role};
use crate::counters::WorkerCounters;
use crate::descriptors::Room;
use crate::desk::Desk;
use crate::end::exhausted;
use crate::ktls::Ktls;
use crate::leg::Parts;
use crate::limits::{ACCEPT_BATCH, ACCEPT_PAUSE, LAST_RECORDS};
use crate::liveness::{Liveness, Sweep};
use crate::pool::Pools;
use crate::records::Records;
use crate::seam::{Control, ListenerName, Reason, SnapshotCell, StreamRecord};
use crate::spares::Spares;
use eyesplice_proto::stream::Side;
use eyesplice_proto::tls::RecordLibrary;
use eyesplice_sys::socket::{self, Accepted, Address};
use eyesplice_sys::uring::{self, Fd};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What the engine tells its workers; later values include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Command {
    /// Accept and carry.
    Run,
    /// Accept nothing more, for another process does; end when all that was accepted has ended.
    Retire,
    /// Accept nothing more, for another process will; end when all that was accepted has ended.
    Leave,
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
    pub(crate) leaver: Leaver,
    pub(crate) agents: Arc<Agents>,
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
    pub(crate) library: RecordLibrary,
}

/// Runs a worker until a drain is complete or aborted; returns the number of aborted streams.
pub(crate) async fn run(
    parts: WorkerParts,
    ready: std::sync::mpsc::Sender<()>,
    mut command: watch::Receiver<Command>,
) -> usize {
    let counters = parts.counters;
    let pools = Pools::new(parts.max_pipes, Arc::clone(&counters));
    let desk = Rc::new(Desk {
        workers: parts.workers.max(1),
        control: parts.control,
        snapshots: parts.snapshots,
        records: Records::new(parts.records),
        pools: Rc::clone(&pools),
        sweep: Sweep::new(parts.liveness, Arc::clone(&counters)),
        counters: Arc::clone(&counters),
        coalesce: parts.coalesce,
        ktls: parts.ktls,
        library: parts.library,
        pending: Cell::new(0),
        draining: Cell::new(false),
        emptied: Notify::new(),
        room: parts.room.streams,
        spares: Spares::new(pools, Arc::clone(&counters)),
        agents: parts.agents,
    });
    let worker = Rc::new(Worker {
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
        links: Links::default(),
        held: Held::default(),
    });
    uring::watch_ops(move |ops| counters.ops_in_flight.set(ops as u64));
    let sweep = uring::spawn(Rc::clone(&desk.sweep).run());
    let (mut doors_of_agents, mut doors) = (Vec::new(), Vec::new());
    for (of, fd) in parts.listeners {
        let doors = match of.role {
            Role::Tunnel => &mut doors_of_agents,
            Role::Egress | Role::Agent | Role::Front | Role::ApiServer => &mut doors,
        };
        let accepting = accept_loop(Rc::clone(&worker), of, Fd::from(fd));
        doors.push(uring::spawn(accepting));
    }
    let forwarding = {
        let desk = Rc::clone(&desk);
        uring::spawn(async move { desk.records.forward().await })
    };
    // The engine waits for this; if it has given up, the command says so at once.
    let _ = ready.send(());
    let (mut arrivals, leaver) = (parts.arrivals, parts.leaver);
    let mut published = desk.snapshots.published();
    hold::sync(&worker);
    loop {
        tokio::select! {
            Ok(()) = published.changed() => {
                reloaded(&worker);
                hold::sync(&worker);
            }
            // A dropped sender means that the engine is gone: drain what is left.
            _ = command.wait_for(|command| *command >= Command::Retire) => break,
            Some(arrival) = arrivals.recv() => arrived(&worker, arrival),
        }
    }
    desk.draining.set(true);
    shut(&mut doors).await;
    let how = *command.borrow();
    if how == Command::Retire {
        // What an agent has to tell from now on, it tells the other process.
        shut(&mut doors_of_agents).await;
    }
    // What others accepted before they heard of the drain.
    arrivals.close();
    while let Ok(arrival) = arrivals.try_recv() {
        arrived(&worker, arrival);
    }
    desk.spares.close();
    if how >= Command::Drain {
        worker.lobby.close();
    }
    worker.links.drain();
    for stream in worker.live.borrow().values() {
        stream.drain();
    }
    let mut aborted = None;
    loop {
        let emptied = desk.emptied.notified();
        let mut news = pin!(leaver.news());
        news.as_mut().enable();
        let least = leaver.reaches(worker.stage());
        let all = if aborted.is_some() {
            Stage::Done
        } else {
            least
        };
        if all > Stage::Opens {
            shut(&mut doors_of_agents).await;
        }
        if all == Stage::Done {
            // They were there for streams.
            worker.links.abort();
            worker.lobby.abort();
        }
        let is_left = worker.links.is_empty() && worker.lobby.is_empty();
        if worker.is_empty() && is_left && doors_of_agents.is_empty() {
            break;
        }
        tokio::select! {
            () = emptied => {}
            () = news => {}
            Ok(()) = published.changed() => reloaded(&worker),
            _ = command.wait_for(|command| *command >= Command::Abort), if aborted.is_none() => {
                let live: Vec<_> = worker.live.borrow().values().cloned().collect();
                aborted = Some(live.len());
                for stream in live {
                    stream.abort(Reason::Drained);
                }
                worker.lobby.abort();
                worker.links.abort();
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

/// Stops accepting.
async fn shut(doors: &mut Vec<JoinHandle<()>>) {
    for door in &mut *doors {
        door.abort();
    }
    for door in doors.drain(..) {
        // It was aborted.
        let _ = door.await;
    }
}

/// Another configuration is in force.
fn reloaded(worker: &Worker) {
    worker.desk.spares.reloaded(worker.desk.generation());
    link::judge(worker);
    for stream in worker.live.borrow().values() {
        stream.nudge();
    }
}

/// Accepts until the task is aborted; survives every error that is not the listener's own.
async fn accept_loop(worker: Rc<Worker>, of: Listener, listener: Fd) {
    loop {
        let mut outcome = uring::accept(&listener).await;
        for taken in 1..=ACCEPT_BATCH {
            match outcome {
                Ok(accepted) => {
                    worker.desk.counters.accepted.inc();
                    take(&worker, &of, accepted);
                }
                Err(ref error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    worker.desk.counters.accept_errors.inc();
                    if exhausted(&error) {
                        worker.desk.spares.shrink(0);
                    }
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
fn take(worker: &Rc<Worker>, of: &Listener, Accepted { fd, peer }: Accepted) {
    if let Some(from) = behind_a_door(worker, of, peer) {
        return door::knock(worker, of.clone(), fd, from);
    }
    let connection = Connection {
        listener: of.clone(),
        leg: Parts::new(fd, Side::Downstream),
        peer,
        since: Instant::now(),
        carried: None,
    };
    if let Some(arrival) = worker.place(connection) {
        admission::arrived(worker, arrival);
    }
}

/// Goes on with a connection that any worker gave to this one.
fn arrived(worker: &Rc<Worker>, arrival: Arrival) {
    let Connection { listener, peer, .. } = &arrival.connection;
    match behind_a_door(worker, listener, *peer) {
        Some(from) => door::arrived(worker, arrival, from),
        None => admission::arrived(worker, arrival),
    }
}

/// Where a connection comes from that must authenticate by TLS first.
fn behind_a_door(worker: &Worker, listener: &Listener, peer: Address) -> Option<SocketAddr> {
    let has_door = || {
        let snapshot = worker.desk.snapshot();
        listener.role != Role::Agent && snapshot.listener_tls.contains_key(&listener.name)
    };
    match peer {
        Address::Ip(from) if has_door() => Some(from),
        _ => None,
    }
}
