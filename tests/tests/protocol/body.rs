//! Replies whose body is whole, cut, endless or not what the head says; bodies of requests.

use eyesplice_dataplane::seam::{Phase, Reason, Side, StreamRecord};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::{Gateway, assert_end};
use eyesplice_tests::http::{Body, Reply, read_head, read_reply};
use eyesplice_tests::kubelet::{Kubelet, request};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::PATIENCE;
use std::time::Instant;

matrix! {
    body_with_length_that_ends_early_is_a_cut,
    body_in_chunks_that_ends_early_is_a_cut,
    body_until_the_end_is_whole_only_with_close_notify,
    reply_that_ends_in_its_first_write_is_whole,
    broken_chunk_is_a_cut,
    reply_without_body_is_passed_on,
    malformed_reply_is_502,
    reply_that_could_be_framed_in_two_ways_is_502,
    reply_head_beyond_the_limit_is_502,
    kubelet_that_closes_without_an_answer_is_502,
    kubelet_that_resets_instead_of_an_answer_is_502,
    head_of_900_kb_passes_both_ways,
    large_body_of_a_request_is_echoed,
    early_refusal_of_a_large_body_reaches_the_client,
    chunked_request_body_arrives_whole,
    log_of_small_records_arrives_whole,
}

/// How a fake ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Clean,
    Fin,
    Reset,
}

const ENDS: [End; 3] = [End::Clean, End::Fin, End::Reset];

fn end(conn: &mut Conn, how: End) {
    match how {
        End::Clean => conn.shut().unwrap(),
        End::Fin => conn.fin().unwrap(),
        End::Reset => return conn.reset_when_closed(),
    }
    // Leaves only after the other side, so that it is not a reset after all.
    conn.read_to_end();
}

