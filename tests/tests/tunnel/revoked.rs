//! Agents that may not any more: what they carry ends with the next snapshot.

use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, gateway, grant, limits, subject,
};
use eyesplice_tests::variant::{UNIX_TLS13, Variant};
use eyesplice_tests::wait::eventually;

matrix! { transports:
    revoked_agent_loses_everything_at_once,
    narrowed_grant_cuts_the_streams_that_it_no_longer_covers,
    revoked_agent_loses_an_open_that_is_pending,
    reload_that_changes_nothing_cuts_nothing,
}

fn revoked_agent_loses_everything_at_once(variant: Variant) {
    let gateway = gateway(variant, |setup| {
        let mut limits = limits();
        limits.parked = 2..=2;
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    let mut conns: Vec<_> = (0..3)
        .map(|_| {
            let mut conn = gateway.api_server().tunnel(&target.target());
            conn.write_all(b"x").unwrap();
            conn.read_exact(1).unwrap();
            conn
        })
        .collect();
    gateway.until("two parked", |totals| totals.tunnel_parked == 2);
    gateway.control.grant(&subject(AGENT), None);
    gateway.reload();
    for conn in &mut conns {
        conn.read_to_end();
    }
    drop(conns);
    for _ in 0..3 {
        assert_eq!(gateway.ended().reason, Reason::Revoked);
        assert_ne!(agent.ended().reason, Reason::Completed);
    }
    gateway.until("nothing of it", |totals| totals.tunnel_revoked >= 6);
    assert!(gateway.agents().is_empty());
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
    // Three streams, two parked and the control connection.
    assert_eq!(gateway.totals().tunnel_revoked, 6);
}

fn narrowed_grant_cuts_the_streams_that_it_no_longer_covers(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    let mut conn = gateway.api_server().tunnel(&target.target());
    conn.write_all(b"x").unwrap();
    conn.read_exact(1).unwrap();
    gateway
        .control
        .grant(&subject(AGENT), Some(grant(AGENT, "worker-4")));
    gateway.reload();
    conn.read_to_end();
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Revoked);
    assert_ne!(agent.ended().reason, Reason::Completed);
    // It is an agent still, of another node, once the worker of its control connection knows.
    eventually(
        || (&*gateway.agents()[0].grant.nodes[0] == "worker-4").then_some(()),
        || format!("another grant ({:?})", gateway.agents()),
    );
    let head = gateway.api_server().refused(&target.target());
    assert_eq!(head.status(), 503);
    gateway.ended();
    assert_eq!(gateway.totals().tunnel_revoked, 1);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

fn revoked_agent_loses_an_open_that_is_pending(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    agent.control.answer(Answer::Silence);
    let mut conn = gateway.api_server().reach();
    conn.write_all(b"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    agent.until("a pending stream", |totals| totals.streams_pending == 1);
    gateway.control.grant(&subject(AGENT), None);
    gateway.reload();
    conn.read_to_end();
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Revoked);
    assert_eq!(agent.ended().reason, Reason::Cancelled);
    gateway.until("both are counted", |totals| totals.tunnel_revoked >= 2);
    agent.finish();
    assert_gateway_back(&gateway);
    assert_eq!(gateway.totals().tunnel_revoked, 2, "control and stream");
}

/// As if another worker had revoked the agent, and this one did not know yet.
#[test]
fn parked_connection_that_ends_with_a_registration_that_was_revoked_is_counted() {
    let gateway = gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = 1..=1;
        setup.tunnel = Some(limits);
    });
    let tls = client(AGENT);
    let control = Wire::register(&gateway, &tls, 1);
    let mut parked = Wire::data(&gateway, &tls, 1, None);
    gateway.until("a parked one", |totals| totals.tunnel_parked == 1);
    gateway.control.grant(&subject(AGENT), None);
    drop(control);
    parked.conn.read_to_end();
    gateway.until("it is counted", |totals| totals.tunnel_revoked == 1);
    assert_gateway_back(&gateway);
}

fn reload_that_changes_nothing_cuts_nothing(variant: Variant) {
    let gateway = gateway(variant, |setup| {
        let mut limits = limits();
        limits.parked = 1..=1;
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let mut conn = gateway.api_server().tunnel(&target.target());
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    gateway.reload();
    let mut next = gateway.api_server().tunnel(&target.target());
    for conn in [&mut conn, &mut next] {
        conn.write_and_shut(b"x").unwrap();
        assert_eq!(conn.read_to_end().0, b"x");
    }
    drop((conn, next));
    for _ in 0..2 {
        let record = gateway.ended();
        assert_eq!((record.reason, record.warm), (Reason::Completed, true));
        assert_eq!(agent.ended().reason, Reason::Completed);
    }
    assert_eq!(gateway.totals().tunnel_revoked, 0);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}
