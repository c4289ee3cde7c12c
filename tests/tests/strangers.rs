//! Strangers at the TCP listener: whatever they hold, open or break, the API server gets its streams, a
//! UNIX socket knows nothing of it, and what is kept and told of them is bounded.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{Phase, Reason, RecordKind};
use eyesplice_tests::api_server::{ApiServer, Entry, name_of};
use eyesplice_tests::conn::{Conn, Ending, Got};
use eyesplice_tests::gateway::{Gateway, Setup};
use eyesplice_tests::http::read_head;
use eyesplice_tests::pki::pki;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tls;
use eyesplice_tests::variant::{TCP_TLS12, TCP_TLS13, UNIX_TLS13, run};
use eyesplice_tests::wait::{PATIENCE, eventually};
use rustls::ClientConnection;
use rustls::version::TLS13;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs out, and lets a busy machine say a word before.
const LATER: Duration = Duration::from_secs(1);

/// Echoes what each connection sends, for as long as the test runs.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut from, mut to) = (socket.try_clone().unwrap(), socket);
                // The other side may leave as it likes.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

/// A stream that opens, carries and ends.
fn visit(api_server: &ApiServer, target: &str) {
    let mut conn = api_server.tunnel(target);
    conn.write_all(b"ping").unwrap();
    assert_eq!(conn.read_exact(4).unwrap(), b"ping");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
}

/// What a stranger does.
#[derive(Clone, Copy, Debug)]
enum Stranger {
    /// Says nothing.
    Bare,
    /// Sends a part of a ClientHello.
    Half,
    /// Sends a ClientHello and does not answer.
    Hello,
    /// Shakes hands and has no certificate.
    Nobody,
}

impl Stranger {
    const ALL: [Self; 4] = [Self::Bare, Self::Half, Self::Hello, Self::Nobody];

    /// Comes from 127.0.1.`host`.
    fn comes(self, host: u8, to: SocketAddr) -> Socket {
        let mut socket = from(host, to);
        let hello = client_hello();
        // The gateway may have closed it already.
        let _ = match self {
            Self::Bare => Ok(()),
            Self::Half => socket.write_all(&hello[..hello.len() / 2]),
            Self::Hello => socket.write_all(&hello),
            Self::Nobody => {
                let mut conn = Conn::new(socket.try_clone().unwrap());
                let config = tls::client(None, &pki().listeners, &TLS13);
                // It succeeds on this side, is refused or is cut.
                let _ = conn.start_client(&Arc::new(config), name_of(&to.to_string()));
                Ok(())
            }
        };
        socket
    }
}

fn from(host: u8, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own = SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), 0));
    socket.bind(&SockAddr::from(own)).unwrap();
    socket.connect(&SockAddr::from(to)).unwrap();
    socket
}

fn client_hello() -> Vec<u8> {
    let config = tls::client(None, &pki().listeners, &TLS13);
    let name = name_of("127.0.0.1:1");
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name)
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    hello
}

fn gateway(adjust: impl FnOnce(&mut Setup)) -> (Gateway, ApiServer, SocketAddr) {
    let gateway = Gateway::with(TCP_TLS13, |setup| {
        setup.answer = Answer::Splice;
        adjust(setup);
    });
    let api_server = gateway.api_server();
    let address = api_server.outer().unwrap().1;
    (gateway, api_server, address)
}

#[test]
fn api_server_gets_its_streams_among_strangers_of_every_kind() {
    run("strangers of every kind", TCP_TLS13, |_| {
        const HELD: usize = 300;
        const ROOM: u64 = 64;
        let (gateway, api_server, address) = gateway(|setup| {
            setup.admission.max_unauthenticated = ROOM as usize;
            setup.admission.max_handshakes_per_second_per_address = 20;
            setup.admission.max_streams = 8;
        });
        let target = echo();
        visit(&api_server, &target);
        for kind in Stranger::ALL {
            for hosts in [1, 200] {
                let strangers: Vec<Socket> = (0..HELD)
                    .map(|n| kind.comes((n % hosts) as u8, address))
                    .collect();
                for _ in 0..10 {
                    visit(&api_server, &target);
                    let totals = gateway.totals();
                    assert!(totals.unauthenticated <= ROOM, "{kind:?}: {totals:?}");
                    assert!(totals.streams_live <= 8, "{kind:?}: {totals:?}");
                }
                drop(strangers);
                gateway.assert_back();
                gateway.until("nobody at the door", |totals| totals.unauthenticated == 0);
            }
        }
        let totals = gateway.totals();
        assert!(totals.unauthenticated_evicted > 0, "{totals:?}");
        assert_eq!(totals.limited, 0, "{totals:?}");
        eventually(
            || (sockets_at(address) == 0).then_some(()),
            || {
                format!(
                    "{} connections of the gateway are open",
                    sockets_at(address)
                )
            },
        );
    });
}

