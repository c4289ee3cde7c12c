//! Clients that leave, gateways that drain, control that stalls, limits that are reached.

use eyesplice_dataplane::seam::{Phase, Reason, RecordKind, Side};
use eyesplice_tests::api_server::{Request, exec};
use eyesplice_tests::closed::Closed;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{self, Kubelet, request};
use eyesplice_tests::matrix;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::eventually;
use std::time::Duration;

matrix! {
    client_that_leaves_before_the_connect_is_cancelled,
    client_that_leaves_while_control_thinks_is_cancelled,
    client_that_leaves_while_we_shake_hands_upstream_is_cancelled,
    client_that_leaves_before_its_handshake_is_recorded,
    client_that_leaves_a_log_ends_it_upstream,
    client_that_leaves_before_the_reply_ends_it_upstream,
    client_that_leaves_a_stalled_kubelet_ends_it_upstream,
    kubelet_that_leaves_a_stalled_client_is_noticed,
    burst_of_connections_loses_none,
    refusal_carries_its_reason_phrase,
    refused_dial_is_502,
    drain_aborts_an_upgraded_stream_and_records_it,
    drain_aborts_a_log_and_records_it,
    drain_lets_an_exchange_finish,
    stalled_control_holds_up_nothing_and_loses_no_record,
    control_that_keeps_no_record_refuses_with_words,
}

fn client_that_leaves_before_the_connect_is_cancelled(variant: Variant) {
    let gateway = Gateway::start(variant);
    let mut conn = gateway.api_server().reach();
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().0, b"");
    gateway.assert_ended(Reason::Cancelled, Side::Downstream, Phase::Request);
    gateway.assert_nothing_held();
}

fn client_that_leaves_while_control_thinks_is_cancelled(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Silence);
    let mut conn = gateway.api_server().reach();
    conn.write_all(b"CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    gateway.until("a pending stream", |totals| totals.streams_pending == 1);
    drop(conn);
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.side),
        (Reason::Cancelled, Side::Downstream)
    );
    assert_eq!(gateway.totals().dial_cancels, 1);
    gateway.assert_nothing_held();
}

fn client_that_leaves_while_we_shake_hands_upstream_is_cancelled(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::with(None, |conn, log| log.ending(conn.read_to_end().1));
    let mut conn = gateway.api_server().reach();
    let connect = format!(
        "CONNECT {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        kubelet.target()
    );
    conn.write_all(connect.as_bytes()).unwrap();
    eventually(
        || (kubelet.connections() == 1).then_some(()),
        || "a connection".into(),
    );
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Cancelled);
    // What was dialled is given up.
    kubelet.ending();
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn client_that_leaves_before_its_handshake_is_recorded(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    drop(gateway.api_server().tunnel(&kubelet.target()));
    let record = gateway.ended();
    assert_eq!(
        (record.side, record.phase),
        (Side::Downstream, Phase::DownstreamHandshake)
    );
    assert!(
        matches!(record.reason, Reason::Truncated | Reason::Reset),
        "{record:?}"
    );
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn client_that_leaves_a_log_ends_it_upstream(variant: Variant) {
    for clean in [true, false] {
        let gateway = Gateway::start(variant);
        let kubelet = Kubelet::start(variant, |conn, log| {
            request(conn, log);
            conn.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .unwrap();
            conn.write_all(b"5\r\nline\n\r\n").unwrap();
            log.ending(conn.read_to_end().1);
        });
        let mut conn = gateway.api_server().open(&kubelet.target());
        Request::logs().send(&mut conn);
        read_head(&mut conn).unwrap();
        assert_eq!(conn.read_exact(10).unwrap(), b"5\r\nline\n\r\n");
        if clean {
            conn.shut().unwrap();
        }
        drop(conn);
        assert!(
            kubelet.ending().is_cut(),
            "a kubelet must not take it for an end"
        );
        kubelet.finish();
        let record = gateway.assert_ended(Reason::Cancelled, Side::Downstream, Phase::Exchange);
        assert_eq!((record.bytes.down, record.status), (10, Some(200)));
        gateway.assert_nothing_held();
    }
}

fn client_that_leaves_before_the_reply_ends_it_upstream(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        log.ending(conn.read_to_end().1);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    Request::exec_spdy().send(&mut conn);
    drop(gateway_started(&gateway));
    drop(conn);
    assert!(kubelet.ending().is_cut());
    kubelet.finish();
    gateway.assert_ended(Reason::Cancelled, Side::Downstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

/// Waits for the record of an exec's start.
fn gateway_started(gateway: &Gateway) -> eyesplice_dataplane::seam::StreamRecord {
    let record = gateway.began();
    assert_eq!((record.kind, record.exchange), (RecordKind::Start, 1));
    record
}

fn client_that_leaves_a_stalled_kubelet_ends_it_upstream(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        kubelet::grant(conn, log);
        // Reads nothing at all.
        conn.wait_hangup();
    });
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    conn.write_until_full(&[b's'; 16 * 1024]);
    conn.reset_when_closed();
    drop(conn);
    let record = gateway.ended();
    assert_eq!(
        (record.side, record.phase),
        (Side::Downstream, Phase::Relay)
    );
    assert!(
        matches!(record.reason, Reason::Reset | Reason::Truncated),
        "{record:?}"
    );
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn kubelet_that_leaves_a_stalled_client_is_noticed(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        kubelet::grant(conn, log);
        conn.write_until_full(&[b's'; 16 * 1024]);
        conn.reset_when_closed();
    });
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    kubelet.finish();
    // Only now does the client read: what is on its way may come, and then the cut.
    assert!(conn.read_to_end().1.is_cut(), "a silent cut");
    drop(conn);
    gateway.assert_ended(Reason::Reset, Side::Upstream, Phase::Relay);
    gateway.assert_nothing_held();
}

