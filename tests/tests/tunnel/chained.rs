//! Streams whose agent is connected to another gateway: they are passed on to it, once.

use eyesplice_dataplane::seam::{Peer, Phase, ProxyTls, Reason, Side, StreamMode};
use eyesplice_proto::tunnel::{ALPN, ToGateway};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::closed::Closed;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{self, Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::{GATEWAY, Leaf, NODE, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::stack::{Settings, Stack};
use eyesplice_tests::tls;
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, common_name, gateway, peer, subject,
    until_agents,
};
use eyesplice_tests::variant::{TCP_TLS13, Variant};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

matrix! { transports:
    spliced_stream_passes_every_byte_through_two_gateways,
    terminated_kubelet_is_spliced_at_the_other_gateway,
    end_of_one_side_is_passed_on_and_the_rest_arrives,
    stream_is_passed_on_once_and_never_onward,
    gateway_that_is_down_or_has_no_agent_is_followed_by_the_next,
    answer_of_the_target_is_final,
    agent_here_is_asked_before_another_gateway,
}

const MIB: usize = 1 << 20;

/// The common name of the gateway that passes streams on.
const NEIGHBOUR: &str = "gateway-a";

/// How the one that passes on speaks to the other one.
fn towards(address: SocketAddr) -> (SocketAddr, ProxyTls) {
    let identity = pki().clients.issue(&Leaf::client(NEIGHBOUR));
    let mut config = tls::client(Some(&identity), &pki().listeners, &TLS13);
    config.enable_secret_extraction = true;
    let tls = ProxyTls {
        config: Arc::new(config),
        server_name: ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()),
    };
    (address, tls)
}

/// One that takes what the other passes on.
fn far() -> Gateway {
    let far = gateway(TCP_TLS13, |_| {});
    far.control.take_from(&format!("CN={NEIGHBOUR}"));
    far
}

/// One without an agent, which passes on to these.
fn near(variant: Variant, others: &[SocketAddr]) -> Gateway {
    let near = gateway(variant, |_| {});
    let others = others.iter().copied().map(towards);
    near.control.pass_on_to(others.collect());
    near
}

fn spliced_stream_passes_every_byte_through_two_gateways(variant: Variant) {
    let far = far();
    let near = near(variant, &[far.address()]);
    let agent = Agent::of(&far);
    let target = Kubelet::with(None, echo);
    let mut conn = near.api_server().tunnel(&target.target());
    let sent = Rng::new(3).bytes(MIB);
    let seen = converse(&mut conn, &sent, Pace::even());
    assert!(seen.received == sent && seen.sent);
    assert_eq!(seen.ending, Ending::Clean);
    drop(conn);
    let ours = near.ended();
    assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
    assert_eq!(ours.via.as_deref(), Some(&*far.address().to_string()));
    assert_eq!(ours.address, None, "nobody here knows what was dialled");
    let theirs = far.ended();
    assert_eq!(theirs.reason, Reason::Completed, "{theirs:#?}");
    assert_eq!(theirs.via.as_deref(), Some(AGENT));
    assert_eq!(theirs.address.unwrap().to_string(), target.target());
    let Peer::Tcp { identity, .. } = &theirs.peer else {
        panic!("{theirs:#?}")
    };
    assert_eq!(identity.as_deref(), Some(&*format!("CN={NEIGHBOUR}")));
    assert_eq!(theirs.bytes, ours.bytes);
    assert_eq!(agent.ended().bytes, ours.bytes);
    assert_eq!(near.totals().tunnel_opens_chained, 1);
    assert_eq!(far.totals().tunnel_opens_cold, 1);
    target.finish();
    agent.finish();
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}

fn terminated_kubelet_is_spliced_at_the_other_gateway(variant: Variant) {
    let far = far();
    let near = near(variant, &[far.address()]);
    // Both would terminate what an API server asks for.
    for gateway in [&near, &far] {
        gateway.control.answer(Answer::Kubelet);
    }
    let agent = Agent::of(&far);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = near.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    assert_eq!(near.ended().mode, StreamMode::TerminateKubelet);
    assert_eq!(far.ended().mode, StreamMode::Splice);
    assert_eq!(agent.ended().reason, Reason::Completed);
    kubelet.finish();
    agent.finish();
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}

