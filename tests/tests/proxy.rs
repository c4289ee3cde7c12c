//! Targets that are reached through another HTTP CONNECT proxy, which is mostly a second gateway.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{Phase, ProxyAddress, ProxyTls, Reason, Side, StreamMode};
use eyesplice_tests::api_server::{Entry, exec, name_of};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{self, Kubelet};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::variant::Variant;
use rustls::ClientConfig;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

matrix! {
    exec_through_a_proxy_is_carried_both_ways,
    cut_behind_a_proxy_stays_a_cut,
    refusal_of_a_proxy_reaches_the_user,
    client_that_leaves_while_a_proxy_thinks_is_cancelled,
}

/// What is asked for where nobody answers.
const NOWHERE: &str = "10.9.8.7:10250";

/// Sends the streams of `near` through `far`.
fn chain(near: &Gateway, far: &Gateway) {
    let (at, tls) = match far.api_server().entry() {
        Entry::Unix(path) => (ProxyAddress::Unix(path.clone()), None),
        Entry::Tcp(address, config) => {
            let mut config = ClientConfig::clone(config);
            // What protects the records of streams needs the keys.
            config.enable_secret_extraction = true;
            let tls = ProxyTls {
                config: Arc::new(config),
                server_name: name_of(&address.to_string()),
            };
            (ProxyAddress::Tcp(vec![*address]), Some(tls))
        }
        Entry::Bare(address) => (ProxyAddress::Tcp(vec![*address]), None),
    };
    near.control.go_through(at, tls);
}

fn splicing(variant: Variant) -> Gateway {
    Gateway::with(variant, |setup| setup.answer = Answer::Splice)
}

fn exec_through_a_proxy_is_carried_both_ways(variant: Variant) {
    let (near, far) = (Gateway::start(variant), splicing(variant));
    chain(&near, &far);
    let kubelet = Kubelet::start(variant, |conn, log| {
        kubelet::grant(conn, log);
        kubelet::echo(conn, log);
    });
    let mut conn = exec(&near.api_server(), &kubelet.target());
    let input = Rng::new(1).bytes(1 << 20);
    let seen = converse(&mut conn, &input, Pace::even());
    assert!(seen.received == input, "{} bytes", seen.received.len());
    assert_eq!(seen.ending, Ending::Clean);
    assert_eq!(kubelet.ending(), Ending::Clean);
    drop(conn);
    kubelet.finish();

    near.began();
    let record = near.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    assert_eq!(record.via.as_deref(), Some("far"));
    assert_eq!((record.bytes.up, record.bytes.down), (1 << 20, 1 << 20));
    let record = far.ended();
    assert_eq!(
        (record.reason, record.mode),
        (Reason::Completed, StreamMode::Splice)
    );
    assert_eq!(record.via, None);
    near.assert_nothing_held();
    far.assert_nothing_held();
}

fn cut_behind_a_proxy_stays_a_cut(variant: Variant) {
    let (near, far) = (Gateway::start(variant), splicing(variant));
    chain(&near, &far);
    let kubelet = Kubelet::start(variant, |conn, log| {
        kubelet::grant(conn, log);
        conn.write_all(b"some").unwrap();
        conn.fin().unwrap();
        log.ending(conn.read_to_end().1);
    });
    let mut conn = exec(&near.api_server(), &kubelet.target());
    let (got, ending) = conn.read_to_end();
    assert_eq!(got, b"some");
    assert!(ending.is_cut(), "{ending:?}");
    drop(conn);
    kubelet.finish();
    near.began();
    near.assert_ended(Reason::Truncated, Side::Upstream, Phase::Relay);
    far.ended();
    near.assert_nothing_held();
    far.assert_nothing_held();
}

