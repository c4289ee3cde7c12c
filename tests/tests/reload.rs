//! New certificates, CAs and policy under 200 live streams: none of them is dropped, and the next stream
//! is judged by the new files alone. What does not load changes nothing.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{Reason, StreamRecord};
use eyesplice_tests::api_server::{Request, exec, name_of};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::http::read_reply;
use eyesplice_tests::kubelet::{self, Kubelet};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::{Pki, Presented};
use eyesplice_tests::stack::{Settings, Stack};
use eyesplice_tests::tls;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::eventually;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

matrix! { transports:
    reload_under_live_streams_drops_none_and_rules_the_next,
    reload_that_fails_changes_nothing,
    reply_that_began_before_a_reload_ends_its_connection,
    idle_kept_connection_ends_at_a_reload,
    request_after_a_reload_is_judged_by_the_actions_in_force,
    request_after_a_reload_is_judged_by_the_rules_in_force,
    request_after_a_reload_is_judged_by_the_verification_in_force,
    request_after_a_reload_that_changes_nothing_is_served_over_a_new_connection,
    client_whose_authority_went_asks_in_vain,
    spare_connection_of_an_older_configuration_is_never_used,
}

/// Streams that live through all of it.
const LIVE: usize = 200;

/// Reloads.
const ROUNDS: u64 = 5;

/// A kubelet of these authorities.
fn kubelet_of(pki: &Pki, variant: Variant) -> Kubelet {
    let identity = Presented::Good.identity(pki);
    let config = tls::server(&identity, &pki.clients, variant.tls);
    Kubelet::with(Some(config), kubelet::serve)
}

fn ping(live: &mut [Conn], round: u64) {
    let message = round.to_le_bytes();
    for conn in &mut *live {
        conn.write_all(&message).unwrap();
    }
    for conn in live {
        assert_eq!(conn.read_exact(message.len()).unwrap(), message);
    }
}

/// All records until there are so many, in the order of their exchange.
fn records(stack: &Stack, count: usize) -> Vec<StreamRecord> {
    (0..count).map(|_| stack.ended()).collect()
}

fn reload_under_live_streams_drops_none_and_rules_the_next(variant: Variant) {
    let mut pki = Pki::new();
    let mut settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let first = kubelet_of(&pki, variant);
    let mut live: Vec<Conn> = {
        let api_server = stack.api_server(&pki);
        (0..LIVE)
            .map(|_| exec(&api_server, &first.target()))
            .collect()
    };
    ping(&mut live, 0);
    for round in 1..=ROUNDS {
        let old = std::mem::take(&mut pki);
        let denied = round % 2 == 1;
        settings.actions = match denied {
            true => vec!["{name: no-run, actions: [run], effect: deny}".into()],
            false => Vec::new(),
        };
        let publication = stack.reload(&pki, &settings).unwrap();
        assert_eq!(publication.generation, 1 + round);
        assert!(publication.restart_required.is_empty(), "{publication:?}");
        ping(&mut live, round);

        // The next stream: only the new authorities will do, on both ends.
        let kubelet = kubelet_of(&pki, variant);
        let mut conn = stack.api_server(&pki).open(&kubelet.target());
        let run = Request::new("POST", "/run/default/web/app?cmd=id").ask(&mut conn);
        assert_eq!(run.head.status(), if denied { 403 } else { 200 });
        conn.shut().unwrap();
        conn.read_to_end();
        let record = stack.ended();
        assert_eq!(record.generation, 1 + round);
        assert_eq!(
            record.reason,
            if denied {
                Reason::Denied
            } else {
                Reason::Completed
            }
        );
        kubelet.finish();

        // Who trusts the old egress CA does not trust the new leaf.
        let stranger = kubelet_of(&pki, variant);
        let mut conn = stack.api_server(&pki).tunnel(&stranger.target());
        let config = tls::client(Some(&pki.api_server), &old.egress, variant.tls);
        conn.start_client(&Arc::new(config), name_of(&stranger.target()))
            .unwrap_err();
        drop(conn);
        assert_eq!(stack.ended().reason, Reason::HandshakeFailed);
        stranger.finish();

        // A kubelet of the old CA is a stranger now.
        let left_behind = kubelet_of(&old, variant);
        let head = stack.api_server(&pki).refused(&left_behind.target());
        assert!(
            head.reason().contains("that CA was replaced"),
            "{}",
            head.raw
        );
        assert_eq!(stack.ended().reason, Reason::Unverified);
        left_behind.finish();
        ping(&mut live, round + 100);
    }
    assert_eq!(stack.totals().streams_established, LIVE as u64);
    for conn in &mut live {
        conn.shut().unwrap();
        assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    }
    drop(live);
    for record in records(&stack, LIVE) {
        assert_eq!(
            (record.reason, record.generation),
            (Reason::Completed, 1),
            "{record:?}"
        );
    }
    first.finish();
    stack.assert_nothing_held();
}

