//! Gateways and agents that go: no new stream there, and those that run go on.

use eyesplice_dataplane::seam::Reason;
use eyesplice_proto::tunnel::{ToAgent, ToGateway};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::tunnel::{
    AGENT, Agent, Wire, assert_gateway_back, client, gateway, limits, peer, until_agents,
};
use eyesplice_tests::variant::UNIX_TLS13;
use eyesplice_tests::wait::{PATIENCE, eventually};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn parking(count: usize) -> Gateway {
    gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = count..=count;
        setup.tunnel = Some(limits);
    })
}

#[test]
fn agent_that_drains_takes_no_opens_and_finishes_its_streams() {
    let gateway = parking(1);
    let mut agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let mut conn = gateway.api_server().tunnel(&target.target());
    let engine = agent.running().take_engine();
    let drain = std::thread::spawn(move || engine.drain(PATIENCE));
    eventually(
        || {
            let agents = gateway.agents();
            let gone = agents
                .iter()
                .all(|agent| agent.draining && agent.parked == 0);
            gone.then_some(())
        },
        || format!("a drained agent ({:?})", gateway.agents()),
    );
    let head = gateway.api_server().refused(&target.target());
    assert_eq!(head.status(), 503, "{}", head.raw);
    gateway.ended();
    conn.write_and_shut(b"still here").unwrap();
    assert_eq!(conn.read_to_end(), (b"still here".to_vec(), Ending::Clean));
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    assert_eq!(drain.join().unwrap(), 0);
    target.finish();
    assert_gateway_back(&gateway);
}

#[test]
fn gateway_that_drains_says_so_and_finishes_its_streams() {
    let mut gateway = parking(1);
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    gateway.until("one parked", |totals| totals.tunnel_parked == 1);
    let mut conns: Vec<_> = (0..3)
        .map(|_| gateway.api_server().tunnel(&target.target()))
        .collect();
    let engine = gateway.running().take_engine();
    let drain = std::thread::spawn(move || engine.drain(PATIENCE));
    eventually(
        || agent.gateways().first()?.draining.then_some(()),
        || format!("a draining gateway ({:?})", agent.gateways()),
    );
    agent.until("none parked", |totals| totals.tunnel_waiting == 0);
    for conn in &mut conns {
        conn.write_and_shut(b"x").unwrap();
        assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    }
    drop(conns);
    assert_eq!(drain.join().unwrap(), 0);
    for _ in 0..3 {
        assert_eq!(agent.ended().reason, Reason::Completed);
    }
    target.finish();
    agent.finish();
}

