//! Clients that nobody knows: they get little, and cost little.

use eyesplice_dataplane::seam::{Phase, Reason, Side};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::front::{Front, Judged, Rule, TOKEN, leave, server};
use eyesplice_tests::http::{read_head, read_reply};
use eyesplice_tests::kubelet::{self, request};
use eyesplice_tests::matrix;
use eyesplice_tests::variant::Variant;
use std::time::Duration;

matrix! { tcp:
    head_that_comes_slowly_is_408,
    client_that_asks_nothing_is_cut,
    client_that_is_known_may_wait,
    client_that_is_not_known_may_not_wait,
    idle_timeout_of_the_limits_ends_a_client_that_is_known,
    request_that_nothing_moves_in_is_504,
    connections_without_a_request_are_told_of_once_a_second,
    user_or_token_that_is_good_makes_a_client_known,
}

/// Runs out, and nothing else has to happen before.
const SOON: Duration = Duration::from_millis(100);

/// Runs out too, but lets a busy machine come to the point where it does.
const LATER: Duration = Duration::from_secs(1);

fn hurried(variant: Variant, limit: Duration) -> Front {
    Front::with(variant, |setup| setup.admission.head_timeout = limit)
}

fn head_that_comes_slowly_is_408(variant: Variant) {
    let front = hurried(variant, LATER);
    let mut conn = front.client();
    conn.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        .unwrap();
    let reply = read_reply(&mut conn, "GET").unwrap();
    assert_eq!(reply.head.status(), 408);
    assert!(
        reply.text().starts_with(r#"{"kind":"Status""#),
        "{}",
        reply.text()
    );
    drop(conn);
    front.assert_ended(Reason::Timeout, Side::Downstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn client_that_asks_nothing_is_cut(variant: Variant) {
    let front = hurried(variant, SOON);
    let mut conn = front.client();
    let (received, ending) = conn.read_to_end();
    assert!(
        received.is_empty() && ending.is_cut(),
        "{received:?} {ending:?}"
    );
    drop(conn);
    let record = front.assert_ended(Reason::Timeout, Side::Downstream, Phase::Exchange);
    assert_eq!((record.exchange, record.status), (0, None));
    front.until("its end", |totals| totals.unauthenticated_ended == 1);
    front.assert_nothing_held();
}

fn client_that_is_known_may_wait(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = hurried(variant, LATER).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let ask = Request::get("/version").header("Authorization", TOKEN);
    assert_eq!(ask.ask(&mut conn).text(), "ok");
    // Another client meets the limit meanwhile.
    let mut other = front.client();
    assert!(other.read_to_end().1.is_cut());
    drop(other);
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    leave(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    front.until("all of them", |totals| totals.unauthenticated_ended == 1);
    let reasons = [(); 3].map(|()| front.ended().reason);
    assert_eq!(
        reasons,
        [Reason::Completed, Reason::Timeout, Reason::Completed]
    );
    front.assert_nothing_held();
}

fn client_that_is_not_known_may_not_wait(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = hurried(variant, LATER).leads(Rule::to(api.address()));
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    front.assert_passed();
    let (received, ending) = conn.read_to_end();
    assert!(
        received.is_empty() && ending.is_cut(),
        "{received:?} {ending:?}"
    );
    drop(conn);
    api.ending();
    api.finish();
    let record = front.assert_ended(Reason::Timeout, Side::Downstream, Phase::Exchange);
    assert_eq!(record.exchange, 0);
    front.assert_nothing_held();
}

fn idle_timeout_of_the_limits_ends_a_client_that_is_known(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::with(variant, |setup| setup.limits.idle_timeout = Some(LATER));
    let front = front.leads(Rule {
        user: Some("jane"),
        ..Rule::to(api.address())
    });
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(api.ending(), Ending::Clean);
    api.finish();
    front.assert_passed();
    front.assert_nothing_held();
}

fn request_that_nothing_moves_in_is_504(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        log.ending(conn.read_to_end().1);
    });
    let front = Front::with(variant, |setup| setup.limits.idle_timeout = Some(LATER));
    let front = front.leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_eq!(reply.head.status(), 504);
    assert!(reply.text().contains("timeouts.idle"), "{}", reply.text());
    drop(conn);
    assert!(api.ending().is_cut());
    api.finish();
    front.assert_ended(Reason::Idle, Side::Local, Phase::Exchange);
    front.assert_nothing_held();
}

fn connections_without_a_request_are_told_of_once_a_second(variant: Variant) {
    let front = Front::start(variant);
    let crowd = 50;
    for _ in 0..crowd {
        leave(front.client());
    }
    front.until("all of them", |totals| {
        totals.unauthenticated_ended == crowd
    });
    front.assert_back();
    let told = front.taken_records().len() as u64;
    assert_eq!(told + front.totals().unauthenticated_untold, crowd);
    assert!(told < crowd, "{told}");
}

fn user_or_token_that_is_good_makes_a_client_known(variant: Variant) {
    let api = server(variant, |conn, log| {
        while let Ok(head) = read_head(conn) {
            log.request(&head);
            let status = match head.target() {
                "/unauthorized" => "401 Unauthorized",
                _ => "200 OK",
            };
            let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            conn.write_all(reply.as_bytes()).unwrap();
        }
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut strangers = 0;
    for (user, authorization, path, known) in [
        (None, None, "/version", false),
        (None, Some(TOKEN), "/version", true),
        (None, Some("bearer x"), "/version", true),
        (None, Some(TOKEN), "/unauthorized", false),
        // The API server reads these over, and answers as to nobody.
        (None, Some("Bearer"), "/version", false),
        (None, Some("Basic amFuZQ=="), "/version", false),
        (Some("jane"), None, "/unauthorized", true),
    ] {
        let rule = Rule {
            user,
            ..Rule::to(api.address())
        };
        front.control.say(move |_| Judged::On(rule.clone()));
        let mut conn = front.client();
        for _ in 0..2 {
            let mut ask = Request::get(path);
            if let Some(value) = authorization {
                ask = ask.header("Authorization", value);
            }
            assert_ne!(ask.ask(&mut conn).head.status(), 502);
            front.assert_passed();
        }
        leave(conn);
        strangers += u64::from(!known);
        front.assert_back();
        assert_eq!(
            front.totals().unauthenticated_ended,
            strangers,
            "{user:?} {authorization:?} {path}"
        );
    }
    api.finish();
    front.assert_nothing_held();
}
