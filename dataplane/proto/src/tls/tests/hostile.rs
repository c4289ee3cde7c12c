//! What a peer must not send, and what it is told; and what it may send as often as it likes.

use super::*;

/// What tells `told` apart: the alert that `peer` reads there.
fn alert(peer: &mut Session, told: &[u8]) -> Option<AlertDescription> {
    Inbox::default().feed(peer, told).unwrap_err().peer_alert()
}

/// What must not come after the handshake, with the alert that says so (RFC 8446 sections 4.6, 5 and 6).
#[test]
fn hostile_records_end_the_session_with_their_alert() {
    const UNEXPECTED: u8 = 10;
    const ILLEGAL: u8 = 47;
    const DECODE: u8 = 50;
    let tls13: [(u8, &[u8], u8); 26] = [
        (20, &[1], UNEXPECTED),
        (24, &[1, 0, 0], UNEXPECTED),
        (25, &[0], UNEXPECTED),
        (255, &[0], UNEXPECTED),
        (22, &[], UNEXPECTED),
        (22, &[0, 0, 0, 0], UNEXPECTED),
        (22, &[1, 0, 0, 1, 0], UNEXPECTED),
        (22, &[4, 0, 0, 14], UNEXPECTED),
        (22, &[5, 0, 0, 0], UNEXPECTED),
        (22, &[11, 0, 0, 0], UNEXPECTED),
        (22, &[13, 0, 0, 0], UNEXPECTED),
        (22, &[20, 0, 0, 32], UNEXPECTED),
        (22, &[99, 0, 0, 1, 0], UNEXPECTED),
        (22, &[24, 0, 0, 0], DECODE),
        (22, &[24, 0, 0, 2, 0, 0], DECODE),
        (22, &[24, 1, 0, 1, 0], DECODE),
        (22, &[24, 0, 0, 1, 2], ILLEGAL),
        (22, &[24, 0, 0, 1, 255], ILLEGAL),
        (22, &[24, 0, 0, 1, 0, 0], UNEXPECTED),
        (22, &[24, 0, 0, 1, 1, 24, 0, 0, 1, 1], UNEXPECTED),
        (21, &[], UNEXPECTED),
        (21, &[1], DECODE),
        (21, &[1, 0, 0], DECODE),
        (21, &[1, 0, 1, 0], DECODE),
        (21, &[3, 0], ILLEGAL),
        (0, &[0, 0, 0], UNEXPECTED),
    ];
    let tls12: [(u8, &[u8], u8); 7] = [
        (22, &[24, 0, 0, 1, 0], UNEXPECTED),
        (20, &[1], UNEXPECTED),
        (22, &[0, 0, 0, 0], UNEXPECTED),
        (22, &[1, 0, 0, 0], UNEXPECTED),
        (21, &[], UNEXPECTED),
        (21, &[1], DECODE),
        (21, &[9, 9], ILLEGAL),
    ];
    for (versions, cases) in [(BOTH[0], &tls13[..]), (BOTH[1], &tls12[..])] {
        for (kind, content, told) in cases {
            let mut pair = established(versions);
            let wire = record(&mut pair.client, *kind, content);
            let mut inbox = Inbox::default();
            let error = inbox.feed(&mut pair.server, &wire).unwrap_err();
            assert!(matches!(error, TlsError::Record(_)), "{kind} {content:?}");
            let alert = alert(&mut pair.client, &pair.server.take_outgoing());
            assert_eq!(alert, Some((*told).into()), "{kind} {content:?}");
            assert!(matches!(
                pair.server.seal(b"late", &mut [0; 1024]),
                Err(TlsError::NotWritable)
            ));
        }
    }
}

