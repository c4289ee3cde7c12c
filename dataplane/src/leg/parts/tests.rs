//! Legs that move from worker to worker in the middle of a stream.

use super::*;
use crate::config::KtlsPolicy;
use crate::counters::WorkerCounters;
use crate::end::LegError;
use crate::ktls::{Carrier, Ktls, supported_ciphers};
use crate::leg::tests::{leg, sessions_of, wire};
use crate::leg::{Next, Wire};
use crate::pool::Pools;
use eyesplice_sys::socket;
use eyesplice_sys::uring::{self, UringConfig};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pieces each way; what moves between them is cut at another place each time.
const ROUNDS: usize = 8;

type Version = &'static SupportedProtocolVersion;

/// What carries a leg's payload.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Tls(Version),
    Nested(Version),
    Kernel(Version),
}

/// How the peer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Truncated,
    Reset,
}

/// What a leg read, and how it met the end.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    End,
    Truncated,
    Reset,
}

#[test]
fn plain_leg_moves_within_a_stream() {
    moves(Kind::Plain);
}

#[test]
fn tls_leg_moves_within_a_stream_and_its_records() {
    moves(Kind::Tls(&TLS12));
    moves(Kind::Tls(&TLS13));
}

#[test]
fn tls_in_tls_moves_within_both_streams() {
    moves(Kind::Nested(&TLS12));
    moves(Kind::Nested(&TLS13));
}

#[test]
fn leg_in_the_kernel_moves_within_a_stream_and_its_records() {
    if supported_ciphers(KtlsPolicy::Auto).is_empty() {
        assert!(std::env::var_os("EYESPLICE_KTLS_GUEST").is_none());
        // `scripts/ktls-guest` runs it, as a step of `scripts/test`.
        return;
    }
    moves(Kind::Kernel(&TLS12));
    moves(Kind::Kernel(&TLS13));
}

fn moves(kind: Kind) {
    for end in [End::Clean, End::Truncated, End::Reset] {
        let (mut leg, mut peer) = connected(kind);
        let mut bytes = Bytes(1);
        let mut kept = 0;
        for round in 0..ROUNDS {
            if matches!(kind, Kind::Tls(v) | Kind::Nested(v) if v.version == TLS13.version)
                && round % 3 == 2
            {
                peer.refresh_keys();
            }
            let (up, down) = (bytes.piece(40_000), bytes.piece(40_000));
            let wire = peer.seal(&up);
            let cut = bytes.below(wire.len());
            peer.send(&wire[..cut]);
            let (moved, (mut got, within)) = on_a_worker(
                leg,
                async |leg, pools| {
                    let mut got = what_is_there(leg, pools);
                    let within = leg.with_top(|top| top.pending_len()).unwrap_or(0);
                    leg.unread(&got.split_off(got.len() / 2));
                    let first = &down[..down.len() / 2];
                    leg.write(pools, first).await.unwrap();
                    (got, within)
                },
                || {},
            );
            kept += within;
            peer.send(&wire[cut..]);
            let (moved, rest) = on_a_worker(
                moved,
                async |leg, pools| {
                    let rest = read(leg, pools, up.len() - got.len()).await;
                    let second = &down[down.len() / 2..];
                    leg.write(pools, second).await.unwrap();
                    rest
                },
                || {},
            );
            leg = moved;
            got.extend(rest);
            assert!(got == up, "{kind:?}, upwards in round {round}");
            assert!(peer.receive(down.len()) == down, "{kind:?}, {round}");
        }
        if matches!(kind, Kind::Tls(_) | Kind::Nested(_)) {
            assert!(kept > 0, "{kind:?} never moved within a record");
        }
        ends(kind, end, leg, peer);
    }
}

