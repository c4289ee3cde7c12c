//! Agents that reach their gateway through a proxy alone.

use eyesplice_dataplane::seam::{Peer, ProxyProtocol, ProxyTls, Reason};
use eyesplice_tests::api_server::{Entry, exec, name_of};
use eyesplice_tests::closed::Closed;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{self, Kubelet, echo};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{AGENT, Agent, assert_gateway_back, gateway, limits};
use eyesplice_tests::variant::{TCP_TLS13, UNIX_TLS13, Variant};
use eyesplice_tests::wait::eventually;
use eyesplice_tests::way_out::{Does, GATEWAY, Proxy, behind, way_out};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;

const VARIANT: Variant = UNIX_TLS13;
const LOGIN: &str = "edge:secret";
const MIB: usize = 1 << 20;

/// How a proxy that does this is asked.
fn protocol(does: Does) -> ProxyProtocol {
    match does {
        Does::Socks5(_) | Does::Replies(_) => ProxyProtocol::Socks5,
        Does::Connect(_) | Does::Says(_) | Does::Leaves => ProxyProtocol::Http(None),
    }
}

fn named(address: SocketAddr) -> String {
    format!("{GATEWAY}:{}", address.port())
}

#[test]
fn every_connection_of_an_agent_goes_through_its_proxy() {
    for (does, login) in [
        (Does::Connect(None), None),
        (Does::Connect(Some(LOGIN)), Some(LOGIN)),
        (Does::Socks5(None), Some(LOGIN)),
        (Does::Socks5(Some(LOGIN)), Some(LOGIN)),
    ] {
        let gateway = gateway(VARIANT, |setup| {
            setup.answer = Answer::Kubelet;
            setup.tunnel = Some(limits());
        });
        let proxy = Proxy::start(does);
        let way = way_out(proxy.address(), protocol(does), login);
        let asked = named(gateway.tunnel_address());
        let agent = Agent::holding(&[behind(way, &asked, AGENT)]);
        agent.until_registered(&gateway);
        let kubelet = Kubelet::start(VARIANT, |conn, log| {
            kubelet::grant(conn, log);
            echo(conn, log);
        });
        let mut conn = exec(&gateway.api_server(), &kubelet.target());
        let sent = Rng::new(3).bytes(MIB);
        let seen = converse(&mut conn, &sent, Pace::even());
        assert!(seen.received == sent && seen.sent, "{does:?}");
        assert_eq!(seen.ending, Ending::Clean);
        drop(conn);
        gateway.began();
        let record = gateway.ended();
        assert_eq!(record.reason, Reason::Completed, "{record:#?}");
        assert_eq!(record.via.as_deref(), Some(AGENT));
        let theirs = agent.ended();
        assert_eq!(theirs.reason, Reason::Completed);
        // The socket leads to the proxy.
        let Peer::Tcp { address, identity } = &theirs.peer else {
            panic!("{theirs:#?}")
        };
        assert_eq!(*address, proxy.address());
        assert!(identity.is_some(), "the gateway's certificate is validated");
        assert_eq!(proxy.asked(), [asked.as_str(), asked.as_str()], "{does:?}");
        kubelet.finish();
        agent.finish();
        assert_gateway_back(&gateway);
    }
}

#[test]
fn parked_connections_go_through_the_proxy_where_the_gateway_advertises() {
    for does in [Does::Connect(None), Does::Socks5(None)] {
        let gateway = gateway(VARIANT, |setup| {
            let mut limits = limits();
            limits.parked = 1..=1;
            setup.tunnel = Some(limits);
        });
        let advertised = gateway.tunnel_address();
        gateway.limit_tunnel(|limits| limits.advertise = Some(advertised));
        let proxy = Proxy::start(does);
        let way = way_out(proxy.address(), protocol(does), None);
        let asked = named(advertised);
        let agent = Agent::holding(&[behind(way, &asked, AGENT)]);
        agent.until_registered(&gateway);
        let target = Kubelet::with(None, echo);
        gateway.until("one parked", |totals| totals.tunnel_parked == 1);
        let mut conn = gateway.api_server().tunnel(&target.target());
        let sent = Rng::new(4).bytes(MIB);
        let seen = converse(&mut conn, &sent, Pace::even());
        assert!(seen.received == sent && seen.sent, "{does:?}");
        assert_eq!(seen.ending, Ending::Clean);
        drop(conn);
        assert!(gateway.ended().warm);
        assert_eq!(agent.ended().reason, Reason::Completed);
        let asked_for = proxy.asked();
        assert_eq!(asked_for[0], asked);
        assert_eq!(asked_for[1], advertised.to_string(), "{does:?}");
        target.finish();
        agent.finish();
        assert_gateway_back(&gateway);
    }
}

