//! A reader that stalls keeps its stream for as long as its machine answers, in every mode, on either
//! leg; a peer that is cut off is noticed, be its window open or shut.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{Reason, Side, StreamRecord};
use eyesplice_tests::api_server::{ApiServer, Request};
use eyesplice_tests::cable::{Cable, FAR, NEAR};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::{Body, read_body, read_head};
use eyesplice_tests::kubelet::{Kubelet, Log, grant, request};
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::skip::skipped;
use eyesplice_tests::variant::{TCP_TLS13, UNIX_TLS13, Variant, can_run};
use eyesplice_tests::wait::eventually;
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// A peer that says nothing for so long is dead.
const USER_TIMEOUT: Duration = Duration::from_millis(300);

/// Looks at a leg, fifty milliseconds apart at the least, in which it is over ten times.
const SWEEPS: u64 = 70;

/// How a stream is carried, and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Splice,
    Originate,
    Opaque,
    /// A request with a body to a kubelet, or a reply with one.
    Body,
    /// An exec after its 101.
    Upgraded,
}

impl Mode {
    fn answer(self) -> Answer {
        match self {
            Self::Splice => Answer::Splice,
            Self::Originate => Answer::Originate,
            Self::Opaque => Answer::Opaque,
            Self::Body | Self::Upgraded => Answer::Kubelet,
        }
    }

    fn kubelet(
        self,
        variant: Variant,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Kubelet {
        match self {
            Self::Splice => Kubelet::with(None, script),
            _ => Kubelet::start(variant, script),
        }
    }

    fn open(self, api_server: &ApiServer, target: &str) -> Conn {
        match self {
            Self::Splice | Self::Originate => api_server.tunnel(target),
            _ => api_server.open(target),
        }
    }
}

/// A stall that the test ends, and what was sent into it.
#[derive(Debug, Default)]
struct Stall {
    full: AtomicBool,
    sent: AtomicUsize,
    over: AtomicBool,
}

impl Stall {
    /// Writes pieces until everything on the way is full, and goes on once the stall is over.
    fn fill(&self, conn: &mut Conn, piece: &[u8]) {
        self.sent.store(conn.write_until_full(piece), SeqCst);
        self.full.store(true, SeqCst);
        conn.flush_all().unwrap();
    }

    fn wait_full(&self) {
        eventually(
            || self.full.load(SeqCst).then_some(()),
            || "a full way".into(),
        );
    }

