//! One reader that takes nothing of 64 MiB costs its own stream only: a hundred others through the same
//! gateway and kubelet keep exchanging, and what the gateway holds stays below a stated bound.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::api_server::{ApiServer, Request, name_of};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{Kubelet, echo, switching};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tls;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::eventually;
use std::sync::{Arc, LazyLock};

matrix! { transports:
    stalled_readers_do_not_disturb_terminated_streams,
    stalled_readers_do_not_disturb_spliced_streams,
    stalled_kubelets_do_not_disturb_terminated_streams,
}

/// What one stalled reader is owed: far more than all buffers on the way hold.
const OWED: usize = 64 << 20;

static OWED_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| Rng::new(64).bytes(OWED));

/// Streams that go on.
const OTHERS: usize = 100;

/// Round trips of each of them.
const ROUNDS: u32 = 50;

/// Readers that stall: more than there are pipes.
const STALLED: u64 = 4;

/// Pipes of a worker.
const PIPES: u64 = 2;

/// A stalled direction keeps one buffer that it cannot get rid of; while it reads, the two layers of
/// TLS in TLS and what is read need two more, of one stream per worker at a time.
const BUFFERS: u64 = STALLED + 2 * 3;

/// Grants every upgrade; the command decides whether it echoes, floods or takes nothing.
fn kubelet(variant: Variant, with_tls: bool) -> Kubelet {
    let pki = pki();
    let identity = Presented::Good.identity(pki);
    let config = with_tls.then(|| tls::server(&identity, &pki.clients, variant.tls));
    Kubelet::with(config, |conn, log| {
        let Ok(head) = read_head(conn) else { return };
        conn.write_all(switching(&head).as_bytes()).unwrap();
        match head.target().rsplit('=').next() {
            Some("flood") => flood(conn),
            Some("stall") => stall(conn),
            _ => echo(conn, log),
        }
    })
}

fn flood(conn: &mut Conn) {
    // Ends with an error if the reader gives up instead.
    if conn.write_all_patiently(&OWED_BYTES).is_ok() && conn.shut().is_ok() {
        conn.read_to_end();
    }
}

/// Takes nothing until the other side has gone.
fn stall(conn: &mut Conn) {
    conn.wait_hangup();
}

fn ask(command: &str) -> Request {
    let path = format!("/exec/default/web/app?command={command}");
    Request::new("POST", &path)
        .header("Connection", "Upgrade")
        .header("Upgrade", "SPDY/3.1")
}

fn upgrade(mut conn: Conn, command: &str) -> Conn {
    let reply = ask(command).ask(&mut conn);
    assert_eq!(reply.head.status(), 101, "{}", reply.head.raw);
    conn
}

/// Lets the others exchange, and checks what the gateway holds meanwhile.
fn exchange(gateway: &Gateway, open: impl Fn() -> Conn + Sync) {
    std::thread::scope(|scope| {
        // Few threads: the streams wait for each other only where the gateway makes them.
        for thread in 0..4 {
            let open = &open;
            scope.spawn(move || {
                let mut conns: Vec<Conn> = (0..OTHERS / 4).map(|_| open()).collect();
                for round in 0..ROUNDS {
                    let message =
                        Rng::new(u64::from(round) << 8 | thread).bytes(1 + round as usize * 20);
                    for conn in &mut conns {
                        conn.write_all(&message).unwrap();
                    }
                    for conn in &mut conns {
                        assert!(conn.read_exact(message.len()).unwrap() == message);
                    }
                    assert_bounded(&gateway.totals());
                }
                for conn in &mut conns {
                    conn.shut().unwrap();
                    assert_eq!(conn.read_to_end().1, Ending::Clean);
                }
            });
        }
    });
}

fn assert_bounded(totals: &CounterTotals) {
    assert!(totals.buffers_in_use <= BUFFERS, "{totals:?}");
    assert!(totals.pipes_in_use <= 2 * PIPES, "{totals:?}");
}

fn gateway(variant: Variant, answer: Answer) -> Gateway {
    Gateway::with(variant, |setup| {
        setup.answer = answer;
        setup.max_pipes = PIPES as usize;
    })
}

/// Waits until no byte moves: every buffer on the way is full.
fn until_still(gateway: &Gateway) {
    let (mut last, mut looks) = (0, 0);
    eventually(
        || {
            let now = gateway.totals().bytes_down + gateway.totals().bytes_up;
            looks = if now == last && now > 0 { looks + 1 } else { 0 };
            last = now;
            (looks == 50).then_some(())
        },
        || "stillness".into(),
    );
}

fn stalled_readers_do_not_disturb_terminated_streams(variant: Variant) {
    let gateway = gateway(variant, Answer::Kubelet);
    let kubelet = kubelet(variant, true);
    let (target, api_server) = (kubelet.target(), gateway.api_server());
    let mut stalled: Vec<Conn> = (0..STALLED)
        .map(|_| upgrade(api_server.open(&target), "flood"))
        .collect();
    until_still(&gateway);
    assert_bounded(&gateway.totals());
    exchange(&gateway, || upgrade(api_server.open(&target), "echo"));
    // One takes all of it after all; the rest give up.
    let mut patient = stalled.pop().unwrap();
    drop(stalled);
    assert_owed(&mut patient);
    kubelet.finish();
    gateway.assert_back();
    let ended = gateway.taken_records();
    let completed = ended
        .iter()
        .filter(|record| record.reason == Reason::Completed);
    // Starts say so too.
    assert!(completed.count() > OTHERS);
}

fn assert_owed(conn: &mut Conn) {
    let (received, ending) = conn.read_to_end();
    assert!(received == *OWED_BYTES, "{} bytes", received.len());
    assert_eq!(ending, Ending::Clean);
    conn.shut().unwrap();
    conn.drain();
}

fn through(api_server: &ApiServer, target: &str, variant: Variant) -> Conn {
    let pki = pki();
    let mut conn = api_server.tunnel(target);
    let config = tls::client(Some(&pki.api_server), &pki.kubelets, variant.tls);
    conn.start_client(&Arc::new(config), name_of(target))
        .unwrap();
    conn
}

fn stalled_readers_do_not_disturb_spliced_streams(variant: Variant) {
    let gateway = gateway(variant, Answer::Splice);
    let kubelet = kubelet(variant, true);
    let (target, api_server) = (kubelet.target(), gateway.api_server());
    let open = |command| upgrade(through(&api_server, &target, variant), command);
    let mut stalled: Vec<Conn> = (0..STALLED).map(|_| open("flood")).collect();
    until_still(&gateway);
    assert_bounded(&gateway.totals());
    exchange(&gateway, || open("echo"));
    let mut patient = stalled.pop().unwrap();
    drop(stalled);
    assert_owed(&mut patient);
    kubelet.finish();
    gateway.assert_back();
}

fn stalled_kubelets_do_not_disturb_terminated_streams(variant: Variant) {
    let gateway = gateway(variant, Answer::Kubelet);
    let kubelet = kubelet(variant, true);
    let (target, api_server) = (kubelet.target(), gateway.api_server());
    let stuff = Rng::new(65).bytes(16 * 1024);
    let mut stalled: Vec<Conn> = (0..STALLED)
        .map(|_| upgrade(api_server.open(&target), "stall"))
        .collect();
    for conn in &mut stalled {
        conn.write_until_full(&stuff);
    }
    until_still(&gateway);
    assert_bounded(&gateway.totals());
    exchange(&gateway, || upgrade(api_server.open(&target), "echo"));
    for conn in stalled {
        conn.reset_when_closed();
    }
    kubelet.finish();
    gateway.assert_back();
}