#[test]
fn proxy_over_tls_is_validated_and_carries() {
    let gateway = gateway(VARIANT, |_| {});
    let proxy = Gateway::with(TCP_TLS13, |setup| setup.answer = Answer::Splice);
    let api_server = proxy.api_server();
    let Entry::Tcp(at, config) = api_server.entry() else {
        panic!("not over TCP")
    };
    let of = |name: &str| {
        let mut config = ClientConfig::clone(config);
        config.enable_secret_extraction = true;
        let tls = ProxyTls {
            config: Arc::new(config),
            server_name: name_of(name),
        };
        way_out(*at, ProxyProtocol::Http(Some(tls)), None)
    };
    let asked = gateway.tunnel_address().to_string();
    let agent = Agent::holding(&[behind(of("other.example:1"), &asked, AGENT)]);
    until_error(&agent, "TLS with proxy https://127.0.0.1:");
    agent.hold(&[behind(of(&at.to_string()), &asked, AGENT)]);
    agent.until_registered(&gateway);
    let target = Kubelet::with(None, echo);
    let mut conn = gateway.api_server().tunnel(&target.target());
    let sent = Rng::new(5).bytes(MIB);
    let seen = converse(&mut conn, &sent, Pace::even());
    assert!(seen.received == sent && seen.sent);
    assert_eq!(seen.ending, Ending::Clean);
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    assert_eq!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
    proxy.taken_records();
    proxy.assert_nothing_held();
}

/// Waits until an agent says so of its only gateway.
fn until_error(agent: &Agent, words: &str) {
    let error = || {
        let gateways = agent.gateways();
        gateways.first().and_then(|each| each.last_error.clone())
    };
    eventually(
        || error().filter(|error| error.contains(words)),
        || format!("{words:?} ({:?})", error()),
    );
}

#[test]
fn proxy_that_gives_no_connection_is_named_with_what_to_do() {
    let (connect, version_5) = (Does::Connect(Some(LOGIN)), Does::Socks5(Some(LOGIN)));
    for (does, is_socks, login, words) in [
        (
            connect,
            false,
            Some("edge:wrong"),
            "407 Proxy Authentication Required; check user and password in its credentialsFile",
        ),
        (connect, false, None, "; set its credentialsFile"),
        (
            version_5,
            true,
            Some("edge:wrong"),
            "refused user and password (status 1); check user and password",
        ),
        (
            version_5,
            true,
            None,
            "it wants a login; set its credentialsFile",
        ),
        (
            Does::Says(b"HTTP/1.1 403 not from here\r\n\r\n"),
            false,
            None,
            "refused gateway.invalid:8133: 403 not from here",
        ),
        (
            Does::Replies(b"\x05\x02\x00\x01"),
            true,
            None,
            "refused gateway.invalid:8133: reply 2: not allowed by the proxy's rules; allow it",
        ),
        (
            Does::Says(b"SSH-2.0-OpenSSH_9.2\r\n"),
            false,
            None,
            "sent no answer to a CONNECT",
        ),
        (
            Does::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            true,
            None,
            "does not speak SOCKS5: it answered with byte 0x48",
        ),
        (
            Does::Replies(b"\x05\x00\x00\x07"),
            true,
            None,
            "address of the unknown kind 7",
        ),
        (
            Does::Leaves,
            false,
            None,
            "closed the connection when it was asked for gateway.invalid:8133",
        ),
        (Does::Leaves, true, None, "closed the connection"),
        // What follows is no TLS of a gateway.
        (
            Does::Replies(b"\x05\x00\x00\x01\0\0\0\0\0\0garbage that is no record"),
            true,
            None,
            "through proxy socks5://127.0.0.1:",
        ),
    ] {
        let proxy = Proxy::start(does);
        let protocol = match is_socks {
            true => ProxyProtocol::Socks5,
            false => ProxyProtocol::Http(None),
        };
        let way = way_out(proxy.address(), protocol, login);
        let name = way.name.to_string();
        let agent = Agent::holding(&[behind(way, "gateway.invalid:8133", AGENT)]);
        until_error(&agent, words);
        let error = agent.gateways()[0].last_error.clone().unwrap();
        assert!(error.contains(&name), "{error}");
        assert!(!error.contains("wrong"), "{error}");
        assert!(proxy.asked().is_empty());
        agent.finish();
    }
}

#[test]
fn proxy_that_never_answers_or_is_not_there_ends_in_time() {
    let closed = Closed::port();
    let way = way_out(closed.address(), ProxyProtocol::Socks5, None);
    let agent = Agent::holding(&[behind(way, "gateway.invalid:8133", AGENT)]);
    until_error(&agent, "refused the connection");
    // One name was never resolved, and another proxy takes connections and is silent.
    let nowhere = way_out(closed.address(), ProxyProtocol::Http(None), None);
    nowhere.at.store(Arc::default());
    agent.hold(&[behind(nowhere, "gateway.invalid:8133", AGENT)]);
    until_error(&agent, "its name is not resolved; check DNS");
    let silent = Proxy::start(Does::Says(b""));
    let way = way_out(silent.address(), ProxyProtocol::Http(None), None);
    agent.hold(&[behind(way, "gateway.invalid:8133", AGENT)]);
    until_error(&agent, "did not answer in time when it was asked for");
    agent.finish();
}