fn refusal_carries_its_reason_phrase(variant: Variant) {
    let remedy = "denied by rule pods; add a rule for 10.1.0.0/16";
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Refuse(403, remedy));
    let (mut conn, head) = gateway.api_server().connect("10.1.2.3:80");
    assert_eq!((head.status(), head.reason()), (403, remedy));
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    let record = gateway.assert_ended(Reason::Denied, Side::Local, Phase::Verdict);
    assert_eq!(
        (record.status, record.rule.as_deref()),
        (Some(403), Some("test"))
    );
    gateway.assert_nothing_held();
}

fn burst_of_connections_loses_none(variant: Variant) {
    // More than one wake-up of a listener takes.
    const BURST: u64 = 300;
    let gateway = Gateway::with(variant, |setup| {
        setup.workers = 1;
        setup.answer = Answer::Refuse(403, "no");
    });
    let sockets: Vec<_> = (0..BURST).map(|_| gateway.api_server().knock()).collect();
    gateway.until("every connection", |totals| totals.accepted == BURST);
    // Over TCP they are no streams, and most of their ends are only counted.
    gateway.until("every one of them", |totals| {
        totals.streams_live + totals.unauthenticated == BURST
    });
    drop(sockets);
    gateway.assert_back();
    for _ in gateway.totals().unauthenticated_untold..BURST {
        assert_eq!(gateway.ended().side, Side::Downstream);
    }
    gateway.assert_nothing_held();
}

fn refused_dial_is_502(variant: Variant) {
    let gateway = Gateway::start(variant);
    let closed = Closed::port();
    let head = gateway.api_server().refused(&closed.address().to_string());
    assert_eq!(head.status(), 502);
    assert!(
        head.reason().contains("refused the connection"),
        "{}",
        head.raw
    );
    gateway.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Dial);
    assert_eq!(gateway.totals().dial_failures, 1);
    gateway.assert_nothing_held();
}

fn drain_aborts_an_upgraded_stream_and_records_it(variant: Variant) {
    let mut gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    conn.write_all(b"ping").unwrap();
    assert_eq!(conn.read_exact(4).unwrap(), b"ping");
    let engine = gateway.running().take_engine();
    assert_eq!(engine.drain(Duration::ZERO), 1);
    assert!(conn.read_to_end().1.is_cut(), "taken for an end");
    assert!(kubelet.ending().is_cut(), "taken for an end");
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Drained, Side::Local, Phase::Relay);
    assert_eq!((record.exchange, record.bytes.up), (1, 4));
}

