//! TCP over a real line. Needs root and /dev/net/tun.

use super::{Line, LineOptions};
use bytesize::ByteSize;
use nix::sched::{CloneFlags, unshare};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const DELAY: Duration = Duration::from_millis(20);

/// A line from a namespace of the test's own thread; none, said aloud, where none can be made.
fn line(test: &str, options: LineOptions) -> Option<Line> {
    let device = Path::new("/dev/net/tun");
    if !device.exists() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        // If standard error is closed, nobody counts.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: needs root and /dev/net/tun"
        );
        return None;
    }
    Some(Line::lay(&options).unwrap())
}

fn delayed() -> LineOptions {
    LineOptions {
        delay: Some(DELAY),
        ..LineOptions::default()
    }
}

/// Sends bytes there and back, and compares; says how long that took.
fn echo(line: &Line, sent: &[u8]) -> Duration {
    let listener = line.listen(0).unwrap();
    listener.set_nonblocking(false).unwrap();
    let address = listener.local_addr().unwrap();
    let far = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        // Ends with the client's half-close, which must leave the other direction open.
        socket.read_to_end(&mut got).unwrap();
        socket.write_all(&got).unwrap();
        got
    });
    let began = Instant::now();
    let mut socket = TcpStream::connect(address).unwrap();
    assert!(began.elapsed() >= DELAY, "a handshake takes a round trip");
    let began = Instant::now();
    socket.write_all(sent).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    socket.read_to_end(&mut back).unwrap();
    assert!(far.join().unwrap() == sent, "what arrived at the far end");
    assert!(back == sent, "what came back");
    began.elapsed()
}

fn pattern(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..len).map(|_| random.u8(..)).collect()
}

#[test]
fn connection_through_a_line_keeps_bytes_half_close_and_delay() {
    let Some(line) = line("relay::connection", delayed()) else {
        return;
    };
    let took = echo(&line, &pattern(4 << 20));
    assert!(took >= DELAY, "there and back is a round trip");
    assert_eq!(line.lost().unwrap(), 0);
}

#[test]
fn window_that_is_too_small_loses_packets_and_tcp_loses_none() {
    let options = LineOptions {
        window: Some(ByteSize::kib(64)),
        ..delayed()
    };
    let Some(line) = line("relay::window", options) else {
        return;
    };
    echo(&line, &pattern(1 << 20));
    assert!(line.lost().unwrap() > 0);
}

#[test]
fn bandwidth_bounds_what_passes() {
    let options = LineOptions {
        bandwidth: Some("80Mbit".parse().unwrap()),
        ..delayed()
    };
    let Some(line) = line("relay::bandwidth", options) else {
        return;
    };
    // 10 MB/s: a tenth of a second each way, and the way back begins when all has arrived.
    let took = echo(&line, &pattern(1_000_000));
    assert!(took >= Duration::from_millis(200), "{took:?}");
}
