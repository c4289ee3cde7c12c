//! Key exchange groups on every leg: the post-quantum hybrid alone on both sides, what a
//! configuration allows, a ClientHello that comes in pieces, and HelloRetryRequest both ways.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{KeyExchange, Reason, Side, StreamRecord};
use eyesplice_proto::tls::{Group, Groups, provider};
use eyesplice_tests::api_server::{ApiServer, Entry, Request, name_of};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::kubelet::{self, Kubelet};
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::skip::skipped;
use eyesplice_tests::stack::{Settings, Stack};
use eyesplice_tests::tls;
use eyesplice_tests::variant::{TCP_TLS13, Transport, UNIX_TLS13, Variant, ktls_policy, run};
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// TLS 1.3 alone has HelloRetryRequest, and the hybrid.
macro_rules! both_transports {
    ($($test:ident),+ $(,)?) => {
        mod unix {
            $(#[test]
            fn $test() {
                super::run(stringify!($test), super::UNIX_TLS13, super::$test);
            })+
        }
        mod tcp {
            $(#[test]
            fn $test() {
                super::run(stringify!($test), super::TCP_TLS13, super::$test);
            })+
        }
    };
}

both_transports! {
    hybrid_alone_is_terminated_and_audited_on_every_leg,
    configured_groups_hold_on_every_leg,
    api_server_without_a_group_in_common_is_reported_with_what_each_side_has,
    kubelet_without_a_group_in_common_is_reported_with_what_was_offered,
    other_groups_than_the_first_take_another_round_trip,
    hello_in_pieces_is_read_to_its_end,
}

fn only(groups: &[Group]) -> Groups {
    Groups::only(groups).unwrap()
}

fn hybrid() -> Groups {
    only(&[Group::X25519MlKem768])
}

/// Whether this build has the hybrid; says aloud if not.
fn has_hybrid(test: &str) -> bool {
    let built = Group::X25519MlKem768.is_built();
    if !built {
        skipped(test, "this build has no X25519MLKEM768");
    }
    built
}

fn settings(curve_preferences: &'static str) -> Settings {
    Settings {
        curve_preferences,
        ..Settings::default()
    }
}

fn kubelet_of(variant: Variant, groups: Groups) -> Kubelet {
    let identity = Presented::Good.identity(pki());
    let config = tls::server_allowing(&identity, &pki().clients, variant.tls, groups);
    Kubelet::with(Some(config), kubelet::serve)
}

/// An API server whose two clients, of the listener and of leaves, have this provider.
fn api_server_of(stack: &Stack, variant: Variant, provider: &Arc<CryptoProvider>) -> ApiServer {
    let client = |servers| -> ClientConfig {
        let identity = Some(&pki().api_server);
        tls::client_of(provider, identity, servers, variant.tls)
    };
    let entry = match stack.api_server(pki()).outer() {
        None => stack.api_server(pki()).entry().clone(),
        Some((_, address)) => Entry::Tcp(address, Arc::new(client(&pki().listeners))),
    };
    ApiServer::new(entry, client(&pki().egress))
}

fn visit(stack: &Stack, api_server: &ApiServer, target: &str) -> StreamRecord {
    let mut conn = api_server.open(target);
    assert_eq!(Request::get("/metrics").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    conn.drain();
    let record = stack.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:?}");
    record
}

/// The groups of a stream whose sessions all have one, but for the upstream's.
fn groups_of(variant: Variant, downstream: Group, upstream: Group) -> KeyExchange {
    KeyExchange {
        listener: (variant.transport == Transport::Tcp).then_some(downstream),
        downstream: Some(downstream),
        upstream: Some(upstream),
    }
}

fn hybrid_alone_is_terminated_and_audited_on_every_leg(variant: Variant) {
    if !has_hybrid("hybrid_alone_is_terminated_and_audited_on_every_leg") {
        return;
    }
    let stack = Stack::start(variant, pki(), &Settings::default());
    let kubelet = kubelet_of(variant, hybrid());
    let api_server = api_server_of(&stack, variant, &provider::allowing(hybrid()));
    let record = visit(&stack, &api_server, &kubelet.target());
    let expected = groups_of(variant, Group::X25519MlKem768, Group::X25519MlKem768);
    assert_eq!(record.key_exchange, expected);
    let totals = stack.totals();
    let handshakes = totals.handshakes_server + totals.handshakes_client;
    assert_eq!(totals.exchanges_x25519mlkem768, handshakes);
    kubelet.finish();
    stack.assert_nothing_held();
}

fn configured_groups_hold_on_every_leg(variant: Variant) {
    let stack = Stack::start(variant, pki(), &settings("[CurveP384, 23]"));
    let kubelet = kubelet_of(variant, Groups::default());
    let api_server = stack.api_server(pki());
    let record = visit(&stack, &api_server, &kubelet.target());
    // In the order of preference, which is not that of the list.
    let expected = groups_of(variant, Group::P256, Group::P256);
    assert_eq!(record.key_exchange, expected);

    let published = stack.reload(pki(), &settings("[X25519]"));
    published.unwrap();
    let record = visit(&stack, &api_server, &kubelet.target());
    let expected = groups_of(variant, Group::X25519, Group::X25519);
    assert_eq!(record.key_exchange, expected);
    kubelet.finish();
    stack.assert_nothing_held();
}

