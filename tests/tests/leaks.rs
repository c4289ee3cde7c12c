//! 1,000 streams that are aborted at a random moment of their life leave nothing behind: descriptors,
//! pipes, operations, buffers, records.
//!
//! Alone in its process, because descriptors belong to the process.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{RecordKind, StreamId, TunnelLimits};
use eyesplice_proto::tunnel::Patience;
use eyesplice_tests::api_server::{ApiServer, Request, name_of};
use eyesplice_tests::conn::{Conn, Ending, Got};
use eyesplice_tests::front::{self, Front, Lead, Rule};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::held::{Held, open_descriptors};
use eyesplice_tests::kubelet::{self, Kubelet, Log};
use eyesplice_tests::pki::pki;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tls;
use eyesplice_tests::tunnel::{self, AGENT, Agent};
use eyesplice_tests::variant::{TCP_TLS13, UNIX_TLS12, UNIX_TLS13, Variant, run};
use eyesplice_tests::wait::eventually;
use rustls::ClientConfig;
use rustls::version::TLS13;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Streams in all.
const STREAMS: u64 = 1000;

/// Streams at the same time.
const CROWD: u64 = 25;

/// A kubelet that itself leaves in every way, as the seed of the connection says.
fn unreliable(conn: &mut Conn, log: &Log, rng: &mut Rng) {
    let how = rng.below(8);
    if how == 0 {
        return conn.reset_when_closed();
    }
    let Ok(head) = eyesplice_tests::http::read_head(conn) else {
        return;
    };
    log.request(&head);
    if how == 1 {
        return;
    }
    let granted = match head.get("upgrade") {
        Some(_) => kubelet::switching(&head),
        None => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
    };
    if conn.write_all(granted.as_bytes()).is_err() || how == 2 {
        return;
    }
    // From nothing to more than all buffers on the way hold.
    let amount = rng.length(4 << 20);
    let mut sent = 0;
    let stuff = vec![b's'; 16 * 1024];
    while sent < amount {
        match conn.try_write(&stuff) {
            Ok(n) => sent += n,
            Err(_) => return,
        }
        if conn.ended().is_some() {
            return;
        }
    }
    match how {
        3 => conn.reset_when_closed(),
        4 => drop(conn.fin()),
        5 => drop(conn.shut()),
        _ => {
            // Ends, and stays until the other side has ended too.
            let _ = conn.shut();
            conn.read_to_end();
        }
    }
}

/// Opens a stream and leaves it at a random moment in a random way.
fn abort_one(variant: Variant, api_server: &ApiServer, target: &str, seed: u64) {
    let mut rng = Rng::new(seed);
    let moment = rng.below(8);
    let mut conn = api_server.reach();
    leave(&mut conn, variant, target, moment, &mut rng);
    match rng.below(3) {
        0 => conn.reset_when_closed(),
        1 => drop(conn.shut()),
        _ => {}
    }
}

/// Goes as far as `moment`; whatever fails on the way is the other side's doing.
fn leave(conn: &mut Conn, variant: Variant, target: &str, moment: usize, rng: &mut Rng) {
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    if moment == 0 {
        let part = rng.below(connect.len());
        return drop(conn.write_all(&connect.as_bytes()[..part]));
    }
    if conn.write_all(connect.as_bytes()).is_err() || moment == 1 {
        return;
    }
    let answered = eyesplice_tests::http::read_head(conn);
    if !answered.is_ok_and(|head| head.status() == 200) || moment == 2 {
        return;
    }
    if moment == 3 {
        // Half of a ClientHello.
        return drop(conn.write_all(&[22, 3, 1, 2, 0, 1, 0]));
    }
    let pki = pki();
    let config = tls::client(Some(&pki.api_server), &pki.egress, variant.tls);
    if conn
        .start_client(&Arc::new(config), name_of(target))
        .is_err()
        || moment == 4
    {
        return;
    }
    let request = if rng.one_in(2) {
        Request::exec_spdy()
    } else {
        Request::logs()
    };
    let bytes = request.bytes();
    if moment == 5 {
        let part = rng.below(bytes.len());
        return drop(conn.write_all(&bytes[..part]));
    }
    if conn.write_all(&bytes).is_err() || moment == 6 {
        return;
    }
    read_some(conn, rng);
}

/// Reads some of what comes.
fn read_some(conn: &mut Conn, rng: &mut Rng) {
    let mut left = rng.length(1 << 20);
    let mut buffer = [0; 16 * 1024];
    while left > 0 {
        match conn.read(&mut buffer) {
            Got::Data(n) => left = left.saturating_sub(n),
            Got::End(_) => return,
            Got::Blocked => {}
        }
    }
}

