//! Streams on which the session between gateway and agent ends, so that the kubelet's TLS is left
//! alone: what is carried, how it ends, and where it is refused.

use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{Reason, StreamRecord, TunnelTls};
use eyesplice_proto::tunnel::{Instance, OpenId, Registered, ToAgent, ToGateway};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{Kubelet, Log, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::skip::skipped;
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, gateway, limits, peer,
};
use eyesplice_tests::variant::{UNIX_TLS13, Variant, ktls_policy};
use std::net::TcpListener;
use std::time::Duration;

matrix! { transports:
    stream_has_the_targets_tls_alone_and_passes_every_byte,
    end_of_one_side_leaves_the_other_open,
    cut_of_the_target_is_found_by_its_own_tls,
    cut_of_the_client_is_found_by_the_target,
    reset_of_the_target_is_a_cut_for_the_client,
    agent_that_dies_is_a_cut_and_no_end,
    agent_that_does_not_permit_it_keeps_its_tls,
    target_that_is_not_the_agents_kubelet_keeps_both,
}

const MIB: usize = 1 << 20;

/// Whether both sides can end a session; one that the kernel carries cannot end alone.
fn can_end(name: &str) -> bool {
    let can = ktls_policy() == KtlsPolicy::Off;
    if !can {
        skipped(name, "a session in the kernel stays");
    }
    can
}

/// A gateway that asks for it, with an agent that permits it for this target.
fn site(variant: Variant, target: &Kubelet) -> (Gateway, Agent) {
    let gateway = gateway(variant, |setup| {
        let mut limits = limits();
        limits.parked = 1..=1;
        setup.tunnel = Some(limits);
        setup.answer = Answer::Opaque;
    });
    gateway.control.ask_inner_only();
    let agent = Agent::of(&gateway);
    agent.permit_inner_only(Some(target.target().parse().unwrap()));
    (gateway, agent)
}

/// Plays one stream; returns what the gateway and the agent recorded of it.
fn play(
    variant: Variant,
    target: impl Fn(&mut Conn) -> Option<Ending> + Send + Sync + 'static,
    client: impl FnOnce(&Gateway, Conn),
) -> (StreamRecord, StreamRecord, Option<Ending>) {
    let target = Kubelet::start(variant, move |conn: &mut Conn, log: &Log| {
        if let Some(ending) = target(conn) {
            log.ending(ending);
        }
    });
    let (gateway, agent) = site(variant, &target);
    client(&gateway, gateway.api_server().open(&target.target()));
    let records = (gateway.ended(), agent.ended());
    for record in [&records.0, &records.1] {
        assert_eq!(record.tunnel_tls, TunnelTls::InnerOnly, "{record:#?}");
    }
    for totals in [gateway.totals(), agent.totals()] {
        assert_eq!(
            (totals.tunnel_inner_only, totals.tunnel_inner_declined),
            (1, 0)
        );
    }
    let seen = target.finish_seeing();
    agent.finish();
    assert_gateway_back(&gateway);
    (records.0, records.1, seen)
}

fn stream_has_the_targets_tls_alone_and_passes_every_byte(variant: Variant) {
    if !can_end("stream_has_the_targets_tls_alone_and_passes_every_byte") {
        return;
    }
    let target = Kubelet::start(variant, echo);
    let (gateway, agent) = site(variant, &target);
    for round in 1..=3 {
        let mut conn = gateway.api_server().open(&target.target());
        let sent = Rng::new(round).bytes(MIB);
        let seen = converse(&mut conn, &sent, Pace::uneven(round, 100_000));
        assert!(seen.received == sent && seen.sent);
        assert_eq!(seen.ending, Ending::Clean);
        drop(conn);
        let (ours, theirs) = (gateway.ended(), agent.ended());
        assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
        assert_eq!(theirs.reason, Reason::Completed, "{theirs:#?}");
        assert_eq!(ours.tunnel_tls, TunnelTls::InnerOnly);
        assert_eq!(theirs.tunnel_tls, TunnelTls::InnerOnly);
        // The agent carries what it cannot read: more than was said.
        assert!(theirs.bytes.up > ours.bytes.up, "{theirs:#?}");
    }
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

fn end_of_one_side_leaves_the_other_open(variant: Variant) {
    if !can_end("end_of_one_side_leaves_the_other_open") {
        return;
    }
    let target = |conn: &mut Conn| {
        let (asked, ending) = conn.read_to_end();
        assert_eq!(asked, b"question");
        conn.write_and_shut(b"answer").unwrap();
        Some(ending)
    };
    let (ours, theirs, seen) = play(variant, target, |_, mut conn| {
        conn.write_and_shut(b"question").unwrap();
        assert_eq!(conn.read_to_end(), (b"answer".to_vec(), Ending::Clean));
    });
    assert_eq!(seen, Some(Ending::Clean));
    assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
    assert_eq!(theirs.reason, Reason::Completed, "{theirs:#?}");
    let target = |conn: &mut Conn| {
        conn.write_and_shut(b"hello").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"goodbye");
        Some(ending)
    };
    let (ours, _, seen) = play(variant, target, |_, mut conn| {
        assert_eq!(conn.read_to_end(), (b"hello".to_vec(), Ending::Clean));
        conn.write_and_shut(b"goodbye").unwrap();
    });
    assert_eq!(seen, Some(Ending::Clean));
    assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
}