fn reload_that_fails_changes_nothing(variant: Variant) {
    let pki = Pki::new();
    let stack = Stack::start(variant, &pki, &Settings::default());
    let kubelet = kubelet_of(&pki, variant);
    let mut live = [exec(&stack.api_server(&pki), &kubelet.target())];
    for (file, text) in [
        ("egress-ca.crt", "no certificate"),
        ("client.key", Pki::new().egress.pem()),
        ("inventory.yaml", "kind: Nonsense"),
        ("gateway.yaml", "apiVersion: v2"),
    ] {
        let path = stack.file(file);
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let errors = stack.reload_files().unwrap_err();
        assert!(
            errors.contains(file) || errors.contains("apiVersion"),
            "{file}: {errors}"
        );
        ping(&mut live, 1);
        let mut conn = stack.api_server(&pki).open(&kubelet.target());
        assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
        conn.shut().unwrap();
        conn.read_to_end();
        let record = stack.ended();
        assert_eq!((record.reason, record.generation), (Reason::Completed, 1));
        std::fs::write(&path, good).unwrap();
    }
    assert_eq!(stack.reload_files().unwrap().generation, 2);
    ping(&mut live, 2);
    let [mut conn] = live;
    conn.shut().unwrap();
    conn.read_to_end();
    kubelet.finish();
    assert_eq!(stack.ended().generation, 1);
    stack.assert_nothing_held();
    eventually(
        || (stack.totals().streams_live == 0).then_some(()),
        || "the last stream".into(),
    );
}

/// A kubelet judges requests by the certificate that their connection began with, and an API server
/// never ends a connection that it uses.
fn reply_that_began_before_a_reload_ends_its_connection(variant: Variant) {
    let pki = Pki::new();
    let settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let identity = Presented::Good.identity(&pki);
    let config = tls::server(&identity, &pki.clients, variant.tls);
    let (asked, was_asked) = channel();
    let (answer, may_answer) = channel();
    let may_answer = Mutex::new(may_answer);
    let kubelet = Kubelet::with(Some(config), move |conn, log| {
        kubelet::request(conn, log);
        asked.send(()).unwrap();
        may_answer.lock().unwrap().recv().unwrap();
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        conn.read_to_end();
    });
    let mut conn = stack.api_server(&pki).open(&kubelet.target());
    Request::get("/healthz").send(&mut conn);
    was_asked.recv().unwrap();
    stack.reload(&pki, &settings).unwrap();
    answer.send(()).unwrap();
    let reply = read_reply(&mut conn, "GET").unwrap();
    assert_eq!(reply.text(), "ok");
    let connection = reply.head.get("connection");
    assert_eq!(connection, Some("close"), "{}", reply.head.raw);
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    let record = stack.ended();
    assert_eq!((record.reason, record.generation), (Reason::Completed, 1));
    kubelet.finish();
    stack.assert_nothing_held();
}

fn idle_kept_connection_ends_at_a_reload(variant: Variant) {
    let pki = Pki::new();
    let settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let kubelet = kubelet_of(&pki, variant);
    let mut conn = stack.api_server(&pki).open(&kubelet.target());
    for _ in 0..2 {
        let reply = Request::get("/healthz").ask(&mut conn);
        assert_eq!(reply.head.get("connection"), None, "{}", reply.head.raw);
    }
    stack.reload(&pki, &settings).unwrap();
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    for record in records(&stack, 2) {
        assert_eq!((record.reason, record.generation), (Reason::Completed, 1));
    }
    drop(conn);
    kubelet.finish();
    stack.assert_nothing_held();
}

/// Opens a connection, reloads, and only then asks; tells the status and the reason of the refusal.
fn asked_after(
    stack: &Stack,
    (pki, next): (&Pki, &Pki),
    settings: &Settings,
    kubelet: &Kubelet,
    request: &Request,
) -> (u16, StreamRecord) {
    let mut conn = stack.api_server(pki).open(&kubelet.target());
    stack.reload(next, settings).unwrap();
    let reply = request.ask(&mut conn);
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean), "{reply:?}");
    drop(conn);
    (reply.head.status(), stack.ended())
}

