use super::*;
use crate::counters::WorkerCounters;
use crate::pool::Pools;
use eyesplice_proto::tls::provider;
use eyesplice_sys::uring::UringConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// A plain leg, its peer, and pools.
pub(super) fn leg() -> (Leg, UnixStream, Rc<Pools>) {
    let (ours, peer) = UnixStream::pair().unwrap();
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), Side::Downstream);
    (leg, peer, Pools::new(0, Arc::default()))
}

pub(super) fn wire(leg: &Leg, pools: &Rc<Pools>, payload: &[u8]) -> Wire {
    let mut buffer = pools.buffer();
    buffer[..payload.len()].copy_from_slice(payload);
    leg.seal(pools, buffer, payload.len(), Layout::Dense)
        .unwrap()
}

#[test]
fn what_is_owed_goes_out_ahead() {
    let (leg, mut peer, pools) = leg();
    leg.state.owed.borrow_mut().extend_from_slice(b"alert, ");
    let mut wire = wire(&leg, &pools, b"payload");
    assert!(!leg.send_now(&mut wire).unwrap());
    finish(leg, wire);
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "alert, payload");
}

#[test]
fn what_the_socket_took_at_once_is_not_sent_again() {
    let (leg, mut peer, pools) = leg();
    let payload: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    SockRef::from(&leg.fd).set_send_buffer_size(4096).unwrap();
    let mut wire = wire(&leg, &pools, &payload);
    assert!(!leg.send_now(&mut wire).unwrap());
    assert!(wire.sent > 0, "it takes a part");
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    finish(leg, wire);
    assert!(reader.join().unwrap() == payload);
}

#[test]
fn little_that_a_full_socket_leaves_holds_no_pooled_buffer() {
    let (ours, peer) = UnixStream::pair().unwrap();
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), Side::Downstream);
    let counters = Arc::new(WorkerCounters::default());
    let pools = Pools::new(0, Arc::clone(&counters));
    let mut filled = 0;
    while let Ok(sent) = socket::send(leg.fd.as_fd(), &[b'f'; 4096]) {
        filled += sent;
    }
    let finished = uring::run(&UringConfig::default(), async {
        for (payload, held) in [(SETTLED, 0), (SETTLED + 1, 1)] {
            let mut wire = wire(&leg, &pools, &vec![b'w'; payload]);
            assert_eq!(counters.buffers_in_use.value(), 1);
            let mut sending = pin!(leg.send(&mut wire));
            let mut once = Context::from_waker(Waker::noop());
            assert!(sending.as_mut().poll(&mut once).is_pending());
            assert_eq!(counters.buffers_in_use.value(), held, "{payload}");
            let expected = filled + payload;
            let mut reader = peer.try_clone().unwrap();
            let reading = thread::spawn(move || {
                let mut got = vec![0; expected];
                reader.read_exact(&mut got).unwrap();
                got
            });
            sending.await.unwrap();
            let got = reading.join().unwrap();
            assert!(got[filled..].iter().all(|byte| *byte == b'w'));
            filled = 0;
            while let Ok(sent) = socket::send(leg.fd.as_fd(), &[b'f'; 4096]) {
                filled += sent;
            }
        }
        drop(leg);
    });
    assert_eq!(finished.unwrap().stray_ops, 0);
    peer.shutdown(Shutdown::Both).unwrap();
}

/// A client that asks for key updates and reads none of their answers.
#[test]
fn peer_that_reads_nothing_is_owed_one_answer() {
    let (leg, mut peer, pools) = leg();
    SockRef::from(&leg.fd).set_send_buffer_size(4096).unwrap();
    let (mut client, server) = sessions();
    leg.push(server);
    let mut exchanged = vec![0; 64 << 10];
    client.process_new_packets().unwrap();
    while client.is_handshaking() || client.wants_write() {
        client.write_tls(&mut peer).unwrap();
        leg.read(&pools, &mut pools.buffer()).unwrap();
        peer.set_nonblocking(true).unwrap();
        if let Ok(got) = peer.read(&mut exchanged) {
            client.read_tls(&mut &exchanged[..got]).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    peer.set_nonblocking(false).unwrap();
    let mut most = 0;
    for _ in 0..3000 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"x").unwrap();
        client.write_tls(&mut peer).unwrap();
        let step = leg.read(&pools, &mut pools.buffer()).unwrap();
        assert_eq!(step.payload, 1);
        most = most.max(leg.state.owed.borrow().len());
    }
    assert!((1..=27).contains(&most), "{most} bytes");
}

/// A client of rustls, and a server session that it trusts.
fn sessions() -> (rustls::ClientConnection, Session) {
    sessions_of(rustls::DEFAULT_VERSIONS)
}

/// The same, of these versions.
pub(super) fn sessions_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (rustls::ClientConnection, Session) {
    let issued = rcgen::generate_simple_self_signed(vec!["kubelet.test".into()]).unwrap();
    let provider = provider::shared();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    server.send_tls13_tickets = 0;
    server.enable_secret_extraction = true;
    let name = "kubelet.test".try_into().unwrap();
    (
        rustls::ClientConnection::new(Arc::new(client), name).unwrap(),
        Session::server(Arc::new(server)).unwrap(),
    )
}

/// Sends what is left, and closes.
fn finish(leg: Leg, mut wire: Wire) {
    let sending = async { leg.send(&mut wire).await.unwrap() };
    let finished = uring::run(&UringConfig::default(), sending).unwrap();
    assert_eq!(finished.stray_ops, 0);
}

fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come");
        thread::yield_now();
    }
}

/// A plain leg over TCP whose peer sent `sent` and was reset behind it.
fn reset_leg(sent: &[u8]) -> (Leg, Rc<Pools>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(sent).unwrap();
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    // What lies in our kernel is not destroyed by a reset.
    until(|| socket::unacknowledged(peer.as_fd()).unwrap() == 0);
    drop(peer);
    ours.set_nonblocking(true).unwrap();
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), Side::Upstream);
    (leg, Pools::new(0, Arc::default()))
}

#[test]
fn a_reset_that_a_write_met_is_told_behind_what_came_before_it() {
    let (leg, pools) = reset_leg(b"early answer");
    // The kernel may take a while to hear of it.
    let mut told = None;
    until(|| {
        told = leg.send_now(&mut wire(&leg, &pools, b"upload")).err();
        told.is_some()
    });
    let Some(LegError::Gone(error)) = told else {
        panic!("{told:?}")
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut buffer = pools.buffer();
    let step = leg.read(&pools, &mut buffer).unwrap();
    assert_eq!(&buffer[..step.payload], b"early answer");
    for _ in 0..2 {
        let Err(LegError::Gone(error)) = leg.read(&pools, &mut buffer) else {
            panic!("a reset that looks like an end")
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_leg_that_is_gone_has_nothing_to_wait_for() {
    let (leg, _pools) = reset_leg(b"");
    until(|| leg.unacknowledged() == 0 && leg.not_lost().is_err());
}

#[test]
fn a_unix_leg_shows_a_cut_by_input_that_nobody_read() {
    let (leg, mut peer, _pools) = leg();
    assert!(leg.is_unix() && !leg.shows_a_cut());
    peer.write_all(b"x").unwrap();
    assert!(leg.shows_a_cut());
    drop(leg);
    let error = peer.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
