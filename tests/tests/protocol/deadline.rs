//! Peers that are silent or slow: what waits, how long, and who is told.

use eyesplice_dataplane::seam::{Phase, Reason, Side};
use eyesplice_tests::api_server::{Request, exec};
use eyesplice_tests::conn::Conn;
use eyesplice_tests::gateway::{Gateway, Setup};
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{self, Kubelet, grant, request};
use eyesplice_tests::matrix;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::eventually;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

matrix! { transports:
    silent_control_is_504,
    kubelet_that_does_not_shake_hands_is_504_with_a_question,
    kubelet_that_never_answers_an_upgrade_is_504,
    kubelet_that_never_finishes_the_head_of_a_reply_is_504,
    kubelet_may_take_long_to_begin_a_reply_and_no_longer_to_finish_its_head,
    kubelet_that_never_answers_a_request_is_idle,
    client_that_never_sends_a_request_is_idle,
    upgraded_stream_that_moves_nothing_is_idle,
    upgraded_stream_that_moves_is_not_idle,
    reader_that_takes_nothing_of_a_log_is_idle,
    reader_that_takes_nothing_of_a_half_closed_stream_is_idle,
    slow_request_head_is_408,
    slow_connect_is_408,
    api_server_that_does_not_shake_hands_is_ended,
    interim_replies_do_not_reset_the_deadline_of_an_upgrade,
}

/// Runs out, and nothing else has to happen before.
const SOON: Duration = Duration::from_millis(100);

/// Runs out too, but lets a busy machine come to the point where it does.
const LATER: Duration = Duration::from_secs(1);

fn idle(setup: &mut Setup) {
    setup.limits.idle_timeout = Some(LATER);
}

/// Reads nothing, and stays until the other side has gone.
fn stay(conn: &mut Conn, _: &kubelet::Log) {
    conn.read_to_end();
}

fn silent_control_is_504(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| {
        setup.answer = Answer::Silence;
        setup.admission.admit_timeout = SOON;
    });
    let head = gateway.api_server().refused("127.0.0.1:10250");
    assert_eq!(head.status(), 504);
    assert!(head.reason().contains("timeouts.verdict"), "{}", head.raw);
    gateway.assert_ended(Reason::Timeout, Side::Local, Phase::Verdict);
    gateway.assert_nothing_held();
}

fn kubelet_that_does_not_shake_hands_is_504_with_a_question(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.limits.handshake_timeout = SOON);
    let kubelet = Kubelet::with(None, stay);
    let head = gateway.api_server().refused(&kubelet.target());
    assert_eq!(head.status(), 504);
    assert!(head.reason().contains("is it a TLS port?"), "{}", head.raw);
    gateway.assert_ended(Reason::Timeout, Side::Upstream, Phase::UpstreamHandshake);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn kubelet_that_never_answers_an_upgrade_is_504(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.limits.head_timeout = LATER);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        stay(conn, log);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::exec_spdy().ask(&mut conn);
    assert_eq!(reply.head.status(), 504);
    assert!(
        reply.text().contains("timeouts.requestHead"),
        "{}",
        reply.text()
    );
    drop(conn);
    let record = gateway.assert_ended(Reason::Timeout, Side::Upstream, Phase::Exchange);
    assert_eq!(record.status, Some(504));
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn interim_replies_do_not_reset_the_deadline_of_an_upgrade(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.limits.head_timeout = LATER);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        stay(conn, log);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::exec_websocket().ask(&mut conn).head.status(), 504);
    drop(conn);
    gateway.assert_ended(Reason::Timeout, Side::Upstream, Phase::Exchange);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn kubelet_that_never_finishes_the_head_of_a_reply_is_504(variant: Variant) {
    for begun in [
        "HTTP/1.1 200",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: ",
    ] {
        let gateway = Gateway::with(variant, |setup| setup.limits.head_timeout = LATER);
        let kubelet = Kubelet::start(variant, move |conn, log| {
            request(conn, log);
            conn.write_all(begun.as_bytes()).unwrap();
            stay(conn, log);
        });
        let mut conn = gateway.api_server().open(&kubelet.target());
        Request::logs().send(&mut conn);
        let mut head = read_head(&mut conn).unwrap();
        if head.status() == 100 {
            head = read_head(&mut conn).unwrap();
        }
        assert_eq!(head.status(), 504);
        let (words, _) = conn.read_to_end();
        let words = String::from_utf8(words).unwrap();
        assert!(words.contains("finish the head of its reply"), "{words}");
        assert!(words.contains("timeouts.requestHead"), "{words}");
        drop(conn);
        let record = gateway.assert_ended(Reason::Timeout, Side::Upstream, Phase::Exchange);
        assert_eq!(record.status, Some(504));
        kubelet.finish();
        gateway.assert_nothing_held();
    }
}