/// How many connections have this address on our side, and a descriptor. Other tests have theirs
/// elsewhere.
fn sockets_at(address: SocketAddr) -> usize {
    states_at(address).filter(|state| state != LISTEN).count()
}

fn listens_at(address: SocketAddr) -> bool {
    states_at(address).any(|state| state == LISTEN)
}

const LISTEN: &str = "0A";

/// The states of the sockets that have this address on our side, and a descriptor.
fn states_at(address: SocketAddr) -> impl Iterator<Item = String> {
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect());
    let rows = rows.filter(|row: &Vec<_>| row[1].ends_with(&port) && row[9] != "0");
    let states: Vec<String> = rows.map(|row| row[3].to_owned()).collect();
    states.into_iter()
}

#[test]
fn oldest_stranger_leaves_first_and_is_reset() {
    let (gateway, ..) = {
        let made = gateway(|setup| {
            setup.workers = 1;
            setup.admission.max_unauthenticated = 4;
        });
        let mut conns: Vec<Conn> = (1..=3)
            .map(|host| {
                let conn = Conn::new(from(host, made.2));
                let came = u64::from(host);
                made.0
                    .until("its place", |totals| totals.unauthenticated == came);
                conn
            })
            .collect();
        // The fourth place is for those who are known.
        conns.push(Conn::new(from(4, made.2)));
        made.0
            .until("room for it", |totals| totals.unauthenticated_evicted == 1);
        assert_eq!(conns[0].read_to_end(), (Vec::new(), Ending::Reset));
        for conn in &mut conns[1..] {
            assert_eq!(conn.try_read(&mut [0]), Got::Blocked);
        }
        made
    };
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.phase),
        (Reason::Limit, Phase::Accept)
    );
    let words = record.detail.unwrap();
    assert!(words.contains("limits.maxUnauthenticated"), "{words}");
    gateway.assert_back();
}

#[test]
fn strangers_take_no_place_of_a_stream_and_unix_sockets_know_nothing_of_them() {
    let (gateway, api_server, address) = gateway(|setup| {
        setup.also_unix = true;
        setup.admission.max_streams = 4;
        setup.admission.max_streams_per_peer = 4;
    });
    let target = echo();
    let strangers: Vec<Socket> = (0..50).map(|host| from(host, address)).collect();
    gateway.until("all of them", |totals| totals.unauthenticated == 50);
    let (_, inner) = (api_server.outer(), api_server.inner().as_ref().clone());
    let local = ApiServer::new(Entry::Unix(gateway.socket()), inner);
    let held = [local.tunnel(&target), local.tunnel(&target)];
    visit(&local, &target);
    visit(&api_server, &target);
    assert_eq!(gateway.totals().limited, 0);
    drop((held, strangers));
    gateway.assert_back();
}

#[test]
fn handshake_is_charged_when_its_hello_is_there() {
    let (gateway, api_server, address) = gateway(|setup| {
        setup.admission.max_handshakes_per_second = 4;
        setup.admission.max_handshakes_per_second_per_address = 1;
    });
    // Where the API server is, and as long as it: connections without a whole hello.
    let silent: Vec<Conn> = (0..50).map(|_| api_server.knock()).collect();
    let mut half: Vec<Socket> = (0..50).map(|host| from(host, address)).collect();
    for socket in &mut half {
        socket.write_all(&client_hello()[..100]).unwrap();
    }
    gateway.until("all of them", |totals| totals.unauthenticated == 100);
    visit(&api_server, &echo());
    assert_eq!(gateway.totals().handshakes_limited, 0);
    drop((silent, half));
    gateway.assert_back();
}

