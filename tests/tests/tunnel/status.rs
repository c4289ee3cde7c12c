//! What both sides say of their tunnels.

use eyesplice_tests::closed::Closed;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, gateway, limits, peer, until_agents,
};
use eyesplice_tests::variant::UNIX_TLS13;
use eyesplice_tests::wait::eventually;

#[test]
fn status_of_both_sides_shows_streams_pools_and_round_trips() {
    let gateway = gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = 1..=1;
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let mut conn = gateway.api_server().tunnel(&target.target());
    let seen = eventually(
        || {
            let seen = gateway.agents().pop()?;
            (seen.round_trip.is_some() && seen.streams == 1 && seen.parked == 1).then_some(seen)
        },
        || format!("{:?}", gateway.agents()),
    );
    assert_eq!(&*seen.grant.name, AGENT);
    assert_eq!((seen.instance, &*seen.version), ([1; 16], "v0.0.0-test"));
    assert_eq!((seen.opened_warm, seen.opened_cold, seen.failed), (1, 0, 0));
    let held = eventually(
        || {
            let held = agent.gateways().pop()?;
            (held.streams == 1 && held.parked == 1).then_some(held)
        },
        || format!("{:?}", agent.gateways()),
    );
    assert_eq!(held.address, Some(gateway.tunnel_address()));
    assert!(held.since.is_some() && !held.draining);
    conn.shut().unwrap();
    conn.read_to_end();
    drop(conn);
    gateway.ended();
    agent.ended();
    eventually(
        || (gateway.agents()[0].streams == 0 && agent.gateways()[0].streams == 0).then_some(()),
        || "no stream".into(),
    );
    target.finish();
    agent.finish();
    assert!(gateway.agents().is_empty());
    assert_gateway_back(&gateway);
}

#[test]
fn agent_that_pauses_before_it_dials_again_says_for_how_long() {
    let closed = Closed::port();
    let agent = Agent::holding(&[peer("gone", closed.address(), client(AGENT))]);
    agent.until("some pauses", |totals| totals.tunnel_backoffs >= 3);
    eventually(
        || agent.gateways().first()?.backoff,
        || format!("a pause ({:?})", agent.gateways()),
    );
    agent.finish();
}

#[test]
fn second_registration_of_a_process_takes_the_place_of_the_first() {
    let gateway = gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = 0..=4;
        setup.tunnel = Some(limits);
    });
    let tls = client(AGENT);
    let mut first = Wire::register(&gateway, &tls, 1);
    let parked = Wire::data(&gateway, &tls, 1, None);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let second = Wire::register(&gateway, &tls, 1);
    first.conn.read_to_end();
    drop(first);
    gateway.until("one agent", |totals| totals.tunnel_agents == 1);
    // What it had parked stays.
    assert_eq!(gateway.agents().len(), 1);
    assert_eq!(gateway.agents()[0].parked, 1);
    drop(second);
    gateway.until("no agent", |totals| {
        (totals.tunnel_agents, totals.tunnel_parked) == (0, 0)
    });
    drop(parked);
    assert_gateway_back(&gateway);
}

#[test]
fn two_instances_of_one_identity_share_its_streams() {
    let gateway = gateway(UNIX_TLS13, |_| {});
    let hold = [peer("gateway", gateway.tunnel_address(), client(AGENT))];
    let agents = [1, 2].map(|instance| Agent::with(&hold, instance, |_| {}));
    until_agents(&gateway, 2);
    let target = Kubelet::with(None, echo);
    let conns: Vec<_> = (0..4)
        .map(|_| gateway.api_server().tunnel(&target.target()))
        .collect();
    let streams: Vec<_> = gateway.agents().iter().map(|agent| agent.streams).collect();
    assert_eq!(streams, [2, 2]);
    for mut conn in conns {
        conn.shut().unwrap();
        conn.read_to_end();
    }
    for agent in agents {
        for _ in 0..2 {
            agent.ended();
        }
        agent.finish();
    }
    for _ in 0..4 {
        gateway.ended();
    }
    target.finish();
    assert_gateway_back(&gateway);
}
