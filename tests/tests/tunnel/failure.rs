//! Streams that cannot be opened: what the client reads, and that nothing stays behind.

use eyesplice_dataplane::seam::{Phase, Reason, Route, Side};
use eyesplice_proto::tunnel::{FailReason, Patience, ToAgent, ToGateway};
use eyesplice_tests::api_server::ApiServer;
use eyesplice_tests::closed::Closed;
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, gateway, grant, limits, peer, subject,
    until_agents,
};
use eyesplice_tests::variant::Variant;
use std::time::Duration;

matrix! { transports:
    target_that_refuses_is_502_in_the_agents_words,
    agent_that_refuses_the_target_is_403,
    target_that_never_answers_is_504,
    target_without_an_agent_is_503,
    agent_of_another_node_is_not_asked,
    client_that_leaves_while_the_agent_dials_ends_it_there,
    client_that_leaves_before_the_agent_connects_back_voids_the_id,
    parked_connection_that_is_dead_costs_a_try_and_not_the_stream,
    next_parked_connection_is_tried_with_the_same_id,
    parked_connection_that_is_slow_wins_over_one_that_is_not_there_yet,
    agent_that_has_the_open_already_is_waited_for_and_not_dialled,
    agent_that_cannot_connect_back_says_why,
    agent_whose_dial_back_fails_says_why_before_the_deadline,
    agent_that_is_gone_is_followed_by_the_next_of_the_same_identity,
    agent_at_its_limit_refuses_with_words,
}

fn target_that_refuses_is_502_in_the_agents_words(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    let closed = Closed::port();
    let target = closed.address().to_string();
    let head = gateway.api_server().refused(&target);
    assert_eq!(head.status(), 502);
    let words = format!("agent {AGENT}: {target} refused the connection");
    assert!(head.first().contains(&words), "{}", head.raw);
    let record = gateway.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Dial);
    assert_eq!(record.via.as_deref(), Some(AGENT));
    assert_eq!(agent.ended().reason, Reason::DialFailed);
    assert_eq!(gateway.totals().tunnel_opens_failed, 1);
    agent.finish();
    assert_gateway_back(&gateway);
}

fn agent_that_refuses_the_target_is_403(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    agent.control.answer(Answer::Refuse(403, "not on my list"));
    let head = gateway.api_server().refused("127.0.0.1:10250");
    assert_eq!(head.status(), 403);
    assert!(
        head.first().contains("agent edge-1: not on my list"),
        "{}",
        head.raw
    );
    assert_eq!(gateway.ended().reason, Reason::Denied);
    assert_eq!(agent.ended().reason, Reason::Denied);
    agent.finish();
    assert_gateway_back(&gateway);
}

fn target_that_never_answers_is_504(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    agent.control.answer(Answer::Silence);
    // On a machine that is busy the time may be over before the agent has heard of it.
    let mut soon = Duration::from_millis(300);
    while agent.control.unanswered() == 0 {
        gateway.control.limit(|limits| limits.dial_timeout = soon);
        let head = gateway.api_server().refused("127.0.0.1:10250");
        assert_eq!(head.status(), 504, "{}", head.raw);
        assert_eq!(gateway.ended().reason, Reason::Timeout);
        soon *= 2;
    }
    let mut theirs = vec![agent.ended()];
    theirs.append(&mut agent.finish_counting());
    for record in theirs {
        let reason = record.reason;
        assert!(
            matches!(reason, Reason::Timeout | Reason::Cancelled | Reason::Reset),
            "{record:#?}"
        );
    }
    assert_gateway_back(&gateway);
}

fn target_without_an_agent_is_503(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let head = gateway.api_server().refused("127.0.0.1:10250");
    assert_eq!(head.status(), 503);
    assert!(
        head.first().contains("no agent is connected"),
        "{}",
        head.raw
    );
    gateway.assert_ended(Reason::DialFailed, Side::Local, Phase::Tunnel);
    assert_gateway_back(&gateway);
}

fn agent_of_another_node_is_not_asked(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    let other = Route::Node("worker-4".into());
    gateway.control.reach_by(vec![other]);
    let head = gateway.api_server().refused("127.0.0.1:10250");
    assert!(
        head.first().contains("asked for node worker-4"),
        "{}",
        head.raw
    );
    assert_eq!(gateway.ended().reason, Reason::DialFailed);
    agent.finish();
    assert_gateway_back(&gateway);
}

/// Asks for a stream, and does not wait for the answer.
fn ask(api_server: &ApiServer, target: &str) -> Conn {
    let mut conn = api_server.reach();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    conn.write_all(request.as_bytes()).unwrap();
    conn
}

fn client_that_leaves_while_the_agent_dials_ends_it_there(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    agent.control.answer(Answer::Silence);
    let conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    agent.until("a pending stream", |totals| totals.streams_pending == 1);
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Cancelled);
    assert_eq!(agent.ended().reason, Reason::Cancelled);
    agent.finish();
    assert_gateway_back(&gateway);
}

