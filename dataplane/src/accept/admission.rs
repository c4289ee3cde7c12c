//! Admits connections as streams: limits and peer credentials, then a task of its own.
//!
//! Over UNIX that happens at accept, over TCP when the listener's handshake proved a client.

use crate::accept::gate::Notice;
use crate::accept::placement::{Arrival, Place};
use crate::accept::stream::{self, Candidate};
use crate::accept::worker::{PeerKey, Worker};
use crate::config::Listener;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Peer, Phase, Reason, Side, StreamId, StreamRecord};
use eyesplice_sys::socket::{self, Address};
use eyesplice_sys::uring;
use std::cell::Cell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Admits a connection that needs no handshake.
pub(crate) fn arrived(worker: &Rc<Worker>, arrival: Arrival) {
    let Arrival { connection, place } = arrival;
    let Listener { name, role } = connection.listener;
    let snapshot = worker.desk.snapshot();
    let downstream = Box::new(Leg::from_parts(connection.leg));
    let peer = match connection.peer {
        Address::Ip(address) => Peer::Tcp {
            address,
            identity: identity(worker, &downstream),
        },
        Address::Unix => {
            let Ok(credentials) = socket::peer_credentials(downstream.fd().as_fd()) else {
                return;
            };
            Peer::Unix {
                pid: credentials.pid,
                uid: credentials.uid,
                gid: credentials.gid,
            }
        }
    };
    let cx = worker.context(Instant::now());
    cx.set_carried(connection.carried);
    let record = StreamRecord::begun(&cx, name, peer, snapshot.generation);
    let candidate = Candidate {
        cx,
        snapshot,
        downstream,
        record: Box::new(record),
        role,
    };
    admit(worker, candidate, place);
}

/// Names the peer of a connection that was made secure before it came here.
fn identity(worker: &Worker, leg: &Leg) -> Option<Arc<str>> {
    leg.outer_chain()
        .map(|chain| worker.desk.control.identify(&chain))
}

/// Makes a stream of a connection, or refuses it.
pub(crate) fn admit(worker: &Rc<Worker>, candidate: Candidate, place: Place) {
    let record = &candidate.record;
    let key = match record.peer {
        Peer::Unix { uid, .. } => PeerKey::Uid(uid),
        Peer::Tcp { address, .. } => PeerKey::Ip(address.ip()),
    };
    let Some(refusal) = limited(worker, &candidate, key) else {
        return spawn(worker, candidate, key, place);
    };
    worker.desk.counters.limited.inc();
    if worker.refusing.get() < worker.refusals() {
        return refuse(worker, candidate, refusal, place);
    }
    if let Some(unsaid) = worker.gate.says(Notice::Closed) {
        tracing::warn!(
            listener = %record.listener,
            peer = %record.peer,
            "{}; closed without an answer{unsaid}",
            refusal.detail.as_deref().unwrap_or_default()
        );
    }
}

/// Why a connection is over a limit, if it is: what its CONNECT is answered.
fn limited(worker: &Worker, candidate: &Candidate, key: PeerKey) -> Option<End> {
    let Candidate {
        snapshot, record, ..
    } = candidate;
    let refusal = |status: u16, reason: Reason, words: String| {
        let failure = End::new(reason, Side::Local, Phase::Request);
        Some(failure.status(status).detail(words))
    };
    if let Some(words) = snapshot.unwelcome(&record.listener, &record.peer) {
        return refusal(403, Reason::Denied, words);
    }
    let (limits, desk) = (&snapshot.admission, &worker.desk);
    let room = worker.room.streams;
    // Two connections of tunnels have as many descriptors as a stream.
    let most = desk.share(room).saturating_sub(worker.links.len() / 2);
    if worker.streams.get() >= desk.most_streams(limits).min(most.max(1)) {
        let words = if room < limits.max_streams {
            format!("gateway is at its limit of {room} streams; raise LimitNOFILE")
        } else {
            format!(
                "gateway is at its limit of {} streams; see limits.maxStreams",
                limits.max_streams
            )
        };
        return refusal(503, Reason::Limit, words);
    }
    let of_peer = worker.per_peer.borrow().get(&key).copied().unwrap_or(0);
    if of_peer >= desk.share(limits.max_streams_per_peer) {
        let words = format!(
            "peer is at its limit of {} streams; see limits.maxStreamsPerPeer",
            limits.max_streams_per_peer
        );
        return refusal(503, Reason::Limit, words);
    }
    None
}

fn spawn(worker: &Rc<Worker>, candidate: Candidate, key: PeerKey, place: Place) {
    let Candidate {
        cx,
        snapshot,
        downstream,
        record,
        role,
    } = candidate;
    worker.streams.set(worker.streams.get() + 1);
    *worker.per_peer.borrow_mut().entry(key).or_default() += 1;
    worker.desk.counters.streams_live.inc();
    worker.desk.shrink_spares(&snapshot.admission);
    let guard = Live::new(worker, &cx, Counted::Stream(key), place);
    let gate = Arc::clone(&worker.gate);
    drop(uring::spawn(async move {
        let _guard = guard;
        stream::run(cx, snapshot, downstream, record, (role, gate)).await;
    }));
}

fn refuse(worker: &Rc<Worker>, candidate: Candidate, refusal: End, place: Place) {
    worker.refusing.set(worker.refusing.get() + 1);
    let guard = Live::new(worker, &candidate.cx, Counted::Refusal, place);
    let worker = Rc::clone(worker);
    drop(uring::spawn(async move {
        let _guard = guard;
        let denied = refusal.reason == Reason::Denied;
        let mut record = stream::refuse(candidate, refusal).await;
        if denied {
            // A peer that may not connect at all may try as often as it likes.
            let Some(unsaid) = worker.gate.says(Notice::Uid) else {
                return;
            };
            if let (Some(detail), 1..) = (&record.detail, unsaid.count) {
                record.detail = Some(format!("{detail}{unsaid}").into());
            }
        }
        worker.desk.emit(record);
    }));
}

/// As what a connection is counted.
#[derive(Clone, Copy)]
enum Counted {
    Stream(PeerKey),
    Refusal,
}

/// Takes a connection off the worker's books, however its task ends.
struct Live {
    worker: Rc<Worker>,
    id: StreamId,
    counted: Counted,
    _place: Place,
}

impl Live {
    fn new(worker: &Rc<Worker>, cx: &Rc<StreamContext>, counted: Counted, place: Place) -> Self {
        worker.live.borrow_mut().insert(cx.id(), Rc::clone(cx));
        Self {
            worker: Rc::clone(worker),
            id: cx.id(),
            counted,
            _place: place,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.live.borrow_mut().remove(&self.id);
        match self.counted {
            Counted::Refusal => less(&worker.refusing),
            Counted::Stream(key) => {
                less(&worker.streams);
                let mut per_peer = worker.per_peer.borrow_mut();
                if let Some(count) = per_peer.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        per_peer.remove(&key);
                    }
                }
                worker.desk.counters.streams_live.dec();
            }
        }
        worker.ended();
    }
}

fn less(count: &Cell<usize>) {
    count.set(count.get() - 1);
}
