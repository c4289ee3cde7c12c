//! The complete stack in one process, from YAML and PEM files to verified bytes: rules, inventory, pins,
//! names, actions.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{Reason, StreamMode, VerificationResult};
use eyesplice_identity::pins::SpkiHash;
use eyesplice_tests::api_server::{Request, name_of};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{self, Kubelet};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::{Identity, Leaf, NODE, Presented, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::stack::{Settings, Stack};
use eyesplice_tests::tls;
use eyesplice_tests::variant::{UNIX_TLS13, Variant};
use std::sync::Arc;

matrix! {
    exec_logs_and_metrics_pass_and_are_named,
    wrong_kubelets_are_refused_by_cause,
    pinned_kubelet_passes_and_another_key_does_not,
    rules_pick_splice_terminate_or_deny,
    name_is_resolved_verified_and_presented,
    other_identities_of_the_api_server_ca_are_refused,
    denied_action_is_refused_by_its_rule,
    loopback_is_denied_unless_it_is_lifted,
    refusal_of_a_connect_is_read_behind_all_that_its_client_sends,
}

fn kubelet_with(identity: &Identity, variant: Variant) -> Kubelet {
    let config = tls::server(identity, &pki().clients, variant.tls);
    Kubelet::with(Some(config), kubelet::serve)
}

fn leave(mut conn: Conn) {
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    conn.drain();
}

fn exec_logs_and_metrics_pass_and_are_named(variant: Variant) {
    let stack = Stack::start(variant, pki(), &Settings::default());
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = stack.api_server(pki()).open(&kubelet.target());
    assert_eq!(Request::get("/metrics").ask(&mut conn).text(), "ok");
    assert_eq!(
        Request::logs().ask(&mut conn).text(),
        "line one\nline two\n"
    );
    assert_eq!(Request::exec_websocket().ask(&mut conn).head.status(), 101);
    let input = Rng::new(1).bytes(400_000);
    let seen = converse(&mut conn, &input, Pace::even());
    assert!(seen.received == input && seen.ending == Ending::Clean);
    drop(conn);
    kubelet.finish();
    for exchange in 1..=3 {
        let record = stack.ended();
        assert_eq!(
            (record.exchange, record.reason),
            (exchange, Reason::Completed)
        );
        assert_eq!(
            (record.node.as_deref(), record.rule.as_deref()),
            (Some(NODE), Some("kubelets"))
        );
        assert_eq!(record.mode, StreamMode::TerminateKubelet);
        assert_eq!(
            record.client.as_deref(),
            Some("CN=kube-apiserver-kubelet-client")
        );
        let identity = "CN=system:node:worker-3,O=system:nodes".into();
        assert_eq!(record.verification, VerificationResult::Verified(identity));
    }
    stack.assert_nothing_held();
}

fn wrong_kubelets_are_refused_by_cause(variant: Variant) {
    let stack = Stack::start(variant, pki(), &Settings::default());
    for (presented, cause) in Presented::WRONG {
        let kubelet = Kubelet::presenting(variant, presented, kubelet::serve);
        let head = stack.api_server(pki()).refused(&kubelet.target());
        assert_eq!(head.status(), 502);
        assert!(
            head.reason().starts_with("kubelet worker-3 at 127.0.0.1:"),
            "{}",
            head.raw
        );
        let record = stack.ended();
        assert_eq!(record.verification, VerificationResult::Refused { cause });
        assert_eq!(record.reason, Reason::Unverified);
        kubelet.finish();
    }
    stack.assert_nothing_held();
}

fn pinned_kubelet_passes_and_another_key_does_not(variant: Variant) {
    let leaf = Leaf::kubelet(NODE, &["127.0.0.1"]);
    let identity = Identity::self_signed(&leaf);
    let settings = Settings {
        pins: vec![(NODE.into(), SpkiHash::of(identity.spki()).to_string())],
        ..Settings::default()
    };
    let stack = Stack::start(variant, pki(), &settings);
    let pinned = kubelet_with(&identity, variant);
    let mut conn = stack.api_server(pki()).open(&pinned.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    leave(conn);
    pinned.finish();
    assert_eq!(stack.ended().reason, Reason::Completed);

    for other in [
        Identity::self_signed(&leaf),
        Presented::Good.identity(pki()),
    ] {
        let kubelet = kubelet_with(&other, variant);
        let head = stack.api_server(pki()).refused(&kubelet.target());
        assert!(head.reason().contains("pinsFile"), "{}", head.raw);
        let record = stack.ended();
        assert_eq!(
            record.verification,
            VerificationResult::Refused {
                cause: "pin_mismatch"
            }
        );
        kubelet.finish();
    }
    stack.assert_nothing_held();
}

fn rules_pick_splice_terminate_or_deny(variant: Variant) {
    let pod = Kubelet::with(None, kubelet::echo);
    let forbidden = Kubelet::with(None, kubelet::echo);
    let port = |kubelet: &Kubelet| kubelet.target().rsplit(':').next().unwrap().to_owned();
    let settings = Settings {
        rules: vec![
            format!(
                "{{name: pods, cidrs: [127.0.0.1/32], ports: [{}], action: splice}}",
                port(&pod)
            ),
            format!(
                "{{name: never, cidrs: [127.0.0.1/32], ports: [{}], action: deny}}",
                port(&forbidden)
            ),
            "{name: kubelets, cidrs: [127.0.0.0/8], action: terminate}".into(),
        ],
        ..Settings::default()
    };
    let stack = Stack::start(variant, pki(), &settings);
    let mut conn = stack.api_server(pki()).tunnel(&pod.target());
    conn.write_all(b"plain").unwrap();
    assert_eq!(conn.read_exact(5).unwrap(), b"plain");
    leave(conn);
    let record = stack.ended();
    assert_eq!(
        (record.mode, record.rule.as_deref()),
        (StreamMode::Splice, Some("pods"))
    );

    let head = stack.api_server(pki()).refused(&forbidden.target());
    assert_eq!(head.status(), 403);
    assert!(head.reason().contains("never"), "{}", head.raw);
    let record = stack.ended();
    assert_eq!(
        (record.reason, record.rule.as_deref()),
        (Reason::Denied, Some("never"))
    );
    assert_eq!(forbidden.connections(), 0);

    // No rule at all.
    let head = stack.api_server(pki()).refused("10.99.0.1:80");
    assert_eq!(head.status(), 403);
    assert_eq!(stack.ended().reason, Reason::Denied);
    pod.finish();
    forbidden.finish();
    stack.assert_nothing_held();
}

fn name_is_resolved_verified_and_presented(variant: Variant) {
    // Every system resolves this name.
    let settings = Settings {
        rules: vec![
            "{name: by-name, dnsSuffixes: [localhost], cidrs: [127.0.0.0/8], action: terminate}"
                .into(),
        ],
        ..Settings::default()
    };
    let stack = Stack::start(variant, pki(), &settings);
    let named = pki().kubelets.issue(&Leaf::kubelet(NODE, &["localhost"]));
    let kubelet = kubelet_with(&named, variant);
    let target = kubelet.target().replace("127.0.0.1", "localhost");
    // The leaf is for the name, which the API server verifies.
    let mut conn = stack.api_server(pki()).open(&target);
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    leave(conn);
    kubelet.finish();
    let record = stack.ended();
    assert_eq!(record.reason, Reason::Completed);
    assert_eq!(record.target.unwrap().to_string(), target);

    let numbered = kubelet_with(&Presented::Good.identity(pki()), variant);
    let target = numbered.target().replace("127.0.0.1", "localhost");
    let head = stack.api_server(pki()).refused(&target);
    assert_eq!(
        head.status(),
        502,
        "it proves its address, not the name that was asked for"
    );
    let record = stack.ended();
    assert_eq!(
        record.verification,
        VerificationResult::Refused {
            cause: "wrong_name"
        }
    );
    numbered.finish();
    stack.assert_nothing_held();
}

fn other_identities_of_the_api_server_ca_are_refused(variant: Variant) {
    let stack = Stack::start(variant, pki(), &Settings::default());
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let target = kubelet.target();
    // The same CA signs for users, who must not be taken for the API server.
    let user = pki().clients.issue(&Leaf::client("alice"));
    let mut conn = stack.api_server(pki()).tunnel(&target);
    let config = tls::client(Some(&user), &pki().egress, variant.tls);
    if conn
        .start_client(&Arc::new(config), name_of(&target))
        .is_ok()
    {
        assert_eq!(conn.read_to_end().1, Ending::Broken);
    }
    drop(conn);
    assert_eq!(stack.ended().reason, Reason::Unverified);
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    stack.assert_nothing_held();
}

fn denied_action_is_refused_by_its_rule(variant: Variant) {
    let settings = Settings {
        actions: vec![
            "{name: no-shells, actions: [exec, attach, run], effect: deny}".into(),
            "{name: read-only, actions: [logs, metrics], effect: allow}".into(),
        ],
        ..Settings::default()
    };
    let stack = Stack::start(variant, pki(), &settings);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = stack.api_server(pki()).open(&kubelet.target());
    assert_eq!(Request::logs().ask(&mut conn).head.status(), 200);
    let reply = Request::exec_spdy().ask(&mut conn);
    assert_eq!(reply.head.status(), 403);
    assert!(reply.text().contains("no-shells"), "{}", reply.text());
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(kubelet.heads().len(), 1);
    kubelet.finish();
    assert_eq!(stack.ended().reason, Reason::Completed);
    assert_eq!(stack.ended().reason, Reason::Denied);
    stack.assert_nothing_held();
}

fn loopback_is_denied_unless_it_is_lifted(variant: Variant) {
    let settings = Settings {
        rules: vec!["{name: all, cidrs: ['0.0.0.0/0', '::/0'], action: splice}".into()],
        allowed_targets: "[]".into(),
        ..Settings::default()
    };
    let stack = Stack::start(variant, pki(), &settings);
    let pod = Kubelet::with(None, kubelet::echo);
    let port = pod.target().rsplit(':').next().unwrap().to_owned();
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "169.254.169.254",
        "0.0.0.0",
    ] {
        let head = stack.api_server(pki()).refused(&format!("{host}:{port}"));
        assert_eq!(head.status(), 403, "{host}: {}", head.raw);
        assert_eq!(stack.ended().reason, Reason::Denied);
    }
    assert_eq!((pod.connections(), stack.totals().dials), (0, 0));
    pod.finish();
    stack.assert_nothing_held();
}

fn refusal_of_a_connect_is_read_behind_all_that_its_client_sends(variant: Variant) {
    // Far more than the sockets between the two hold.
    const BEHIND: usize = 4 << 20;
    let stack = Stack::start(variant, pki(), &Settings::default());
    let mut conn = stack.api_server(pki()).reach();
    conn.write_all(b"CONNECT 10.9.9.9:10250 HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    conn.write_all_patiently(&vec![0; BEHIND]).unwrap();
    let head = read_head(&mut conn).unwrap();
    assert_eq!(head.status(), 403, "{}", head.raw);
    leave(conn);
    assert_eq!(stack.ended().reason, Reason::Denied);
    stack.assert_nothing_held();
}

#[test]
fn streams_of_two_processes_have_ids_apart() {
    let ids = [(); 2].map(|()| {
        let stack = Stack::start(UNIX_TLS13, pki(), &Settings::default());
        let kubelet = Kubelet::start(UNIX_TLS13, kubelet::serve);
        let mut conn = stack.api_server(pki()).open(&kubelet.target());
        assert_eq!(Request::logs().ask(&mut conn).head.status(), 200);
        drop(conn);
        kubelet.finish();
        let id = stack.ended().id.to_string();
        stack.assert_nothing_held();
        id
    });
    let [(one, first), (other, second)] = ids.each_ref().map(|id| id.split_at(8));
    // The first stream of a worker, in either.
    assert!(
        first.ends_with("0001") && second.ends_with("0001"),
        "{ids:?}"
    );
    assert_ne!(one, other, "{ids:?}");
}
