//! The door of a TCP listener: a connection waits here until its client has proved who it is.
//!
//! Until then it is no stream, and cheap: a small task that waits for a whole ClientHello, and a
//! place that the next one may need. A handshake, which costs a signature, begins only when its
//! turn has come (`gate.rs`), on the worker with the fewest streams. Addresses from which somebody
//! authenticated lately go before strangers in both. TCP_DEFER_ACCEPT would not help: a FIN counts
//! as data there, and silent connections would fill the kernel's queue, where nobody can tell who
//! is known and send the oldest away.

use crate::accept::admission;
use crate::accept::gate::{Asked, Limit, Notice, Turn};
use crate::accept::lobby::Waiting;
use crate::accept::placement::{Arrival, Connection, Place};
use crate::accept::strangers::{Entry, Seat, Source};
use crate::accept::stream::Candidate;
use crate::accept::tunnel;
use crate::accept::worker::Worker;
use crate::config::{Listener, Role};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::{Bound, Leg};
use crate::reach::handshake::{self, TlsParty};
use crate::seam::{ListenerName, Peer, Phase, Reason, Side, Snapshot, StreamRecord};
use eyesplice_proto::stream as legs;
use eyesplice_proto::tls::{FirstRecord, RECORD_HEADER, first_record};
use eyesplice_sys::socket::{self, Address};
use eyesplice_sys::uring::{self, Fd, Interest};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::{sleep, timeout};

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
        let known = worker.gate.knows(source);
        let limit = worker.desk.snapshot().admission.max_unauthenticated;
        let room = worker.desk.share(limit.min(worker.room.unauthenticated));
        let of_agent = listener.role == Role::Tunnel;
        let waiting = Rc::new(Waiting {
            of_agent,
            ..Waiting::default()
        });
        let handle = Rc::clone(&waiting);
        let mut crowd = worker.lobby.crowd.borrow_mut();
        let seat = match crowd.enter((source, known), since, room, handle) {
            Entry::Free(seat) => seat,
            Entry::Instead(seat, oldest) => {
                // It is off the books; its task ends it.
                worker.desk.counters.unauthenticated.dec();
                oldest.evicted.notify_one();
                seat
            }
            Entry::Full => {
                drop(crowd);
                worker.desk.counters.unauthenticated_evicted.inc();
                let failure = evicted(worker);
                told(worker, &listener.name, (address, since), &failure);
                return None;
            }
        };
        drop(crowd);
        worker.desk.counters.unauthenticated.inc();
        let clients = &worker.lobby.clients;
        clients.set(clients.get() + usize::from(!of_agent));
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
        if self.worker.lobby.closing.get() {
            return End::new(Reason::Drained, Side::Local, Phase::Accept);
        }
        self.worker.desk.counters.unauthenticated_evicted.inc();
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
        let left = self.worker.lobby.crowd.borrow_mut().leave(self.seat);
        if left.is_some() {
            self.worker.desk.counters.unauthenticated.dec();
        }
        let clients = &self.worker.lobby.clients;
        clients.set(clients.get() - usize::from(!self.waiting.of_agent));
        self.worker.ended();
    }
}

fn evicted(worker: &Worker) -> End {
    let limits = &worker.desk.snapshot().admission;
    let limit = limits.max_unauthenticated.min(worker.room.unauthenticated);
    End::new(Reason::Limit, Side::Local, Phase::Accept).detail(format!(
        "closed to make room for others, as the oldest: nobody has authenticated on it, and at most \
         {limit} such connections are kept; see limits.maxUnauthenticated"
    ))
}

/// Takes in a connection that was accepted on a listener with TLS.
pub(crate) fn knock(worker: &Rc<Worker>, listener: Listener, fd: OwnedFd, from: SocketAddr) {
    let fd = Fd::from(fd);
    let Some(guest) = Guest::enter(worker, listener, from, Instant::now()) else {
        return cut(&fd);
    };
    drop(uring::spawn(async move {
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
        if let Some(Arrival { connection, place }) = place(&guest, fd) {
            guest.waiting.begun.set(true);
            let leg = Box::new(Leg::from_parts(connection.leg));
            Box::pin(shake_hands(guest, leg, place)).await;
        }
    }));
}

/// Gives a connection whose turn has come to the worker that will carry it; returns it if that is
/// this one.
fn place(guest: &Guest, fd: Fd) -> Option<Arrival> {
    match Box::new(Leg::new(fd, legs::Side::Downstream)).into_parts() {
        Ok(leg) => guest.worker.place(Connection {
            listener: guest.listener.clone(),
            leg,
            peer: Address::Ip(guest.address),
            since: guest.since,
            carried: None,
        }),
        // All that waited on it was awaited.
        Err(Bound { leg, by }) => {
            let listener = &guest.listener.name;
            tracing::error!(%listener, "cannot place a connection: {by}; this is a bug");
            leg.cut();
            None
        }
    }
}