fn kubelet_may_take_long_to_begin_a_reply_and_no_longer_to_finish_its_head(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.limits.head_timeout = LATER);
    let late = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&late);
    let patient = Kubelet::start(variant, move |conn, log| {
        request(conn, log);
        eventually(|| seen.load(SeqCst).then_some(()), || "its time".into());
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .unwrap();
        stay(conn, log);
    });
    let mut conn = gateway.api_server().open(&patient.target());
    Request::logs().send(&mut conn);
    // Another kubelet shows that the deadline of a head has passed meanwhile.
    let slow = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 2").unwrap();
        stay(conn, log);
    });
    let mut other = gateway.api_server().open(&slow.target());
    assert_eq!(Request::logs().ask(&mut other).head.status(), 504);
    late.store(true, SeqCst);
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    assert_eq!(conn.read_exact(2).unwrap(), b"ok");
    drop((conn, other));
    patient.finish();
    slow.finish();
    gateway.taken_records();
    gateway.assert_back();
}

fn kubelet_that_never_answers_a_request_is_idle(variant: Variant) {
    let gateway = Gateway::with(variant, idle);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        stay(conn, log);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::logs().ask(&mut conn);
    assert_eq!(reply.head.status(), 504);
    drop(conn);
    gateway.assert_ended(Reason::Idle, Side::Local, Phase::Exchange);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn client_that_never_sends_a_request_is_idle(variant: Variant) {
    let gateway = Gateway::with(variant, idle);
    let kubelet = Kubelet::start(variant, stay);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let (received, _) = conn.read_to_end();
    assert!(received.is_empty());
    kubelet.finish();
    gateway.assert_ended(Reason::Idle, Side::Local, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn upgraded_stream_that_moves_nothing_is_idle(variant: Variant) {
    let gateway = Gateway::with(variant, idle);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    assert!(conn.read_to_end().1.is_cut(), "taken for an end");
    assert!(kubelet.ending().is_cut(), "taken for an end");
    kubelet.finish();
    gateway.assert_ended(Reason::Idle, Side::Local, Phase::Relay);
    gateway.assert_nothing_held();
}

fn upgraded_stream_that_moves_is_not_idle(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| {
        setup.limits.idle_timeout = Some(Duration::from_secs(2));
    });
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    let end = std::time::Instant::now() + Duration::from_millis(2500);
    while std::time::Instant::now() < end {
        conn.write_all(b"ping").unwrap();
        assert_eq!(conn.read_exact(4).unwrap(), b"ping");
    }
    conn.shut().unwrap();
    conn.read_to_end();
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    gateway.assert_nothing_held();
}

/// Writes until the other side has gone.
fn flood(conn: &mut Conn) {
    while conn.write_all(&[b'f'; 16 * 1024]).is_ok() {}
}

fn reader_that_takes_nothing_of_a_log_is_idle(variant: Variant) {
    let gateway = Gateway::with(variant, idle);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .unwrap();
        flood(conn);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    Request::logs().send(&mut conn);
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    gateway.assert_ended(Reason::Idle, Side::Local, Phase::Exchange);
    kubelet.finish();
    gateway.assert_nothing_held();
    assert!(conn.read_to_end().1.is_cut(), "taken for an end");
}

fn reader_that_takes_nothing_of_a_half_closed_stream_is_idle(variant: Variant) {
    let gateway = Gateway::with(variant, idle);
    let kubelet = Kubelet::start(variant, |conn, log| {
        grant(conn, log);
        flood(conn);
    });
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    conn.shut().unwrap();
    gateway.assert_ended(Reason::Idle, Side::Local, Phase::Relay);
    kubelet.finish();
    gateway.assert_nothing_held();
    assert!(conn.read_to_end().1.is_cut(), "taken for an end");
}

fn slow_request_head_is_408(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.limits.head_timeout = LATER);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    conn.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
    let head = read_head(&mut conn).unwrap();
    assert_eq!(head.status(), 408);
    drop(conn);
    let record = gateway.assert_ended(Reason::Timeout, Side::Downstream, Phase::Exchange);
    assert_eq!((record.exchange, record.status), (1, Some(408)));
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn slow_connect_is_408(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.admission.head_timeout = LATER);
    let mut conn = gateway.api_server().reach();
    conn.write_all(b"CONNECT 127.0.0.1:10250 HT").unwrap();
    assert_eq!(read_head(&mut conn).unwrap().status(), 408);
    drop(conn);
    gateway.assert_ended(Reason::Timeout, Side::Downstream, Phase::Request);
    gateway.assert_nothing_held();
}

fn api_server_that_does_not_shake_hands_is_ended(variant: Variant) {
    let gateway = Gateway::start(variant);
    gateway
        .control
        .limit(|limits| limits.handshake_timeout = LATER);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().tunnel(&kubelet.target());
    let (received, _) = conn.read_to_end();
    assert!(received.is_empty());
    drop(conn);
    kubelet.finish();
    gateway.assert_ended(
        Reason::Timeout,
        Side::Downstream,
        Phase::DownstreamHandshake,
    );
    gateway.assert_nothing_held();
}