/// What comes without protection, is cut short, or claims too much.
#[test]
fn records_that_are_not_protected_end_the_session_with_their_alert() {
    for (versions, wire, told) in [
        (BOTH[0], &[20, 3, 3, 0, 1, 1][..], 10),
        (BOTH[0], &[21, 3, 3, 0, 2, 1, 0], 10),
        (BOTH[0], &[22, 3, 3, 0, 5, 24, 0, 0, 1, 1], 10),
        (BOTH[0], &[23, 3, 3, 0x41, 1], 22),
        (BOTH[0], &[23, 3, 3, 0, 0], 20),
        (BOTH[0], &[23, 3, 3, 0, 4, 1, 2, 3, 4], 20),
        (BOTH[1], &[20, 3, 3, 0, 1, 1], 20),
        (BOTH[1], &[21, 3, 3, 0, 2, 1, 0], 20),
        (BOTH[1], &[23, 3, 3, 0x48, 1], 22),
    ] {
        let mut pair = established(versions);
        assert!(Inbox::default().feed(&mut pair.server, wire).is_err());
        let alert = alert(&mut pair.client, &pair.server.take_outgoing());
        assert_eq!(alert, Some(told.into()), "{wire:?}");
    }
    let mut pair = established(BOTH[0]);
    let mut wire = seal(&mut pair.client, b"payload");
    wire[9] ^= 1;
    assert!(Inbox::default().feed(&mut pair.server, &wire).is_err());
    let alert = alert(&mut pair.client, &pair.server.take_outgoing());
    assert_eq!(alert, Some(20.into()));
}

#[test]
fn record_between_the_parts_of_a_message_ends_the_session() {
    for kind in [21, 23] {
        let mut pair = established(BOTH[0]);
        let wire = [
            record(&mut pair.client, 22, &[24, 0, 0]),
            record(&mut pair.client, kind, &[1, 0]),
        ]
        .concat();
        assert!(Inbox::default().feed(&mut pair.server, &wire).is_err());
        let alert = alert(&mut pair.client, &pair.server.take_outgoing());
        assert_eq!(alert, Some(10.into()));
    }
}

/// A peer that asks for key updates and reads none: what waits for it does not grow, and one answer
/// serves all.
#[test]
fn key_updates_without_end_have_one_answer() {
    let mut pair = established(BOTH[0]);
    let (mut inbox, mut back) = (Inbox::default(), Inbox::default());
    let ask = |session: &mut Session| {
        let wire = record(session, 22, &[24, 0, 0, 1, 1]);
        keys(session).rotate_tx();
        [wire, seal(session, b"x")].concat()
    };
    let wire = ask(&mut pair.client);
    inbox.feed(&mut pair.server, &wire).unwrap();
    pair.server.answer().unwrap();
    let first = pair.server.take_outgoing();
    assert_eq!(first.len(), 27);
    for _ in 0..1000 {
        let wire = ask(&mut pair.client);
        inbox.feed(&mut pair.server, &wire).unwrap();
        assert!(
            pair.server.outgoing.is_empty(),
            "only that it is due is kept"
        );
    }
    assert_eq!(inbox.plaintext.len(), 1001);
    pair.server.answer().unwrap();
    pair.server.answer().unwrap();
    let second = pair.server.take_outgoing();
    assert_eq!(second.len(), 27, "one for a thousand");
    let sealed = seal(&mut pair.server, b"data");
    back.feed(&mut pair.client, &[first, second, sealed].concat())
        .unwrap();
    assert_eq!(back.plaintext, b"data");
}

#[test]
fn answer_that_is_due_goes_ahead_of_data_and_never_behind_the_end() {
    let due = || {
        let mut pair = established(BOTH[0]);
        let wire = record(&mut pair.client, 22, &[24, 0, 0, 1, 1]);
        keys(&mut pair.client).rotate_tx();
        Inbox::default().feed(&mut pair.server, &wire).unwrap();
        assert!(pair.server.has_outgoing());
        pair
    };
    let mut pair = due();
    let sealed = seal(&mut pair.server, &[7; 40_000]);
    assert!(sealed.len() <= sealed_bound(40_000) && !pair.server.has_outgoing());
    let mut back = Inbox::default();
    back.feed(&mut pair.client, &sealed).unwrap();
    assert_eq!(back.plaintext, [7; 40_000]);

    let mut pair = due();
    let mut out = [0; 1024];
    let len = pair.server.close(&mut out).unwrap();
    assert_eq!(len, 24, "close_notify alone");
    assert!(!pair.server.has_outgoing());
    pair.server.answer().unwrap();
    assert!(pair.server.take_outgoing().is_empty());
    let mut back = Inbox::default();
    back.feed(&mut pair.client, &out[..len]).unwrap();
    assert!(back.closed);
}

