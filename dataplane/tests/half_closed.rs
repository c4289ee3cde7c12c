//! Streams of which one side has ended: which of them may stay, and which end.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use eyesplice_dataplane::seam::{Reason, Side, StreamRecord};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::{Answer, Gateway, PATIENCE, connect, pattern};

/// Runs out, and nothing else has to happen before.
const SOON: Duration = Duration::from_millis(200);

fn gateway(limit: Option<Duration>) -> Gateway {
    Gateway::with(Answer::Splice, |limits, _| {
        limits.half_closed_timeout = limit;
    })
}

/// Both ends of a stream.
fn stream(gateway: &Gateway) -> (UnixStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let (client, head) = connect(&gateway.socket(), &target);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (target, _) = listener.accept().unwrap();
    target.set_read_timeout(Some(PATIENCE)).unwrap();
    (client, target)
}

fn read_end(socket: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    all
}

fn assert_half_closed(record: &StreamRecord, ended: &str) {
    assert_eq!(
        (record.reason, record.side),
        (Reason::HalfClosed, Side::Local)
    );
    let detail = record.detail.as_deref().unwrap();
    assert!(
        detail.starts_with(ended) && detail.contains("timeouts.halfClosed"),
        "{detail}"
    );
}

/// Writes until nobody takes it: the target learns that by a reset.
fn assert_refused(target: &mut TcpStream) {
    let deadline = Instant::now() + PATIENCE;
    while target.write_all(b"x").is_ok() {
        assert!(Instant::now() < deadline, "the target is still heard");
        std::thread::yield_now();
    }
}

#[test]
fn client_that_closed_for_good_lets_a_silent_target_go_without_a_limit() {
    let mut gateway = gateway(None);
    let (mut client, mut target) = stream(&gateway);
    client.write_all(b"question").unwrap();
    drop(client);
    assert_eq!(read_end(&mut target), b"question");
    // It says nothing, and is not asked to.
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.side),
        (Reason::Completed, Side::Downstream)
    );
    assert_refused(&mut target);
    gateway.assert_nothing_held();
}

#[test]
fn target_that_stays_silent_behind_a_half_closed_client_ends_the_stream() {
    let mut gateway = gateway(Some(SOON));
    let (mut client, mut target) = stream(&gateway);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_end(&mut target), b"question");
    assert_half_closed(&gateway.ended(), "client had ended its side, and target");
    assert_refused(&mut target);
    gateway.assert_nothing_held();
}

#[test]
fn client_that_stays_silent_behind_a_half_closed_target_ends_the_stream() {
    let mut gateway = gateway(Some(SOON));
    let (mut client, target) = stream(&gateway);
    (&target).write_all(b"answer").unwrap();
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_end(&mut client), b"answer");
    assert_half_closed(&gateway.ended(), "target had ended its side, and client");
    gateway.assert_nothing_held();
}

#[test]
fn direction_that_moves_is_never_ended() {
    // Long enough for a busy machine to make the next move.
    let limit = 5 * SOON;
    let mut gateway = gateway(Some(limit));
    let (mut client, mut target) = stream(&gateway);
    client.shutdown(Shutdown::Write).unwrap();
    let end = Instant::now() + limit * 5 / 2;
    while Instant::now() < end {
        target.write_all(b"tick").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    }
    drop(target);
    assert!(read_end(&mut client).is_empty());
    assert_eq!(gateway.ended().reason, Reason::Completed);
}

#[test]
fn direction_whose_reader_stalls_is_not_silent() {
    let sent = pattern(8 << 20);
    let answer = sent.clone();
    let mut gateway = gateway(Some(SOON));
    let (mut client, mut target) = stream(&gateway);
    let writer = std::thread::spawn(move || target.write_all(&answer).unwrap());
    gateway.until("a full socket", |totals| totals.bytes_down > 0);
    client.shutdown(Shutdown::Write).unwrap();
    // Streams that are silent show that the limit has passed several times.
    for _ in 0..4 {
        let (other, silent) = stream(&gateway);
        other.shutdown(Shutdown::Write).unwrap();
        assert_half_closed(&gateway.ended(), "client");
        drop(silent);
    }
    assert!(read_end(&mut client) == sent);
    writer.join().unwrap();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

#[test]
fn request_that_a_target_has_not_read_yet_is_not_silent() {
    // Long enough for the target to answer on a busy machine, once it has read.
    let mut gateway = gateway(Some(10 * SOON));
    let (mut client, mut target) = stream(&gateway);
    let sent = pattern(8 << 20);
    let question = sent.clone();
    let writer = std::thread::spawn(move || {
        client.write_all(&question).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    for _ in 0..2 {
        let (other, silent) = stream(&gateway);
        other.shutdown(Shutdown::Write).unwrap();
        assert_half_closed(&gateway.ended(), "client");
        drop(silent);
    }
    assert!(read_end(&mut target) == sent);
    target.write_all(b"answer").unwrap();
    drop(target);
    assert_eq!(read_end(&mut writer.join().unwrap()), b"answer");
    assert_eq!(gateway.ended().reason, Reason::Completed);
}