fn cut_of_the_target_is_found_by_its_own_tls(variant: Variant) {
    if !can_end("cut_of_the_target_is_found_by_its_own_tls") {
        return;
    }
    let target = |conn: &mut Conn| {
        conn.read_exact(4).unwrap();
        conn.write_all(b"half a sen").unwrap();
        conn.fin().unwrap();
        conn.read_to_end();
        None
    };
    let (ours, _, _) = play(variant, target, |_, mut conn| {
        conn.write_all(b"ping").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"half a sen");
        assert!(ending.is_cut(), "{ending:?}");
    });
    assert_eq!(ours.reason, Reason::Truncated, "{ours:#?}");
}

fn cut_of_the_client_is_found_by_the_target(variant: Variant) {
    if !can_end("cut_of_the_client_is_found_by_the_target") {
        return;
    }
    let target = |conn: &mut Conn| {
        conn.write_all(b"ready").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"half a sen");
        Some(ending)
    };
    let (ours, _, seen) = play(variant, target, |_, mut conn| {
        conn.read_exact(5).unwrap();
        conn.write_all(b"half a sen").unwrap();
        conn.fin().unwrap();
        conn.read_to_end();
    });
    assert!(seen.unwrap().is_cut(), "{seen:?}");
    assert_eq!(ours.reason, Reason::Truncated, "{ours:#?}");
}

fn reset_of_the_target_is_a_cut_for_the_client(variant: Variant) {
    if !can_end("reset_of_the_target_is_a_cut_for_the_client") {
        return;
    }
    let target = |conn: &mut Conn| {
        conn.read_exact(4).unwrap();
        conn.write_all(b"last words").unwrap();
        conn.reset_when_closed();
        None
    };
    let (ours, theirs, _) = play(variant, target, |_, mut conn| {
        conn.write_all(b"ping").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"last words", "{ending:?}");
        assert!(ending.is_cut(), "{ending:?}");
    });
    assert_eq!(ours.reason, Reason::Reset, "{ours:#?}");
    assert_eq!(theirs.reason, Reason::Reset, "{theirs:#?}");
}

fn agent_that_dies_is_a_cut_and_no_end(variant: Variant) {
    if !can_end("agent_that_dies_is_a_cut_and_no_end") {
        return;
    }
    let target = Kubelet::start(variant, echo);
    let (gateway, mut agent) = site(variant, &target);
    let mut conn = gateway.api_server().open(&target.target());
    conn.write_all(b"ping").unwrap();
    assert_eq!(conn.read_exact(4).unwrap(), b"ping");
    // Its sockets are closed by nobody but the kernel, as those of a process that was killed.
    agent.running().take_engine().drain(Duration::ZERO);
    assert!(conn.read_to_end().1.is_cut());
    drop(conn);
    let record = gateway.ended();
    assert!(
        matches!(record.reason, Reason::Reset | Reason::Truncated),
        "{record:#?}"
    );
    agent.ended();
    drop(agent);
    target.finish_seeing();
    assert_gateway_back(&gateway);
}

fn agent_that_does_not_permit_it_keeps_its_tls(variant: Variant) {
    declines(variant, |agent| agent.permit_inner_only(None));
}

fn target_that_is_not_the_agents_kubelet_keeps_both(variant: Variant) {
    let other = "127.0.0.1:10250".parse().unwrap();
    declines(variant, |agent| agent.permit_inner_only(Some(other)));
}