/// Whether a fatal alert is the last of these records, in plain text or (as it seems) protected.
fn ends_with_alert(mut records: &[u8]) -> bool {
    let mut last: &[u8] = &[];
    while let [_, _, _, high, low, ..] = records {
        let len = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        (last, records) = records.split_at(len);
    }
    matches!(
        last,
        [21, 3, 3, 0, 2, 2, _] | [23, 3, 3, 0, 19, ..] | [21, 3, 3, 0, 26, ..]
    )
}

/// Whatever is wrong in a server's first flight, the server hears of it.
#[test]
fn server_whose_hello_is_refused_is_told_by_an_alert() {
    for versions in BOTH {
        let mut refused = 0;
        let length = {
            let mut pair = fresh(versions, "kubelet.test");
            Inbox::default().feed(&mut pair.client, &[]).unwrap();
            let hello = pair.client.take_outgoing();
            Inbox::default().feed(&mut pair.server, &hello).unwrap();
            let flight = pair.server.take_outgoing();
            5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]))
        };
        for at in 0..length {
            let mut pair = fresh(versions, "kubelet.test");
            let mut inbox = Inbox::default();
            inbox.feed(&mut pair.client, &[]).unwrap();
            let hello = pair.client.take_outgoing();
            Inbox::default().feed(&mut pair.server, &hello).unwrap();
            let mut flight = pair.server.take_outgoing();
            // Signatures are of different lengths.
            let Some(byte) = flight.get_mut(at) else {
                continue;
            };
            *byte ^= 0x15;
            if inbox.feed(&mut pair.client, &flight).is_err() {
                refused += 1;
                let told = pair.client.take_outgoing();
                assert!(ends_with_alert(&told), "byte {at}: {told:?}");
            }
        }
        assert!(refused > length / 2, "{refused} of {length}");
    }
}

/// What may not come first, or instead of what a client owes; with the alert where it is plain.
#[test]
fn client_whose_handshake_is_refused_is_told_by_an_alert() {
    let hello = || {
        let mut pair = fresh(BOTH[0], "kubelet.test");
        Inbox::default().feed(&mut pair.client, &[]).unwrap();
        let hello = pair.client.take_outgoing();
        (hello, pair.server)
    };
    for (wire, told) in [
        (&[23, 3, 3, 0, 1, 7][..], 10),
        (&[22, 3, 1, 0, 5, 24, 0, 0, 1, 1], 10),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 0], 50),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], 50),
        (&[22, 3, 1, 0, 4, 99, 0, 0, 0], 10),
        (&[99, 3, 1, 0, 1, 0], 50),
    ] {
        let (_, mut server) = hello();
        let error = Inbox::default().feed(&mut server, wire).unwrap_err();
        let out = server.take_outgoing();
        assert!(ends_with_alert(&out), "{wire:?}: {error:?}, {out:?}");
        assert_eq!(out.last(), Some(&told), "{wire:?}: {error:?}");
    }
    // Behind a good hello all must be protected.
    for wire in [
        &[22, 3, 3, 0, 5, 24, 0, 0, 1, 1][..],
        &[22, 3, 3, 0, 4, 20, 0, 0, 0],
        &[22, 3, 3, 0, 0],
        &[20, 3, 3, 0, 1, 2],
        &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
        &[23, 3, 3, 0xff, 0xff],
    ] {
        let (hello, mut server) = hello();
        Inbox::default().feed(&mut server, &hello).unwrap();
        server.take_outgoing();
        let error = Inbox::default().feed(&mut server, wire).unwrap_err();
        let out = server.take_outgoing();
        assert!(ends_with_alert(&out), "{wire:?}: {error:?}, {out:?}");
    }
}
