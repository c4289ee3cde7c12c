//! Clients that resume their TLS sessions, with the listener and with leaves: on every worker, by nobody
//! who would be refused, and without harm to one that never reads.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{Reason, StreamRecord};
use eyesplice_tests::api_server::{ApiServer, Request, exec, name_of};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{self, Kubelet};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::{Authority, Pki, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::stack::{Settings, Stack};
use eyesplice_tests::tls;
use eyesplice_tests::variant::{Transport, Variant, ktls_policy};
use std::collections::HashSet;

matrix! {
    sessions_resume_on_every_worker_and_their_client_is_named,
    sessions_of_another_host_are_not_resumed,
    sessions_end_with_a_reload,
    sessions_outlive_no_client_ca,
    payload_of_a_peer_that_never_reads_arrives_whole,
    ticket_of_a_leg_that_the_kernel_takes_over_goes_out_before,
}

/// Connections, all but the first while that is open, so that the other worker carries fewer.
const VISITS: u64 = 8;

/// TLS servers that one stream meets.
fn servers(variant: Variant) -> u64 {
    match variant.transport {
        Transport::Unix => 1,
        Transport::Tcp => 2,
    }
}

/// Sessions that are resumed of so many: none under kernel TLS, where no tickets are given.
fn resumed(count: u64) -> u64 {
    match ktls_policy() {
        KtlsPolicy::Off => count,
        KtlsPolicy::Auto | KtlsPolicy::Require => 0,
    }
}

fn visit(stack: &Stack, api_server: &ApiServer, target: &str) -> StreamRecord {
    leave(stack, come(api_server, target))
}

fn come(api_server: &ApiServer, target: &str) -> Conn {
    let mut conn = api_server.open(target);
    assert_eq!(Request::get("/metrics").ask(&mut conn).text(), "ok");
    conn
}

fn leave(stack: &Stack, mut conn: Conn) -> StreamRecord {
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    conn.drain();
    let record = stack.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:?}");
    record
}

fn sessions_resume_on_every_worker_and_their_client_is_named(variant: Variant) {
    let stack = Stack::start(variant, pki(), &Settings::default());
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let api_server = stack.api_server(pki()).resuming();
    let first = come(&api_server, &kubelet.target());
    let mut records: Vec<_> = (1..VISITS)
        .map(|_| visit(&stack, &api_server, &kubelet.target()))
        .collect();
    records.push(leave(&stack, first));
    let mut workers = HashSet::new();
    for record in records {
        let named = "CN=kube-apiserver-kubelet-client";
        assert_eq!(record.client.as_deref(), Some(named));
        if variant.transport == Transport::Tcp {
            assert!(record.peer.to_string().starts_with(named), "{record:?}");
        }
        workers.insert(record.id.to_string()[8..12].to_owned());
    }
    assert_eq!(workers.len(), 2, "one worker got every connection");
    kubelet.finish();
    let totals = stack.totals();
    assert_eq!(totals.handshakes_server, VISITS * servers(variant));
    let again = (VISITS - 1) * servers(variant);
    assert_eq!(totals.handshakes_resumed, resumed(again));
    stack.assert_nothing_held();
}

/// One kubelet under two names; it proves one of them.
fn sessions_of_another_host_are_not_resumed(variant: Variant) {
    let settings = Settings {
        rules: vec![
            "{name: names, dnsSuffixes: [localhost], cidrs: [127.0.0.0/8], action: terminate}"
                .into(),
            "{name: numbers, cidrs: [127.0.0.0/8], action: terminate}".into(),
        ],
        verification: "observe",
        ..Settings::default()
    };
    let stack = Stack::start(variant, pki(), &settings);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let by_address = kubelet.target();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let api_server = stack.api_server(pki()).resuming();
    // The listener's sessions are resumed all the same.
    let outer = servers(variant) - 1;
    visit(&stack, &api_server, &by_address);
    visit(&stack, &api_server, &by_name);
    assert_eq!(stack.totals().handshakes_resumed, resumed(outer));
    visit(&stack, &api_server, &by_address);
    visit(&stack, &api_server, &by_name);
    let all = outer * 3 + 2;
    assert_eq!(stack.totals().handshakes_resumed, resumed(all));
    kubelet.finish();
    stack.assert_nothing_held();
}

