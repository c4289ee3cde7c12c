//! The relay between two sockets through the real engine, on one worker: bulk and round trips,
//! spliced, copied and through TLS on both legs. Wall-clock time of all parties together; for what
//! the gateway alone takes see `eyesplice-load ab`.
#![forbid(unsafe_code)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eyesplice_bench::identity::{Identity, Suite};
use eyesplice_bench::proxy::eyesplice::{Gateway, Plan};
use eyesplice_bench::tunnel::connect;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use socket2::Socket;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

/// Payload of one bulk iteration: many times a pipe.
const BULK: usize = 16 << 20;

/// Bytes of a keystroke and its echo.
const SMALL: usize = 64;

trait Channel: Read + Write + Send {}
impl<T: Read + Write + Send> Channel for T {}

/// How the engine carries the stream.
#[derive(Clone, Copy)]
enum Way {
    Splice,
    Copy,
    Tls,
}

/// One stream through an engine, and what answers at its other end: one byte for every `unit`.
struct Stream {
    channel: Box<dyn Channel>,
    _gateway: Gateway,
    _directory: tempfile::TempDir,
}

impl Stream {
    fn open(way: Way, unit: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let identity = Identity::create(directory.path(), Suite::Aes128).expect("certificates");
        let socket = directory.path().join("egress.sock");
        let gateway = match way {
            Way::Splice => Gateway::start(&socket, Plan::Splice),
            Way::Copy => Gateway::with_pipes(&socket, Plan::Splice, 0),
            Way::Tls => {
                let plan = Plan::terminate(&identity).expect("a plan");
                Gateway::start(&socket, plan)
            }
        }
        .expect("an engine");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = listener.local_addr().expect("an address");
        let tls = matches!(way, Way::Tls);
        let server = tls.then(|| identity.server().expect("a server"));
        thread::spawn(move || answer(&listener, server, unit));
        let socket = connect(&socket, target).expect("a tunnel");
        let channel: Box<dyn Channel> = if tls {
            let config = identity.client().expect("a client");
            let session = ClientConnection::new(config, Identity::name()).expect("a session");
            Box::new(StreamOwned::new(session, socket))
        } else {
            Box::new(socket)
        };
        Self {
            channel,
            _gateway: gateway,
            _directory: directory,
        }
    }

    fn exchange(&mut self, payload: &[u8]) {
        self.channel.write_all(payload).expect("payload goes out");
        self.channel.flush().expect("payload goes out");
        self.channel.read_exact(&mut [0]).expect("an answer");
    }
}

/// Answers each `unit` of bytes with one byte, until the stream ends.
fn answer(listener: &TcpListener, tls: Option<Arc<ServerConfig>>, unit: usize) {
    let Ok((socket, _)) = listener.accept() else {
        return;
    };
    socket.set_nodelay(true).expect("TCP");
    let mut channel: Box<dyn Channel> = match tls {
        Some(config) => {
            let session = ServerConnection::new(config).expect("a session");
            Box::new(StreamOwned::new(session, Socket::from(socket)))
        }
        None => Box::new(socket),
    };
    let mut buffer = vec![0; unit.min(256 * 1024)];
    let mut missing = unit;
    loop {
        let most = missing.min(buffer.len());
        match channel.read(&mut buffer[..most]) {
            // The other end goes away without ceremony when the measurement is over.
            Ok(0) | Err(_) => return,
            Ok(read) => missing -= read,
        }
        if missing == 0 {
            missing = unit;
            if channel
                .write_all(&[1])
                .and_then(|()| channel.flush())
                .is_err()
            {
                return;
            }
        }
    }
}

fn relay(criterion: &mut Criterion) {
    for (name, unit) in [("bulk_16_mib", BULK), ("round_trip_64_b", SMALL)] {
        let mut group = criterion.benchmark_group(format!("relay_{name}"));
        group.sample_size(10);
        if unit == BULK {
            group.throughput(Throughput::Bytes(unit as u64));
        }
        let payload = vec![b'x'; unit];
        for (name, way) in [
            ("splice", Way::Splice),
            ("copy", Way::Copy),
            ("tls", Way::Tls),
        ] {
            let mut stream = Stream::open(way, unit);
            group.bench_function(name, |bencher| bencher.iter(|| stream.exchange(&payload)));
        }
        group.finish();
    }
}

criterion_group!(benches, relay);
criterion_main!(benches);