fn end_of_one_side_is_passed_on_and_the_rest_arrives(variant: Variant) {
    let far = far();
    let near = near(variant, &[far.address()]);
    let agent = Agent::of(&far);
    let target = Kubelet::with(None, |conn, log| {
        let (asked, ending) = conn.read_to_end();
        log.ending(ending);
        assert_eq!(asked, b"question");
        conn.write_and_shut(b"answer").unwrap();
    });
    let mut conn = near.api_server().tunnel(&target.target());
    conn.write_and_shut(b"question").unwrap();
    assert_eq!(conn.read_to_end(), (b"answer".to_vec(), Ending::Clean));
    drop(conn);
    for gateway in [&near, &far] {
        assert_eq!(gateway.ended().reason, Reason::Completed);
    }
    assert_eq!(agent.ended().reason, Reason::Completed);
    assert_eq!(target.finish_seeing(), Some(Ending::Clean));
    agent.finish();
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}

fn stream_is_passed_on_once_and_never_onward(variant: Variant) {
    let far = far();
    // It would pass on what an API server asks for.
    let third = TcpListener::bind("127.0.0.1:0").unwrap();
    far.control
        .pass_on_to(vec![towards(third.local_addr().unwrap())]);
    let near = near(variant, &[far.address()]);
    let head = near.api_server().refused("127.0.0.1:10250");
    assert_eq!(head.status(), 503, "{}", head.raw);
    let words = [
        "no agent for 127.0.0.1:10250 is connected here".to_owned(),
        format!("gateway {} refused", far.address()),
        "no agent is connected that may reach".to_owned(),
    ];
    for words in words {
        assert!(head.first().contains(&words), "{words}: {}", head.raw);
    }
    near.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Tunnel);
    far.assert_ended(Reason::DialFailed, Side::Local, Phase::Tunnel);
    third.set_nonblocking(true).unwrap();
    assert!(third.accept().is_err(), "nobody has asked it");
    assert_eq!(far.totals().dials, 0);
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}

fn gateway_that_is_down_or_has_no_agent_is_followed_by_the_next(variant: Variant) {
    let (closed, lacking, far) = (Closed::port(), far(), far());
    let others = [closed.address(), lacking.address(), far.address()];
    let near = near(variant, &others);
    let agent = Agent::of(&far);
    let target = Kubelet::with(None, echo);
    let mut conn = near.api_server().tunnel(&target.target());
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    drop(conn);
    let record = near.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:#?}");
    assert_eq!(record.via.as_deref(), Some(&*far.address().to_string()));
    assert_eq!(lacking.ended().reason, Reason::DialFailed);
    assert_eq!(far.ended().reason, Reason::Completed);
    assert_eq!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
    for gateway in [&near, &lacking, &far] {
        assert_gateway_back(gateway);
    }
}

fn answer_of_the_target_is_final(variant: Variant) {
    let (far, other) = (far(), far());
    let near = near(variant, &[far.address(), other.address()]);
    let agent = Agent::of(&far);
    let closed = Closed::port();
    let target = closed.address().to_string();
    let head = near.api_server().refused(&target);
    assert_eq!(head.status(), 502);
    let words = format!("agent {AGENT}: {target} refused the connection");
    assert!(head.first().contains(&words), "{}", head.raw);
    near.ended();
    far.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Dial);
    assert_eq!(agent.ended().reason, Reason::DialFailed);
    assert_eq!(other.totals().accepted, 0, "it is not asked");
    agent.finish();
    for gateway in [&near, &far, &other] {
        assert_gateway_back(gateway);
    }
}

fn agent_here_is_asked_before_another_gateway(variant: Variant) {
    let far = far();
    let near = near(variant, &[far.address()]);
    let agent = Agent::of(&near);
    let target = Kubelet::with(None, echo);
    let mut conn = near.api_server().tunnel(&target.target());
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end().0, b"x");
    drop(conn);
    assert_eq!(near.ended().via.as_deref(), Some(AGENT));
    assert_eq!(agent.ended().reason, Reason::Completed);
    assert_eq!(far.totals().accepted, 0);
    target.finish();
    agent.finish();
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}

