//! Spare connections: a stream takes one in place of dial and handshake, as good as one of its own.

use eyesplice_dataplane::seam::{Reason, StreamRecord, VerificationResult};
use eyesplice_identity::verify::Mode as Verification;
use eyesplice_tests::api_server::{Request, exec};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::{Gateway, Setup};
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{self, Kubelet, Log};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::Presented;
use eyesplice_tests::scripted::SpareLasts;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::eventually;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

matrix! { transports:
    next_stream_takes_the_spare_and_dials_nothing,
    spare_is_audited_as_what_its_own_verification_found,
    spare_that_the_kubelet_closed_is_replaced_by_a_dial,
    request_on_a_spare_that_dies_is_not_repeated,
    spare_ends_with_its_time_and_with_our_certificate,
    kubelet_whose_certificate_ended_gets_no_spare,
    spare_yields_its_place_to_a_stream,
    spares_end_with_a_drain,
    renewed_connection_takes_a_spare,
}

/// A gateway of one worker that keeps spares.
fn warm(variant: Variant, adjust: impl FnOnce(&mut Setup)) -> Gateway {
    let gateway = Gateway::with(variant, |setup| {
        setup.workers = 1;
        adjust(setup);
    });
    gateway.control.keep_warm(SpareLasts::default());
    gateway
}

/// One stream with one request.
fn visit(gateway: &Gateway, kubelet: &Kubelet) -> StreamRecord {
    let conn = open(gateway, kubelet);
    leave(gateway, conn)
}

fn open(gateway: &Gateway, kubelet: &Kubelet) -> Conn {
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn
}

fn leave(gateway: &Gateway, mut conn: Conn) -> StreamRecord {
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    gateway.ended()
}

/// Ends the spares, and sees that nothing is left.
fn finish(gateway: &Gateway, kubelet: Kubelet) {
    gateway.reload();
    gateway.until("no spare", |totals| totals.spares == 0);
    kubelet.finish();
    gateway.assert_nothing_held();
    let totals = gateway.totals();
    let dropped = totals.spares_dropped_reload
        + totals.spares_dropped_expired
        + totals.spares_dropped_closed
        + totals.spares_dropped_limit;
    assert_eq!(totals.spares_made, totals.spares_used + dropped);
}

fn next_stream_takes_the_spare_and_dials_nothing(variant: Variant) {
    let gateway = warm(variant, |_| {});
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let first = visit(&gateway, &kubelet);
    assert!(!first.warm);
    for round in 1..=3 {
        gateway.until("a spare", |totals| {
            (totals.spares, totals.spares_made) == (1, round)
        });
        let next = visit(&gateway, &kubelet);
        assert!(next.warm);
        assert_eq!(next.verification, first.verification);
        assert_eq!(next.address, first.address);
    }
    gateway.until("a spare", |totals| totals.spares_made == 4);
    // The first stream's, and one for each spare: no stream after it has dialled or shaken hands.
    let totals = gateway.totals();
    assert_eq!((totals.dials, totals.handshakes_client), (5, 5));
    assert_eq!((totals.spares, totals.spares_used), (1, 3));
    finish(&gateway, kubelet);
}

fn spare_is_audited_as_what_its_own_verification_found(variant: Variant) {
    for (presented, cause) in [
        (Presented::WrongNode, "wrong_node"),
        (Presented::SelfSigned, "self_signed"),
    ] {
        let gateway = warm(variant, |setup| setup.verification = Verification::Observe);
        let kubelet = Kubelet::presenting(variant, presented, kubelet::serve);
        let first = visit(&gateway, &kubelet);
        gateway.until("a spare", |totals| totals.spares == 1);
        let next = visit(&gateway, &kubelet);
        assert!(!first.warm && next.warm);
        assert_eq!(first.verification, next.verification);
        let VerificationResult::Observed { cause: found, .. } = next.verification else {
            panic!("{:?}", next.verification);
        };
        assert_eq!(found, cause);
        finish(&gateway, kubelet);
    }
}

fn spare_that_the_kubelet_closed_is_replaced_by_a_dial(variant: Variant) {
    let gateway = warm(variant, |_| {});
    let ends = Arc::new(AtomicBool::new(false));
    let kubelet = {
        let ends = Arc::clone(&ends);
        Kubelet::start(variant, move |conn, log| {
            let asked = eventually(
                || match conn.ready_to_read() {
                    true => Some(true),
                    false => ends.load(SeqCst).then_some(false),
                },
                || "a request".into(),
            );
            if asked {
                return kubelet::serve(conn, log);
            }
            conn.shut().unwrap();
            conn.read_to_end();
        })
    };
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("a spare", |totals| totals.spares == 1);
    ends.store(true, SeqCst);
    gateway.until("its end", |totals| totals.spares_dropped_closed == 1);
    assert_eq!(gateway.totals().spares, 0);
    ends.store(false, SeqCst);
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("a spare", |totals| totals.spares == 1);
    assert!(visit(&gateway, &kubelet).warm);
    finish(&gateway, kubelet);
}

