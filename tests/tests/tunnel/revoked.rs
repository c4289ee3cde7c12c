//! Agents that may not any more: what they carry ends with the next snapshot.

use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{AGENT, Agent, assert_gateway_back, gateway, grant, limits, subject};
use eyesplice_tests::variant::Variant;

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
    gateway.until("nothing of it", |totals| {
        (totals.tunnel_agents, totals.tunnel_parked) == (0, 0)
    });
    // Three streams, two parked and the control connection.
    assert_eq!(gateway.totals().tunnel_revoked, 6);
    assert!(gateway.agents().is_empty());
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
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
    let head = gateway.api_server().refused(&target.target());
    assert_eq!(head.status(), 503);
    gateway.ended();
    // It is an agent still, of another node.
    assert_eq!(&*gateway.agents()[0].grant.nodes[0], "worker-4");
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
    agent.finish();
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