fn parked_connection_that_is_dead_costs_a_try_and_not_the_stream(variant: Variant) {
    let gateway = parking(variant);
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    // It takes what it is sent, and never answers.
    let mut dead = Wire::data(&gateway, &tls, 1, None);
    gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
    let mut conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    let ToAgent::Open { id, .. } = dead.hear() else {
        panic!("no open")
    };
    assert_eq!(control.dial(), id, "the same open");
    let mut fresh = Wire::data(&gateway, &tls, 1, Some(id));
    let ToAgent::Open {
        id: again, target, ..
    } = fresh.hear()
    else {
        panic!("no open")
    };
    assert_eq!((again, target.to_string()), (id, "127.0.0.1:10250".into()));
    fresh.say(&ToGateway::Accepted);
    // The loser is closed.
    assert!(dead.conn.read_to_end().1.is_cut());
    let address = "127.0.0.1:10250".parse().unwrap();
    fresh.say_with(
        &ToGateway::Connected {
            address,
            inner_only: false,
        },
        b"first",
    );
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    assert_eq!(conn.read_exact(5).unwrap(), b"first", "behind `connected`");
    conn.write_all(b"pong").unwrap();
    assert_eq!(fresh.conn.read_exact(4).unwrap(), b"pong");
    fresh.conn.shut().unwrap();
    conn.shut().unwrap();
    assert_eq!(fresh.conn.read_to_end().1, Ending::Clean);
    drop((conn, fresh, control));
    let record = gateway.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:#?}");
    assert!(!record.warm);
    assert_eq!(gateway.totals().tunnel_opens_cold, 1);
    assert_gateway_back(&gateway);
}

fn client_that_leaves_before_the_agent_connects_back_voids_the_id(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    let conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    let id = control.dial();
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Cancelled);
    Wire::data(&gateway, &tls, 1, Some(id)).conn.read_to_end();
    gateway.until("it is refused", |totals| totals.tunnel_refused == 1);
    drop(control);
    assert_gateway_back(&gateway);
}

/// One that takes parked connections, and tries more than one of an agent that does not answer.
fn parking(variant: Variant) -> Gateway {
    gateway(variant, |setup| {
        let mut limits = limits();
        limits.parked = 0..=4;
        limits.patience = Patience::default();
        setup.tunnel = Some(limits);
    })
}

/// Answers an open, and carries a stream to its end.
fn carry(gateway: &Gateway, mut conn: Conn, mut data: Wire) {
    data.say(&ToGateway::Accepted);
    let address = "127.0.0.1:10250".parse().unwrap();
    data.say(&ToGateway::Connected {
        address,
        inner_only: false,
    });
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    conn.write_and_shut(b"ping").unwrap();
    assert_eq!(data.conn.read_exact(4).unwrap(), b"ping");
    data.conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop((conn, data));
    let record = gateway.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:#?}");
    assert!(record.warm);
}

fn next_parked_connection_is_tried_with_the_same_id(variant: Variant) {
    let gateway = parking(variant);
    let tls = client(AGENT);
    let control = Wire::register(&gateway, &tls, 1);
    let mut good = Wire::data(&gateway, &tls, 1, None);
    gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
    // The last one is taken first.
    let mut dead = Wire::data(&gateway, &tls, 1, None);
    gateway.until("two parked", |totals| totals.tunnel_parked == 2);
    let conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    let ToAgent::Open { id, .. } = dead.hear() else {
        panic!("no open")
    };
    let ToAgent::Open { id: again, .. } = good.hear() else {
        panic!("no open")
    };
    assert_eq!(id, again);
    carry(&gateway, conn, good);
    assert!(dead.conn.read_to_end().1.is_cut());
    assert_eq!(gateway.totals().tunnel_retries, 1);
    drop((control, dead));
    assert_gateway_back(&gateway);
}

fn parked_connection_that_is_slow_wins_over_one_that_is_not_there_yet(variant: Variant) {
    let gateway = parking(variant);
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    let mut slow = Wire::data(&gateway, &tls, 1, None);
    gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
    let conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    slow.hear();
    let id = control.dial();
    carry(&gateway, conn, slow);
    // It comes too late.
    Wire::data(&gateway, &tls, 1, Some(id)).conn.read_to_end();
    gateway.until("it is refused", |totals| totals.tunnel_refused == 1);
    drop(control);
    assert_gateway_back(&gateway);
}

fn agent_that_has_the_open_already_is_waited_for_and_not_dialled(variant: Variant) {
    let gateway = parking(variant);
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    let mut second = Wire::data(&gateway, &tls, 1, None);
    gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
    let mut slow = Wire::data(&gateway, &tls, 1, None);
    gateway.until("two parked ones", |totals| totals.tunnel_parked == 2);
    let conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    // The youngest is asked first.
    slow.hear();
    second.hear();
    let id = control.dial();
    let (reason, words) = (FailReason::Seen, "seen".into());
    second.say(&ToGateway::Failed { reason, words });
    // The gateway has heard it, so what was dialled for it is void.
    second.conn.read_to_end();
    Wire::data(&gateway, &tls, 1, Some(id)).conn.read_to_end();
    gateway.until("it is refused", |totals| totals.tunnel_refused == 1);
    carry(&gateway, conn, slow);
    drop((control, second));
    assert_gateway_back(&gateway);
}

