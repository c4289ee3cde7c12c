//! Plays one cut: what comes before it, the cut itself, and what the other side sees of it.

use crate::plan::{Cell, Chance, Cut, Kind, Phase};
use eyesplice_dataplane::seam::{Reason, RecordKind, Side, StreamRecord};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::{Conn, Ending, Got};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::{Body, read_head, read_reply};
use eyesplice_tests::kubelet::switching;
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tls;
use eyesplice_tests::tunnel::{self, Agent};
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::{PATIENCE, eventually};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An upload that an early answer cuts short: more than its target has read, whatever its buffers.
const UPLOAD: usize = 200_000;

/// What a target reads of it.
const READ: usize = 1000;

/// How targets are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    /// Through an agent.
    Tunnel,
}

/// A gateway, and what it told of streams that nobody has asked for yet.
pub(crate) struct Lane {
    pub(crate) variant: Variant,
    pub(crate) mode: Answer,
    pub(crate) gateway: Gateway,
    /// Through which it reaches its targets, if not directly.
    agent: Option<Agent>,
    records: Mutex<HashMap<SocketAddr, StreamRecord>>,
}

/// What the other side took the cut for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Cut,
    /// An end.
    End,
}

/// What a cut came to.
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) reason: Reason,
    pub(crate) bytes: usize,
}

impl Lane {
    pub(crate) fn new(variant: Variant, mode: Answer, way: Way) -> Self {
        let (gateway, agent) = match way {
            Way::Direct => (Gateway::with(variant, |setup| setup.answer = mode), None),
            Way::Tunnel => {
                let gateway = tunnel::gateway(variant, |setup| {
                    setup.answer = mode;
                    setup.tunnel = Some(tunnel::limits());
                });
                let agent = Agent::of(&gateway);
                (gateway, Some(agent))
            }
        };
        Self {
            variant,
            mode,
            gateway,
            agent,
            records: Mutex::default(),
        }
    }

    /// Sees that nothing is left of it.
    pub(crate) fn finish(self) {
        if let Some(agent) = self.agent {
            agent.finish_counting();
        }
        self.gateway.assert_back();
    }

    /// Both ends of a stream, as far as its TLS.
    fn open(&self, listener: TcpListener) -> [Conn; 2] {
        let target = listener.local_addr().unwrap().to_string();
        let pki = pki();
        let config = (self.mode != Answer::Splice).then(|| {
            let identity = Presented::Good.identity(pki);
            Arc::new(tls::server(&identity, &pki.clients, self.variant.tls))
        });
        let accepting = std::thread::spawn(move || {
            let mut conn = Conn::new(listener.accept().unwrap().0);
            if let Some(config) = config {
                conn.start_server(&config).unwrap();
            }
            conn
        });
        let api_server = self.gateway.api_server();
        let client = match self.mode {
            Answer::Splice | Answer::Originate => api_server.tunnel(&target),
            _ => api_server.open(&target),
        };
        [client, accepting.join().unwrap()]
    }

    /// Waits for the record of the stream to a target.
    fn record(&self, address: SocketAddr) -> StreamRecord {
        let taken = || {
            let mut records = self.records.lock().unwrap();
            for record in self.gateway.taken_records() {
                if let (RecordKind::End, Some(address)) = (record.kind, record.address) {
                    records.insert(address, record);
                }
            }
            records.remove(&address)
        };
        eventually(taken, || format!("the record of the stream to {address}"))
    }

    /// Plays one cut, and judges it.
    pub(crate) fn play(&self, cell: Cell, chance: &Chance) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Kept, so that nobody else gets its port before the record is there.
        let _kept = listener.try_clone().unwrap();
        let [client, target] = self.open(listener);
        let (cutter, victim) = match cell.cut {
            Cut::Downstream => (client, target),
            Cut::Upstream => (target, client),
        };
        let seen = match cell.kind {
            _ if cell.is_http(chance) => crate::http::play(cell, chance, cutter, victim),
            Kind::EarlyAnswer => early_answer(chance, cutter, victim),
            _ => stream(cell, chance, cutter, victim),
        };
        let record = self.record(address);
        judge(cell, chance, seen, &record);
        Outcome {
            seen,
            reason: record.reason,
            bytes: chance.last.len(),
        }
    }
}

/// The record must say what happened, and who did it.
fn judge(cell: Cell, chance: &Chance, seen: Seen, record: &StreamRecord) {
    if cell.is_http(chance) {
        return crate::http::judge(cell, record);
    }
    let side = match cell.cut {
        Cut::Downstream => Side::Downstream,
        Cut::Upstream => Side::Upstream,
    };
    assert_eq!(record.side, side, "{record:?}");
    let torn = matches!(cell.kind, Kind::Fin | Kind::TornRecord);
    let truth = match record.reason {
        Reason::Truncated => torn,
        // One that leaves with unread input is reset behind its FIN.
        Reason::Reset => !torn || !chance.stays,
        Reason::CutUnseen => cell.may_be_unseen(),
        _ => false,
    };
    assert!(truth, "{record:?}");
    // What a client sends may come just before the close that shows it the cut.
    let unseen = record.reason == Reason::CutUnseen;
    assert!(unseen || seen == Seen::Cut, "a silent cut: {record:?}");
}

/// A cut of an opaque stream.
fn stream(cell: Cell, chance: &Chance, mut cutter: Conn, mut victim: Conn) -> Seen {
    prelude(cell, &mut cutter, &mut victim);
    if !chance.late {
        push(&mut victim, chance.upload);
    }
    let mut got = send(&mut cutter, &mut victim, &chance.last);
    let stayed = cut(cell, chance, cutter, &mut victim);
    if chance.late {
        push(&mut victim, chance.upload);
    }
    let (rest, ending) = victim.read_to_end();
    drop(stayed);
    got.extend(rest);
    assert_same(&got, &chance.last);
    assert!(ending.is_cut() || cell.may_be_unseen(), "a silent cut");
    seen(ending)
}