/// Leaves a front at a random moment in a random way.
fn abort_client(front: &Front, seed: u64) {
    let mut rng = Rng::new(seed);
    // The other listener leads to the API server, whose own client this is then.
    let (address, servers) = if rng.one_in(4) {
        (front.node_address(), &pki().kubelets)
    } else {
        (front.address(), &pki().listeners)
    };
    let mut conn = Conn::new(TcpStream::connect(address).unwrap());
    let config = tls::client(None, servers, &TLS13);
    leave_front(&mut conn, config, &mut rng);
    match rng.below(3) {
        0 => conn.reset_when_closed(),
        1 => drop(conn.shut()),
        _ => {}
    }
}

/// Goes as far as the seed says; whatever fails on the way is the other side's doing.
fn leave_front(conn: &mut Conn, config: ClientConfig, rng: &mut Rng) {
    let moment = rng.below(8);
    if moment == 0 {
        // Half of a ClientHello.
        return drop(conn.write_all(&[22, 3, 1, 2, 0, 1, 0][..rng.below(8)]));
    }
    let name = name_of("127.0.0.1:443");
    if conn.start_client(&Arc::new(config), name).is_err() || moment == 1 {
        return;
    }
    for _ in 0..=rng.below(4) {
        let request = match rng.below(4) {
            0 => Request::exec_spdy(),
            1 => Request::new("POST", "/apis").body(&vec![b'b'; rng.length(1 << 20)]),
            _ => Request::logs(),
        };
        let bytes = request.bytes();
        if moment == 2 {
            let part = rng.below(bytes.len());
            return drop(conn.write_all(&bytes[..part]));
        }
        if conn.write_all(&bytes).is_err() || moment == 3 {
            return;
        }
        if moment > 4 && eyesplice_tests::http::read_head(conn).is_err() {
            return;
        }
    }
    read_some(conn, rng);
}

fn thousand_aborted_clients(variant: Variant, clients: u64) {
    let connections = AtomicU64::new(0);
    let api = front::server(variant, move |conn, log| {
        let number = connections.fetch_add(1, SeqCst);
        unreliable(conn, log, &mut Rng::new(!number));
    });
    let front = Front::with(variant, |setup| setup.record_queue = 64);
    let front = front.leads(Rule::to(api.address()));
    front.control.lead(Lead::To(api.address(), None));
    // One connection warms up what is made once: threads, pools.
    abort_client(&front, 0);
    front.until("a connection", |totals| totals.accepted == 1);
    front.assert_back();
    let before = (open_descriptors(), Held::of(&front.totals()));

    std::thread::scope(|scope| {
        for thread in 0..CROWD {
            let front = &front;
            scope.spawn(move || {
                for seed in (thread..clients).step_by(CROWD as usize) {
                    abort_client(front, 1 + seed);
                }
            });
        }
    });
    front.until("every connection", |totals| totals.accepted == clients + 1);
    front.assert_back();
    let pipes = 2 * usize::try_from(front.totals().pipes_open).unwrap();
    eventually(
        || (open_descriptors() <= before.0 + pipes).then_some(()),
        || format!("{} descriptors instead of {}", open_descriptors(), before.0),
    );
    assert_eq!(Held::of(&front.totals()), before.1);
    // Each of them has told of each of its requests at most once.
    let mut told = BTreeSet::new();
    for record in front.taken_records() {
        let one = (record.id, record.exchange, record.kind == RecordKind::End);
        assert!(told.insert(one), "twice: {record:#?}");
    }
    api.finish();
}

fn thousand_aborted_streams(variant: Variant, answer: Answer, streams: u64) {
    let gateway = Gateway::with(variant, |setup| {
        setup.answer = answer;
        setup.record_queue = 64;
    });
    let connections = AtomicU64::new(0);
    let kubelet = Kubelet::start(variant, move |conn, log| {
        let number = connections.fetch_add(1, SeqCst);
        unreliable(conn, log, &mut Rng::new(!number));
    });
    let target = kubelet.target();
    let api_server = gateway.api_server();
    // One stream warms up what is made once: threads, pools.
    abort_one(variant, &api_server, &target, 0);
    gateway.until("a connection", |totals| totals.accepted == 1);
    gateway.assert_back();
    let before = (open_descriptors(), Held::of(&gateway.totals()));

    std::thread::scope(|scope| {
        for thread in 0..CROWD {
            let (api_server, target) = (&api_server, &target);
            scope.spawn(move || {
                for seed in (thread..streams).step_by(CROWD as usize) {
                    abort_one(variant, api_server, target, 1 + seed);
                }
            });
        }
    });
    // A client that left at once may still be in the listener's queue.
    gateway.until("every connection", |totals| totals.accepted == streams + 1);
    gateway.assert_back();
    let totals = gateway.totals();
    assert!(
        totals.buffers_open <= 2 * 32,
        "pooled buffers: {}",
        totals.buffers_open
    );
    assert!(
        totals.pipes_open <= 2 * 8,
        "pooled pipes: {}",
        totals.pipes_open
    );
    // The kubelet's ends of the connections may take a moment longer; pooled pipes may stay.
    let pipes = 2 * usize::try_from(totals.pipes_open).unwrap();
    eventually(
        || (open_descriptors() <= before.0 + pipes).then_some(()),
        || format!("{} descriptors instead of {}", open_descriptors(), before.0),
    );
    assert_eq!(Held::of(&gateway.totals()), before.1);
    // Of those that left before they had authenticated, most are only counted.
    let told = streams + 1 - totals.unauthenticated_untold;
    every_stream_has_one_last_record(&gateway, told);
    drop(api_server);
    kubelet.finish();
}