#[test]
fn strangers_leave_handshakes_to_who_is_known() {
    let (gateway, api_server, address) = gateway(|setup| {
        setup.admission.max_handshakes_per_second = 40;
    });
    let target = echo();
    visit(&api_server, &target);
    let mut strangers = Vec::new();
    for host in 0..100 {
        strangers.push(Stranger::Hello.comes(host, address));
    }
    gateway.until("a refusal", |totals| totals.handshakes_limited > 50);
    for _ in 0..10 {
        visit(&api_server, &target);
    }
    drop(strangers);
    gateway.assert_back();
    let records = gateway.taken_records();
    let refused = records.iter().find(|record| record.reason == Reason::Limit);
    let words = refused.unwrap().detail.as_deref().unwrap();
    assert!(words.contains("limits.maxHandshakesPerSecond"), "{words}");
}

#[test]
fn handshake_that_comes_too_fast_waits_for_its_turn() {
    let (gateway, api_server, address) = gateway(|setup| {
        setup.admission.max_handshakes_per_second_per_address = 1;
    });
    // The only one of this second, and it never ends.
    let mut first = Stranger::Hello.comes(7, address);
    first.read_exact(&mut [0]).unwrap();
    let mut next = Conn::new(from(7, address));
    let (config, _) = api_server.outer().unwrap();
    next.start_client(config, name_of(&address.to_string()))
        .unwrap();
    assert_eq!(gateway.totals().handshakes_limited, 0);
    drop((first, next));
    gateway.assert_back();
}

#[test]
fn trickled_hello_is_heard_to_its_end() {
    for variant in [TCP_TLS13, TCP_TLS12] {
        let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Splice);
        let api_server = gateway.api_server();
        let mut conn = api_server.knock();
        conn.chop(3, eyesplice_tests::rng::Rng::new(7));
        let (config, address) = api_server.outer().unwrap();
        conn.start_client(config, name_of(&address.to_string()))
            .unwrap();
        gateway.until("a stream", |totals| totals.streams_live == 1);
        drop(conn);
        gateway.assert_back();
    }
}

#[test]
fn half_a_hello_ends_at_the_deadline_and_with_its_sender() {
    let (gateway, _, address) = gateway(|setup| setup.admission.handshake_timeout = LATER);
    // Made first: the deadline runs from the connection on.
    let hello = client_hello();
    let mut slow = from(1, address);
    slow.write_all(&hello[..50]).unwrap();
    let mut conn = Conn::new(slow);
    assert_eq!(conn.read_to_end().1, Ending::Reset);
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.phase),
        (Reason::Timeout, Phase::Accept)
    );

    let (gateway, ..) = {
        let made = self::gateway(|_| {});
        let mut gone = from(1, made.2);
        gone.write_all(&client_hello()[..50]).unwrap();
        gone.shutdown(std::net::Shutdown::Write).unwrap();
        // What it sent was not read, so it is reset.
        assert!(Conn::new(gone).read_to_end().1.is_cut());
        made
    };
    assert_eq!(gateway.ended().reason, Reason::Truncated);
    gateway.assert_back();
}

#[test]
fn peer_that_speaks_no_tls_hears_so() {
    let (gateway, _, address) = gateway(|_| {});
    let mut socket = from(1, address);
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut alert = [0; 7];
    socket.read_exact(&mut alert).unwrap();
    assert_eq!(alert[0], 21, "an alert: {alert:?}");
    assert_eq!(gateway.ended().reason, Reason::HandshakeFailed);
    gateway.assert_back();
}

#[test]
fn log_and_audit_tell_of_strangers_once_a_second_and_count_the_rest() {
    const STRANGERS: u64 = 200;
    let (gateway, _, address) = gateway(|_| {});
    let start = Instant::now();
    for n in 0..STRANGERS {
        drop(Stranger::Nobody.comes(n as u8, address));
    }
    gateway.until("their ends", |totals| {
        totals.unauthenticated_ended == STRANGERS
    });
    gateway.assert_back();
    let untold = gateway.totals().unauthenticated_untold;
    let mut records = Vec::new();
    eventually(
        || {
            records.extend(gateway.taken_records());
            (records.len() as u64 + untold == STRANGERS).then_some(())
        },
        || format!("the records beside {untold}"),
    );
    assert!(records.iter().all(|record| record.kind == RecordKind::End));
    // One for each kind of end, each second.
    let most = 4 * (start.elapsed().as_secs() + 1);
    assert!(records.len() as u64 <= most, "{} records", records.len());
}

