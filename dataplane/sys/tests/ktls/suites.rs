//! Compares the kernel with records made by hand, for each version and cipher.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use eyesplice_sys::ktls::{
    Alert, Record, RecordKind, Trouble, close_notify, install_rx, send_record, set_ulp,
};
use eyesplice_sys::pipe::Pipe;
use eyesplice_sys::splice;

use crate::by_hand::{ALERT, DATA, Direction};
use crate::harness::Outcome;
use crate::setup::{content, pair, receive, receiver, sender, take_record, wait_readable};

pub(crate) fn sent_bytes_open_by_hand(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = sender(&keys)?;
    let sent = content();
    (&kernel).write_all(&sent).unwrap();
    close_notify(kernel.as_fd()).unwrap();
    kernel.shutdown(Shutdown::Write).unwrap();
    let mut stream = Vec::new();
    peer.read_to_end(&mut stream).unwrap();
    let (mut received, mut last) = (Vec::new(), 0);
    while let Some((kind, content)) = keys.open(&mut stream) {
        last = kind;
        if kind == DATA {
            received.extend(content);
        } else {
            assert!(Alert::parse(&content).unwrap().is_close_notify());
        }
    }
    assert!(stream.is_empty(), "whole records only");
    assert_eq!(last, ALERT, "close_notify comes last");
    assert!(received == sent, "the bytes are the same");
    Ok(())
}

pub(crate) fn records_sealed_by_hand_are_received(mut keys: Direction) -> Outcome {
    let (kernel, mut peer) = receiver(&keys)?;
    let sent = content();
    for part in sent.chunks(10_000) {
        peer.write_all(&keys.seal(DATA, part)).unwrap();
    }
    assert!(
        receive(&kernel, sent.len()) == sent,
        "the bytes are the same"
    );
    Ok(())
}

pub(crate) fn spliced_bytes_pass_from_kernel_to_kernel(keys: Direction) -> Outcome {
    let (tx, rx) = sender(&keys)?;
    set_ulp(rx.as_fd()).unwrap();
    install_rx(rx.as_fd(), &keys.keys()).unwrap();

    // A plain socket's bytes through a pipe into kernel TLS, and out of it through another.
    let (source, mut feed) = pair();
    source.set_nonblocking(true).unwrap();
    let (into, out) = (Pipe::new(1 << 16).unwrap(), Pipe::new(1 << 16).unwrap());
    let sent = content();
    feed.write_all(&sent).unwrap();
    let mut received = Vec::new();
    let (mut inside, mut fed) = (0, 0);
    while received.len() < sent.len() {
        if fed < sent.len() && inside == 0 {
            wait_readable(&source);
            inside = splice::from_socket(source.as_fd(), &into, into.capacity()).unwrap();
            fed += inside;
        }
        while inside > 0 {
            inside -= splice::to_socket(&into, tx.as_fd(), inside).unwrap();
        }
        wait_readable(&rx);
        match splice::from_socket(rx.as_fd(), &out, out.capacity()) {
            Ok(count) => {
                let mut part = vec![0; count];
                assert_eq!(nix::unistd::read(out.read_end(), &mut part).unwrap(), count);
                received.extend(part);
            }
            Err(error) => assert_eq!(Trouble::of(&error), Trouble::WouldBlock, "{error}"),
        }
    }
    assert!(received == sent, "the bytes are the same");
    Ok(())
}

pub(crate) fn control_records_keep_their_type(mut keys: Direction) -> Outcome {
    let mut by_hand = keys.clone();
    let (kernel, mut peer) = sender(&keys)?;
    send_record(kernel.as_fd(), RecordKind::Handshake, &[24, 0, 0, 1, 0]).unwrap();
    close_notify(kernel.as_fd()).unwrap();
    kernel.shutdown(Shutdown::Write).unwrap();
    let mut stream = Vec::new();
    peer.read_to_end(&mut stream).unwrap();
    assert_eq!(by_hand.open(&mut stream), Some((22, vec![24, 0, 0, 1, 0])));
    assert_eq!(by_hand.open(&mut stream), Some((ALERT, vec![1, 0])));

    let (kernel, mut peer) = receiver(&keys)?;
    peer.write_all(&keys.seal(ALERT, &[2, 80])).unwrap();
    let mut buf = [0; 64];
    let record = take_record(&kernel, &mut buf).unwrap();
    assert_eq!(
        record,
        Record::Content {
            kind: RecordKind::Alert,
            len: 2,
            complete: true
        }
    );
    assert_eq!(Alert::parse(&buf[..2]).unwrap().description, 80);
    Ok(())
}