/// The connections of the agent that no open has kept go with the others.
fn aborted_streams_through_an_agent(variant: Variant, answer: Answer, streams: u64) {
    let gateway = tunnel::gateway(variant, |setup| {
        setup.answer = answer;
        setup.record_queue = 64;
        setup.tunnel = Some(TunnelLimits {
            parked: 0..=4,
            patience: Patience::default(),
            ..tunnel::limits()
        });
    });
    let connections = AtomicU64::new(0);
    let kubelet = Kubelet::start(variant, move |conn, log| {
        let number = connections.fetch_add(1, SeqCst);
        unreliable(conn, log, &mut Rng::new(!number));
    });
    let (target, api_server) = (kubelet.target(), gateway.api_server());
    let agent = Agent::holding(&[]);
    let hold = [tunnel::peer(
        "gateway",
        gateway.tunnel_address(),
        tunnel::client(AGENT),
    )];
    let round = |seeds: std::ops::Range<u64>| {
        agent.hold(&hold);
        agent.until_registered(&gateway);
        std::thread::scope(|scope| {
            for thread in 0..CROWD {
                let (api_server, target) = (&api_server, &target);
                let seeds = seeds.clone().skip(thread as usize);
                scope.spawn(move || {
                    for seed in seeds.step_by(CROWD as usize) {
                        abort_one(variant, api_server, target, seed);
                    }
                });
            }
        });
        // The last one in the listener's queue.
        let mut last = api_server.reach();
        last.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert_eq!(last.read_to_end().1, Ending::Clean);
        drop(last);
        agent.let_go();
        tunnel::assert_back(&gateway);
        let pipes = gateway.totals().pipes_open + agent.totals().pipes_open;
        2 * usize::try_from(pipes).unwrap()
    };
    let before = open_descriptors();
    let pipes = round(0..streams);
    eventually(
        || (open_descriptors() <= before + pipes).then_some(()),
        || format!("{} descriptors instead of {before}", open_descriptors()),
    );
    drop(api_server);
    agent.finish_counting();
    kubelet.finish();
}

/// Each connection that tells has told of its end exactly once, and of each exchange at most once.
fn every_stream_has_one_last_record(gateway: &Gateway, streams: u64) {
    let mut told: BTreeMap<StreamId, BTreeSet<u32>> = BTreeMap::new();
    eventually(
        || {
            for record in gateway.taken_records() {
                if record.kind == RecordKind::End {
                    let exchanges = told.entry(record.id).or_default();
                    assert!(exchanges.insert(record.exchange), "twice: {record:#?}");
                }
            }
            (told.len() as u64 == streams).then_some(())
        },
        || "a record of every stream".into(),
    );
}

#[test]
fn aborted_streams_leave_nothing_behind() {
    for (variant, answer, streams) in [
        (UNIX_TLS13, Answer::Kubelet, STREAMS),
        (TCP_TLS13, Answer::Kubelet, STREAMS / 4),
        (UNIX_TLS12, Answer::Splice, STREAMS / 4),
        (TCP_TLS13, Answer::Opaque, STREAMS / 4),
    ] {
        let name = format!("aborted_streams_leave_nothing_behind ({answer:?})");
        run(&name, variant, |variant| {
            thousand_aborted_streams(variant, answer, streams);
        });
    }
    for answer in [Answer::Kubelet, Answer::Splice] {
        let name = format!("aborted_streams_leave_nothing_behind (agent, {answer:?})");
        run(&name, UNIX_TLS13, |variant| {
            aborted_streams_through_an_agent(variant, answer, STREAMS / 4);
        });
    }
    let name = "aborted_streams_leave_nothing_behind (Front)";
    run(name, TCP_TLS13, |variant| {
        thousand_aborted_clients(variant, STREAMS);
    });
}
