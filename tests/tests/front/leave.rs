//! Clients that leave, and a gateway that stops.

use eyesplice_dataplane::seam::{Phase, Reason, Side};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::front::{Front, Judged, Rule, leave, server};
use eyesplice_tests::http::{read_head, read_reply};
use eyesplice_tests::kubelet::{self, Kubelet, request};
use eyesplice_tests::matrix;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::PATIENCE;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

matrix! { tcp:
    client_that_leaves_a_watch_ends_it_at_the_server,
    client_that_resets_before_the_reply_ends_it_at_the_server,
    client_that_leaves_in_its_body_ends_it_at_the_server,
    client_that_leaves_while_control_thinks_is_cancelled,
    client_that_leaves_between_requests_ends_the_server_cleanly,
    client_that_is_reset_between_requests_leaves_no_record,
    drain_ends_idle_connections_and_lets_a_reply_finish,
    drain_aborts_what_goes_on,
    upload_to_a_server_that_does_not_read_waits,
}

/// An API server that begins a watch and tells how it ended.
fn watched(variant: Variant) -> Kubelet {
    server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            .unwrap();
        log.ending(conn.read_to_end().1);
    })
}

fn begin_watch(conn: &mut Conn) {
    Request::get("/api/v1/pods?watch=1").send(conn);
    assert_eq!(read_head(conn).unwrap().status(), 200);
    assert_eq!(conn.read_exact(6).unwrap(), b"1\r\nx\r\n");
}

fn client_that_leaves_a_watch_ends_it_at_the_server(variant: Variant) {
    let api = watched(variant);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    begin_watch(&mut conn);
    conn.shut().unwrap();
    drop(conn);
    assert!(api.ending().is_cut());
    api.finish();
    let record = front.assert_ended(Reason::Cancelled, Side::Downstream, Phase::Exchange);
    assert_eq!(record.status, Some(200));
    front.assert_nothing_held();
}

fn client_that_resets_before_the_reply_ends_it_at_the_server(variant: Variant) {
    let (arrive, arrived) = mpsc::channel::<()>();
    let arrive = Mutex::new(arrive);
    let api = server(variant, move |conn, log| {
        request(conn, log);
        arrive.lock().unwrap().send(()).unwrap();
        log.ending(conn.read_to_end().1);
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    Request::get("/api/v1/pods").send(&mut conn);
    arrived.recv().unwrap();
    conn.reset_when_closed();
    drop(conn);
    assert!(api.ending().is_cut());
    api.finish();
    assert_eq!(front.ended().side, Side::Downstream);
    front.assert_nothing_held();
}

fn client_that_leaves_in_its_body_ends_it_at_the_server(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        let (body, ending) = conn.read_to_end();
        assert_eq!(body, b"half");
        log.ending(ending);
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    Request::new("POST", "/api/v1/pods")
        .header("Content-Length", "8")
        .send(&mut conn);
    conn.write_all(b"half").unwrap();
    front.until("a half", |totals| totals.bytes_up == 4);
    conn.shut().unwrap();
    drop(conn);
    assert!(api.ending().is_cut());
    api.finish();
    front.assert_ended(Reason::Truncated, Side::Downstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn client_that_leaves_while_control_thinks_is_cancelled(variant: Variant) {
    let front = Front::start(variant);
    front.control.say(|_| Judged::Silence);
    let mut conn = front.client();
    Request::get("/version").send(&mut conn);
    front.until("a pending request", |totals| totals.streams_pending == 1);
    drop(conn);
    let record = front.ended();
    assert_eq!(
        (record.reason, record.side),
        (Reason::Cancelled, Side::Downstream)
    );
    front.assert_nothing_held();
}

fn client_that_leaves_between_requests_ends_the_server_cleanly(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    leave(conn);
    assert_eq!(api.ending(), Ending::Clean);
    api.finish();
    front.assert_passed();
    front.assert_nothing_held();
}

fn client_that_is_reset_between_requests_leaves_no_record(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    front.assert_passed();
    conn.reset_when_closed();
    drop(conn);
    api.ending();
    api.finish();
    front.assert_nothing_held();
}

fn drain_ends_idle_connections_and_lets_a_reply_finish(variant: Variant) {
    let (go, going) = mpsc::channel::<()>();
    let going = Mutex::new(going);
    let api = server(variant, move |conn, log| {
        let head = request(conn, log);
        if head.target() == "/slow" {
            going.lock().unwrap().recv().unwrap();
        }
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        conn.read_to_end();
    });
    // One worker tells all of its connections before any of them goes on.
    let front = Front::with(variant, |setup| setup.workers = 1);
    let mut front = front.leads(Rule::to(api.address()));
    let mut idle = front.client();
    assert_eq!(Request::get("/version").ask(&mut idle).text(), "ok");
    front.assert_passed();
    let mut busy = front.client();
    Request::get("/slow").send(&mut busy);
    front.until("a request under way", |totals| totals.dials == 2);
    let engine = front.running().take_engine();
    let stopped = std::thread::spawn(move || engine.drain(PATIENCE));
    assert_eq!(idle.read_to_end(), (Vec::new(), Ending::Clean));
    drop(idle);
    go.send(()).unwrap();
    let reply = read_reply(&mut busy, "GET").unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.head.get("connection")),
        ("ok", Some("close"))
    );
    assert_eq!(busy.read_to_end(), (Vec::new(), Ending::Clean));
    drop(busy);
    assert_eq!(stopped.join().unwrap(), 0);
    api.finish();
    front.assert_passed();
}

fn drain_aborts_what_goes_on(variant: Variant) {
    let api = watched(variant);
    let mut front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    begin_watch(&mut conn);
    let engine = front.running().take_engine();
    assert_eq!(engine.drain(Duration::from_millis(50)), 1);
    assert!(conn.read_to_end().1.is_cut());
    drop(conn);
    assert!(api.ending().is_cut());
    api.finish();
    front.assert_ended(Reason::Drained, Side::Local, Phase::Exchange);
}

/// More than the kernel's buffers on the way hold.
const UPLOAD: usize = 64 << 20;

fn upload_to_a_server_that_does_not_read_waits(variant: Variant) {
    let (go, going) = mpsc::channel::<()>();
    let going = Mutex::new(going);
    let api = server(variant, move |conn, log| {
        request(conn, log);
        going.lock().unwrap().recv().unwrap();
        let body = conn.read_exact(UPLOAD).unwrap();
        assert!(body.iter().all(|byte| *byte == b'u'));
        kubelet_answer(conn);
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    Request::new("POST", "/upload")
        .header("Content-Length", &UPLOAD.to_string())
        .send(&mut conn);
    let piece = vec![b'u'; 16 * 1024];
    let taken = conn.write_until_full(&piece);
    assert!(taken < UPLOAD, "{taken}");
    // What is not in the kernel's buffers is in one of the gateway's.
    front.until("two buffers", |totals| totals.buffers_in_use <= 2);
    go.send(()).unwrap();
    conn.write_all_patiently(&vec![b'u'; UPLOAD - taken])
        .unwrap();
    assert_eq!(read_reply(&mut conn, "POST").unwrap().text(), "ok");
    leave(conn);
    api.finish();
    assert_eq!(front.assert_passed().bytes.up, UPLOAD as u64);
    front.assert_nothing_held();
}

fn kubelet_answer(conn: &mut Conn) {
    conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .unwrap();
    conn.read_to_end();
}
