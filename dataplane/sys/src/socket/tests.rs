//! Exercises the calls on real sockets.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use socket2::SockRef;

use super::*;

/// Milliseconds after which a wait has failed.
const PATIENCE_MS: u16 = 20_000;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    (one, other)
}

fn wait_readable(socket: &impl AsFd) {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PATIENCE_MS).unwrap(), 1);
}

fn ip(address: Address) -> SocketAddr {
    let Address::Ip(ip) = address else {
        panic!("a TCP address")
    };
    ip
}

#[test]
fn recv_on_an_empty_blocking_socket_would_block() {
    let (one, _other) = pair();
    let error = recv(one.as_fd(), &mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn sent_bytes_are_peeked_counted_and_received() {
    let (one, other) = pair();
    assert_eq!(send(one.as_fd(), b"hello ").unwrap(), 6);
    assert_eq!(send(one.as_fd(), b"world").unwrap(), 5);
    shutdown(one.as_fd(), Shutdown::Write).unwrap();
    let mut buf = [0; 32];
    let mut filled = 0;
    while filled < 11 {
        wait_readable(&other);
        let seen = peek(other.as_fd(), &mut buf[filled..]).unwrap();
        assert!(unread(other.as_fd()).unwrap() >= seen);
        assert_eq!(
            recv(other.as_fd(), &mut buf[filled..filled + seen]).unwrap(),
            seen
        );
        filled += seen;
    }
    assert_eq!(&buf[..filled], b"hello world");
    wait_readable(&other);
    assert_eq!(recv(other.as_fd(), &mut buf).unwrap(), 0);
    assert_eq!(unread(other.as_fd()).unwrap(), 0);
}

#[test]
fn send_into_a_full_socket_would_block() {
    let (one, _other) = pair();
    let chunk = vec![0; 1 << 20];
    let error = loop {
        if let Err(error) = send(one.as_fd(), &chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn send_after_shutdown_is_a_broken_pipe_and_no_signal() {
    let (one, _other) = pair();
    shutdown(one.as_fd(), Shutdown::Write).unwrap();
    let error = send(one.as_fd(), b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn unacknowledged_counts_what_the_peer_has_no_room_for() {
    let (one, other) = pair();
    assert_eq!(unacknowledged(one.as_fd()).unwrap(), 0);
    let chunk = vec![0; 1 << 20];
    while send(one.as_fd(), &chunk).is_ok() {}
    assert!(unacknowledged(one.as_fd()).unwrap() > 0);
    let mut buf = vec![0; 1 << 20];
    while unacknowledged(one.as_fd()).unwrap() > 0 {
        // The last acknowledgement may come a little later than the last byte.
        if recv(other.as_fd(), &mut buf).is_err() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn linger_zero_makes_close_a_reset() {
    let (one, other) = pair();
    linger_zero(one.as_fd()).unwrap();
    drop(one);
    wait_readable(&other);
    let error = recv(other.as_fd(), &mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(
        take_error(other.as_fd()).unwrap().is_none(),
        "recv has taken it"
    );
}

#[test]
fn options_read_back_as_set() {
    let (one, _other) = pair();
    nodelay(one.as_fd()).unwrap();
    let alive = Keepalive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        count: 3,
    };
    keepalive(one.as_fd(), alive).unwrap();
    let socket = SockRef::from(&one);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), alive.idle);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), alive.interval);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), alive.count);
}

#[test]
fn what_would_wait_for_an_answer_is_acknowledged_when_asked_to() {
    let (client, server) = pair();
    nodelay(client.as_fd()).unwrap();
    nodelay(server.as_fd()).unwrap();
    let pass = |from: BorrowedFd<'_>, to: BorrowedFd<'_>| {
        assert_eq!(send(from, b"x").unwrap(), 1);
        while recv(to, &mut [0; 8]).is_err() {}
    };
    // Answers make the kernel wait for the next one.
    for _ in 0..10 {
        pass(client.as_fd(), server.as_fd());
        pass(server.as_fd(), client.as_fd());
    }
    pass(client.as_fd(), server.as_fd());
    acknowledge(server.as_fd()).unwrap();
    assert_eq!(unacknowledged(client.as_fd()).unwrap(), 0);
}

#[test]
fn unix_socket_holds_more_when_widened_and_a_tcp_socket_keeps_growing_by_itself() {
    let held = |socket: BorrowedFd<'_>| {
        let mut sum = 0;
        while let Ok(sent) = send(socket, &[0; 4096]) {
            sum += sent;
        }
        sum
    };
    let (narrow, _reader) = UnixStream::pair().unwrap();
    let (wide, _other_reader) = UnixStream::pair().unwrap();
    // Twice the default is allowed everywhere: the kernel doubles what it is told.
    let default = SockRef::from(&wide).send_buffer_size().unwrap();
    assert!(!widen_unix(wide.as_fd(), default / 2).unwrap(), "narrower");
    assert!(widen_unix(wide.as_fd(), default + 1).unwrap());
    assert!(held(wide.as_fd()) > held(narrow.as_fd()));
    let (tcp, _peer) = pair();
    let before = SockRef::from(&tcp).send_buffer_size().unwrap();
    assert!(!widen_unix(tcp.as_fd(), 1 << 20).unwrap());
    assert_eq!(SockRef::from(&tcp).send_buffer_size().unwrap(), before);
}

#[test]
fn impossible_keepalive_is_refused() {
    let (one, _other) = pair();
    let never = Keepalive {
        idle: Duration::ZERO,
        interval: Duration::from_secs(1),
        count: 1,
    };
    assert_eq!(
        keepalive(one.as_fd(), never).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn group_shares_its_address_and_takes_connections_on_each_socket() {
    let group = listen_tcp_group("127.0.0.1:0".parse().unwrap(), 3, 128).unwrap();
    let addresses: Vec<_> = group
        .iter()
        .map(|socket| ip(local_address(socket.as_fd()).unwrap()))
        .collect();
    assert!(addresses.iter().all(|address| *address == addresses[0]));
    let mut idle: Vec<_> = group.iter().collect();
    let mut clients = Vec::new();
    // Which socket a connection goes to is a hash; each has its turn soon.
    while !idle.is_empty() {
        assert!(clients.len() < 2000, "{} sockets take nothing", idle.len());
        clients.push(TcpStream::connect(addresses[0]).unwrap());
        idle.retain(|socket| accept(socket.as_fd()).is_err());
    }
}

#[test]
fn address_of_a_listener_has_no_second_owner() {
    let any = "127.0.0.1:0".parse().unwrap();
    for owners in [1, 2] {
        let group = listen_tcp_group(any, owners, 16).unwrap();
        let address = ip(local_address(group[0].as_fd()).unwrap());
        let wildcard = (Ipv4Addr::UNSPECIFIED, address.port()).into();
        for other in [address, wildcard] {
            for count in [1, 2] {
                let error = listen_tcp_group(other, count, 16).unwrap_err();
                assert_eq!(
                    error.kind(),
                    ErrorKind::AddrInUse,
                    "{owners} {other} {count}"
                );
            }
        }
        drop(group);
        listen_tcp_group(address, 2, 16).unwrap();
    }
}

#[test]
fn accept_without_a_connection_would_block() {
    let group = listen_tcp_group("127.0.0.1:0".parse().unwrap(), 1, 16).unwrap();
    let error = accept(group[0].as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn dual_stack_listener_names_an_ipv4_peer_by_its_own_address() {
    let listener = match listen_tcp_group("[::]:0".parse().unwrap(), 1, 16) {
        Ok(mut group) => group.remove(0),
        Err(error) => {
            assert_eq!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT),
                "no other reason to fail"
            );
            return;
        }
    };
    let port = ip(local_address(listener.as_fd()).unwrap()).port();
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    wait_readable(&listener);
    let accepted = accept(listener.as_fd()).unwrap();
    assert_eq!(accepted.peer, Address::Ip(client.local_addr().unwrap()));
}

#[test]
fn peer_credentials_name_this_process() {
    let (one, _other) = UnixStream::pair().unwrap();
    let peer = peer_credentials(one.as_fd()).unwrap();
    assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
    assert_eq!(peer.gid, nix::unistd::getgid().as_raw());
    assert_eq!(local_address(one.as_fd()).unwrap(), Address::Unix);
}

#[test]
fn address_of_something_else_is_an_error() {
    let file = OwnedFd::from(std::fs::File::open("/").unwrap());
    assert_eq!(
        local_address(file.as_fd()).unwrap_err().raw_os_error(),
        Some(libc::ENOTSOCK)
    );
}
