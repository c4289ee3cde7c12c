//! Admits connections as streams: limits and peer credentials, then a task of its own.
//!
//! Over UNIX that happens at accept, over TCP when the listener's handshake proved a client.

use crate::accept::egress::refuse_politely;
use crate::accept::gate::Notice;
use crate::accept::placement::{Arrival, Place};
use crate::accept::stream;
use crate::accept::worker::Worker;
use crate::config::{Listener, Role};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Peer, Phase, Reason, Side, Snapshot, StreamId, StreamRecord};
use eyesplice_proto::stream as legs;
use eyesplice_sys::ring::{self, Fd};
use eyesplice_sys::socket::{self, Address};
use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Whose streams are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerKey {
    Uid(u32),
    Ip(IpAddr),
}

/// A connection that asks to be a stream.
pub(crate) struct Candidate {
    pub(crate) cx: Rc<StreamContext>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) downstream: Box<Leg>,
    pub(crate) record: Box<StreamRecord>,
    pub(crate) role: Role,
    pub(crate) place: Place,
}

/// Admits a connection that needs no handshake.
pub(crate) fn arrived(worker: &Rc<Worker>, arrival: Arrival) {
    let Arrival {
        listener: Listener { name, role },
        accepted,
        place,
        ..
    } = arrival;
    let snapshot = worker.desk().snapshot();
    let fd = Fd::from(accepted.fd);
    let peer = match accepted.peer {
        Address::Ip(address) => {
            worker.desk().liveness.apply(&fd);
            Peer::Tcp {
                address,
                identity: None,
            }
        }
        Address::Unix => {
            let Ok(credentials) = socket::peer_credentials(fd.as_fd()) else {
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
    let record = StreamRecord::begun(&cx, name, peer, snapshot.generation);
    let candidate = Candidate {
        cx,
        snapshot,
        downstream: Box::new(Leg::new(fd, legs::Side::Downstream)),
        record: Box::new(record),
        role,
        place,
    };
    admit(worker, candidate);
}

/// Makes a stream of a connection, or refuses it.
pub(crate) fn admit(worker: &Rc<Worker>, candidate: Candidate) {
    let record = &candidate.record;
    let key = match record.peer {
        Peer::Unix { uid, .. } => PeerKey::Uid(uid),
        Peer::Tcp { address, .. } => PeerKey::Ip(address.ip()),
    };
    let Some(refusal) = limited(worker, &candidate, key) else {
        return spawn(worker, candidate, key);
    };
    worker.counters().limited.inc();
    if worker.refusing().get() < worker.refusals() {
        return refuse(worker, candidate, refusal);
    }
    if let Some(unsaid) = worker.gate().says(Notice::Closed) {
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
    let (limits, desk) = (&snapshot.admission, worker.desk());
    let room = worker.room().streams;
    if worker.streams().get() >= desk.share(limits.max_streams.min(room)) {
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
    let of_peer = worker.per_peer().get(&key).copied().unwrap_or(0);
    if of_peer >= desk.share(limits.max_streams_per_peer) {
        let words = format!(
            "peer is at its limit of {} streams; see limits.maxStreamsPerPeer",
            limits.max_streams_per_peer
        );
        return refusal(503, Reason::Limit, words);
    }
    None
}

fn spawn(worker: &Rc<Worker>, candidate: Candidate, key: PeerKey) {
    let Candidate {
        cx,
        snapshot,
        downstream,
        record,
        role,
        place,
    } = candidate;
    worker.streams().set(worker.streams().get() + 1);
    *worker.per_peer().entry(key).or_default() += 1;
    worker.counters().streams_live.inc();
    let guard = Live::new(worker, &cx, Counted::Stream(key), place);
    drop(ring::spawn(async move {
        let _guard = guard;
        stream::run(cx, snapshot, downstream, record, role).await;
    }));
}

fn refuse(worker: &Rc<Worker>, candidate: Candidate, refusal: End) {
    let Candidate {
        cx,
        snapshot,
        downstream,
        record,
        place,
        ..
    } = candidate;
    worker.refusing().set(worker.refusing().get() + 1);
    let guard = Live::new(worker, &cx, Counted::Refusal, place);
    let worker = Rc::clone(worker);
    drop(ring::spawn(async move {
        let _guard = guard;
        let denied = refusal.reason == Reason::Denied;
        let mut record = refuse_politely(cx, snapshot, downstream, record, refusal).await;
        if denied {
            // Whoever may not connect at all may do so as often as it likes.
            let Some(unsaid) = worker.gate().says(Notice::Uid) else {
                return;
            };
            if let (Some(detail), 1..) = (&record.detail, unsaid.count) {
                record.detail = Some(format!("{detail}{unsaid}").into());
            }
        }
        worker.desk().emit(record);
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
        worker.live().insert(cx.id(), Rc::clone(cx));
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
        worker.live().remove(&self.id);
        match self.counted {
            Counted::Refusal => less(worker.refusing()),
            Counted::Stream(key) => {
                less(worker.streams());
                let mut per_peer = worker.per_peer();
                if let Some(count) = per_peer.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        per_peer.remove(&key);
                    }
                }
                worker.counters().streams_live.dec();
            }
        }
        worker.ended();
    }
}

fn less(count: &Cell<usize>) {
    count.set(count.get() - 1);
}