/// The control connection is on one of two workers, and the open on the same one or on the other.
#[test]
fn open_that_is_pending_when_its_gateway_drains_is_served() {
    for kept in 0..2 {
        let mut gateway = gateway(UNIX_TLS13, |_| {});
        let (tls, at) = (client(AGENT), gateway.tunnel_address());
        let mut control = Wire::register(&gateway, &tls, 1);
        let api_server = gateway.api_server();
        // One for each worker.
        let mut asked = Vec::new();
        for _ in 0..2 {
            let mut conn = api_server.reach();
            conn.write_all(b"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                .unwrap();
            asked.push((conn, control.dial()));
        }
        let (mut conn, id) = asked.swap_remove(kept);
        drop(asked);
        assert_eq!(gateway.ended().reason, Reason::Cancelled);
        let engine = gateway.running().take_engine();
        let drain = std::thread::spawn(move || engine.drain(PATIENCE));
        assert_eq!(control.hear(), ToAgent::Drain);
        let mut data = Wire::data_at(at, &tls, 1, Some(id));
        assert!(matches!(data.hear(), ToAgent::Open { .. }));
        data.say(&ToGateway::Accepted);
        let address = "127.0.0.1:10250".parse().unwrap();
        data.say(&ToGateway::Connected {
            address,
            inner_only: false,
        });
        assert_eq!(read_head(&mut conn).unwrap().status(), 200);
        conn.write_and_shut(b"x").unwrap();
        assert_eq!(data.conn.read_exact(1).unwrap(), b"x");
        data.conn.shut().unwrap();
        assert_eq!(conn.read_to_end().1, Ending::Clean);
        drop((conn, data));
        assert_eq!(gateway.ended().reason, Reason::Completed);
        // It was there for the stream, and goes with it.
        assert_eq!(control.conn.read_to_end().1, Ending::Clean);
        drop(control);
        assert_eq!(drain.join().unwrap(), 0);
    }
}

/// Once nothing is being opened, nobody can connect, and those that run go on.
#[test]
fn gateway_that_drains_takes_no_agent_when_nothing_is_being_opened() {
    let mut gateway = parking(0);
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    let mut conn = gateway.api_server().tunnel(&target.target());
    let at = gateway.tunnel_address();
    let engine = gateway.running().take_engine();
    let drain = std::thread::spawn(move || engine.drain(PATIENCE));
    eventually(
        || std::net::TcpStream::connect(at).is_err().then_some(()),
        || "a listener that is closed".into(),
    );
    assert_eq!(agent.totals().tunnel_gateways, 1, "it is held still");
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    drop(conn);
    assert_eq!(drain.join().unwrap(), 0);
    assert_eq!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
}

#[test]
fn agent_holds_a_new_gateway_before_it_lets_go_of_the_old_one() {
    let (old, new) = (parking(1), parking(1));
    let agent = Agent::holding(&[peer("old", old.tunnel_address(), client(AGENT))]);
    agent.until_registered(&old);
    let target = Kubelet::with(None, echo);
    let mut conn = old.api_server().tunnel(&target.target());
    agent.hold(&[peer("new", new.tunnel_address(), client(AGENT))]);
    agent.until_registered(&new);
    until_agents(&old, 0);
    // What runs goes on.
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
    drop(conn);
    assert_eq!(old.ended().reason, Reason::Completed);
    assert_eq!(agent.ended().reason, Reason::Completed);
    target.finish();
    agent.finish();
    assert_gateway_back(&old);
    assert_gateway_back(&new);
}

#[test]
fn renewed_certificate_registers_again_without_a_gap() {
    let gateway = parking(1);
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    for round in 1..=3 {
        agent.hold(&[peer("gateway", gateway.tunnel_address(), client(AGENT))]);
        for _ in 0..5 {
            let mut conn = gateway.api_server().tunnel(&target.target());
            conn.write_and_shut(b"x").unwrap();
            assert_eq!(conn.read_to_end().0, b"x", "round {round}");
            drop(conn);
            assert_eq!(gateway.ended().reason, Reason::Completed);
            assert_eq!(agent.ended().reason, Reason::Completed);
        }
    }
    agent.until("one registration", |totals| totals.tunnel_gateways == 1);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

#[test]
fn agent_that_says_it_drains_is_not_asked() {
    let gateway = gateway(UNIX_TLS13, |_| {});
    let mut control = Wire::register(&gateway, &client(AGENT), 1);
    control.say(&ToGateway::Draining);
    eventually(
        || gateway.agents().first()?.draining.then_some(()),
        || format!("{:?}", gateway.agents()),
    );
    assert_eq!(gateway.api_server().refused("127.0.0.1:1").status(), 503);
    gateway.ended();
    drop(control);
    assert_gateway_back(&gateway);
}

/// Streams that begin while agents come and go.
#[test]
fn agents_that_roll_under_load_lose_no_stream() {
    for parked in [0, 2] {
        let gateway = parking(parked);
        let hold = [peer("gateway", gateway.tunnel_address(), client(AGENT))];
        let mut agents = vec![Agent::with(&hold, 1, |_| {})];
        until_agents(&gateway, 1);
        let target = Kubelet::with(None, echo);
        let stop = AtomicBool::new(false);
        let opened = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut opened = 0;
                while !stop.load(SeqCst) {
                    let mut conn = gateway.api_server().tunnel(&target.target());
                    conn.write_and_shut(b"x").unwrap();
                    assert_eq!(conn.read_to_end(), (b"x".to_vec(), Ending::Clean));
                    opened += 1;
                }
                opened
            });
            for instance in 2..6 {
                agents.push(Agent::with(&hold, instance, |_| {}));
                // The next one is there before the last one goes.
                eventually(
                    || {
                        let agents = gateway.agents();
                        agents
                            .iter()
                            .any(|agent| agent.instance == [instance; 16])
                            .then_some(())
                    },
                    || format!("agent {instance}"),
                );
                let mut old = agents.remove(0);
                assert_eq!(old.running().take_engine().drain(PATIENCE), 0);
            }
            stop.store(true, SeqCst);
            load.join().unwrap()
        });
        assert!(opened > 0);
        for _ in 0..opened {
            let record = gateway.ended();
            assert_eq!(record.reason, Reason::Completed, "{record:#?}");
        }
        target.finish();
        agents.remove(0).finish_counting();
        assert_gateway_back(&gateway);
    }
}