fn refusal_of_a_proxy_reaches_the_user(variant: Variant) {
    let near = Gateway::start(variant);
    let far = Gateway::with(variant, |setup| {
        setup.answer = Answer::Refuse(403, "not from here");
    });
    chain(&near, &far);
    let refusal = near.api_server().refused(NOWHERE);
    let words = "proxy far refused 10.9.8.7:10250: 403 not from here";
    assert_eq!(refusal.status(), 403);
    assert!(refusal.raw.contains(words), "{}", refusal.raw);
    let record = near.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Tunnel);
    assert_eq!(record.detail.as_deref(), Some(words));
    assert_eq!(far.ended().reason, Reason::Denied);
    near.assert_nothing_held();
    far.assert_nothing_held();
}

fn client_that_leaves_while_a_proxy_thinks_is_cancelled(variant: Variant) {
    let near = Gateway::start(variant);
    let far = Gateway::with(variant, |setup| setup.answer = Answer::Silence);
    chain(&near, &far);
    let mut conn = near.api_server().reach();
    conn.write_all(format!("CONNECT {NOWHERE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes())
        .unwrap();
    far.until("a pending stream", |totals| totals.streams_pending == 1);
    drop(conn);
    assert_eq!(near.ended().reason, Reason::Cancelled);
    assert_eq!(far.ended().reason, Reason::Cancelled);
    near.assert_nothing_held();
    far.assert_nothing_held();
}

/// A proxy over plain TCP that answers every CONNECT with these bytes, and then waits for an end.
fn fake(answer: &'static [u8]) -> ProxyAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut conn, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = conn.read(&mut request).unwrap();
        let asked = format!("CONNECT {NOWHERE} HTTP/1.1\r\nHost: {NOWHERE}\r\n\r\n");
        assert_eq!(&request[..length], asked.as_bytes());
        conn.write_all(answer).unwrap();
        let _ = conn.read(&mut request);
    });
    ProxyAddress::Tcp(vec![address])
}

const VARIANT: Variant = eyesplice_tests::variant::UNIX_TLS13;

#[test]
fn bytes_in_the_write_of_a_proxys_answer_are_delivered() {
    let near = splicing(VARIANT);
    near.control
        .go_through(fake(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nearly"), None);
    let mut conn = near.api_server().tunnel(NOWHERE);
    assert_eq!(conn.read_exact(5).unwrap(), b"early");
    conn.fin().unwrap();
    assert_eq!(conn.read_to_end().0, b"");
    drop(conn);
    assert_eq!(near.ended().status, Some(200));
    near.assert_nothing_held();
}

#[test]
fn what_is_no_answer_of_a_proxy_is_502_with_words() {
    for (answer, words) in [
        (
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            "sent no answer to a CONNECT",
        ),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "407 Proxy Authentication",
        ),
    ] {
        let near = splicing(VARIANT);
        near.control.go_through(fake(answer), None);
        let refusal = near.api_server().refused(NOWHERE);
        assert_eq!(refusal.status(), 502);
        assert!(refusal.raw.contains(words), "{}", refusal.raw);
        near.ended();
        near.assert_nothing_held();
    }
}

#[test]
fn proxy_that_is_not_there_or_says_nothing_is_reported_so() {
    let near = splicing(VARIANT);
    near.control
        .go_through(ProxyAddress::Unix("/nonexistent/proxy.sock".into()), None);
    let refusal = near.api_server().refused(NOWHERE);
    assert_eq!(refusal.status(), 503);
    let words = "there is no socket /nonexistent/proxy.sock";
    assert!(refusal.raw.contains(words), "{}", refusal.raw);
    near.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Dial);

    near.control
        .limit(|limits| limits.dial_timeout = Duration::from_secs(1));
    near.control.go_through(fake(b""), None);
    let refusal = near.api_server().refused(NOWHERE);
    assert_eq!(refusal.status(), 504);
    assert!(
        refusal.raw.contains("proxy far did not answer in time"),
        "{}",
        refusal.raw
    );
    near.assert_ended(Reason::Timeout, Side::Upstream, Phase::Tunnel);
    near.assert_nothing_held();
}
