//! A running engine with a control that answers as the test says.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_dataplane::cipher::CryptoPolicy;
use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{
    Bind, COALESCE, Engine, EngineConfig, KtlsPolicy, ListenerConfig, Role,
};
use eyesplice_dataplane::seam::{
    AdmissionLimits, Connect, Control, Mode, Reason, RecordKind, Refusal, Snapshot, SnapshotCell,
    StreamLimits, StreamRecord, StreamRequest, Tallies, Verdict, Way,
};
use eyesplice_proto::target::Host;
use eyesplice_sys::uring::Backend;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What control answers to every stream.
#[derive(Clone)]
pub enum Answer {
    /// Dial what was asked and splice.
    Splice,
    /// Refuse.
    Refuse(u16, &'static str),
    /// Never answer.
    Silence,
    /// Whatever the function says.
    Custom(Arc<dyn Fn(&StreamRequest) -> Verdict + Send + Sync>),
}

struct Scripted {
    answer: Answer,
    limits: StreamLimits,
    held: std::sync::Mutex<Vec<oneshot::Sender<Verdict>>>,
}

impl Control for Scripted {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let (send, receive) = oneshot::channel();
        let verdict = match &self.answer {
            Answer::Splice => splice_to(&request, self.limits),
            Answer::Refuse(status, reason) => Verdict::Refuse(Refusal {
                status: *status,
                reason: match *status {
                    504 => Reason::Timeout,
                    _ => Reason::Denied,
                },
                words: (*reason).into(),
                rule: None,
            }),
            Answer::Silence => {
                self.held.lock().unwrap().push(send);
                return receive;
            }
            Answer::Custom(decide) => decide(&request),
        };
        drop(send.send(verdict));
        receive
    }

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        format!("chain of {}", chain.len()).into()
    }
}

/// Deadlines long enough for a busy machine.
pub fn stream_limits() -> StreamLimits {
    StreamLimits {
        dial_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_secs(10),
        head_timeout: Duration::from_secs(30),
        idle_timeout: None,
        half_closed_timeout: None,
    }
}

/// Dials exactly what was asked.
pub fn splice_to(request: &StreamRequest, limits: StreamLimits) -> Verdict {
    let Host::Ip(ip) = request.target.host else {
        panic!("tests dial addresses")
    };
    Verdict::Connect(Box::new(Connect {
        generation: 1,
        rule: "test".into(),
        node: None,
        way: Way::Dial(vec![SocketAddr::new(ip, request.target.port)]),
        preamble: None,
        mode: Mode::Splice,
        limits,
        warm: None,
        tallies: Tallies::default(),
    }))
}

/// A running engine.
pub struct Gateway {
    pub engine: Option<Engine>,
    pub records: mpsc::Receiver<StreamRecord>,
    pub snapshots: Arc<SnapshotCell>,
    directory: PathBuf,
}

impl Gateway {
    pub fn start(answer: Answer) -> Self {
        Self::with(answer, |_, _| {})
    }

    pub fn with(
        answer: Answer,
        adjust: impl FnOnce(&mut StreamLimits, &mut AdmissionLimits),
    ) -> Self {
        let directory = std::env::temp_dir().join(format!(
            "eyesplice-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&directory).unwrap();
        let mut limits = stream_limits();
        let mut admission = AdmissionLimits {
            max_streams: 1000,
            max_streams_per_peer: 1000,
            max_pending: 1000,
            max_unauthenticated: 10_000,
            max_handshakes_per_second: 1000,
            max_handshakes_per_second_per_address: 1000,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            admit_timeout: Duration::from_secs(5),
        };
        adjust(&mut limits, &mut admission);
        let snapshots = Arc::new(SnapshotCell::new(Snapshot {
            generation: 1,
            listener_tls: HashMap::new(),
            allowed_uids: HashMap::new(),
            admission,
            tunnel: None,
            agent: None,
        }));
        let (send, records) = mpsc::channel(100_000);
        let config = EngineConfig {
            workers: 1,
            listeners: vec![ListenerConfig {
                role: Role::Egress,
                name: "uds".into(),
                bind: Bind::Unix {
                    path: directory.join("egress.sock"),
                    mode: 0o600,
                    uid: None,
                    gid: None,
                },
            }],
            io: match std::env::var("EYESPLICE_TEST_IO").as_deref() {
                Ok("epoll") => IoPolicy::Fixed(Backend::Epoll),
                _ => IoPolicy::default(),
            },
            ktls: KtlsPolicy::Off,
            crypto: CryptoPolicy::Auto,
            max_pipes_per_worker: 8,
            room: Room::UNLIMITED,
            coalesce: COALESCE,
            keepalive_idle: Duration::from_secs(30),
            user_timeout: Duration::from_secs(60),
        };
        let control = Scripted {
            answer,
            limits,
            held: std::sync::Mutex::default(),
        };
        let engine =
            Engine::start(config, Arc::new(control), Arc::clone(&snapshots), send).unwrap();
        Self {
            engine: Some(engine),
            records,
            snapshots,
            directory,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("egress.sock")
    }

    pub fn totals(&self) -> CounterTotals {
        self.engine.as_ref().unwrap().totals()
    }

    /// The next record of an ended stream.
    pub fn ended(&mut self) -> StreamRecord {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.records.try_recv() {
                Ok(record) if record.kind == RecordKind::End => return record,
                Ok(_) => {}
                Err(_) => {
                    assert!(Instant::now() < deadline, "no stream ended");
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Waits until a condition on the counters holds.
    pub fn until(&self, what: &str, holds: impl Fn(&CounterTotals) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.totals()) {
            assert!(
                Instant::now() < deadline,
                "{what} does not come: {:?}",
                self.totals()
            );
            std::thread::yield_now();
        }
    }

    /// All that streams held is given back.
    pub fn assert_nothing_held(&self) {
        self.until("zero streams", |totals| totals.streams_live == 0);
        let totals = self.totals();
        assert_eq!(totals.streams_pending, 0);
        assert_eq!(totals.streams_established, 0);
        assert_eq!(totals.buffers_in_use, 0);
        assert_eq!(totals.pipes_in_use, 0);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.engine.take());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// Opens a tunnel and reads the reply's status line and headers.
pub fn connect(socket: &Path, target: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    )
    .unwrap();
    let head = read_head(&mut stream);
    (stream, head)
}

/// Reads up to the blank line, and no byte more.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Bytes whose every part is different.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}
