//! Makes each trap and each refusal of kernel TLS happen.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use eyesplice_sys::ktls::{
    Cipher, InstallStep, Next, Obstacle, Record, RecordKind, RecordWait, Trouble, Version,
    install_rx, install_tx, recv_record, set_ulp,
};
use eyesplice_sys::pipe::Pipe;
use eyesplice_sys::probe::{self, Capability, probe};
use eyesplice_sys::uring::{self, Interest, UringConfig};
use eyesplice_sys::{socket, splice};

use crate::by_hand::{DATA, Direction};
use crate::harness::Outcome;
use crate::setup::{
    PATIENCE, pair, pair_with_ulp, receive, receiver, sender, take_record, wait_error,
    wait_readable, wait_unread,
};

pub(crate) fn probe_finds_every_suite(_: Direction) -> Outcome {
    pair_with_ulp()?;
    let found = probe();
    for version in Version::ALL {
        for cipher in Cipher::ALL {
            for direction in [probe::Direction::Send, probe::Direction::Receive] {
                let capability = Capability::KernelTls {
                    version,
                    cipher,
                    direction,
                };
                assert!(found.has(capability), "{capability}: {:#?}", found.findings);
            }
        }
    }
    found.usable().unwrap();
    Ok(())
}

pub(crate) fn keys_without_ulp_are_refused(keys: Direction) -> Outcome {
    let (one, _other) = pair();
    let error = install_tx(one.as_fd(), &keys.keys()).unwrap_err();
    assert_eq!(
        (error.step, error.obstacle),
        (InstallStep::Tx, Obstacle::NoKernelTls)
    );
    Ok(())
}

pub(crate) fn ulp_on_an_unconnected_socket_is_refused(_: Direction) -> Outcome {
    pair_with_ulp()?;
    let socket = socket::new_tcp("127.0.0.1:1".parse().unwrap()).unwrap();
    let error = set_ulp(socket.as_fd()).unwrap_err();
    assert_eq!(
        (error.step, error.obstacle),
        (InstallStep::Ulp, Obstacle::NotConnected)
    );
    Ok(())
}

pub(crate) fn ulp_after_fin_is_refused(_: Direction) -> Outcome {
    pair_with_ulp()?;
    let (late, peer) = pair();
    peer.shutdown(Shutdown::Write).unwrap();
    wait_readable(&late);
    assert_eq!(
        set_ulp(late.as_fd()).unwrap_err().obstacle,
        Obstacle::NotConnected
    );
    Ok(())
}

pub(crate) fn second_ulp_and_second_keys_are_refused(keys: Direction) -> Outcome {
    let (kernel, _peer) = pair_with_ulp()?;
    assert_eq!(
        set_ulp(kernel.as_fd()).unwrap_err().obstacle,
        Obstacle::AlreadyDone
    );
    for install in [install_tx, install_rx] {
        install(kernel.as_fd(), &keys.keys()).unwrap();
        let again = install(kernel.as_fd(), &keys.keys()).unwrap_err();
        assert_eq!(again.obstacle, Obstacle::AlreadyDone);
    }
    Ok(())
}

pub(crate) fn bytes_pass_unchanged_between_ulp_and_keys(_: Direction) -> Outcome {
    let (mut kernel, mut peer) = pair_with_ulp()?;
    let mut buf = [0; 5];
    kernel.write_all(b"hello").unwrap();
    peer.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"hello");
    peer.write_all(b"world").unwrap();
    kernel.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"world");
    Ok(())
}

