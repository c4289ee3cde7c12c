//! The engine over real sockets in splice mode: bytes, ends, cuts, refusals, limits, drain.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use eyesplice_dataplane::seam::{Phase, Reason, Side, StreamMode};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use support::{Answer, Gateway, PATIENCE, connect, pattern};

/// Starts a target that serves one connection; returns its address.
fn target<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let handle = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        serve(socket)
    });
    (address, handle)
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    let mut gateway = Gateway::start(Answer::Splice);
    let (address, echo) = target(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        socket.write_all(&all).unwrap();
    });
    let (mut stream, head) = connect(&gateway.socket(), &address);
    assert_eq!(head, "HTTP/1.1 200 Connection established\r\n\r\n");
    let sent = pattern(20 << 20);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    echo.join().unwrap();
    assert!(
        back == sent,
        "{} bytes came back of {}",
        back.len(),
        sent.len()
    );
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.mode),
        (Reason::Completed, StreamMode::Splice)
    );
    assert_eq!((record.bytes.up, record.bytes.down), (20 << 20, 20 << 20));
    assert!(
        gateway.totals().bytes_spliced > 10 << 20,
        "{:?}",
        gateway.totals()
    );
    gateway.assert_nothing_held();
}

#[test]
fn small_messages_go_through_at_once_and_are_copied() {
    let gateway = Gateway::start(Answer::Splice);
    let (address, echo) = target(|mut socket| {
        let mut byte = [0; 64];
        while let Ok(n @ 1..) = socket.read(&mut byte) {
            socket.write_all(&byte[..n]).unwrap();
        }
    });
    let (mut stream, _) = connect(&gateway.socket(), &address);
    for round in 0..500u32 {
        let message = round.to_le_bytes();
        stream.write_all(&message).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, message);
    }
    drop(stream);
    echo.join().unwrap();
    gateway.assert_nothing_held();
    assert_eq!(gateway.totals().bytes_spliced, 0);
}

#[test]
fn bytes_behind_the_connect_are_delivered_first_and_once() {
    let gateway = Gateway::start(Answer::Splice);
    let (address, reader) = target(|mut socket| {
        let mut all = String::new();
        socket.read_to_string(&mut all).unwrap();
        all
    });
    let mut stream = std::os::unix::net::UnixStream::connect(gateway.socket()).unwrap();
    write!(
        stream,
        "CONNECT {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nearly "
    )
    .unwrap();
    support::read_head(&mut stream);
    stream.write_all(b"late").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), "early late");
}

/// An upload that its target refuses: it answers early, and closes with unread input.
#[test]
fn answer_behind_a_reset_is_whole_and_the_reset_follows() {
    let mut gateway = Gateway::start(Answer::Splice);
    for size in [200, 16_384, 60_000] {
        let (address, refusing) = target(move |mut socket| {
            socket.read_exact(&mut [0; 1000]).unwrap();
            socket.write_all(&pattern(size)).unwrap();
        });
        let (mut stream, _) = connect(&gateway.socket(), &address);
        let mut sending = stream.try_clone().unwrap();
        let upload = thread::spawn(move || {
            loop {
                if let Err(error) = sending.write_all(&[b'u'; 65_536]) {
                    return error;
                }
            }
        });
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // A socket tells of it once, to whichever call comes first: even to a write that takes a part.
        let error = read.err().unwrap_or_else(|| upload.join().unwrap());
        assert!(
            matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ),
            "{error}"
        );
        assert!(answer == pattern(size), "{} of {size}", answer.len());
        refusing.join().unwrap();
        let record = gateway.ended();
        assert_eq!(record.side, Side::Upstream);
        // A writer that does not run for a while is one that sends nothing.
        let told = matches!(record.reason, Reason::Reset | Reason::CutUnseen);
        assert!(told, "{record:?}");
    }
    gateway.assert_nothing_held();
}

#[test]
fn reset_upstream_that_a_unix_client_takes_for_an_end_is_named() {
    let mut gateway = Gateway::start(Answer::Splice);
    let (address, resetter) = target(|mut socket| {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let (mut stream, _) = connect(&gateway.socket(), &address);
    stream.write_all(b"x").unwrap();
    resetter.join().unwrap();
    // A UNIX socket knows no reset.
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.side),
        (Reason::CutUnseen, Side::Upstream)
    );
    let detail = record.detail.unwrap();
    assert!(detail.starts_with("reset ("), "{detail}");
    assert_eq!(gateway.totals().cuts_unseen, 1);
    gateway.assert_nothing_held();
}

#[test]
fn refusal_puts_the_remedy_into_the_reason_phrase() {
    let mut gateway = Gateway::start(Answer::Refuse(403, "denied by rule x; ask for a rule"));
    let (mut stream, head) = connect(&gateway.socket(), "10.0.0.1:10250");
    assert!(
        head.starts_with("HTTP/1.1 403 denied by rule x; ask for a rule\r\n"),
        "{head}"
    );
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let record = gateway.ended();
    assert_eq!((record.reason, record.status), (Reason::Denied, Some(403)));
    gateway.assert_nothing_held();
}