fn sessions_end_with_a_reload(variant: Variant) {
    let stack = Stack::start(variant, pki(), &Settings::default());
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let target = kubelet.target();
    let api_server = stack.api_server(pki()).resuming();
    visit(&stack, &api_server, &target);
    stack.reload_files().unwrap();
    visit(&stack, &api_server, &target);
    assert_eq!(stack.totals().handshakes_resumed, 0);
    visit(&stack, &api_server, &target);
    let again = resumed(servers(variant));
    assert_eq!(stack.totals().handshakes_resumed, again);
    kubelet.finish();
    stack.assert_nothing_held();
}

fn sessions_outlive_no_client_ca(variant: Variant) {
    let mut pki = Pki::new();
    let stack = Stack::start(variant, &pki, &Settings::default());
    let kubelet = {
        let identity = eyesplice_tests::pki::Presented::Good.identity(&pki);
        let config = tls::server(&identity, &pki.clients, variant.tls);
        Kubelet::with(Some(config), kubelet::serve)
    };
    let target = kubelet.target();
    let api_server = stack.api_server(&pki).resuming();
    visit(&stack, &api_server, &target);
    pki.clients = Authority::new("clients of tomorrow");
    stack.reload(&pki, &Settings::default()).unwrap();
    let (mut conn, config, name) = match api_server.outer() {
        Some((outer, address)) => (api_server.knock(), outer, name_of(&address.to_string())),
        None => (
            api_server.tunnel(&target),
            api_server.inner(),
            name_of(&target),
        ),
    };
    // A TLS 1.3 client learns of it with its first read.
    if conn.start_client(config, name).is_ok() {
        assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Broken));
    }
    drop(conn);
    assert_eq!(stack.ended().reason, Reason::Unverified);
    assert_eq!(stack.totals().handshakes_resumed, 0);
    drop(kubelet);
    stack.assert_nothing_held();
}

/// Control gives no tickets under kernel TLS, but a reload may change what a restart has yet to.
fn ticket_of_a_leg_that_the_kernel_takes_over_goes_out_before(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.tickets = true);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let api_server = gateway.api_server().resuming();
    for _ in 0..3 {
        let mut conn = exec(&api_server, &kubelet.target());
        let input = Rng::new(4).bytes(100_000);
        let seen = converse(&mut conn, &input, Pace::even());
        assert!(seen.received == input && seen.ending == Ending::Clean);
        drop(conn);
        assert_eq!(gateway.ended().reason, Reason::Completed);
        gateway.taken_records();
    }
    let outer = 2 * (servers(variant) - 1);
    assert_eq!(gateway.totals().handshakes_resumed, outer + resumed(2));
    kubelet.finish();
    gateway.assert_nothing_held();
}

/// A socket that is closed with anything unread resets its connection and takes along what its peer has
/// not received yet: a ticket that comes alone would do that to who only sends.
fn payload_of_a_peer_that_never_reads_arrives_whole(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Opaque);
    let input = Rng::new(3).bytes(3_000_000);
    let expected = input.clone();
    let kubelet = Kubelet::start(variant, move |conn, log| {
        let (got, ending) = conn.read_to_end();
        assert!(got == expected, "{} of {}", got.len(), expected.len());
        log.ending(ending);
        conn.shut().unwrap();
    });
    for _ in 0..5 {
        let mut conn = gateway.api_server().open(&kubelet.target());
        conn.write_all(&input).unwrap();
        conn.shut().unwrap();
        // It closes with what it sent still on its way, and looks at nothing that came.
        drop(conn);
        assert_eq!(kubelet.ending(), Ending::Clean);
        let record = gateway.ended();
        assert_eq!(record.bytes.up, input.len() as u64, "{record:?}");
        assert_eq!(record.reason, Reason::Completed, "{record:?}");
    }
    kubelet.finish();
    gateway.assert_nothing_held();
}