/// Asks for logs of a kubelet that answers with these bytes and ends.
fn logs_of(variant: Variant, answer: &[u8], how: End) -> (Reply, StreamRecord) {
    let gateway = Gateway::start(variant);
    let answer = answer.to_vec();
    let kubelet = Kubelet::start(variant, move |conn, log| {
        request(conn, log);
        conn.write_all(&answer).unwrap();
        // A reset overtakes what was not read yet; that is not what is tested.
        if let End::Reset = how {
            assert_eq!(conn.ended(), None);
        }
        end(conn, how);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = match Request::logs().ask(&mut conn) {
        reply if reply.body.is_whole() => reply,
        cut => {
            assert!(conn.read_to_end().1.is_cut());
            cut
        }
    };
    drop(conn);
    kubelet.finish();
    let record = gateway.ended();
    gateway.assert_nothing_held();
    (reply, record)
}

fn assert_cut(reply: &Reply, record: &StreamRecord, how: End, got: &[u8]) {
    assert_eq!(reply.head.status(), 200);
    let Body::Cut(body, ending) = &reply.body else {
        panic!("taken for whole: {reply:?}");
    };
    assert!(ending.is_cut(), "{how:?} looks clean: {reply:?}");
    let reason = match how {
        // What a reset destroys on its way may be more than nothing.
        End::Reset => {
            assert!(got.starts_with(body));
            Reason::Reset
        }
        _ => {
            assert_eq!(body, got);
            Reason::Truncated
        }
    };
    assert_end(record, reason, Side::Upstream, Phase::Exchange);
    assert_eq!(record.status, Some(200));
}

fn body_with_length_that_ends_early_is_a_cut(variant: Variant) {
    for how in ENDS {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
        let (reply, record) = logs_of(variant, answer, how);
        if reply.head.status() == 502 {
            // The reset was faster than the head.
            assert_eq!(record.reason, Reason::Reset);
            continue;
        }
        assert_cut(&reply, &record, how, b"only this");
    }
}

fn body_in_chunks_that_ends_early_is_a_cut(variant: Variant) {
    for how in [End::Clean, End::Fin] {
        for (rest, got) in [
            ("9\r\nonly this", "only this"),
            ("9\r\nonly this\r\n", "only this"),
            ("9\r\nonly this\r\n0\r\n", "only this"),
            ("9\r\nonly", "only"),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
            let (reply, record) = logs_of(variant, answer.as_bytes(), how);
            assert_cut(&reply, &record, how, got.as_bytes());
        }
    }
}

fn body_until_the_end_is_whole_only_with_close_notify(variant: Variant) {
    let answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end";
    let (reply, record) = logs_of(variant, answer, End::Clean);
    assert_eq!(
        reply.body,
        Body::UntilEnd(b"to the end".to_vec(), Ending::Clean)
    );
    assert_eq!(reply.head.all("connection"), ["close"]);
    assert_end(&record, Reason::Completed, Side::Upstream, Phase::Exchange);

    let (reply, record) = logs_of(variant, answer, End::Fin);
    let Body::UntilEnd(body, ending) = reply.body else {
        panic!("{reply:?}");
    };
    assert_eq!(body, b"to the end");
    assert!(ending.is_cut(), "a silent cut");
    assert_end(&record, Reason::Truncated, Side::Upstream, Phase::Exchange);
}

fn reply_that_ends_in_its_first_write_is_whole(variant: Variant) {
    for framing in [
        "Connection: close\r\nContent-Length: 10",
        "Connection: close",
    ] {
        let gateway = Gateway::start(variant);
        let kubelet = Kubelet::start(variant, move |conn, log| {
            request(conn, log);
            let reply = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nto the end");
            conn.write_and_shut(reply.as_bytes()).unwrap();
            log.ending(conn.read_to_end().1);
        });
        let mut conn = gateway.api_server().open(&kubelet.target());
        let reply = Request::logs().ask(&mut conn);
        assert!(reply.body.is_whole(), "{framing}: {reply:?}");
        assert_eq!(reply.text(), "to the end");
        drop(conn);
        assert_eq!(kubelet.ending(), Ending::Clean);
        kubelet.finish();
        gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
        gateway.assert_nothing_held();
    }
}

fn broken_chunk_is_a_cut(variant: Variant) {
    for broken in [
        "xyz\r\n",
        "5\r\nab\r\n0\r\n\r\n",
        "5\nabcde\n",
        "ffffffffffffffffff\r\n",
    ] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n{broken}");
        let gateway = Gateway::start(variant);
        let kubelet = Kubelet::start(variant, move |conn, log| {
            request(conn, log);
            conn.write_all(answer.as_bytes()).unwrap();
            conn.read_to_end();
        });
        let mut conn = gateway.api_server().open(&kubelet.target());
        Request::logs().send(&mut conn);
        // The head may not be there either: what came with the broken chunk is not passed on.
        let head = read_head(&mut conn).unwrap();
        assert_eq!(head.status(), 200);
        let (received, ending) = conn.read_to_end();
        assert!(
            ending.is_cut(),
            "{broken:?}: {:?}",
            String::from_utf8_lossy(&received)
        );
        gateway.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange);
        drop(conn);
        kubelet.finish();
        gateway.assert_nothing_held();
    }
}

fn reply_without_body_is_passed_on(variant: Variant) {
    for answer in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 17\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (reply, record) = logs_of(variant, answer.as_bytes(), End::Clean);
        assert_eq!(reply.body, Body::Whole(Vec::new()), "{answer:?}");
        assert_end(&record, Reason::Completed, Side::Upstream, Phase::Exchange);
        assert_eq!(record.status, Some(reply.head.status()));
    }
}

fn assert_bad_gateway(reply: &Reply, record: &StreamRecord) {
    assert_eq!(reply.head.status(), 502, "{reply:?}");
    assert!(
        reply.body.is_whole() && reply.text().starts_with("eyesplice: "),
        "{reply:?}"
    );
    assert_end(record, Reason::Protocol, Side::Upstream, Phase::Exchange);
    assert_eq!(record.status, Some(502));
}

fn malformed_reply_is_502(variant: Variant) {
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let (reply, record) = logs_of(variant, answer.as_bytes(), End::Clean);
        assert_bad_gateway(&reply, &record);
    }
}

fn reply_that_could_be_framed_in_two_ways_is_502(variant: Variant) {
    for headers in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nabc");
        let (reply, record) = logs_of(variant, answer.as_bytes(), End::Clean);
        assert_bad_gateway(&reply, &record);
    }
}