fn api_server_without_a_group_in_common_is_reported_with_what_each_side_has(variant: Variant) {
    let stack = Stack::start(variant, pki(), &settings("[X25519, CurveP256]"));
    let kubelet = kubelet_of(variant, Groups::default());
    let theirs = provider::allowing(only(&[Group::P384]));
    let api_server = api_server_of(&stack, variant, &theirs);
    match variant.transport {
        Transport::Tcp => {
            let mut conn = api_server.knock();
            let (config, address) = api_server.outer().unwrap();
            let name = name_of(&address.to_string());
            conn.start_client(config, name).unwrap_err();
        }
        Transport::Unix => {
            let mut conn = api_server.tunnel(&kubelet.target());
            let name = name_of(&kubelet.target());
            conn.start_client(api_server.inner(), name).unwrap_err();
        }
    }
    let record = stack.ended();
    assert_eq!(record.reason, Reason::HandshakeFailed, "{record:?}");
    assert_eq!(record.side, Side::Downstream);
    let words = record.detail.unwrap();
    let offered = "it offers the key exchange groups CurveP384";
    let allowed = "allowed here are X25519, CurveP256";
    assert!(
        words.contains(offered) && words.contains(allowed),
        "{words}"
    );
    drop(kubelet);
    stack.assert_nothing_held();
}

fn kubelet_without_a_group_in_common_is_reported_with_what_was_offered(variant: Variant) {
    let stack = Stack::start(variant, pki(), &settings("[X25519, CurveP256]"));
    let kubelet = kubelet_of(variant, only(&[Group::P384]));
    let head = stack.api_server(pki()).refused(&kubelet.target());
    assert_eq!(head.status(), 502);
    assert!(
        head.raw.contains("groups X25519, CurveP256"),
        "{}",
        head.raw
    );
    let record = stack.ended();
    assert_eq!(record.reason, Reason::HandshakeFailed, "{record:?}");
    assert_eq!(record.key_exchange.upstream, None);
    assert_eq!(kubelet.refused().len(), 1);
    stack.assert_nothing_held();
}

/// A client sends its share of the first group that it has, and of X25519 with the hybrid; for any
/// other the server asks.
fn other_groups_than_the_first_take_another_round_trip(variant: Variant) {
    let stack = Stack::start(variant, pki(), &settings("[X25519MLKEM768, CurveP256]"));
    let kubelet = kubelet_of(variant, only(&[Group::P256]));
    let mut theirs = CryptoProvider::clone(&provider::shared());
    let number = |group: Group| group.number();
    let order = [Group::P384, Group::P256].map(number);
    let place = |named: rustls::NamedGroup| order.iter().position(|id| *id == u16::from(named));
    theirs
        .kx_groups
        .retain(|group| place(group.name()).is_some());
    theirs.kx_groups.sort_by_key(|group| place(group.name()));
    let api_server = api_server_of(&stack, variant, &Arc::new(theirs));
    let record = visit(&stack, &api_server, &kubelet.target());
    let expected = groups_of(variant, Group::P256, Group::P256);
    assert_eq!(record.key_exchange, expected);
    kubelet.finish();
    stack.assert_nothing_held();
}

/// A ClientHello with a share of ML-KEM is longer than what one packet of a network carries.
fn hello_in_pieces_is_read_to_its_end(variant: Variant) {
    let stack = Stack::start(variant, pki(), &Settings::default());
    let kubelet = kubelet_of(variant, Groups::default());
    let api_server = stack.api_server(pki());
    for piece in [7, 600, 1400] {
        let mut conn = api_server.knock();
        conn.chop(piece, Rng::new(7));
        if let Some((config, address)) = api_server.outer() {
            let name = name_of(&address.to_string());
            conn.start_client(config, name).unwrap();
        }
        let target = kubelet.target();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        conn.write_all(request.as_bytes()).unwrap();
        let head = eyesplice_tests::http::read_head(&mut conn).unwrap();
        assert_eq!(head.status(), 200);
        conn.start_client(api_server.inner(), name_of(&target))
            .unwrap();
        assert_eq!(Request::get("/metrics").ask(&mut conn).text(), "ok");
        conn.shut().unwrap();
        conn.drain();
        let record = stack.ended();
        let first = Groups::default().iter().next();
        assert_eq!(record.key_exchange.downstream, first, "{record:?}");
    }
    kubelet.finish();
    stack.assert_nothing_held();
    // The kernel's own sessions say as much.
    assert!(ktls_policy() == KtlsPolicy::Off || stack.totals().ktls_legs > 0);
}