/// Goes on with a connection that another worker took in, and whose turn to shake hands has come.
pub(crate) fn arrived(worker: &Rc<Worker>, arrival: Arrival, from: SocketAddr) {
    let Arrival { connection, place } = arrival;
    let leg = Box::new(Leg::from_parts(connection.leg));
    match Guest::enter(worker, connection.listener, from, connection.since) {
        Some(guest) => {
            guest.waiting.begun.set(true);
            drop(uring::spawn(shake_hands(guest, leg, place)));
        }
        None => leg.cut(),
    }
}

/// Waits for a whole ClientHello, and then for the turn of its handshake.
async fn may_begin(guest: &Guest, fd: &Fd) -> Result<(), End> {
    let limit = guest.worker.desk.snapshot().admission.handshake_timeout;
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
        let ready = uring::until(uring::poll(fd, Interest::READ), Some(deadline)).await?;
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
    let limits = &worker.desk.snapshot().admission;
    let mut asked = Asked::First;
    loop {
        let mut news = std::pin::pin!(worker.gate.news.notified());
        news.as_mut().enable();
        match worker.gate.turn(guest.source, asked, limits) {
            Turn::Now => return Ok(()),
            Turn::In(wait) => {
                sleep(wait).await;
                return Ok(());
            }
            Turn::Ask(wait) => {
                asked = Asked::Waited;
                // Who is known meanwhile need not wait.
                let mut waited = std::pin::pin!(timeout(wait, async {
                    while !worker.gate.knows(guest.source) {
                        news.as_mut().await;
                        news.set(worker.gate.news.notified());
                    }
                }));
                let _ = waited.as_mut().await;
            }
            Turn::Never(limit) => return Err(limited(guest, limit)),
        }
    }
}

fn limited(guest: &Guest, limit: Limit) -> End {
    guest.worker.desk.counters.handshakes_limited.inc();
    let limits = &guest.worker.desk.snapshot().admission;
    End::new(Reason::Limit, Side::Local, Phase::Accept).detail(limit.words(guest.source, limits))
}

/// Shakes hands, and makes a stream of a connection whose client has proved who it is.
async fn shake_hands(guest: Guest, downstream: Box<Leg>, place: Place) {
    let worker = Rc::clone(&guest.worker);
    let snapshot = worker.desk.snapshot();
    let cx = worker.context(guest.since);
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
    // A front's handshake shows that a client has a key, not whose.
    let front = guest.listener.role == Role::Front;
    if !front {
        worker.gate.authenticated(guest.source, &snapshot.admission);
    }
    if guest.listener.role == Role::Tunnel {
        // No stream, so no place.
        return tunnel::arrived(&worker, cx, downstream, guest.address);
    }
    let identity = match front {
        true => None,
        false => handshake::identity(&cx, &downstream),
    };
    let peer = Peer::Tcp {
        address: guest.address,
        identity,
    };
    let Listener { name, role } = guest.listener.clone();
    drop(guest);
    let mut record = StreamRecord::begun(&cx, name, peer, snapshot.generation);
    record.key_exchange.listener = downstream.group();
    let candidate = Candidate {
        cx,
        snapshot,
        downstream,
        record: Box::new(record),
        role,
    };
    admission::admit(&worker, candidate, place);
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

/// Counts an end before anybody has authenticated. Whoever can connect can cause as many as it
/// likes, so only one a second of each kind reaches log and audit.
fn told(
    worker: &Worker,
    listener: &ListenerName,
    (address, since): (SocketAddr, Instant),
    failure: &End,
) {
    worker.desk.counters.unauthenticated_ended.inc();
    let notice = Notice::Unauthenticated(failure.reason);
    let told = worker.gate.says(notice).is_some_and(|unsaid| {
        let mut failure = failure.clone();
        if unsaid.count > 0 {
            let detail = failure
                .detail
                .as_deref()
                .unwrap_or("nobody had authenticated");
            failure.detail = Some(format!("{detail}{unsaid}").into());
        }
        let cx = worker.context(since);
        let generation = worker.desk.generation();
        let record = StreamRecord::of_tcp(&cx, Arc::clone(listener), address, generation);
        worker.desk.offer(record.ended(&cx, &failure))
    });
    if !told {
        worker.desk.counters.unauthenticated_untold.inc();
    }
}

/// Closes without a word and without a trace: a reset leaves no connection behind in the kernel.
fn cut(fd: &Fd) {
    // Should that fail, it is closed all the same.
    let _ = socket::linger_zero(fd.as_fd());
}