fn reply_head_beyond_the_limit_is_502(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        let line = format!("X-A: {}\r\n", "a".repeat(60_000));
        conn.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // The gateway stops reading when it has seen enough.
        while conn.write_all(line.as_bytes()).is_ok() {}
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::logs().ask(&mut conn);
    drop(conn);
    assert_bad_gateway(&reply, &gateway.ended());
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn kubelet_that_closes_without_an_answer_is_502(variant: Variant) {
    for how in [End::Clean, End::Fin] {
        let (reply, record) = logs_of(variant, b"", how);
        assert_eq!(reply.head.status(), 502);
        assert!(reply.body.is_whole(), "{reply:?}");
        assert_end(&record, Reason::Truncated, Side::Upstream, Phase::Exchange);
        let (reply, record) = logs_of(variant, b"HTTP/1.1 200 O", how);
        assert_eq!(reply.head.status(), 502);
        assert_end(&record, Reason::Truncated, Side::Upstream, Phase::Exchange);
    }
}

fn kubelet_that_resets_instead_of_an_answer_is_502(variant: Variant) {
    let (reply, record) = logs_of(variant, b"", End::Reset);
    assert_eq!(reply.head.status(), 502);
    assert!(reply.body.is_whole(), "{reply:?}");
    assert_end(&record, Reason::Reset, Side::Upstream, Phase::Exchange);
}

fn head_of_900_kb_passes_both_ways(variant: Variant) {
    let gateway = Gateway::start(variant);
    let value = "t".repeat(900 << 10);
    let expected = value.clone();
    let kubelet = Kubelet::start(variant, move |conn, log| {
        let head = request(conn, log);
        assert!(head.get("authorization") == Some(&expected));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Big: {expected}\r\n\r\n");
        conn.write_all(answer.as_bytes()).unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::get("/healthz")
        .header("Authorization", &value)
        .ask(&mut conn);
    assert_eq!(reply.head.status(), 200);
    assert!(reply.head.get("x-big") == Some(&value));
    conn.shut().unwrap();
    conn.read_to_end();
    drop(conn);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn large_body_of_a_request_is_echoed(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, eyesplice_tests::kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let body = Rng::new(7).bytes(3 << 20);
    let reply = Request::new("POST", "/run/default/web/app")
        .body(&body)
        .ask(&mut conn);
    assert!(reply.body.bytes() == body && reply.body.is_whole());
    let record = gateway.ended();
    assert_eq!((record.bytes.up, record.bytes.down), (3 << 20, 3 << 20));
    // The connection is good for more.
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    assert_eq!(gateway.ended().exchange, 2);
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn early_refusal_of_a_large_body_reaches_the_client(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n")
            .unwrap();
        // It never reads the body, and waits for the gateway to give up.
        conn.wait_hangup();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let mut bytes = Request::new("POST", "/run/default/web/app")
        .header("Content-Length", &(64usize << 20).to_string())
        .bytes();
    bytes.extend(vec![b'b'; 64 << 20]);
    let mut sent = 0;
    let reply = loop {
        // What is not taken any more is not the client's fault.
        let wrote = conn.try_write(&bytes[sent..]).unwrap_or(bytes.len() - sent);
        sent += wrote;
        if conn.ready_to_read() {
            break read_reply(&mut conn, "POST").unwrap();
        }
        if wrote == 0 {
            conn.wait(true, true, Instant::now() + PATIENCE).unwrap();
        }
    };
    assert_eq!(reply.head.status(), 413);
    assert_eq!(reply.text(), "no\n");
    assert_eq!(
        reply.head.all("connection"),
        ["close"],
        "the rest of the body is still to come"
    );
    drop(conn);
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn chunked_request_body_arrives_whole(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, eyesplice_tests::kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let request =
        Request::new("POST", "/run/default/web/app").header("Transfer-Encoding", "chunked");
    let mut bytes = request.bytes();
    bytes.extend_from_slice(b"6\r\nhello \r\n5;ext=1\r\nworld\r\n0\r\nX-Trailer: t\r\n\r\n");
    conn.chop(3, Rng::new(8));
    conn.write_all(&bytes).unwrap();
    let reply = read_reply(&mut conn, "POST").unwrap();
    assert_eq!(reply.text(), "hello world");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn log_of_small_records_arrives_whole(variant: Variant) {
    const LINES: usize = 20_000;
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for number in 0..LINES {
            // A record per line, as the kubelet writes logs (docs/wire.md, "Log records").
            let line = format!("line {number}\n");
            conn.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())
                .unwrap();
        }
        conn.write_all(b"0\r\n\r\n").unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::logs().ask(&mut conn);
    let expected: String = (0..LINES)
        .map(|number| format!("line {number}\n"))
        .collect();
    assert!(reply.text() == expected && reply.body.is_whole());
    drop(conn);
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}