/// The peer ends within what moves, and what the leg knows of it moves, too.
fn ends(kind: Kind, end: End, leg: Parts, mut peer: Peer) {
    let last = Bytes(7).piece(20_000);
    let wire = peer.seal(&last);
    let cut = wire.len() - 7;
    peer.send(&wire[..cut]);
    let take = async |leg: &Leg, pools: &Rc<Pools>| what_is_there(leg, pools);
    let (leg, mut got) = on_a_worker(leg, take, || {});
    match end {
        End::Clean => {
            let rest = [&wire[cut..], &peer.close_notify()].concat();
            peer.send(&rest);
            peer.socket.shutdown(Shutdown::Write).unwrap();
        }
        End::Truncated => peer.socket.shutdown(Shutdown::Write).unwrap(),
        End::Reset => {
            let linger = SockRef::from(&peer.socket).set_linger(Some(Duration::ZERO));
            linger.unwrap();
            peer.socket = pair().0;
        }
    }
    let (leg, (rest, met)) = on_a_worker(leg, read_to_end, || {});
    got.extend(rest);
    match end {
        End::Clean => assert!(got == last, "{kind:?}"),
        End::Truncated | End::Reset => assert!(last.starts_with(&got), "{kind:?}"),
    }
    let expected = match (end, kind) {
        (End::Clean, _) | (End::Truncated, Kind::Plain) => Met::End,
        (End::Truncated, _) => Met::Truncated,
        (End::Reset, _) => Met::Reset,
    };
    assert_eq!(met, expected, "{kind:?}");
    let (leg, again) = on_a_worker(leg, read_to_end, || {});
    assert_eq!(again, (vec![], expected), "{kind:?}, asked again");
    if end == End::Reset {
        return;
    }
    let (leg, ()) = on_a_worker(
        leg,
        async |leg, pools| {
            leg.write(pools, &last).await.unwrap();
            match end {
                End::Clean => leg.shut_write(pools).await.unwrap(),
                _ => leg.truncate(),
            }
        },
        || {},
    );
    let (told, closed) = peer.receive_to_end();
    assert!(told == last, "{kind:?}");
    let tells = end == End::Clean && !matches!(kind, Kind::Plain);
    assert_eq!(closed, tells, "{kind:?}");
    assert!(Leg::from_parts(leg).is_shut());
}

#[test]
fn leg_with_an_operation_in_flight_stays_until_it_has_completed() {
    let (leg, _peer, _pools) = leg();
    let finished = uring::run(&UringConfig::default(), async {
        let op = leg.readable();
        let bound = Box::new(leg).into_parts().err().unwrap();
        assert_eq!(bound.by, Holder::Operation);
        // Its cancellation takes until the next turn of the ring.
        drop(op);
        let bound = bound.leg.into_parts().err().unwrap();
        assert_eq!(bound.by, Holder::Operation);
        uring::drained().await;
        let watch = bound.leg.watch().unwrap();
        let bound = bound.leg.into_parts().err().unwrap();
        assert_eq!(bound.by, Holder::Operation);
        drop(watch);
        assert!(bound.leg.into_parts().is_ok());
    });
    assert_eq!(finished.unwrap().stray_ops, 0);
}

#[test]
fn leg_within_a_write_that_was_given_up_stays() {
    let (leg, _peer, pools) = leg();
    let finished = uring::run(&UringConfig::default(), async {
        while socket::send(leg.fd.as_fd(), &[b'f'; 4096]).is_ok() {}
        let mut wire: Wire = wire(&leg, &pools, b"record");
        {
            let mut sending = pin!(leg.send(&mut wire));
            let mut once = Context::from_waker(Waker::noop());
            assert!(sending.as_mut().poll(&mut once).is_pending());
        }
        uring::drained().await;
        let bound = Box::new(leg).into_parts().err().unwrap();
        assert_eq!(bound.by, Holder::Write);
    });
    assert_eq!(finished.unwrap().stray_ops, 0);
}

#[test]
fn what_a_peer_is_owed_moves_and_goes_out_ahead() {
    let (leg, mut peer, _pools) = leg();
    leg.state.owed.borrow_mut().extend_from_slice(b"alert, ");
    let parts = Box::new(leg).into_parts().ok().unwrap();
    let write = async |leg: &Leg, pools: &Rc<Pools>| leg.write(pools, b"payload").await.unwrap();
    drop(on_a_worker(parts, write, || {}));
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "alert, payload");
}