#[test]
fn connections_that_are_refused_take_no_place_of_a_stream() {
    let gateway = Gateway::with(UNIX_TLS13, |setup| {
        setup.answer = Answer::Splice;
        setup.workers = 1;
        setup.admission.max_streams = 1;
    });
    let (api_server, target) = (gateway.api_server(), echo());
    let stream = api_server.tunnel(&target);
    let refused: Vec<Conn> = (0..100).map(|_| api_server.knock()).collect();
    gateway.until("all refused", |totals| totals.limited == 100);
    assert_eq!(gateway.totals().streams_live, 1);
    drop(stream);
    gateway.until("a free place", |totals| totals.streams_live == 0);
    visit(&api_server, &target);
    let closed = |conn: &mut Conn| conn.ended().is_some();
    let mut refused = refused;
    let closed = refused
        .iter_mut()
        .map(closed)
        .filter(|closed| *closed)
        .count();
    assert_eq!(closed, 100 - 64, "the rest waits to be answered");
    drop(refused);
    gateway.assert_back();
}

#[test]
fn stream_beyond_a_limit_is_told_which() {
    for (streams, of_peer, words) in [
        (
            1,
            1,
            "gateway is at its limit of 1 streams; see limits.maxStreams",
        ),
        (
            9,
            1,
            "peer is at its limit of 1 streams; see limits.maxStreamsPerPeer",
        ),
    ] {
        let gateway = Gateway::with(UNIX_TLS13, |setup| {
            setup.answer = Answer::Splice;
            setup.workers = 1;
            setup.admission.max_streams = streams;
            setup.admission.max_streams_per_peer = of_peer;
        });
        let (api_server, target) = (gateway.api_server(), echo());
        let stream = api_server.tunnel(&target);
        let head = api_server.refused(&target);
        assert_eq!((head.status(), head.reason()), (503, words));
        assert_eq!(gateway.ended().reason, Reason::Limit);
        drop(stream);
        gateway.until("a free place", |totals| totals.streams_live == 0);
    }
}

#[test]
fn strangers_do_not_hold_up_a_drain() {
    let (mut gateway, api_server, address) = gateway(|_| {});
    visit(&api_server, &echo());
    let mut silent: Vec<Conn> = (0..20).map(|host| Conn::new(from(host, address))).collect();
    gateway.until("all of them", |totals| totals.unauthenticated == 20);
    let engine = gateway.running().take_engine();
    // Their handshakes time out before.
    assert_eq!(engine.drain(10 * PATIENCE), 0);
    for conn in &mut silent {
        assert_eq!(conn.read_to_end().1, Ending::Reset);
    }
    let ends = [gateway.ended().reason, gateway.ended().reason];
    assert_eq!(ends, [Reason::Completed, Reason::Drained]);
}

#[test]
fn whoever_was_accepted_is_served_when_another_process_accepts_from_now_on() {
    let (mut gateway, api_server, address) = gateway(|_| {});
    let (config, _) = api_server.outer().unwrap();
    let mut early = api_server.knock();
    gateway.until("it", |totals| totals.unauthenticated == 1);
    let engine = gateway.running().take_engine();
    let retired = std::thread::spawn(move || engine.retire(10 * PATIENCE));
    // Its handshake has not begun, and the listener is gone.
    eventually(
        || (!listens_at(address)).then_some(()),
        || "the end of the listener".to_owned(),
    );
    early
        .start_client(config, name_of(&address.to_string()))
        .unwrap();
    let target = echo();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    early.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_head(&mut early).unwrap().status(), 200);
    early.write_all(b"ping").unwrap();
    assert_eq!(early.read_exact(4).unwrap(), b"ping");
    early.shut().unwrap();
    assert_eq!(early.read_to_end().1, Ending::Clean);
    assert_eq!(retired.join().unwrap(), 0);
    assert_eq!(gateway.ended().reason, Reason::Completed);
}