fn request_on_a_spare_that_dies_is_not_repeated(variant: Variant) {
    let gateway = warm(variant, |_| {});
    let requests = AtomicUsize::new(0);
    let kubelet = Kubelet::start(variant, move |conn: &mut Conn, log: &Log| {
        let Ok(head) = read_head(conn) else {
            let _ = conn.shut();
            return;
        };
        log.request(&head);
        if requests.fetch_add(1, SeqCst) > 0 {
            return conn.reset_when_closed();
        }
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        conn.read_to_end();
        let _ = conn.shut();
    });
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("a spare", |totals| totals.spares == 1);
    let mut conn = gateway.api_server().open(&kubelet.target());
    Request::get("/healthz").send(&mut conn);
    let (received, _) = conn.read_to_end();
    let received = String::from_utf8_lossy(&received).into_owned();
    assert!(!received.starts_with("HTTP/1.1 200"), "{received}");
    drop(conn);
    let record = gateway.ended();
    assert!(record.warm, "{record:?}");
    assert_ne!(record.reason, Reason::Completed);
    assert_eq!(kubelet.heads().len(), 2, "a request was repeated");
    finish(&gateway, kubelet);
}

fn spare_ends_with_its_time_and_with_our_certificate(variant: Variant) {
    let gateway = warm(variant, |_| {});
    let kubelet = Kubelet::start(variant, kubelet::serve);
    gateway.control.keep_warm(SpareLasts {
        lifetime: Duration::ZERO,
        ..SpareLasts::default()
    });
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("its end", |totals| totals.spares_dropped_expired == 1);
    assert_eq!(gateway.totals().spares_made, 1);
    gateway.control.keep_warm(SpareLasts {
        client_until: SystemTime::now(),
        ..SpareLasts::default()
    });
    assert!(!visit(&gateway, &kubelet).warm);
    // Two streams and two spares, the second of which was not kept.
    gateway.until("a handshake", |totals| totals.handshakes_client == 4);
    assert!(!visit(&gateway, &kubelet).warm);
    assert_eq!(gateway.totals().spares_made, 1);
    finish(&gateway, kubelet);
}

fn kubelet_whose_certificate_ended_gets_no_spare(variant: Variant) {
    let gateway = warm(variant, |setup| setup.verification = Verification::Observe);
    let kubelet = Kubelet::presenting(variant, Presented::Expired, kubelet::serve);
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("a handshake", |totals| totals.handshakes_client == 2);
    assert!(!visit(&gateway, &kubelet).warm);
    assert_eq!(gateway.totals().spares_made, 0);
    finish(&gateway, kubelet);
}

fn spare_yields_its_place_to_a_stream(variant: Variant) {
    let gateway = warm(variant, |setup| setup.admission.max_streams = 2);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let first = exec(&gateway.api_server(), &kubelet.target());
    gateway.until("a spare", |totals| totals.spares == 1);
    // Of all places one is a stream's and one the spare's.
    let second = exec(&gateway.api_server(), &kubelet.target());
    let totals = gateway.totals();
    assert_eq!((totals.spares_dropped_limit, totals.spares), (1, 0));
    assert_eq!((totals.streams_live, totals.limited), (2, 0));
    let (third, head) = gateway.api_server().connect(&kubelet.target());
    assert_eq!(head.status(), 503);
    drop(third);
    assert_eq!(gateway.ended().reason, Reason::Limit);
    assert_eq!(gateway.totals().spares_made, 1);
    for conn in [first, second] {
        assert!(!leave(&gateway, conn).warm);
    }
    finish(&gateway, kubelet);
}

fn spares_end_with_a_drain(variant: Variant) {
    let mut gateway = warm(variant, |_| {});
    let kubelet = Kubelet::start(variant, kubelet::serve);
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("a spare", |totals| totals.spares == 1);
    let engine = gateway.running().take_engine();
    assert_eq!(engine.drain(Duration::ZERO), 0);
    kubelet.finish();
}

fn renewed_connection_takes_a_spare(variant: Variant) {
    let gateway = warm(variant, |_| {});
    let kubelet = Kubelet::start(variant, kubelet::serve);
    // Control decides by the next configuration a moment before the workers hear of it.
    gateway.control.decide_as(2);
    assert!(!visit(&gateway, &kubelet).warm);
    gateway.until("a spare", |totals| totals.spares == 1);
    gateway.control.decide_as(1);
    let mut conn = gateway.api_server().open(&kubelet.target());
    gateway.until("one of the last", |totals| totals.spares == 2);
    gateway.control.decide_as(2);
    gateway.reload();
    gateway.until("its end", |totals| totals.spares_dropped_reload == 1);
    let dials = gateway.totals().dials;
    assert_eq!(dials, 4);
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    let record = gateway.ended();
    assert!(record.warm);
    assert_eq!(record.generation, 2);
    gateway.until("the next spare", |totals| totals.spares == 1);
    assert_eq!(gateway.totals().dials, dials + 1);
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    finish(&gateway, kubelet);
}
