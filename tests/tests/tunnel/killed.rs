//! Agents and gateways that are killed, in every phase: the other side holds nothing of them.

use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::api_server::ApiServer;
use eyesplice_tests::conn::Conn;
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{Kubelet, echo};
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{Agent, assert_gateway_back, gateway, limits};
use eyesplice_tests::variant::UNIX_TLS13;
use std::time::Duration;

fn pair(parked: usize) -> (Gateway, Agent) {
    let gateway = gateway(UNIX_TLS13, |setup| {
        let mut limits = limits();
        limits.parked = parked..=parked;
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    gateway.until("all parked", |totals| totals.tunnel_parked == parked as u64);
    (gateway, agent)
}

/// Ends an engine without a drain, as far as the other side can see.
fn kill(agent: &mut Agent) {
    agent.running().take_engine().drain(Duration::ZERO);
}

fn ask(api_server: &ApiServer, target: &str) -> Conn {
    let mut conn = api_server.reach();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    conn.write_all(request.as_bytes()).unwrap();
    conn
}

#[test]
fn agent_killed_while_it_waits_leaves_nothing() {
    for parked in [0, 2] {
        let (gateway, mut agent) = pair(parked);
        kill(&mut agent);
        assert_gateway_back(&gateway);
    }
}

#[test]
fn agent_killed_while_it_opens_fails_the_stream() {
    for parked in [0, 1] {
        let (gateway, mut agent) = pair(parked);
        agent.control.answer(Answer::Silence);
        let mut conn = ask(&gateway.api_server(), "127.0.0.1:10250");
        agent.until("a pending stream", |totals| totals.streams_pending == 1);
        kill(&mut agent);
        let head = eyesplice_tests::http::read_head(&mut conn).unwrap();
        assert!(matches!(head.status(), 502..=504), "{}", head.raw);
        drop(conn);
        gateway.ended();
        assert_gateway_back(&gateway);
    }
}

#[test]
fn agent_killed_under_a_stream_cuts_it() {
    for parked in [0, 1] {
        let (gateway, mut agent) = pair(parked);
        let target = Kubelet::with(None, echo);
        let mut conn = gateway.api_server().tunnel(&target.target());
        conn.write_all(b"x").unwrap();
        conn.read_exact(1).unwrap();
        kill(&mut agent);
        conn.read_to_end();
        drop(conn);
        assert_ne!(gateway.ended().reason, Reason::Completed);
        target.finish();
        assert_gateway_back(&gateway);
    }
}

#[test]
fn gateway_killed_in_any_phase_leaves_nothing_at_the_agent() {
    for phase in 0..3 {
        let (mut gateway, agent) = pair(1);
        let target = Kubelet::with(None, echo);
        let mut conn = None;
        match phase {
            1 => {
                agent.control.answer(Answer::Silence);
                conn = Some(ask(&gateway.api_server(), &target.target()));
                agent.until("a pending stream", |totals| totals.streams_pending == 1);
            }
            2 => {
                let mut stream = gateway.api_server().tunnel(&target.target());
                stream.write_all(b"x").unwrap();
                stream.read_exact(1).unwrap();
                conn = Some(stream);
            }
            _ => {}
        }
        gateway.running().take_engine().drain(Duration::ZERO);
        drop(conn);
        if phase > 0 {
            assert_ne!(agent.ended().reason, Reason::Completed);
        }
        target.finish();
        agent.finish();
    }
}
