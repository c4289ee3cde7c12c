//! The door of a TCP listener: a connection waits here until its client has proved who it is.
//!
//! Until then it is no stream, and cheap: a small task that waits for a whole ClientHello, and a place
//! that the next one may need. A handshake, which costs a signature, begins only when its turn has come
//! (`gate.rs`), on the worker with the fewest streams. Addresses from which somebody authenticated
//! lately go before strangers in both. TCP_DEFER_ACCEPT would not help: a FIN counts as data there, and
//! silent connections would fill the kernel's queue, where nobody can tell who is known and send the
//! oldest away.

use crate::accept::admission::{self, Candidate};
use crate::accept::gate::{Asked, Limit, Notice, Turn};
use crate::accept::placement::{Arrival, Place};
use crate::accept::strangers::{Crowd, Entry, Seat, Source};
use crate::accept::worker::Worker;
use crate::config::Listener;
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::Leg;
use crate::reach::handshake::{self, TlsParty};
use crate::seam::{ListenerName, Peer, Phase, Reason, Side, Snapshot, StreamRecord};
use eyesplice_proto::stream as legs;
use eyesplice_proto::tls::{FirstRecord, RECORD_HEADER, first_record};
use eyesplice_sys::ring::{self, Fd, Interest};
use eyesplice_sys::socket::{self, Accepted};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// A worker's connections on which nobody has authenticated yet.
#[derive(Default)]
pub(crate) struct Lobby {
    crowd: RefCell<Crowd<Rc<Waiting>>>,
    closing: Cell<bool>,
}

/// One that waits.
#[derive(Default)]
struct Waiting {
    /// Its handshake has begun.
    begun: Cell<bool>,
    evicted: Notify,
}

impl Lobby {
    pub(crate) fn is_empty(&self) -> bool {
        self.crowd.borrow().is_empty()
    }

    /// Sends away who has not begun a handshake, as those in the backlog are when the listener closes.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        for waiting in self.crowd.borrow().handles() {
            if !waiting.begun.get() {
                waiting.evicted.notify_one();
            }
        }
    }

    /// Sends everybody away.
    pub(crate) fn abort(&self) {
        for waiting in self.crowd.borrow().handles() {
            waiting.evicted.notify_one();
        }
    }
}

/// A connection in the lobby; leaves it when dropped.
struct Guest {
    worker: Rc<Worker>,
    listener: Listener,
    address: SocketAddr,
    source: Source,
    since: Instant,
    seat: Seat,
    waiting: Rc<Waiting>,
}

impl Guest {
    /// Takes a place, if need be of the oldest; none where all have more right to one.
    fn enter(
        worker: &Rc<Worker>,
        listener: Listener,
        address: SocketAddr,
        since: Instant,
    ) -> Option<Self> {
        let source = Source::from(address.ip());
        let known = worker.gate().knows(source);
        let limit = worker.desk().snapshot().admission.max_unauthenticated;
        let room = worker
            .desk()
            .share(limit.min(worker.room().unauthenticated));
        let waiting = Rc::<Waiting>::default();
        let handle = Rc::clone(&waiting);
        let mut crowd = worker.lobby().crowd.borrow_mut();
        let seat = match crowd.enter((source, known), since, room, handle) {
            Entry::Free(seat) => seat,
            Entry::Instead(seat, oldest) => {
                // It is off the books; its task ends it.
                worker.counters().unauthenticated.dec();
                oldest.evicted.notify_one();
                seat
            }
            Entry::Full => {
                drop(crowd);
                worker.counters().unauthenticated_evicted.inc();
                let failure = evicted(worker);
                told(worker, &listener.name, (address, since), &failure);
                return None;
            }
        };
        drop(crowd);
        worker.counters().unauthenticated.inc();
        Some(Self {
            worker: Rc::clone(worker),
            listener,
            address,
            source,
            since,
            seat,
            waiting,
        })
    }

    async fn evicted(&self) -> End {
        self.waiting.evicted.notified().await;
        if self.worker.lobby().closing.get() {
            return End::new(Reason::Drained, Side::Local, Phase::Accept);
        }
        self.worker.counters().unauthenticated_evicted.inc();
        evicted(&self.worker)
    }

    /// Counts its end.
    fn told(&self, failure: &End) {
        let from = (self.address, self.since);
        told(&self.worker, &self.listener.name, from, failure);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let left = self.worker.lobby().crowd.borrow_mut().leave(self.seat);
        if left.is_some() {
            self.worker.counters().unauthenticated.dec();
        }
        self.worker.ended();
    }
}

