//! Streams that are opened, on a connection that waited and on one that did not.

use eyesplice_dataplane::seam::{Reason, StreamMode, VerificationResult};
use eyesplice_tests::api_server::{Request, exec};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::kubelet::{self, Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{AGENT, Agent, assert_gateway_back, gateway, limits};
use eyesplice_tests::variant::Variant;

matrix! { transports:
    spliced_stream_passes_every_byte_both_ways,
    terminated_kubelet_is_served_through_an_agent,
    parked_connection_serves_a_stream_and_is_replaced,
    agent_may_originate_tls_towards_the_target,
    pool_grows_with_the_opens,
}

const MIB: usize = 1 << 20;

fn spliced_stream_passes_every_byte_both_ways(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    let mut conn = gateway.api_server().tunnel(&target.target());
    let sent = Rng::new(1).bytes(MIB);
    let seen = converse(&mut conn, &sent, Pace::even());
    assert!(seen.received == sent && seen.sent);
    assert_eq!(seen.ending, Ending::Clean);
    assert_eq!(target.ending(), Ending::Clean);
    drop(conn);
    let record = gateway.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:#?}");
    assert_eq!(record.via.as_deref(), Some(AGENT));
    assert_eq!(record.address.unwrap().to_string(), target.target());
    assert_eq!(
        (record.bytes.up, record.bytes.down),
        (MIB as u64, MIB as u64)
    );
    assert!(!record.warm);
    let theirs = agent.ended();
    assert_eq!(theirs.reason, Reason::Completed, "{theirs:#?}");
    assert_eq!(theirs.mode, StreamMode::Splice);
    assert_eq!(theirs.bytes, record.bytes);
    assert_eq!(theirs.target.unwrap().to_string(), target.target());
    assert_eq!(&*theirs.listener, "tunnel");
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
    let totals = gateway.totals();
    assert_eq!((totals.tunnel_opens_cold, totals.tunnel_opens_warm), (1, 0));
}

fn terminated_kubelet_is_served_through_an_agent(variant: Variant) {
    let gateway = gateway(variant, |setup| setup.answer = Answer::Kubelet);
    let agent = Agent::of(&gateway);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    let record = gateway.ended();
    assert_eq!(record.via.as_deref(), Some(AGENT));
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    let sent = Rng::new(2).bytes(MIB);
    let seen = converse(&mut conn, &sent, Pace::even());
    assert!(seen.received == sent && seen.sent);
    assert_eq!(seen.ending, Ending::Clean);
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    for _ in 0..2 {
        assert_eq!(agent.ended().reason, Reason::Completed);
    }
    kubelet.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

fn parked_connection_serves_a_stream_and_is_replaced(variant: Variant) {
    let gateway = gateway(variant, |setup| {
        let mut limits = limits();
        limits.parked = 2..=2;
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    for round in 1..=4 {
        gateway.until("two parked", |totals| totals.tunnel_parked == 2);
        let mut conn = gateway.api_server().tunnel(&target.target());
        let seen = converse(&mut conn, b"hello", Pace::even());
        assert_eq!(seen.received, b"hello");
        assert_eq!(seen.ending, Ending::Clean);
        drop(conn);
        let record = gateway.ended();
        assert_eq!(record.reason, Reason::Completed, "{record:#?}");
        assert!(record.warm);
        assert_eq!(agent.ended().reason, Reason::Completed);
        assert_eq!(gateway.totals().tunnel_opens_warm, round);
    }
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
    assert_eq!(gateway.totals().tunnel_opens_cold, 0);
}

fn agent_may_originate_tls_towards_the_target(variant: Variant) {
    let gateway = gateway(variant, |_| {});
    let agent = Agent::of(&gateway);
    agent.control.answer(Answer::Originate);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().tunnel(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    assert_eq!(gateway.ended().mode, StreamMode::Splice);
    let theirs = agent.ended();
    assert_eq!(theirs.mode, StreamMode::Originate);
    assert!(matches!(
        theirs.verification,
        VerificationResult::Verified(_)
    ));
    kubelet.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}

fn pool_grows_with_the_opens(variant: Variant) {
    let gateway = gateway(variant, |setup| {
        let mut limits = limits();
        limits.parked = 0..=3;
        setup.tunnel = Some(limits);
    });
    let agent = Agent::of(&gateway);
    let target = Kubelet::with(None, echo);
    let conns: Vec<_> = (0..5)
        .map(|_| gateway.api_server().tunnel(&target.target()))
        .collect();
    gateway.until("some parked", |totals| totals.tunnel_parked >= 1);
    let mut conn = gateway.api_server().tunnel(&target.target());
    conn.write_and_shut(b"x").unwrap();
    assert_eq!(conn.read_to_end().0, b"x");
    drop((conn, conns));
    for _ in 0..6 {
        gateway.ended();
        agent.ended();
    }
    let totals = gateway.totals();
    assert!(totals.tunnel_opens_warm >= 1, "{totals:?}");
    assert_eq!(totals.tunnel_opens_warm + totals.tunnel_opens_cold, 6);
    target.finish();
    agent.finish();
    assert_gateway_back(&gateway);
}
