//! Exercises the ring on real sockets.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::socket::{self, Address, listen_tcp_group, local_address, new_tcp};
use socket2::{Domain, Socket, Type};

/// A wait that nothing but the thing waited for should end.
const FOREVER: Duration = Duration::from_secs(60);

/// A wait that is meant to run out.
const SHORT: Duration = Duration::from_millis(20);

/// Runs `main` on a ring, and then on epoll, and checks that nothing is left in flight.
fn ring<F: Future>(main: impl Fn() -> F) {
    for backend in Backend::ALL {
        let config = UringConfig {
            backend,
            ..UringConfig::default()
        };
        ring_of(&config, main());
    }
}

fn ring_of<F: Future>(config: &UringConfig, main: F) -> F::Output {
    let finished = run(config, main).expect("this kernel offers io_uring");
    assert_eq!(finished.stray_ops, 0);
    finished.output
}

fn listener() -> (Fd, SocketAddr) {
    let mut group = listen_tcp_group("127.0.0.1:0".parse().unwrap(), 1, 128).unwrap();
    let fd = group.remove(0);
    let Address::Ip(address) = local_address(fd.as_fd()).unwrap() else {
        panic!("TCP")
    };
    (fd.into(), address)
}

/// Connects as the engine does.
async fn connect(address: SocketAddr, deadline: Option<Instant>) -> io::Result<Fd> {
    let begun = socket::connect(address)?;
    let fd = Fd::from(begun.fd);
    if !begun.done {
        until(poll(&fd, Interest::WRITE), deadline).await?;
        socket::connected(fd.as_fd())?;
    }
    Ok(fd)
}

/// A connected pair of TCP sockets.
async fn pair() -> (Fd, Fd) {
    let (listener, address) = listener();
    let client = connect(address, None).await.unwrap();
    let server = accept(&listener).await.unwrap();
    (client, server.fd.into())
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + SHORT)
}

fn late() -> Option<Instant> {
    Some(Instant::now() + FOREVER)
}

#[test]
fn poll_write_on_an_idle_socket_completes_at_once() {
    ring(|| async {
        let (client, _server) = pair().await;
        let ready = poll(&client, Interest::WRITE).await.unwrap();
        assert!(ready.writable() && !ready.readable() && !ready.hangup() && !ready.error());
    });
}

#[test]
fn poll_read_completes_when_bytes_arrive() {
    ring(|| async {
        let (client, server) = pair().await;
        let op = poll(&client, Interest::READ);
        socket::send(server.as_fd(), b"x").unwrap();
        let ready = until(op, late()).await.unwrap();
        assert!(ready.readable() && !ready.hangup());
    });
}

#[test]
fn poll_hangup_ignores_data_and_completes_at_fin() {
    ring(|| async {
        let (client, server) = pair().await;
        socket::send(server.as_fd(), b"x").unwrap();
        let outcome = until(poll(&client, Interest::HANGUP), soon()).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
        let op = poll(&client, Interest::HANGUP);
        socket::shutdown(server.as_fd(), Shutdown::Write).unwrap();
        assert!(until(op, late()).await.unwrap().hangup());
    });
}