fn evicted(worker: &Worker) -> End {
    let limits = &worker.desk().snapshot().admission;
    let limit = limits
        .max_unauthenticated
        .min(worker.room().unauthenticated);
    End::new(Reason::Limit, Side::Local, Phase::Accept).detail(format!(
        "closed to make room for others, as the oldest: nobody has authenticated on it, and at most \
         {limit} such connections are kept; see limits.maxUnauthenticated"
    ))
}

/// Takes in a connection that was accepted on a listener with TLS.
pub(crate) fn knock(worker: &Rc<Worker>, listener: Listener, accepted: Accepted, from: SocketAddr) {
    let Some(guest) = Guest::enter(worker, listener, from, Instant::now()) else {
        return cut(&Fd::from(accepted.fd));
    };
    let peer = accepted.peer;
    let fd = Fd::from(accepted.fd);
    drop(ring::spawn(async move {
        let outcome = tokio::select! {
            biased;
            failure = guest.evicted() => Err(failure),
            result = may_begin(&guest, &fd) => result,
        };
        if let Err(failure) = outcome {
            if failure.reason != Reason::Truncated {
                cut(&fd);
            }
            return guest.told(&failure);
        }
        let Ok(fd) = fd.try_into_owned() else {
            // Its only operation was awaited, so nothing holds it.
            return;
        };
        let worker = Rc::clone(&guest.worker);
        let accepted = Accepted { fd, peer };
        let (listener, since) = (guest.listener.clone(), guest.since);
        if let Some(arrival) = worker.place(listener, accepted, since) {
            guest.waiting.begun.set(true);
            let shaken = shake_hands(guest, Fd::from(arrival.accepted.fd), arrival.place);
            Box::pin(shaken).await;
        }
    }));
}

/// Goes on with a connection that another worker took in, and whose turn to shake hands has come.
pub(crate) fn arrived(worker: &Rc<Worker>, arrival: Arrival, from: SocketAddr) {
    let Arrival {
        listener,
        accepted,
        since,
        place,
    } = arrival;
    let fd = Fd::from(accepted.fd);
    match Guest::enter(worker, listener, from, since) {
        Some(guest) => {
            guest.waiting.begun.set(true);
            drop(ring::spawn(shake_hands(guest, fd, place)));
        }
        None => cut(&fd),
    }
}

/// Waits for a whole ClientHello, and then for the turn of its handshake.
async fn may_begin(guest: &Guest, fd: &Fd) -> Result<(), End> {
    let limit = guest.worker.desk().snapshot().admission.handshake_timeout;
    let costly = client_hello(fd, guest.since + limit)
        .await
        .map_err(|error| error.at(Side::Downstream, Phase::Accept))?;
    if costly {
        turn(guest).await?;
    }
    Ok(())
}