fn request_after_a_reload_is_judged_by_the_actions_in_force(variant: Variant) {
    let pki = Pki::new();
    let mut settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let kubelet = kubelet_of(&pki, variant);
    settings.actions = vec!["{name: no-shell, actions: [shell], effect: deny}".into()];
    let exec = Request::exec_spdy();
    let (status, record) = asked_after(&stack, (&pki, &pki), &settings, &kubelet, &exec);
    assert_eq!((status, record.reason), (403, Reason::Denied), "{record:?}");
    assert_eq!(record.generation, 2);
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    stack.assert_nothing_held();
}

fn request_after_a_reload_is_judged_by_the_rules_in_force(variant: Variant) {
    let pki = Pki::new();
    let mut settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let kubelet = kubelet_of(&pki, variant);
    let deny = "{name: no-kubelets, cidrs: [127.0.0.0/8], action: deny}";
    settings.rules.insert(0, deny.into());
    // A rule that terminates is wanted by the kubelet section.
    settings.rules[1] = "{name: kubelets, cidrs: [10.0.0.0/8], action: terminate}".into();
    let get = Request::get("/pods");
    let (status, record) = asked_after(&stack, (&pki, &pki), &settings, &kubelet, &get);
    assert_eq!((status, record.reason), (403, Reason::Denied), "{record:?}");
    assert_eq!(record.rule.as_deref(), Some("no-kubelets"));
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    stack.assert_nothing_held();
}

fn request_after_a_reload_is_judged_by_the_verification_in_force(variant: Variant) {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut settings = Settings {
        verification: "observe",
        ..Settings::default()
    };
    let stack = Stack::start(variant, &pki, &settings);
    let identity = Presented::Good.identity(&other);
    let config = tls::server(&identity, &pki.clients, variant.tls);
    let impostor = Kubelet::with(Some(config), kubelet::serve);
    settings.verification = "enforce";
    let exec = Request::exec_spdy();
    let (status, record) = asked_after(&stack, (&pki, &pki), &settings, &impostor, &exec);
    assert_eq!(
        (status, record.reason),
        (502, Reason::Unverified),
        "{record:?}"
    );
    assert!(impostor.heads().is_empty());
    impostor.finish();
    stack.assert_nothing_held();
}

fn request_after_a_reload_that_changes_nothing_is_served_over_a_new_connection(variant: Variant) {
    let pki = Pki::new();
    let settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let kubelet = kubelet_of(&pki, variant);
    let mut conn = stack.api_server(&pki).open(&kubelet.target());
    stack.reload(&pki, &settings).unwrap();
    for _ in 0..2 {
        let reply = Request::get("/healthz").ask(&mut conn);
        assert_eq!(reply.text(), "ok");
        assert_eq!(reply.head.get("connection"), None, "{}", reply.head.raw);
    }
    assert_eq!(kubelet.connections(), 2);
    conn.shut().unwrap();
    conn.read_to_end();
    for record in records(&stack, 2) {
        assert_eq!((record.reason, record.generation), (Reason::Completed, 2));
    }
    kubelet.finish();
    stack.assert_nothing_held();
}

/// The certificate of the API server is the last authority's, and so is not enough any more.
fn client_whose_authority_went_asks_in_vain(variant: Variant) {
    let (pki, next) = (Pki::new(), Pki::new());
    let settings = Settings::default();
    let stack = Stack::start(variant, &pki, &settings);
    let kubelet = kubelet_of(&pki, variant);
    let get = Request::get("/pods");
    let (status, record) = asked_after(&stack, (&pki, &next), &settings, &kubelet, &get);
    assert_eq!((status, record.reason), (401, Reason::Denied), "{record:?}");
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    stack.assert_nothing_held();
}

fn spare_connection_of_an_older_configuration_is_never_used(variant: Variant) {
    let old = Pki::new();
    let settings = Settings {
        warm: true,
        ..Settings::default()
    };
    let stack = Stack::start(variant, &old, &settings);
    let kubelet = kubelet_of(&old, variant);
    let mut conn = stack.api_server(&old).open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    conn.read_to_end();
    assert!(!stack.ended().warm);
    eventually(
        || (stack.totals().spares == 1).then_some(()),
        || "a spare".into(),
    );

    // Whom the spare verified is a stranger now.
    let new = Pki::new();
    stack.reload(&new, &settings).unwrap();
    let head = stack.api_server(&new).refused(&kubelet.target());
    assert!(
        head.reason().contains("that CA was replaced"),
        "{}",
        head.raw
    );
    let record = stack.ended();
    assert_eq!((record.reason, record.warm), (Reason::Unverified, false));
    eventually(
        || (stack.totals().spares_dropped_reload == 1).then_some(()),
        || "the spare's end".into(),
    );
    let totals = stack.totals();
    assert_eq!((totals.spares, totals.spares_used), (0, 0));
    kubelet.finish();
    stack.assert_nothing_held();
}