pub(crate) fn seen(ending: Ending) -> Seen {
    if ending.is_cut() {
        Seen::Cut
    } else {
        Seen::End
    }
}

pub(crate) fn assert_same(got: &[u8], sent: &[u8]) {
    assert!(
        got == sent,
        "{} of {} bytes arrived, {}",
        got.len(),
        sent.len(),
        if sent.starts_with(got) {
            "a prefix"
        } else {
            "others"
        }
    );
}

/// What comes before: nothing, a conversation, or a clean end of the other side.
fn prelude(cell: Cell, cutter: &mut Conn, victim: &mut Conn) {
    if cell.mode == Answer::Kubelet {
        let (client, target) = match cell.cut {
            Cut::Downstream => (&mut *cutter, &mut *victim),
            Cut::Upstream => (&mut *victim, &mut *cutter),
        };
        Request::exec_spdy().send(client);
        let head = read_head(target).unwrap();
        target.write_all(switching(&head).as_bytes()).unwrap();
        assert_eq!(read_head(client).unwrap().status(), 101);
    }
    if cell.phase == Phase::BeforeReply {
        victim.write_all(&[b'q'; 100]).unwrap();
        if cell.kind != Kind::Close {
            cutter.read_exact(100).unwrap();
        }
        return;
    }
    for len in [1, 700, 40] {
        victim.write_all(&vec![b'q'; len]).unwrap();
        cutter.read_exact(len).unwrap();
        cutter.write_all(&vec![b'a'; len]).unwrap();
        victim.read_exact(len).unwrap();
    }
    if cell.phase == Phase::HalfClosed {
        if cell.kind == Kind::Close {
            victim.write_all(b"unread").unwrap();
        }
        victim.shut().unwrap();
        if cell.kind != Kind::Close {
            assert_eq!(cutter.read_to_end(), (Vec::new(), Ending::Clean));
        }
    }
}

/// Writes what is taken without a wait; the connection may be gone.
pub(crate) fn push(conn: &mut Conn, amount: usize) {
    let piece = [b'u'; 16 * 1024];
    let mut left = amount;
    while left > 0 {
        match conn.try_write(&piece[..left.min(piece.len())]) {
            Ok(0) | Err(_) => return,
            Ok(wrote) => left -= wrote,
        }
    }
}

/// Sends everything as far as the gateway's kernel; the other side reads only what has to be read for
/// that, so that the rest still lies on the way.
pub(crate) fn send(cutter: &mut Conn, victim: &mut Conn, payload: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    let mut sent = 0;
    let mut buffer = [0; 16 * 1024];
    let deadline = Instant::now() + PATIENCE;
    while sent < payload.len() || !cutter.is_settled() {
        let wrote = cutter.try_write(&payload[sent..]).unwrap();
        sent += wrote;
        if wrote > 0 || cutter.is_settled() {
            continue;
        }
        assert!(Instant::now() < deadline, "nothing moves");
        match victim.try_read(&mut buffer) {
            Got::Data(n) => got.extend_from_slice(&buffer[..n]),
            Got::Blocked => std::thread::park_timeout(Duration::from_millis(1)),
            Got::End(ending) => panic!("{ending:?} too early"),
        }
    }
    got
}

/// Cuts; what is returned stays open.
pub(crate) fn cut(
    cell: Cell,
    chance: &Chance,
    mut cutter: Conn,
    victim: &mut Conn,
) -> Option<Conn> {
    match cell.kind {
        Kind::Reset => cutter.reset_when_closed(),
        Kind::Close => {
            let asked = matches!(cell.phase, Phase::BeforeReply | Phase::HalfClosed);
            if !asked && (chance.late || chance.upload == 0) {
                victim.write_all(b"unread").unwrap();
            }
            cutter.wait_input();
        }
        _ => {
            if cell.kind == Kind::TornRecord {
                cutter.write_torn(&[b't'; 900]).unwrap();
                eventually(|| cutter.is_settled().then_some(()), || "room".into());
            }
            cutter.fin().unwrap();
            if chance.stays {
                return Some(cutter);
            }
        }
    }
    drop(cutter);
    None
}

/// A target that reads a little of an upload, answers and closes.
fn early_answer(chance: &Chance, mut cutter: Conn, mut victim: Conn) -> Seen {
    push(&mut victim, UPLOAD);
    cutter.read_exact(READ).unwrap();
    cutter.write_all(&chance.last).unwrap();
    cutter.wait_input();
    drop(cutter);
    // The client goes on with its upload, and reads as soon as there is something.
    let mut got = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let deadline = Instant::now() + PATIENCE;
    loop {
        push(&mut victim, buffer.len());
        match victim.try_read(&mut buffer) {
            Got::Data(n) => got.extend_from_slice(&buffer[..n]),
            Got::Blocked => victim.wait(true, false, deadline).unwrap(),
            Got::End(ending) => {
                assert_same(&got, &chance.last);
                return seen(ending);
            }
        }
    }
}

/// Reads the reply that must come to a request, whole.
pub(crate) fn whole_reply(conn: &mut Conn, method: &str) -> (u16, Vec<u8>) {
    let reply = read_reply(conn, method).unwrap();
    match reply.body {
        Body::Whole(body) => (reply.head.status(), body),
        other => panic!("a reply that is not whole: {other:?}"),
    }
}