/// Puts a leg together on a worker of its own, works with it, and takes it off again, while the
/// peer does its part here.
fn on_a_worker<T: Send>(
    parts: Parts,
    work: impl AsyncFnOnce(&Leg, &Rc<Pools>) -> T + Send,
    peer: impl FnOnce(),
) -> (Parts, T) {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let finished = uring::run(&UringConfig::default(), async move {
                let leg = Box::new(Leg::from_parts(parts));
                let pools = Pools::new(0, Arc::default());
                let done = work(&leg, &pools).await;
                (leg.into_parts().ok().unwrap(), done)
            });
            let finished = finished.unwrap();
            assert_eq!(finished.stray_ops, 0);
            finished.output
        });
        peer();
        worker.join().unwrap()
    })
}

/// A leg after its handshakes, and its peer.
fn connected(kind: Kind) -> (Parts, Peer) {
    let (socket, ours) = pair();
    ours.set_nonblocking(true).unwrap();
    let layers = vec![];
    let mut peer = Peer { socket, layers };
    let mut parts = Parts::new(ours.into(), Side::Downstream);
    let (version, sessions, kernel) = match kind {
        Kind::Plain => return (parts, peer),
        Kind::Tls(version) => (version, 1, false),
        Kind::Nested(version) => (version, 2, false),
        Kind::Kernel(version) => (version, 1, true),
    };
    // The probe makes rings of its own.
    let ktls = kernel.then(|| Ktls::new(KtlsPolicy::Require, supported_ciphers(KtlsPolicy::Auto)));
    for _ in 0..sessions {
        let (mut client, server) = sessions_of(&[version]);
        client.set_buffer_limit(None);
        let shake = async |leg: &Leg, pools: &Rc<Pools>| {
            let counters = WorkerCounters::default();
            if let Some(ktls) = &ktls {
                assert!(ktls.prepare(&counters, &leg.fd).unwrap());
            }
            leg.push(server);
            let deadline = Instant::now() + PATIENCE;
            leg.handshake(pools, deadline, kernel).await.unwrap();
            if let Some(ktls) = &ktls {
                let session = leg.pop().unwrap();
                match ktls.take_over(&counters, &leg.fd, session).unwrap() {
                    Carrier::Kernel(session) => leg.set_kernel(session),
                    Carrier::User(_) => panic!("it is required"),
                }
            }
        };
        (parts, ()) = on_a_worker(parts, shake, || peer.shake_hands(client));
    }
    (parts, peer)
}

/// All payload of what the kernel has, which is all that was sent.
fn what_is_there(leg: &Leg, pools: &Rc<Pools>) -> Vec<u8> {
    let mut got = vec![];
    loop {
        let mut buffer = pools.buffer();
        let step = leg.read(pools, &mut buffer).unwrap();
        got.extend_from_slice(&buffer[..step.payload]);
        match step.next {
            Next::Read => {}
            Next::Wait => return got,
            Next::End => panic!("an end that nobody made"),
        }
    }
}

async fn readable(leg: &Leg) {
    let deadline = Some(Instant::now() + PATIENCE);
    uring::until(leg.readable(), deadline).await.unwrap();
}

/// So many bytes of payload; more is kept unread.
async fn read(leg: &Leg, pools: &Rc<Pools>, wanted: usize) -> Vec<u8> {
    let mut got = vec![];
    while got.len() < wanted {
        let step = {
            let mut buffer = pools.buffer();
            let step = leg.read(pools, &mut buffer).unwrap();
            got.extend_from_slice(&buffer[..step.payload]);
            step
        };
        if got.len() < wanted && step.next == Next::Wait {
            readable(leg).await;
        }
    }
    leg.unread(&got.split_off(wanted));
    got
}