#[test]
fn poll_after_reset_reports_an_error() {
    ring(|| async {
        let (client, server) = pair().await;
        socket::linger_zero(server.as_fd()).unwrap();
        drop(server);
        let ready = until(poll(&client, Interest::READ), late()).await.unwrap();
        assert!(ready.error() && ready.hangup());
        let error = socket::take_error(client.as_fd()).unwrap().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn deadline_cancels_and_leaves_no_op() {
    ring(|| async {
        let (client, _server) = pair().await;
        let before = Instant::now();
        let outcome = until(poll(&client, Interest::READ), soon()).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(before.elapsed() >= SHORT);
        drained().await;
        assert_eq!(ops_in_flight(), 0);
    });
}

#[test]
fn poll_hangup_tells_a_fin_from_a_connection_that_is_gone() {
    ring(|| async {
        let (client, server) = pair().await;
        socket::shutdown(server.as_fd(), Shutdown::Write).unwrap();
        let half = until(poll(&client, Interest::HANGUP), late())
            .await
            .unwrap();
        assert!(half.hangup() && !half.gone());
        socket::linger_zero(server.as_fd()).unwrap();
        drop(server);
        let reset = until(poll(&client, Interest::HANGUP), late())
            .await
            .unwrap();
        assert!(reset.gone());
    });
}

#[test]
fn watched_gauge_follows_the_ops_in_flight() {
    ring(|| async {
        let (client, _server) = pair().await;
        let gauge = Rc::new(Cell::new(usize::MAX));
        let seen = Rc::clone(&gauge);
        watch_ops(move |ops| seen.set(ops));
        assert_eq!(gauge.get(), ops_in_flight());
        let op = poll(&client, Interest::READ);
        assert_eq!((gauge.get(), ops_in_flight()), (1, 1));
        drop(op);
        drained().await;
        assert_eq!(gauge.get(), 0);
    });
}

#[test]
fn deadline_cancels_one_op_and_no_other_on_the_same_descriptor() {
    ring(|| async {
        let (client, server) = pair().await;
        let mut reader = poll(&client, Interest::READ);
        let outcome = until(poll(&client, Interest::HANGUP), soon()).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
        // Still in flight, and still good.
        assert!(tokio::time::timeout(SHORT, &mut reader).await.is_err());
        socket::send(server.as_fd(), b"x").unwrap();
        assert!(until(reader, late()).await.unwrap().readable());
    });
}

#[test]
fn cancel_completes_the_op_with_ecanceled() {
    ring(|| async {
        let (client, _server) = pair().await;
        let mut op = poll(&client, Interest::READ);
        op.cancel();
        op.cancel();
        assert!(is_cancelled(&op.await.unwrap_err()));
    });
}

#[test]
fn cancel_after_completion_keeps_the_outcome() {
    ring(|| async {
        let (client, _server) = pair().await;
        let mut op = poll(&client, Interest::WRITE);
        // A second op that completes later proves that the first has completed by now.
        poll(&client, Interest::WRITE).await.unwrap();
        op.cancel();
        assert!(op.await.unwrap().writable());
    });
}

#[test]
fn dropped_op_of_a_ring_owns_its_descriptor_until_its_completion() {
    ring_of(&UringConfig::default(), async {
        let (client, _server) = pair().await;
        drop(poll(&client, Interest::READ));
        assert!(ops_in_flight() > 0);
        drained().await;
        assert!(client.try_into_owned().is_ok());
    });
}

#[test]
fn number_of_a_closed_descriptor_is_polled_for_its_next_owner() {
    ring(|| async {
        for _ in 0..3 {
            let (client, server) = pair().await;
            let op = poll(&client, Interest::READ);
            socket::send(server.as_fd(), b"x").unwrap();
            assert!(until(op, late()).await.unwrap().readable());
        }
    });
}

#[test]
fn waiters_of_one_descriptor_are_settled_each_by_its_own_interest() {
    ring(|| async {
        let (client, server) = pair().await;
        let (read, hangup) = (
            poll(&client, Interest::READ),
            poll(&client, Interest::HANGUP),
        );
        assert!(poll(&client, Interest::WRITE).await.unwrap().writable());
        socket::send(server.as_fd(), b"x").unwrap();
        assert!(until(read, late()).await.unwrap().readable());
        socket::shutdown(server.as_fd(), Shutdown::Write).unwrap();
        assert!(until(hangup, late()).await.unwrap().hangup());
    });
}

#[test]
fn dropped_op_is_cancelled_and_releases_its_descriptor() {
    ring(|| async {
        let (client, server) = pair().await;
        drop(poll(&client, Interest::READ));
        drained().await;
        assert_eq!(ops_in_flight(), 0);
        let client = client
            .try_into_owned()
            .expect("nothing holds the descriptor");
        drop(client);
        assert!(
            until(poll(&server, Interest::HANGUP), late())
                .await
                .unwrap()
                .hangup()
        );
    });
}

#[test]
fn op_in_flight_keeps_its_descriptor_open() {
    ring(|| async {
        let (client, server) = pair().await;
        let op = poll(&client, Interest::READ);
        drop(client);
        socket::send(server.as_fd(), b"x").unwrap();
        assert!(until(op, late()).await.unwrap().readable());
    });
}

#[test]
fn aborted_task_leaves_no_op() {
    ring(|| async {
        let (client, _server) = pair().await;
        let task = spawn(async move { poll(&client, Interest::READ).await });
        poll(&pair().await.0, Interest::WRITE).await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drained().await;
        assert_eq!(ops_in_flight(), 0);
    });
}

#[test]
fn connect_to_a_listener_succeeds_on_a_non_blocking_socket() {
    ring(|| async {
        let (client, server) = pair().await;
        let peer = socket2::SockRef::from(&client).peer_addr().unwrap();
        let peer = Address::Ip(peer.as_socket().unwrap());
        assert_eq!(peer, local_address(server.as_fd()).unwrap());
    });
}

#[test]
fn connect_to_a_closed_port_is_refused() {
    ring(|| async {
        // Bound, so that nobody else gets the port, and not listening.
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        held.bind(&any.into()).unwrap();
        let address = held.local_addr().unwrap().as_socket().unwrap();
        let error = connect(address, late()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

/// A listener whose accept queue is full: the kernel drops further SYNs.
fn full_listener() -> (OwnedFd, SocketAddr, Vec<OwnedFd>) {
    let mut group = listen_tcp_group("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap();
    let fd = group.remove(0);
    let Address::Ip(address) = local_address(fd.as_fd()).unwrap() else {
        panic!("TCP")
    };
    // A backlog of 0 queues one connection; the second is there to be sure.
    let queued = (0..2)
        .map(|_| {
            let socket = new_tcp(address).unwrap();
            let outcome = socket2::SockRef::from(&socket).connect(&address.into());
            assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
            socket
        })
        .collect();
    (fd, address, queued)
}

#[test]
fn connect_that_nobody_answers_times_out_and_leaves_no_op() {
    ring(|| async {
        let (_listener, address, _queued) = full_listener();
        let error = connect(address, soon()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drained().await;
    });
}

#[test]
fn accept_waits_for_a_connection_and_names_the_peer() {
    ring(|| async {
        let (listener, address) = listener();
        let task = spawn({
            let listener = listener.clone();
            async move { accept(&listener).await }
        });
        let client = connect(address, None).await.unwrap();
        let accepted = task.await.unwrap().unwrap();
        assert_eq!(accepted.peer, local_address(client.as_fd()).unwrap());
        let flags = nix::fcntl::fcntl(&accepted.fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_ne!(flags & libc::O_NONBLOCK, 0);
        let flags = nix::fcntl::fcntl(&accepted.fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
    });
}

#[test]
fn accept_dropped_while_waiting_loses_no_connection() {
    ring(|| async {
        let (listener, address) = listener();
        assert!(
            tokio::time::timeout(SHORT, accept(&listener))
                .await
                .is_err()
        );
        let _client = connect(address, None).await.unwrap();
        accept(&listener).await.unwrap();
    });
}

#[test]
fn mirrored_keys_stay_exact_over_many_interleaved_ops() {
    // Small queues, so that submission flushes early and completions overflow.
    let config = UringConfig {
        backend: Backend::IoUring,
        entries: 4,
        cq_entries: 8,
    };
    ring_of(&config, async {
        let (client, server) = pair().await;
        // A generator of no quality but of fixed outcome: xorshift.
        let mut state = 0x9e37_79b9_u32;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let mut waiting = Vec::new();
        for _ in 0..20_000 {
            match random() % 6 {
                0 | 1 => waiting.push(poll(&client, Interest::READ)),
                2 => drop(poll(&server, Interest::WRITE)),
                3 => assert!(poll(&server, Interest::WRITE).await.unwrap().writable()),
                4 if !waiting.is_empty() => {
                    let index = random() as usize % waiting.len();
                    drop(waiting.swap_remove(index));
                }
                5 if !waiting.is_empty() => {
                    let index = random() as usize % waiting.len();
                    let mut op = waiting.swap_remove(index);
                    op.cancel();
                    assert!(is_cancelled(&op.await.unwrap_err()));
                }
                _ => {}
            }
        }
        // None of the waiting ops was hit by a cancellation meant for another.
        let left = waiting.len();
        assert!(left > 0);
        socket::send(server.as_fd(), b"x").unwrap();
        for op in waiting {
            assert!(op.await.unwrap().readable());
        }
        drained().await;
        assert_eq!(ops_in_flight(), 0);
    });
}

#[test]
fn ten_thousand_idle_polls_cost_little_memory_each() {
    assert!(size_of::<Op<io::Result<Readiness>>>() <= 128);
    ring(|| async {
        let (client, _server) = pair().await;
        let mut waiting: Vec<_> = (0..10_000).map(|_| poll(&client, Interest::READ)).collect();
        assert_eq!(ops_in_flight(), 10_000);
        waiting.iter_mut().for_each(Op::cancel);
        for op in waiting {
            assert!(is_cancelled(&op.await.unwrap_err()));
        }
    });
}

#[test]
fn run_inside_run_is_refused() {
    ring(|| async {
        let error = run(&UringConfig::default(), async {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn op_held_by_a_living_task_is_reported_as_stray() {
    let finished = run(&UringConfig::default(), async {
        let (client, server) = pair().await;
        let task = spawn(async move {
            let ready = poll(&client, Interest::READ).await;
            drop((server, ready));
        });
        drop(task);
        tokio::task::yield_now().await;
    })
    .unwrap();
    assert_eq!(finished.stray_ops, 1);
    assert_eq!(ops_in_flight(), 0);
    // The next ring on this thread starts afresh.
    ring(|| async { pair().await });
}

#[test]
fn op_that_outlives_its_ring_is_freed_quietly() {
    let finished = run(&UringConfig::default(), async {
        let (client, _server) = pair().await;
        Some(poll(&client, Interest::READ))
    })
    .unwrap();
    drop(finished.output);
    ring(|| async { pair().await });
}

#[test]
fn panic_inside_run_ends_the_ring() {
    let outcome = std::panic::catch_unwind(|| {
        run(&UringConfig::default(), async {
            let (client, _server) = pair().await;
            let _op = poll(&client, Interest::READ);
            panic!("on purpose");
        })
    });
    assert!(outcome.is_err());
    ring(|| async { pair().await });
}

/// Takes all that is there.
fn take(fd: &Fd) -> usize {
    let mut room = [0; 64];
    let mut taken = 0;
    loop {
        match socket::recv(fd.as_fd(), &mut room) {
            Ok(0) => return taken,
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether the watch ends its wait before `limit`.
async fn tells(watch: &mut Watch, limit: Duration) -> bool {
    tokio::time::timeout(limit, watch.readable()).await.is_ok()
}

#[test]
fn watch_tells_of_each_arrival_without_an_op() {
    ring(|| async {
        let (client, server) = pair().await;
        let mut watch = Watch::new(&client).unwrap();
        for round in 1..=1000 {
            socket::send(server.as_fd(), b"x").unwrap();
            assert!(tells(&mut watch, FOREVER).await, "round {round}");
            assert_eq!(take(&client), 1);
            assert_eq!(ops_in_flight(), 0);
        }
        assert!(!tells(&mut watch, SHORT).await);
    });
}

#[test]
fn watch_tells_of_what_came_before_its_first_wait_and_between_two() {
    ring(|| async {
        let (client, server) = pair().await;
        socket::send(server.as_fd(), b"before").unwrap();
        let mut watch = Watch::new(&client).unwrap();
        assert!(tells(&mut watch, FOREVER).await);
        assert_eq!(take(&client), 6);
        socket::send(server.as_fd(), b"between").unwrap();
        // Long enough for the kernel to tell, while nobody waits.
        assert!(poll(&client, Interest::READ).await.unwrap().readable());
        assert!(tells(&mut watch, FOREVER).await);
        assert_eq!(take(&client), 7);
    });
}

#[test]
fn watch_tells_of_an_end_for_as_long_as_it_is_there() {
    ring(|| async {
        let (client, server) = pair().await;
        let mut watch = Watch::new(&client).unwrap();
        socket::send(server.as_fd(), b"last").unwrap();
        socket::shutdown(server.as_fd(), Shutdown::Write).unwrap();
        // A read that brings less than there is room for hides the end behind the bytes.
        for _ in 0..3 {
            assert!(tells(&mut watch, FOREVER).await);
        }
        assert_eq!(take(&client), 4);
        assert!(tells(&mut watch, FOREVER).await);
    });
}

#[test]
fn watch_that_is_dropped_while_it_waits_gives_its_descriptor_back() {
    ring(|| async {
        let (client, _server) = pair().await;
        let mut watch = Watch::new(&client).unwrap();
        assert!(!tells(&mut watch, SHORT).await);
        drop(watch);
        assert!(client.try_into_owned().is_ok());
    });
}

#[test]
fn watch_of_a_descriptor_that_was_watched_before_tells() {
    ring(|| async {
        let (client, server) = pair().await;
        for _ in 0..3 {
            let mut watch = Watch::new(&client).unwrap();
            assert!(!tells(&mut watch, SHORT).await);
            socket::send(server.as_fd(), b"x").unwrap();
            assert!(tells(&mut watch, FOREVER).await);
            assert_eq!(take(&client), 1);
        }
    });
}

#[test]
fn watch_that_the_kernel_refuses_is_an_error_and_leaves_the_first() {
    ring(|| async {
        let (client, server) = pair().await;
        let mut first = Watch::new(&client).unwrap();
        assert!(!tells(&mut first, SHORT).await);
        let refused = Watch::new(&client).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        socket::send(server.as_fd(), b"x").unwrap();
        assert!(tells(&mut first, FOREVER).await);
        assert_eq!(take(&client), 1);
        drop(first);
        assert!(client.try_into_owned().is_ok());
    });
}

#[test]
fn many_watches_all_tell() {
    ring(|| async {
        let mut pairs = Vec::new();
        for _ in 0..64 {
            pairs.push(pair().await);
        }
        let mut watches: Vec<_> = pairs
            .iter()
            .map(|(fd, _)| Watch::new(fd).unwrap())
            .collect();
        for _ in 0..3 {
            for (_, server) in &pairs {
                socket::send(server.as_fd(), b"x").unwrap();
            }
            for (watch, (client, _)) in watches.iter_mut().zip(&pairs) {
                assert!(tells(watch, FOREVER).await);
                assert_eq!(take(client), 1);
            }
        }
    });
}