#[test]
fn refused_dial_is_502_with_a_question_that_helps() {
    // Bound, so that nobody else gets the port, and not listening.
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    closed.bind(&any.into()).unwrap();
    let closed_at = closed.local_addr().unwrap().as_socket().unwrap();
    let mut gateway = Gateway::start(Answer::Splice);
    let (_, head) = connect(&gateway.socket(), &closed_at.to_string());
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(head.contains("refused the connection"), "{head}");
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.phase),
        (Reason::DialFailed, Phase::Dial)
    );
}

#[test]
fn silent_control_is_504_after_its_deadline() {
    let mut gateway = Gateway::with(Answer::Silence, |_, admission| {
        admission.admit_timeout = Duration::from_millis(50);
    });
    let (_, head) = connect(&gateway.socket(), "10.0.0.1:1");
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(gateway.ended().reason, Reason::Timeout);
}

#[test]
fn client_that_leaves_while_control_thinks_cancels_the_stream() {
    let mut gateway = Gateway::start(Answer::Silence);
    let mut stream = std::os::unix::net::UnixStream::connect(gateway.socket()).unwrap();
    stream
        .write_all(b"CONNECT 10.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    gateway.until("a pending stream", |totals| totals.streams_pending == 1);
    drop(stream);
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.side),
        (Reason::Cancelled, Side::Downstream)
    );
    gateway.assert_nothing_held();
}

#[test]
fn stream_above_the_limit_reads_why() {
    let gateway = Gateway::with(Answer::Silence, |_, admission| admission.max_streams = 1);
    let mut first = std::os::unix::net::UnixStream::connect(gateway.socket()).unwrap();
    first
        .write_all(b"CONNECT 10.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    gateway.until("a pending stream", |totals| totals.streams_pending == 1);
    let (_, head) = connect(&gateway.socket(), "10.0.0.1:1");
    assert!(
        head.starts_with("HTTP/1.1 503 gateway is at its limit of 1 streams"),
        "{head}"
    );
    assert_eq!(gateway.totals().limited, 1);
}

#[test]
fn malformed_connect_is_answered_and_closed() {
    let mut gateway = Gateway::start(Answer::Splice);
    let mut stream = std::os::unix::net::UnixStream::connect(gateway.socket()).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let head = support::read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert_eq!(gateway.ended().reason, Reason::Protocol);
}

#[test]
fn idle_limit_ends_a_stream_that_moves_nothing() {
    let mut gateway = Gateway::with(Answer::Splice, |limits, _| {
        limits.idle_timeout = Some(Duration::from_millis(50));
    });
    let (address, holder) = target(|mut socket| {
        let mut rest = Vec::new();
        drop(socket.read_to_end(&mut rest));
    });
    let (mut stream, _) = connect(&gateway.socket(), &address);
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    holder.join().unwrap();
    assert_eq!(gateway.ended().reason, Reason::Idle);
    gateway.assert_nothing_held();
}

#[test]
fn drain_waits_for_streams_and_then_aborts_them() {
    let mut gateway = Gateway::start(Answer::Splice);
    let (address, holder) = target(|mut socket| {
        let mut rest = Vec::new();
        drop(socket.read_to_end(&mut rest));
    });
    let (stream, _) = connect(&gateway.socket(), &address);
    let engine = gateway.engine.take().unwrap();
    assert_eq!(engine.drain(Duration::from_millis(50)), 1);
    holder.join().unwrap();
    assert_eq!(gateway.ended().reason, Reason::Drained);
    drop(stream);
    assert!(!gateway.socket().exists());
}

#[test]
fn a_flow_of_lines_is_gathered_and_every_line_arrives() {
    const LINES: u32 = 100_000;
    let mut gateway = Gateway::start(Answer::Splice);
    let (stop, stopped) = std::sync::mpsc::channel();
    let (address, writer) = target(move |mut socket| {
        socket.set_nodelay(true).unwrap();
        let mut sent = 0;
        // A line a millisecond until reads were put off a few times, however slow this machine is.
        while sent < LINES && stopped.recv_timeout(Duration::from_millis(1)).is_err() {
            writeln!(socket, "line {sent}").unwrap();
            sent += 1;
        }
        sent
    });
    let (stream, _) = connect(&gateway.socket(), &address);
    let mut lines = std::io::BufReader::new(stream).lines();
    let mut seen = 0;
    while gateway.totals().reads_deferred < 3 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("line {seen}"));
        seen += 1;
    }
    stop.send(()).unwrap();
    for line in lines {
        assert_eq!(line.unwrap(), format!("line {seen}"));
        seen += 1;
    }
    assert_eq!(seen, writer.join().unwrap());
    assert!(seen < LINES, "no read was put off");
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}