/// Waits until the first record is there; whether to answer it takes cryptography.
async fn client_hello(fd: &Fd, deadline: Instant) -> Result<bool, LegError> {
    let mut awaited = 1;
    loop {
        let mut header = [0; RECORD_HEADER];
        match socket::peek(fd.as_fd(), &mut header) {
            Ok(0) => return Err(LegError::Truncated),
            Ok(length) => match first_record(header.get(..length).unwrap_or_default()) {
                FirstRecord::Foreign => return readable(fd, 1).map(|()| false),
                FirstRecord::Needs(bytes) => {
                    if bytes > RECORD_HEADER && socket::unread(fd.as_fd())? >= bytes {
                        return readable(fd, 1).map(|()| true);
                    }
                    if bytes > awaited {
                        readable(fd, bytes)?;
                        awaited = bytes;
                    }
                }
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(LegError::Gone(error)),
        }
        let ready = ring::until(ring::poll(fd, Interest::READ), Some(deadline)).await?;
        if socket::unread(fd.as_fd())? >= awaited {
            continue;
        }
        if !ready.hangup() {
            // Memory is short, so the kernel wakes for less: the handshake takes it from here.
            return readable(fd, 1).map(|()| true);
        }
        return match socket::take_error(fd.as_fd())? {
            Some(error) => Err(LegError::Gone(error)),
            None => Err(LegError::Truncated),
        };
    }
}

fn readable(fd: &Fd, from: usize) -> Result<(), LegError> {
    socket::readable_from(fd.as_fd(), from).map_err(LegError::Gone)
}

/// Waits for the turn of a handshake.
async fn turn(guest: &Guest) -> Result<(), End> {
    let worker = &guest.worker;
    let limits = &worker.desk().snapshot().admission;
    let mut asked = Asked::First;
    loop {
        let mut news = std::pin::pin!(worker.gate().news.notified());
        news.as_mut().enable();
        match worker.gate().turn(guest.source, asked, limits) {
            Turn::Now => return Ok(()),
            Turn::In(wait) => {
                sleep(wait).await;
                return Ok(());
            }
            Turn::Ask(wait) => {
                asked = Asked::Waited;
                // Who is known meanwhile need not wait.
                let mut waited = std::pin::pin!(timeout(wait, async {
                    while !worker.gate().knows(guest.source) {
                        news.as_mut().await;
                        news.set(worker.gate().news.notified());
                    }
                }));
                let _ = waited.as_mut().await;
            }
            Turn::Never(limit) => return Err(limited(guest, limit)),
        }
    }
}

fn limited(guest: &Guest, limit: Limit) -> End {
    guest.worker.counters().handshakes_limited.inc();
    let limits = &guest.worker.desk().snapshot().admission;
    End::new(Reason::Limit, Side::Local, Phase::Accept).detail(limit.words(guest.source, limits))
}

/// Shakes hands, and makes a stream of a connection whose client has proved who it is.
async fn shake_hands(guest: Guest, fd: Fd, place: Place) {
    let worker = Rc::clone(&guest.worker);
    let snapshot = worker.desk().snapshot();
    worker.desk().liveness.apply(&fd);
    let cx = worker.context(guest.since);
    let downstream = Box::new(Leg::new(fd, legs::Side::Downstream));
    let outcome = tokio::select! {
        biased;
        failure = guest.evicted() => Err(failure),
        result = secured(&cx, &snapshot, &downstream, &guest) => result,
    };
    if let Err(failure) = outcome {
        if failure.reason == Reason::Limit {
            downstream.cut();
        }
        drop(downstream);
        return guest.told(&failure);
    }
    worker.gate().authenticated(guest.source);
    let peer = Peer::Tcp {
        address: guest.address,
        identity: handshake::identity(&cx, &downstream),
    };
    let Listener { name, role } = guest.listener.clone();
    drop(guest);
    let record = StreamRecord::begun(&cx, name, peer, snapshot.generation);
    let candidate = Candidate {
        cx,
        snapshot,
        downstream,
        record: Box::new(record),
        role,
        place,
    };
    admission::admit(&worker, candidate);
}

async fn secured(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    guest: &Guest,
) -> Result<(), End> {
    let failed = |error: LegError| {
        let mut failure = error.at(Side::Downstream, Phase::Accept);
        if failure.reason == Reason::Protocol {
            failure.reason = Reason::HandshakeFailed;
        }
        failure
    };
    let Some(tls) = snapshot.listener_tls.get(&guest.listener.name) else {
        // A listener never loses its TLS.
        return Err(End::new(Reason::Internal, Side::Local, Phase::Accept));
    };
    let party = TlsParty::Server(tls.clone());
    let limit = snapshot.admission.handshake_timeout;
    let left = limit.saturating_sub(guest.since.elapsed());
    handshake::run(cx, downstream, party, left)
        .await
        .map_err(failed)
}

/// Counts an end before anybody has authenticated. Whoever can connect can cause as many as it likes, so
/// only one a second of each kind reaches log and audit.
fn told(
    worker: &Worker,
    listener: &ListenerName,
    (address, since): (SocketAddr, Instant),
    failure: &End,
) {
    worker.counters().unauthenticated_ended.inc();
    let notice = Notice::Unauthenticated(failure.reason);
    let told = worker.gate().says(notice).is_some_and(|unsaid| {
        let mut failure = failure.clone();
        if unsaid.count > 0 {
            let detail = failure
                .detail
                .as_deref()
                .unwrap_or("nobody had authenticated");
            failure.detail = Some(format!("{detail}{unsaid}").into());
        }
        let cx = worker.context(since);
        let generation = worker.desk().generation();
        let record = StreamRecord::of_tcp(&cx, Arc::clone(listener), address, generation);
        worker.desk().offer(record.ended(&cx, &failure))
    });
    if !told {
        worker.counters().unauthenticated_untold.inc();
    }
}

/// Closes without a word and without a trace: a reset leaves no connection behind in the kernel.
fn cut(fd: &Fd) {
    // Should that fail, it is closed all the same.
    let _ = socket::linger_zero(fd.as_fd());
}