fn drain_aborts_a_log_and_records_it(variant: Variant) {
    let mut gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        conn.write_all(b"5\r\nline\n\r\n").unwrap();
        log.ending(conn.read_to_end().1);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    Request::logs().send(&mut conn);
    read_head(&mut conn).unwrap();
    assert_eq!(conn.read_exact(10).unwrap(), b"5\r\nline\n\r\n");
    let engine = gateway.running().take_engine();
    assert_eq!(engine.drain(Duration::ZERO), 1);
    assert!(conn.read_to_end().1.is_cut(), "taken for an end");
    assert!(kubelet.ending().is_cut());
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Drained, Side::Local, Phase::Exchange);
    assert_eq!(
        (record.exchange, record.bytes.down, record.status),
        (1, 10, Some(200))
    );
}

fn drain_lets_an_exchange_finish(variant: Variant) {
    let mut gateway = Gateway::start(variant);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let kubelet = Kubelet::start(variant, move |conn, log| {
        request(conn, log);
        wait.lock().unwrap().recv().unwrap();
        conn.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    Request::get("/healthz").send(&mut conn);
    let engine = gateway.running().take_engine();
    let drain = std::thread::spawn(move || engine.drain(eyesplice_tests::wait::PATIENCE));
    go.send(()).unwrap();
    let reply = eyesplice_tests::http::read_reply(&mut conn, "GET").unwrap();
    assert_eq!(reply.text(), "ok");
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(drain.join().unwrap(), 0);
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
}

fn stalled_control_holds_up_nothing_and_loses_no_record(variant: Variant) {
    let mut gateway = Gateway::with(variant, |setup| setup.record_queue = 1);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let records = gateway.running().records.clone();
    // An established stream, then a control that takes nothing.
    let mut live = exec(&gateway.api_server(), &kubelet.target());
    records.stall(true);
    for _ in 0..10 {
        let mut conn = gateway.api_server().open(&kubelet.target());
        conn.shut().unwrap();
        conn.read_to_end();
    }
    // Their slots are free, and another exec begins.
    gateway.until("no slot but the live one's", |totals| {
        totals.streams_live == 1
    });
    let mut late = exec(&gateway.api_server(), &kubelet.target());
    for conn in [&mut live, &mut late] {
        for round in 0..100u32 {
            conn.write_all(&round.to_le_bytes()).unwrap();
            assert_eq!(conn.read_exact(4).unwrap(), round.to_le_bytes());
        }
    }
    records.stall(false);
    for _ in 0..10 {
        assert_eq!(gateway.ended().reason, Reason::Completed);
    }
    for mut conn in [live, late] {
        conn.shut().unwrap();
        assert_eq!(conn.read_to_end().1, Ending::Clean);
    }
    kubelet.finish();
    for _ in 0..2 {
        assert_eq!(gateway.ended().reason, Reason::Completed);
    }
    assert_eq!(gateway.totals().records_lost, 0);
    gateway.assert_nothing_held();
}

fn control_that_keeps_no_record_refuses_with_words(variant: Variant) {
    let why = "audit log takes no lines; audit.onFailure is block";
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut live = exec(&gateway.api_server(), &kubelet.target());
    // No starts: what does not begin with one goes on.
    gateway.control.keep_no_records(RecordKind::Start, why);
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::logs().ask(&mut conn).head.status(), 200);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    let reply = Request::exec_websocket().ask(&mut conn);
    assert_eq!(reply.head.status(), 503);
    assert!(reply.text().contains(why), "{}", reply.text());
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    let record = gateway.assert_ended(Reason::Unaudited, Side::Local, Phase::Exchange);
    assert_eq!(record.status, Some(503));
    // None at all: nothing begins, and what runs goes on.
    let mut kept = gateway.api_server().open(&kubelet.target());
    gateway.control.keep_no_records(RecordKind::End, why);
    assert_eq!(Request::logs().ask(&mut kept).head.status(), 503);
    assert_eq!(gateway.ended().reason, Reason::Unaudited);
    let head = gateway.api_server().refused(&kubelet.target());
    assert_eq!((head.status(), head.reason()), (503, why));
    gateway.assert_ended(Reason::Unaudited, Side::Local, Phase::Verdict);
    live.write_all(b"live").unwrap();
    assert_eq!(live.read_exact(4).unwrap(), b"live");
    live.shut().unwrap();
    assert_eq!(live.read_to_end().1, Ending::Clean);
    drop((conn, kept));
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}