fn declines(variant: Variant, permit: impl FnOnce(&Agent)) {
    let target = Kubelet::start(variant, echo);
    let (gateway, agent) = site(variant, &target);
    permit(&agent);
    let mut conn = gateway.api_server().open(&target.target());
    let sent = Rng::new(9).bytes(MIB);
    let seen = converse(&mut conn, &sent, Pace::even());
    assert!(seen.received == sent && seen.sent);
    assert_eq!(seen.ending, Ending::Clean);
    drop(conn);
    let record = gateway.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:#?}");
    assert_eq!(record.tunnel_tls, TunnelTls::Declined);
    let totals = gateway.totals();
    assert_eq!(
        (totals.tunnel_inner_only, totals.tunnel_inner_declined),
        (0, 1)
    );
    agent.ended();
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

fn ask(gateway: &Gateway) -> Conn {
    let mut conn = gateway.api_server().reach();
    conn.write_all(b"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    conn
}

/// A gateway without TLS towards the target, so that a test can speak what is inside.
fn splicing() -> Gateway {
    gateway(UNIX_TLS13, |_| {})
}

#[test]
fn agent_that_does_not_know_it_answers_without_and_keeps_its_tls() {
    let gateway = splicing();
    gateway.control.ask_inner_only();
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    let mut conn = ask(&gateway);
    let id = control.dial();
    let mut data = Wire::data(&gateway, &tls, 1, Some(id));
    assert!(matches!(data.hear(), ToAgent::Open { .. }));
    data.say(&ToGateway::Accepted);
    let connected = ToGateway::Connected {
        address: "127.0.0.1:10250".parse().unwrap(),
        inner_only: false,
    };
    data.say_with(&connected, b"first");
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    assert_eq!(conn.read_exact(5).unwrap(), b"first");
    conn.write_all(b"pong").unwrap();
    assert_eq!(data.conn.read_exact(4).unwrap(), b"pong", "inside of TLS");
    data.conn.shut().unwrap();
    conn.shut().unwrap();
    drop((conn, data, control));
    assert_eq!(gateway.ended().tunnel_tls, TunnelTls::Declined);
    assert_gateway_back(&gateway);
}

#[test]
fn bytes_in_the_write_of_the_agents_close_notify_are_the_streams() {
    if !can_end("bytes_in_the_write_of_the_agents_close_notify_are_the_streams") {
        return;
    }
    let gateway = splicing();
    gateway.control.ask_inner_only();
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    let mut conn = ask(&gateway);
    let id = control.dial();
    let mut data = Wire::data(&gateway, &tls, 1, Some(id));
    let ToAgent::Open { inner_only, .. } = data.hear() else {
        panic!("no open")
    };
    assert!(inner_only);
    let sent = Rng::new(1).bytes(40_000);
    let mut frames = Vec::new();
    ToGateway::Accepted.write(&mut frames);
    let connected = ToGateway::Connected {
        address: "127.0.0.1:10250".parse().unwrap(),
        inner_only: true,
    };
    connected.write(&mut frames);
    // All of it may come with one read.
    data.conn.queue(&frames);
    data.conn.shed(&sent).unwrap();
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    assert!(conn.read_exact(sent.len()).unwrap() == sent);
    conn.write_all(b"pong").unwrap();
    assert_eq!(data.conn.read_exact(4).unwrap(), b"pong", "as it is");
    data.conn.shut().unwrap();
    conn.shut().unwrap();
    assert_eq!(data.conn.read_to_end().1, Ending::Clean);
    drop((conn, data, control));
    let record = gateway.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:#?}");
    assert_eq!(record.tunnel_tls, TunnelTls::InnerOnly);
    assert_gateway_back(&gateway);
}

#[test]
fn agent_that_ends_it_unasked_or_says_more_inside_is_refused() {
    if !can_end("agent_that_ends_it_unasked_or_says_more_inside_is_refused") {
        return;
    }
    for (asked, inside) in [(false, &b""[..]), (true, b"payload inside")] {
        let gateway = splicing();
        if asked {
            gateway.control.ask_inner_only();
        }
        let tls = client(AGENT);
        let mut control = Wire::register(&gateway, &tls, 1);
        let mut conn = ask(&gateway);
        let id = control.dial();
        let mut data = Wire::data(&gateway, &tls, 1, Some(id));
        data.hear();
        data.say(&ToGateway::Accepted);
        let connected = ToGateway::Connected {
            address: "127.0.0.1:10250".parse().unwrap(),
            inner_only: true,
        };
        data.say_with(&connected, inside);
        assert_eq!(read_head(&mut conn).unwrap().status(), 502);
        // Behind the gateway's own close_notify it is a reset.
        data.conn.drain();
        drop((conn, data, control));
        let record = gateway.ended();
        assert!(
            matches!(record.reason, Reason::Protocol | Reason::Reset),
            "{record:#?}"
        );
        assert_eq!(gateway.totals().tunnel_inner_only, 0);
        assert_gateway_back(&gateway);
    }
}

#[test]
fn bytes_in_the_write_of_the_gateways_close_notify_are_the_streams() {
    if !can_end("bytes_in_the_write_of_the_gateways_close_notify_are_the_streams") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let agent = Agent::holding(&[peer("fake", address, client(AGENT))]);
    let target = Kubelet::with(None, echo);
    agent.permit_inner_only(Some(target.target().parse().unwrap()));
    let mut control = Wire::gateway(&listener);
    control.answer();
    control.order(&ToAgent::Registered(Registered {
        gateway: Instance([9; 16]),
        advertise: None,
        ping: Duration::from_secs(100),
        park: 0,
    }));
    let (id, deadline) = (OpenId([3; 16]), Duration::from_secs(100));
    control.order(&ToAgent::Dial { id, deadline });
    let mut data = Wire::gateway(&listener);
    data.answer();
    data.order(&ToAgent::Open {
        id,
        target: target.target().parse().unwrap(),
        deadline,
        inner_only: true,
    });
    assert_eq!(data.answer(), ToGateway::Accepted);
    let ToGateway::Connected { inner_only, .. } = data.answer() else {
        panic!("not connected")
    };
    assert!(inner_only);
    let sent = Rng::new(2).bytes(40_000);
    data.conn.shed(&sent).unwrap();
    assert!(data.conn.read_exact(sent.len()).unwrap() == sent);
    data.conn.shut().unwrap();
    assert_eq!(data.conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop((data, control, listener));
    assert_eq!(agent.ended().tunnel_tls, TunnelTls::InnerOnly);
    target.finish();
    agent.finish();
}
