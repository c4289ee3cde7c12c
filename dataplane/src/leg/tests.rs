use super::*;
use crate::pool::Pools;
use eyesplice_sys::ring::RingConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use socket2::SockRef;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

/// A plain leg, its peer, and pools.
fn leg() -> (Leg, UnixStream, Rc<Pools>) {
    let (ours, peer) = UnixStream::pair().unwrap();
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), Side::Downstream);
    (leg, peer, Pools::new(0, Arc::default()))
}

fn wire(leg: &Leg, pools: &Rc<Pools>, payload: &[u8]) -> Wire {
    let mut buffer = pools.buffer();
    buffer[..payload.len()].copy_from_slice(payload);
    leg.seal(pools, buffer, payload.len(), Layout::Dense)
        .unwrap()
}

#[test]
fn what_is_owed_goes_out_ahead() {
    let (leg, mut peer, pools) = leg();
    leg.owed.borrow_mut().extend_from_slice(b"alert, ");
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
        most = most.max(leg.owed.borrow().len());
    }
    assert!((1..=27).contains(&most), "{most} bytes");
}

/// A client of rustls, and a server session that it trusts.
fn sessions() -> (rustls::ClientConnection, Session) {
    let issued = rcgen::generate_simple_self_signed(vec!["kubelet.test".into()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
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
fn finish(leg: Leg, wire: Wire) {
    let sending = async { leg.send(&wire).await.unwrap() };
    let finished = ring::run(&RingConfig::default(), sending).unwrap();
    assert_eq!(finished.stray_ops, 0);
}