    fn wait_over(&self) {
        eventually(
            || self.over.load(SeqCst).then_some(()),
            || "the end of the stall".into(),
        );
    }
}

/// A chunk of a chunked body that is one write.
fn chunk() -> Vec<u8> {
    [b"3ff0\r\n".as_slice(), &[b'c'; CHUNK], b"\r\n"].concat()
}

const CHUNK: usize = 0x3ff0;

fn gateway(variant: Variant, mode: Mode) -> Gateway {
    Gateway::with(variant, |setup| {
        setup.answer = mode.answer();
        setup.user_timeout = USER_TIMEOUT;
    })
}

/// Waits for several times the user timeout, by the looks that the gateway takes at the stalled leg.
fn outlast(gateway: &Gateway) {
    let base = gateway.totals().liveness_sweeps;
    gateway.until("looks at the stalled leg", |totals| {
        totals.liveness_sweeps >= base + SWEEPS || totals.streams_live == 0
    });
    assert_eq!(gateway.totals().streams_live, 1, "the stream has ended");
}

/// The target does not read for a while; the client sends all the same.
fn stalled_target_gets_all(variant: Variant, mode: Mode) {
    let gateway = gateway(variant, mode);
    let stall = Arc::new(Stall::default());
    let received = Arc::new(AtomicUsize::new(0));
    let (seen, got) = (Arc::clone(&stall), Arc::clone(&received));
    let kubelet = mode.kubelet(variant, move |conn, log| match mode {
        Mode::Body => {
            let head = request(conn, log);
            seen.wait_over();
            let Body::Whole(body) = read_body(conn, &head, true) else {
                panic!("no whole body");
            };
            got.store(body.len(), SeqCst);
            conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            conn.read_to_end();
        }
        _ => {
            if mode == Mode::Upgraded {
                grant(conn, log);
            }
            seen.wait_over();
            let (all, ending) = conn.read_to_end();
            assert_eq!(ending, Ending::Clean);
            got.store(all.len(), SeqCst);
            conn.shut().unwrap();
        }
    });
    let mut conn = mode.open(&gateway.api_server(), &kubelet.target());
    let piece = match mode {
        Mode::Body => {
            let upload = Request::new("POST", "/upload").header("Transfer-Encoding", "chunked");
            upload.send(&mut conn);
            chunk()
        }
        Mode::Upgraded => {
            let reply = Request::exec_spdy().ask(&mut conn);
            assert_eq!(reply.head.status(), 101);
            vec![b'u'; CHUNK]
        }
        _ => vec![b'u'; CHUNK],
    };
    let sender = Arc::clone(&stall);
    let sending = std::thread::spawn(move || {
        sender.fill(&mut conn, &piece);
        if mode == Mode::Body {
            conn.write_all(b"0\r\n\r\n").unwrap();
            assert_eq!(read_head(&mut conn).unwrap().status(), 200);
        } else {
            conn.shut().unwrap();
        }
        assert_eq!(conn.read_to_end().1, Ending::Clean);
        if mode == Mode::Body {
            conn.shut().unwrap();
        }
    });
    stall.wait_full();
    outlast(&gateway);
    stall.over.store(true, SeqCst);
    sending.join().unwrap();
    kubelet.finish();
    let sent = stall.sent.load(SeqCst);
    let expected = match mode {
        Mode::Body => sent / chunk().len() * CHUNK,
        _ => sent,
    };
    assert_eq!(received.load(SeqCst), expected);
    assert_eq!(gateway.totals().peers_lost, 0);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_back();
}

/// The client does not read for a while; the target sends all the same.
fn stalled_client_gets_all(variant: Variant, mode: Mode) {
    let gateway = gateway(variant, mode);
    let stall = Arc::new(Stall::default());
    let seen = Arc::clone(&stall);
    let kubelet = mode.kubelet(variant, move |conn, log| {
        match mode {
            Mode::Body => {
                request(conn, log);
                conn.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                    .unwrap();
            }
            Mode::Upgraded => grant(conn, log),
            _ => {}
        }
        seen.fill(conn, &[b'd'; CHUNK]);
        conn.shut().unwrap();
        conn.read_to_end();
    });
    let mut conn = mode.open(&gateway.api_server(), &kubelet.target());
    match mode {
        Mode::Body => {
            Request::logs().send(&mut conn);
            assert_eq!(read_head(&mut conn).unwrap().status(), 200);
        }
        Mode::Upgraded => {
            Request::exec_spdy().send(&mut conn);
            assert_eq!(read_head(&mut conn).unwrap().status(), 101);
        }
        _ => {}
    }
    stall.wait_full();
    outlast(&gateway);
    let (all, ending) = conn.read_to_end();
    assert_eq!(ending, Ending::Clean);
    conn.shut().unwrap();
    kubelet.finish();
    assert_eq!(all.len(), stall.sent.load(SeqCst));
    assert_eq!(gateway.totals().peers_lost, 0);
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_back();
}

macro_rules! stalls {
    ($($name:ident: $mode:ident),+ $(,)?) => {
        mod target_behind_unix {
            $(#[test]
            fn $name() {
                if super::can_run(concat!("stall::target_behind_unix::", stringify!($name))) {
                    super::stalled_target_gets_all(super::UNIX_TLS13, super::Mode::$mode);
                }
            })+
        }
        mod target_behind_tcp {
            $(#[test]
            fn $name() {
                if super::can_run(concat!("stall::target_behind_tcp::", stringify!($name))) {
                    super::stalled_target_gets_all(super::TCP_TLS13, super::Mode::$mode);
                }
            })+
        }
        mod client_over_tcp {
            $(#[test]
            fn $name() {
                if super::can_run(concat!("stall::client_over_tcp::", stringify!($name))) {
                    super::stalled_client_gets_all(super::TCP_TLS13, super::Mode::$mode);
                }
            })+
        }
    };
}

stalls! {
    splice: Splice,
    originate: Originate,
    opaque: Opaque,
    body: Body,
    upgraded: Upgraded,
}

/// What fits into the buffers of a gateway and into no reader that does not read.
const LEFT_BEHIND: usize = 600 * 1024;

#[test]
fn stream_that_is_over_stays_until_a_reader_that_stalls_was_sent_all() {
    let gateway = Gateway::with(TCP_TLS13, |setup| {
        setup.answer = Answer::Splice;
        setup.user_timeout = USER_TIMEOUT;
        setup.bare = true;
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let mut conn = gateway.api_server().tunnel(&target);
    let (mut socket, _) = listener.accept().unwrap();
    conn.shut().unwrap();
    socket.write_all(&vec![b'l'; LEFT_BEHIND]).unwrap();
    drop(socket);
    gateway.until("all of it", |totals| {
        totals.bytes_down == LEFT_BEHIND as u64
    });
    outlast(&gateway);
    let (all, ending) = conn.read_to_end();
    assert_eq!((all.len(), ending), (LEFT_BEHIND, Ending::Clean));
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

/// A gateway at the near end of a cable, and what it is that a pull ends.
struct Cut {
    cable: Cable,
    gateway: Gateway,
    side: Side,
}

impl Cut {
    fn new(name: &str, side: Side) -> Option<Self> {
        let cable = Cable::lay(name)?;
        let variant = match side {
            Side::Downstream => TCP_TLS13,
            _ => UNIX_TLS13,
        };
        let gateway = Gateway::with(variant, |setup| {
            setup.answer = Answer::Splice;
            setup.user_timeout = USER_TIMEOUT;
            setup.bare = true;
            setup.listen = Ipv4Addr::from(NEAR).into();
        });
        Some(Self {
            cable,
            gateway,
            side,
        })
    }

    /// The client's end and the target's end of a stream, one of them far away.
    fn stream(&mut self) -> (Conn, Conn) {
        if self.side == Side::Upstream {
            let listener = self
                .cable
                .far(|| TcpListener::bind((Ipv4Addr::from(FAR), 0)).unwrap());
            let target = listener.local_addr().unwrap().to_string();
            let client = self.gateway.api_server().tunnel(&target);
            return (client, Conn::new(listener.accept().unwrap().0));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let entry = self.gateway.running().tcp_address().unwrap();
        let mut client = self.cable.far(move || TcpStream::connect(entry).unwrap());
        write!(
            client,
            "CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )
        .unwrap();
        let mut client = Conn::new(client);
        assert_eq!(read_head(&mut client).unwrap().status(), 200);
        (client, Conn::new(listener.accept().unwrap().0))
    }

    /// The stream ends, and its record names the leg and says what happened.
    fn assert_noticed(&self) {
        let record = self.gateway.ended();
        let detail = record.detail.clone().unwrap_or_default();
        assert_lost(&record, self.side);
        let peer = match self.side {
            Side::Upstream => "target",
            _ => "client",
        };
        for word in [peer, "has not acknowledged", "timeouts.tcpUserTimeout"] {
            assert!(detail.contains(word), "{detail}");
        }
        assert_eq!(self.gateway.totals().peers_lost, 1, "by the gateway itself");
        self.gateway.assert_nothing_held();
    }
}

/// The record says which peer was lost. Its client learns of that over TCP or by TLS; over a bare UNIX socket
/// the reason is that it cannot, and what happened is in the words.
fn assert_lost(record: &StreamRecord, side: Side) {
    let detail = record.detail.as_deref().unwrap_or_default();
    let lost = match record.reason {
        Reason::CutUnseen => detail.starts_with("peer_lost ("),
        reason => reason == Reason::PeerLost,
    };
    assert!(lost && record.side == side, "{record:?}");
}

fn pulled_with_an_open_window(name: &str, side: Side) {
    let Some(mut cut) = Cut::new(name, side) else {
        return;
    };
    let (mut client, mut target) = cut.stream();
    let (near, far) = match side {
        Side::Upstream => (&mut client, &mut target),
        _ => (&mut target, &mut client),
    };
    near.write_all(b"before").unwrap();
    assert_eq!(far.read_exact(6).unwrap(), b"before");
    cut.cable.pull();
    near.write_all(b"after").unwrap();
    assert!(near.read_to_end().1.is_cut() || side == Side::Upstream);
    cut.assert_noticed();
}

fn pulled_with_a_shut_window(name: &str, side: Side) {
    let Some(mut cut) = Cut::new(name, side) else {
        return;
    };
    let tried = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Err(error) = eyesplice_sys::socket::ask_at_least_every(tried.as_fd(), USER_TIMEOUT * 4) {
        return skipped(name, &format!("window probes in two minutes only: {error}"));
    }
    let (mut client, mut target) = cut.stream();
    let near = match side {
        Side::Upstream => &mut client,
        _ => &mut target,
    };
    near.write_until_full(&[b'f'; CHUNK]);
    outlast(&cut.gateway);
    cut.cable.pull();
    cut.assert_noticed();
}

#[test]
fn cut_off_target_with_an_open_window_is_noticed() {
    pulled_with_an_open_window("cut_off_target_with_an_open_window", Side::Upstream);
}

#[test]
fn cut_off_target_with_a_shut_window_is_noticed() {
    pulled_with_a_shut_window("cut_off_target_with_a_shut_window", Side::Upstream);
}

#[test]
fn cut_off_client_with_an_open_window_is_noticed() {
    pulled_with_an_open_window("cut_off_client_with_an_open_window", Side::Downstream);
}

#[test]
fn cut_off_client_with_a_shut_window_is_noticed() {
    pulled_with_a_shut_window("cut_off_client_with_a_shut_window", Side::Downstream);
}

#[test]
fn cut_off_idle_target_is_noticed_by_keepalive() {
    let Some(cable) = Cable::lay("cut_off_idle_target") else {
        return;
    };
    let mut cut = Cut {
        gateway: Gateway::with(UNIX_TLS13, |setup| {
            setup.answer = Answer::Splice;
            setup.user_timeout = USER_TIMEOUT;
            setup.keepalive_idle = Duration::from_secs(1);
        }),
        cable,
        side: Side::Upstream,
    };
    let (client, target) = cut.stream();
    cut.cable.pull();
    let record = cut.gateway.ended();
    assert_lost(&record, Side::Upstream);
    drop((client, target));
}
