//! The engine without its sockets: heads, routes, records, the state of a stream.

use super::Step;
use super::heads::{CONNECT, EXEC, parsed, rewritten};
use super::life::lived;
use super::pair::{Pair, ends};
use eyesplice_proto::connect::parse_connect;
use eyesplice_proto::head::RequestTarget;
use eyesplice_proto::parse::{HeadLimits, Progress};
use eyesplice_proto::route::route;
use eyesplice_proto::tls::sealed_bound;
use eyesplice_sys::buffer::AlignedBuf;
use rustls::NamedGroup;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

/// Payload of a keystroke's or a line's record, and of a full one.
const SMALL: usize = 64;
const FULL: usize = 16 * 1024;

/// All steps; those that use something up can run `rounds` times.
pub(crate) fn steps(rounds: usize) -> Vec<Step> {
    let mut steps = heads();
    steps.push(Step::new("stream/open_to_finished", || {
        assert!(lived().is_finished());
    }));
    for (seals, opens, size) in [
        ("tls/seal_64", "tls/open_64", SMALL),
        ("tls/seal_16384", "tls/open_16384", FULL),
    ] {
        steps.push(seal(seals, size));
        steps.push(open(opens, size, rounds));
    }
    steps.push(handshake());
    steps
}

fn heads() -> Vec<Step> {
    let head = parsed(EXEC);
    let target = "/exec/default/web-5d4b8c9f7-x2x7k/main?command=sh&input=1";
    let target = RequestTarget::new(target).expect("a target");
    vec![
        Step::new("head/parse_exec", || {
            black_box(parsed(black_box(EXEC)));
        }),
        Step::new("head/parse_connect", || {
            let limits = &HeadLimits::CONNECT;
            let connect = parse_connect(black_box(CONNECT), &mut Progress::default(), limits);
            black_box(connect.expect("a good head"));
        }),
        Step::new("head/rewrite_and_write_exec", move || {
            black_box(rewritten(head.clone()));
        }),
        Step::new("route/exec", move || {
            black_box(route(black_box(&target))).expect("a route");
        }),
    ]
}

fn seal(name: &'static str, size: usize) -> Step {
    let mut pair = Pair::new();
    let payload = AlignedBuf::new(size);
    let mut out = AlignedBuf::new(sealed_bound(size));
    Step::new(name, move || {
        let sealed = pair.client.seal(black_box(&payload), &mut out);
        black_box(sealed.expect("a record"));
    })
}

/// Both ends of a full handshake with a certificate each.
fn handshake() -> Step {
    let (client, server) = ends(NamedGroup::X25519);
    Step::new("tls/handshake", move || {
        black_box(Pair::shaken(Arc::clone(&client), Arc::clone(&server)));
    })
}

/// Records open once and in order: all are sealed before.
fn open(name: &'static str, size: usize, rounds: usize) -> Step {
    let mut pair = Pair::new();
    let payload = AlignedBuf::new(size);
    let mut sealed = VecDeque::new();
    for _ in 0..rounds {
        let mut wire = AlignedBuf::new(sealed_bound(size));
        let len = pair.client.seal(&payload, &mut wire).expect("a record");
        sealed.push_back((wire, len));
    }
    // What was opened stays: freeing it is not what is counted.
    let mut opened = Vec::with_capacity(rounds);
    Step::new(name, move || {
        let (mut wire, len) = sealed.pop_front().expect("a record for each round");
        let got = pair.server.receive(&mut wire[..len]).expect("payload");
        assert_eq!(got.plaintext, size);
        opened.push(wire);
    })
}