pub(crate) fn record_without_receive_keys_is_refused(_: Direction) -> Outcome {
    let (one, mut other) = pair();
    other.write_all(b"x").unwrap();
    let error = take_record(&one, &mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

pub(crate) fn control_record_stops_recv_and_splice_until_taken(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    let records = [
        keys.seal(DATA, b"before"),
        keys.seal(22, &[4, 0, 0, 0]),
        keys.seal(DATA, b"after"),
    ];
    peer.write_all(&records.concat()).unwrap();
    assert_eq!(receive(&kernel, 6), b"before");
    wait_readable(&kernel);
    let mut buf = [0; 64];
    let error = socket::recv(kernel.as_fd(), &mut buf).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(Trouble::of(&error), Trouble::ControlRecord);
    let pipe = Pipe::new(1 << 16).unwrap();
    let error = splice::from_socket(kernel.as_fd(), &pipe, 1 << 16).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(Trouble::of(&error), Trouble::ControlRecord);
    let record = take_record(&kernel, &mut buf).unwrap();
    assert_eq!(
        record,
        Record::Content {
            kind: RecordKind::Handshake,
            len: 4,
            complete: true
        }
    );
    assert_eq!(receive(&kernel, 5), b"after");
    Ok(())
}

pub(crate) fn fin_without_close_notify_reads_as_fin(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    peer.write_all(&keys.seal(DATA, b"last")).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive(&kernel, 4), b"last");
    let mut buf = [0; 64];
    assert_eq!(take_record(&kernel, &mut buf).unwrap(), Record::Fin);
    assert_eq!(socket::recv(kernel.as_fd(), &mut buf).unwrap(), 0);
    let pipe = Pipe::new(1 << 16).unwrap();
    assert_eq!(
        splice::from_socket(kernel.as_fd(), &pipe, 1 << 16).unwrap(),
        0
    );
    Ok(())
}

pub(crate) fn fin_inside_a_record_reads_as_fin(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    let record = keys.seal(DATA, b"cut");
    peer.write_all(&record[..record.len() - 1]).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(take_record(&kernel, &mut [0; 64]).unwrap(), Record::Fin);
    Ok(())
}

pub(crate) fn close_sends_no_close_notify(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = sender(&keys)?;
    (&kernel).write_all(b"last").unwrap();
    drop(kernel);
    let mut stream = Vec::new();
    peer.read_to_end(&mut stream).unwrap();
    assert_eq!(keys.open(&mut stream), Some((DATA, b"last".to_vec())));
    assert!(stream.is_empty());
    Ok(())
}

pub(crate) fn changed_record_is_a_bad_record(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    let mut record = keys.seal(DATA, b"hello");
    *record.last_mut().unwrap() ^= 1;
    peer.write_all(&record).unwrap();
    let error = take_record(&kernel, &mut [0; 64]).unwrap_err();
    assert_eq!(Trouble::of(&error), Trouble::BadRecord, "{error}");
    Ok(())
}

pub(crate) fn overlong_record_is_malformed(keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    peer.write_all(&[DATA, 3, 3, 0xff, 0xff, 0]).unwrap();
    let error = take_record(&kernel, &mut [0; 64]).unwrap_err();
    assert_eq!(Trouble::of(&error), Trouble::MalformedRecord, "{error}");
    Ok(())
}

pub(crate) fn control_record_larger_than_the_buffer_comes_in_parts(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    peer.write_all(&keys.seal(22, &[4, 0, 0, 1, 9])).unwrap();
    let kind = RecordKind::Handshake;
    let mut buf = [0; 3];
    let first = take_record(&kernel, &mut buf).unwrap();
    assert_eq!(
        first,
        Record::Content {
            kind,
            len: 3,
            complete: false
        }
    );
    assert_eq!(buf, [4, 0, 0]);
    let second = take_record(&kernel, &mut buf).unwrap();
    assert_eq!(
        second,
        Record::Content {
            kind,
            len: 2,
            complete: true
        }
    );
    assert_eq!(buf[..2], [1, 9]);
    Ok(())
}

pub(crate) fn half_a_record_wakes_no_reader_that_waits_for_records(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    kernel.set_nonblocking(true).unwrap();
    let kernel = uring::Fd::from(OwnedFd::from(kernel));
    let mut wait = RecordWait::default();
    let mut buf = [0; 64];
    let finished = uring::run(&UringConfig::default(), async {
        for content in [&b"a record of some length"[..], b"short"] {
            let record = keys.seal(DATA, content);
            let (first, rest) = record.split_at(1);
            let (second, rest) = rest.split_at(10);
            for (part, total) in [(first, 1), (second, 11)] {
                peer.write_all(part).unwrap();
                wait_unread(&kernel, total);
                let mut retries = 0;
                loop {
                    wait.reading(kernel.as_fd()).unwrap();
                    let error = socket::recv(kernel.as_fd(), &mut buf).unwrap_err();
                    assert_eq!(Trouble::of(&error), Trouble::WouldBlock);
                    match wait.blocked(kernel.as_fd()).unwrap() {
                        Next::Retry => retries += 1,
                        Next::Poll => break,
                    }
                }
                assert_eq!(retries, 1);
                let soon = Instant::now() + Duration::from_millis(20);
                let early = uring::until(uring::poll(&kernel, Interest::READ), Some(soon)).await;
                assert_eq!(early.unwrap_err().kind(), ErrorKind::TimedOut);
            }
            let op = uring::poll(&kernel, Interest::READ);
            peer.write_all(rest).unwrap();
            assert!(
                uring::until(op, Some(Instant::now() + PATIENCE))
                    .await
                    .unwrap()
                    .readable()
            );
            wait.reading(kernel.as_fd()).unwrap();
            let count = socket::recv(kernel.as_fd(), &mut buf).unwrap();
            assert_eq!(&buf[..count], content);
            wait.progressed();
        }
        // A mark that is above what ever comes does not hide the end.
        peer.write_all(&keys.seal(DATA, b"cut")[..9]).unwrap();
        wait_unread(&kernel, 9);
        assert_eq!(wait.blocked(kernel.as_fd()).unwrap(), Next::Retry);
        assert_eq!(wait.blocked(kernel.as_fd()).unwrap(), Next::Poll);
        let op = uring::poll(&kernel, Interest::READ);
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(
            uring::until(op, Some(Instant::now() + PATIENCE))
                .await
                .unwrap()
                .readable()
        );
        assert_eq!(recv_record(kernel.as_fd(), &mut buf).unwrap(), Record::Fin);
    })
    .unwrap();
    assert_eq!(finished.stray_ops, 0);
    Ok(())
}

pub(crate) fn reset_behind_a_record_that_was_waited_for_is_no_fin(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    kernel.set_nonblocking(true).unwrap();
    let mut wait = RecordWait::default();
    let mut buf = [0; 64];
    let record = keys.seal(DATA, b"only this");
    let (half, rest) = record.split_at(9);
    peer.write_all(half).unwrap();
    wait_unread(&kernel, half.len());
    for next in [Next::Retry, Next::Poll] {
        wait.reading(kernel.as_fd()).unwrap();
        let error = recv_record(kernel.as_fd(), &mut buf).unwrap_err();
        assert_eq!(Trouble::of(&error), Trouble::WouldBlock);
        assert_eq!(wait.blocked(kernel.as_fd()).unwrap(), next);
    }
    peer.write_all(rest).unwrap();
    wait_unread(&kernel, record.len());
    socket::linger_zero(peer.as_fd()).unwrap();
    drop(peer);
    wait_error(&kernel);
    // The mark was 10 bytes of ciphertext; the record has 9 of payload.
    wait.reading(kernel.as_fd()).unwrap();
    let data = recv_record(kernel.as_fd(), &mut buf).unwrap();
    assert!(matches!(data, Record::Content { len: 9, .. }), "{data:?}");
    let error = recv_record(kernel.as_fd(), &mut buf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    Ok(())
}