/// By files, as an operator writes them, at both gateways.
#[test]
fn kubelet_of_an_agent_elsewhere_is_reached_by_configuration_alone() {
    let settings = |peers: &str| Settings {
        rules: vec![
            "{name: kubelets, cidrs: [127.0.0.0/8], action: terminate, via: tunnel}".into(),
        ],
        tunnel: Some(format!(
            "{{agents: [{{name: {AGENT}, nodes: [{NODE}]}}], peers: {{{peers}}}}}"
        )),
        ..Settings::default()
    };
    let far = Stack::start(TCP_TLS13, pki(), &settings(&format!("names: [{GATEWAY}]")));
    let at = far.address();
    let near = format!(
        "addresses: ['{at}'], caFile: listener-ca.crt, certFile: client.crt, keyFile: client.key"
    );
    let near = Stack::start(TCP_TLS13, pki(), &settings(&near));
    let mut agent = tls::client(
        Some(&pki().clients.issue(&Leaf {
            organization: Some("eyesplice:agents".into()),
            ..Leaf::client(&common_name(AGENT))
        })),
        &pki().listeners,
        &TLS13,
    );
    agent.alpn_protocols = vec![ALPN.to_vec()];
    agent.enable_secret_extraction = true;
    let agent = Agent::holding(&[peer("far", far.tunnel_address(), Arc::new(agent))]);
    agent.until("registered", |totals| totals.tunnel_gateways == 1);
    let kubelet = Kubelet::start(TCP_TLS13, kubelet::serve);
    let mut conn = near.api_server(pki()).open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    let ours = near.ended();
    assert_eq!(ours.mode, StreamMode::TerminateKubelet);
    assert_eq!(ours.via.as_deref(), Some(&*at.to_string()));
    let theirs = far.ended();
    assert_eq!(theirs.mode, StreamMode::Splice);
    assert_eq!(theirs.rule.as_deref(), Some("kubelets"));
    assert_eq!(agent.ended().reason, Reason::Completed);
    // Whose name is taken off the list may not any more.
    far.reload(pki(), &settings("names: [another]")).unwrap();
    let head = near.api_server(pki()).refused(&kubelet.target());
    assert_eq!(head.status(), 403);
    assert!(head.first().contains("tunnel.peers.names"), "{}", head.raw);
    near.ended();
    far.ended();
    kubelet.finish();
    agent.finish();
    near.assert_nothing_held();
    far.assert_nothing_held();
}

#[test]
fn hop_header_of_who_is_no_gateway_is_refused() {
    let far = far();
    let agent = Agent::of(&far);
    let mut conn = far.api_server().reach();
    let request = "CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: h\r\nEyesplice-Hop: 1\r\n\r\n";
    conn.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut conn).unwrap();
    assert_eq!(head.status(), 403);
    assert!(
        head.first().contains("may not pass streams on"),
        "{}",
        head.raw
    );
    drop(conn);
    far.assert_ended(Reason::Denied, Side::Local, Phase::Verdict);
    let mut conn = far.api_server().reach();
    conn.write_all(request.replace(": 1", ": 2").as_bytes())
        .unwrap();
    assert_eq!(read_head(&mut conn).unwrap().status(), 400);
    drop(conn);
    assert_eq!(far.ended().reason, Reason::Protocol);
    agent.finish();
    assert_gateway_back(&far);
}

#[test]
fn revoked_agent_loses_the_streams_that_another_gateway_has_passed_on() {
    let far = far();
    let near = near(TCP_TLS13, &[far.address()]);
    let agent = Agent::of(&far);
    let target = Kubelet::with(None, echo);
    let mut conn = near.api_server().tunnel(&target.target());
    conn.write_all(b"x").unwrap();
    conn.read_exact(1).unwrap();
    far.control.grant(&subject(AGENT), None);
    far.reload();
    assert!(conn.read_to_end().1.is_cut());
    drop(conn);
    assert_eq!(far.ended().reason, Reason::Revoked);
    assert_ne!(near.ended().reason, Reason::Completed);
    assert_ne!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}

/// A client that leaves voids the open at the other gateway as well.
#[test]
fn client_that_leaves_ends_what_was_passed_on() {
    let far = far();
    let near = near(TCP_TLS13, &[far.address()]);
    let mut control = Wire::register(&far, &client(AGENT), 1);
    until_agents(&far, 1);
    let mut conn = near.api_server().reach();
    conn.write_all(b"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    control.dial();
    drop(conn);
    assert_eq!(near.ended().reason, Reason::Cancelled);
    assert_eq!(far.ended().reason, Reason::Cancelled);
    control.say(&ToGateway::Pong(0));
    drop(control);
    assert_gateway_back(&near);
    assert_gateway_back(&far);
}