fn agent_that_cannot_connect_back_says_why(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let tls = client(AGENT);
    let mut control = Wire::register(&gateway, &tls, 1);
    let mut conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    let id = control.dial();
    let words = "no route to 10.9.8.7".into();
    control.say(&ToGateway::CannotDial { id, words });
    let head = read_head(&mut conn).unwrap();
    assert_eq!(head.status(), 503);
    assert!(
        head.first().contains("no route to 10.9.8.7"),
        "{}",
        head.raw
    );
    assert_eq!(gateway.ended().reason, Reason::DialFailed);
    drop((conn, control));
    assert_gateway_back(&gateway);
}

/// The open's own deadline is the test's patience.
fn agent_whose_dial_back_fails_says_why_before_the_deadline(variant: Variant) {
    let closed = Closed::port();
    let advertised = closed.address();
    let gateway = gateway(variant, |setup| {
        let mut limits = limits();
        limits.advertise = Some(advertised);
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    let head = gateway.api_server().refused("127.0.0.1:10250");
    assert_eq!(head.status(), 503);
    let words = format!("{advertised} refused the connection");
    assert!(head.first().contains(&words), "{}", head.raw);
    assert_eq!(gateway.ended().reason, Reason::DialFailed);
    agent.finish();
    assert_gateway_back(&gateway);
}

fn agent_that_is_gone_is_followed_by_the_next_of_the_same_identity(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let tls = client(AGENT);
    let mut first = Wire::register(&gateway, &tls, 1);
    until_agents(&gateway, 1);
    let target = Kubelet::with(None, echo);
    let mut conn = ask(&gateway.api_server(), &target.target());
    first.dial();
    let hold = [peer("gateway", gateway.tunnel_address(), client(AGENT))];
    // It comes while the open waits for the first, and is known to the next one only.
    let agent = Agent::with(&hold, 2, |_| {});
    until_agents(&gateway, 2);
    drop(first);
    let head = read_head(&mut conn).unwrap();
    assert!(matches!(head.status(), 200 | 503), "{}", head.raw);
    drop(conn);
    gateway.ended();
    let mut conn = gateway.api_server().tunnel(&target.target());
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    target.finish();
    agent.finish_counting();
    assert_gateway_back(&gateway);
}

fn agent_at_its_limit_refuses_with_words(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let hold = [peer("gateway", gateway.tunnel_address(), client(AGENT))];
    let agent = Agent::with(&hold, 1, |setup| {
        setup.workers = 1;
        setup.admission.max_streams = 1;
    });
    agent.until_registered(&gateway);
    let target = Kubelet::with(None, echo);
    let mut conn = gateway.api_server().tunnel(&target.target());
    let head = gateway.api_server().refused(&target.target());
    assert_eq!(head.status(), 503);
    assert!(head.first().contains("limits.maxStreams"), "{}", head.raw);
    assert_eq!(gateway.ended().reason, Reason::Exhausted);
    assert_eq!(agent.ended().reason, Reason::Limit);
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    assert_eq!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

/// Two agents of two identities with the same route: the second one is asked when the first one
/// denies.
#[test]
fn agent_that_denies_is_followed_by_the_next() {
    let gateway = gateway(eyesplice_tests::variant::UNIX_TLS13, |_| {});
    let other = "edge-2";
    gateway
        .control
        .grant(&subject(other), Some(grant(other, "worker-3")));
    let tls = [client(AGENT), client(other)];
    let mut controls = [1, 2].map(|n| Wire::register(&gateway, &tls[n - 1], n as u8));
    until_agents(&gateway, 2);
    let mut conn = ask(&gateway.api_server(), "127.0.0.1:10250");
    // Whichever is asked first denies.
    let first = usize::from(!first_hears(&mut controls, &gateway));
    let id = controls[first].dial();
    let mut data = Wire::data(&gateway, &tls[first], first as u8 + 1, Some(id));
    data.hear();
    data.say(&ToGateway::Accepted);
    data.say(&ToGateway::Failed {
        reason: FailReason::Denied,
        words: "no".into(),
    });
    let second = 1 - first;
    assert_eq!(controls[second].dial(), id);
    let mut data = Wire::data(&gateway, &tls[second], second as u8 + 1, Some(id));
    data.hear();
    data.say(&ToGateway::Accepted);
    data.say(&ToGateway::Connected {
        address: "127.0.0.1:1".parse().unwrap(),
        inner_only: false,
    });
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    drop((conn, data, controls));
    let record = gateway.ended();
    let names = [AGENT, other];
    assert_eq!(record.via.as_deref(), Some(names[second]), "{record:#?}");
    assert_gateway_back(&gateway);
}

/// Whether the first of two control connections is asked for something.
fn first_hears(controls: &mut [Wire; 2], gateway: &Gateway) -> bool {
    let failed = || gateway.agents().iter().position(|agent| agent.streams > 0);
    let asked = eyesplice_tests::wait::eventually(failed, || "an open".into());
    let _ = controls;
    gateway.agents()[asked].grant.name.as_ref() == AGENT
}