async fn read_to_end(leg: &Leg, pools: &Rc<Pools>) -> (Vec<u8>, Met) {
    let mut got = vec![];
    loop {
        let step = {
            let mut buffer = pools.buffer();
            let step = leg.read(pools, &mut buffer);
            let payload = step.as_ref().map_or(0, |step| step.payload);
            got.extend_from_slice(&buffer[..payload]);
            step
        };
        match step.map(|step| step.next) {
            Ok(Next::Read) => {}
            Ok(Next::Wait) => readable(leg).await,
            Ok(Next::End) => return (got, Met::End),
            Err(LegError::Truncated) => return (got, Met::Truncated),
            Err(LegError::Gone(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                return (got, Met::Reset);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    one.set_read_timeout(Some(PATIENCE)).unwrap();
    (one, listener.accept().unwrap().0)
}

/// The other end of a leg: rustls, and its own record layer.
struct Peer {
    socket: TcpStream,
    /// From the socket outwards.
    layers: Vec<ClientConnection>,
}

impl Peer {
    /// Adds a session, whose handshake passes through those that are there.
    fn shake_hands(&mut self, client: ClientConnection) {
        self.layers.push(client);
        loop {
            self.flush();
            if !self.layers.last().unwrap().is_handshaking() {
                return;
            }
            let bytes = self.read();
            assert!(!bytes.is_empty(), "an end within the handshake");
            self.open(bytes);
        }
    }

    fn refresh_keys(&mut self) {
        for layer in &mut self.layers {
            layer.refresh_traffic_keys().unwrap();
        }
    }

    /// The wire bytes of some payload, and of what waits in front of it.
    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = payload.to_vec();
        for layer in self.layers.iter_mut().rev() {
            layer.writer().write_all(&bytes).unwrap();
            bytes = written(layer);
        }
        bytes
    }

    fn close_notify(&mut self) -> Vec<u8> {
        let mut wire = vec![];
        for top in (0..self.layers.len()).rev() {
            self.layers[top].send_close_notify();
            wire.extend(self.outgoing(top));
        }
        wire
    }

    /// What layer `top` has to say, sealed by those below it.
    fn outgoing(&mut self, top: usize) -> Vec<u8> {
        let mut bytes = written(&mut self.layers[top]);
        for layer in self.layers[..top].iter_mut().rev() {
            layer.writer().write_all(&bytes).unwrap();
            bytes = written(layer);
        }
        bytes
    }

    fn flush(&mut self) {
        for top in (0..self.layers.len()).rev() {
            let bytes = self.outgoing(top);
            self.socket.write_all(&bytes).unwrap();
        }
    }

    /// Sends, and waits until the leg's kernel has it.
    fn send(&mut self, wire: &[u8]) {
        self.socket.write_all(wire).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while socket::unacknowledged(self.socket.as_fd()).unwrap() > 0 {
            assert!(Instant::now() < deadline, "it is not taken");
            thread::yield_now();
        }
    }

    fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(length) => {
                    bytes.truncate(length);
                    return bytes;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
        }
    }

    fn open(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for layer in &mut self.layers {
            let mut wire = &bytes[..];
            let mut payload = vec![];
            while !wire.is_empty() && layer.read_tls(&mut wire).unwrap() > 0 {
                layer.process_new_packets().unwrap();
                // An end and a pause look alike here; `closed` tells.
                let _ = layer.reader().read_to_end(&mut payload);
            }
            bytes = payload;
        }
        bytes
    }

    fn receive(&mut self, wanted: usize) -> Vec<u8> {
        let mut got = vec![];
        while got.len() < wanted {
            let bytes = self.read();
            assert!(!bytes.is_empty(), "an end that nobody made");
            got.extend(self.open(bytes));
        }
        self.flush();
        got
    }

    /// What comes until the socket ends, and whether every session had ended before.
    fn receive_to_end(&mut self) -> (Vec<u8>, bool) {
        let mut got = vec![];
        loop {
            let bytes = self.read();
            if bytes.is_empty() {
                break;
            }
            got.extend(self.open(bytes));
        }
        let closed =
            |layer: &mut ClientConnection| layer.process_new_packets().unwrap().peer_has_closed();
        let closed = self
            .layers
            .iter_mut()
            .filter_map(|l| closed(l).then_some(()));
        let closed = closed.count();
        (got, closed > 0 && closed == self.layers.len())
    }
}

fn written(layer: &mut ClientConnection) -> Vec<u8> {
    let mut wire = vec![];
    while layer.wants_write() {
        layer.write_tls(&mut wire).unwrap();
    }
    wire
}

/// Bytes and places that are the same in every run.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        1 + self.next() as usize % (bound - 1)
    }

    fn piece(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length.max(8)).map(|_| self.next() as u8).collect()
    }
}
