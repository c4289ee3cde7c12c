//! Key exchange groups: which one is agreed on, what it costs in flights and bytes, and what is
//! said where there is none.

use super::super::*;
use super::{Inbox, Pair, handshake, issued, record};
use rustls::version::{TLS12, TLS13};

/// Bytes of payload that TCP carries in one packet of an Ethernet.
const PACKET: usize = 1460;

fn only(groups: &[Group]) -> Groups {
    Groups::only(groups).unwrap()
}

/// Ends that allow these groups.
fn pair(
    version: &'static rustls::SupportedProtocolVersion,
    client: Groups,
    server: Groups,
) -> Pair {
    let (roots, chain, key) = issued();
    let mut serving = ServerConfig::builder_with_provider(provider::allowing(server))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    serving.send_tls13_tickets = 0;
    serving.enable_secret_extraction = true;
    let mut asking = ClientConfig::builder_with_provider(provider::allowing(client))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    asking.enable_secret_extraction = true;
    let name = "kubelet.test".try_into().unwrap();
    Pair {
        client: Session::client(Arc::new(asking), name).unwrap(),
        server: Session::server(Arc::new(serving)).unwrap(),
    }
}

/// The client's flights until both ends are established, as they went out.
fn flights(pair: &mut Pair) -> Vec<Vec<u8>> {
    let mut flights = Vec::new();
    let (mut to_client, mut to_server) = (Inbox::default(), Inbox::default());
    to_client.feed(&mut pair.client, &[]).unwrap();
    while pair.client.is_handshaking() || pair.server.is_handshaking() {
        let flight = pair.client.take_outgoing();
        to_server.feed(&mut pair.server, &flight).unwrap();
        flights.push(flight);
        let answer = pair.server.take_outgoing();
        to_client.feed(&mut pair.client, &answer).unwrap();
    }
    flights
}

#[test]
fn each_group_alone_is_agreed_on_and_known_before_and_after_the_first_record() {
    for group in Group::BUILT {
        for version in [&TLS13, &TLS12] {
            if *group == Group::X25519MlKem768 && version.version == ProtocolVersion::TLSv1_2 {
                continue;
            }
            let mut pair = pair(version, Groups::default(), only(&[*group]));
            handshake(&mut pair, usize::MAX).unwrap();
            for _ in 0..2 {
                assert_eq!(pair.client.group(), Some(*group));
                assert_eq!(pair.server.group(), Some(*group));
                let wire = record(&mut pair.client, 23, b"payload");
                Inbox::default().feed(&mut pair.server, &wire).unwrap();
            }
        }
    }
}

#[test]
fn preferred_group_is_agreed_on_where_both_have_it() {
    let mut pair = pair(&TLS13, Groups::default(), Groups::default());
    handshake(&mut pair, usize::MAX).unwrap();
    assert_eq!(pair.server.group(), Group::BUILT.first().copied());
}

#[test]
fn hello_with_the_hybrid_takes_two_packets_and_may_be_cut_anywhere() {
    if !Group::X25519MlKem768.is_built() {
        return;
    }
    let mut whole = pair(&TLS13, Groups::default(), Groups::default());
    let hello = flights(&mut whole).remove(0);
    assert!(
        (PACKET..2 * PACKET).contains(&hello.len()),
        "{}",
        hello.len()
    );
    for cut in (1..hello.len()).step_by(61).chain([PACKET]) {
        let mut server = pair(&TLS13, Groups::default(), Groups::default()).server;
        let mut inbox = Inbox::default();
        inbox.feed(&mut server, &hello[..cut]).unwrap();
        assert!(!server.has_outgoing(), "{cut}");
        inbox.feed(&mut server, &hello[cut..]).unwrap();
        assert!(server.has_outgoing(), "{cut}");
    }
}

/// A share of X25519 comes with that of the hybrid, so both are agreed on at once.
#[test]
fn another_group_than_a_client_has_shares_of_takes_one_flight_more() {
    let (p256, all) = (only(&[Group::P256]), Groups::default());
    for (server, more) in [
        (all, 0),
        (only(&[Group::X25519]), 0),
        (p256, 1),
        (only(&[Group::P384]), 1),
    ] {
        let mut pair = pair(&TLS13, all, server);
        assert_eq!(flights(&mut pair).len(), 2 + more, "{server}");
        assert!(
            pair.server
                .group()
                .is_some_and(|group| server.contains(group))
        );
    }
    // After the server asked for another group, byte by byte.
    let mut pair = pair(&TLS13, all, p256);
    handshake(&mut pair, 1).unwrap();
    assert_eq!(pair.client.group(), Some(Group::P256));
}

#[test]
fn ends_without_a_group_in_common_say_what_each_has() {
    for version in [&TLS13, &TLS12] {
        let ours = only(&[Group::X25519]);
        let mut pair = pair(version, only(&[Group::P256, Group::P384]), ours);
        let mut to_server = Inbox::default();
        pair.client.receive(&mut []).unwrap();
        let hello = pair.client.take_outgoing();
        // However it comes.
        let (start, end) = hello.split_at(100);
        to_server.feed(&mut pair.server, start).unwrap();
        let error = to_server.feed(&mut pair.server, end).unwrap_err();
        let words = error.hint().unwrap();
        assert!(
            words.contains("groups CurveP256, CurveP384; allowed here are X25519"),
            "{words}"
        );

        let alert = pair.server.take_outgoing();
        let error = Inbox::default().feed(&mut pair.client, &alert).unwrap_err();
        assert_eq!(error.peer_alert(), Some(AlertDescription::HandshakeFailure));
        let words = error.hint().unwrap();
        assert!(words.contains("groups CurveP256, CurveP384)"), "{words}");
    }
}
