mod differential;
mod groups;
mod hostile;
mod vectors;

use super::*;
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

struct Pair {
    client: Session,
    server: Session,
}

/// What one side of a pair got out of the other's bytes.
#[derive(Default)]
struct Inbox {
    plaintext: Vec<u8>,
    closed: bool,
}

impl Inbox {
    fn feed(&mut self, session: &mut Session, bytes: &[u8]) -> Result<(), TlsError> {
        let mut buffer = vec![0; session.pending_len()];
        buffer.extend_from_slice(bytes);
        let got = session.receive(&mut buffer)?;
        self.plaintext.extend_from_slice(&buffer[..got.plaintext]);
        self.closed |= got.peer_closed;
        Ok(())
    }
}

/// A certificate for `kubelet.test`, those who trust it, and its key.
fn issued() -> (
    RootCertStore,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
) {
    let issued = rcgen::generate_simple_self_signed(vec!["kubelet.test".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let chain = vec![issued.cert.der().clone()];
    (roots, chain, PrivateKeyDer::Pkcs8(key))
}

fn configs(versions: &[&'static rustls::SupportedProtocolVersion]) -> (ClientConfig, ServerConfig) {
    let (roots, chain, key) = issued();
    let mut server = ServerConfig::builder_with_provider(provider::shared())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.send_tls13_tickets = 0;
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider::shared())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (client, server)
}

fn fresh(versions: &[&'static rustls::SupportedProtocolVersion], name: &'static str) -> Pair {
    let (client, server) = configs(versions);
    let client = Session::client(Arc::new(client), name.try_into().unwrap());
    let server = Session::server(Arc::new(server));
    // One library opens what the other sealed, both ways.
    let other = *RecordLibrary::BUILT.last().unwrap();
    Pair {
        client: client.unwrap(),
        server: server.unwrap().protected_by(other),
    }
}

/// Runs the handshake, handing over at most `step` bytes at a time.
fn handshake(pair: &mut Pair, step: usize) -> Result<(), TlsError> {
    let (mut to_client, mut to_server) = (Inbox::default(), Inbox::default());
    to_client.feed(&mut pair.client, &[])?;
    for _ in 0..16 {
        for piece in pair.client.take_outgoing().chunks(step) {
            to_server.feed(&mut pair.server, piece)?;
        }
        for piece in pair.server.take_outgoing().chunks(step) {
            to_client.feed(&mut pair.client, piece)?;
        }
        if !pair.client.has_outgoing()
            && !pair.client.is_handshaking()
            && !pair.server.is_handshaking()
        {
            assert_eq!(pair.client.pending_len() + pair.server.pending_len(), 0);
            return Ok(());
        }
    }
    panic!("handshake does not end");
}

fn established(versions: &[&'static rustls::SupportedProtocolVersion]) -> Pair {
    let mut pair = fresh(versions, "kubelet.test");
    handshake(&mut pair, usize::MAX).unwrap();
    pair
}

const BOTH: [&[&rustls::SupportedProtocolVersion]; 2] =
    [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

fn seal(session: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sealed_bound(data.len())];
    let n = session.seal(data, &mut out).unwrap();
    out.truncate(n);
    out
}

#[test]
fn handshake_byte_by_byte_completes_in_both_versions() {
    for versions in BOTH {
        let mut pair = fresh(versions, "kubelet.test");
        handshake(&mut pair, 1).unwrap();
        assert_eq!(
            pair.client.protocol_version(),
            pair.server.protocol_version()
        );
        assert!(pair.client.peer_certificates().is_some());
    }
}

#[test]
fn sealed_records_split_anywhere_open_to_the_same_bytes() {
    for versions in BOTH {
        let data: Vec<u8> = (0..50_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for step in [1, 7, 4096, 16_401, usize::MAX] {
            let mut pair = established(versions);
            let sealed = seal(&mut pair.client, &data);
            assert!(sealed.len() <= sealed_bound(data.len()));
            let mut inbox = Inbox::default();
            for piece in sealed.chunks(step) {
                inbox.feed(&mut pair.server, piece).unwrap();
            }
            assert_eq!(inbox.plaintext, data);
            assert!(pair.server.pending_len() == 0 && !inbox.closed);
        }
    }
}

#[test]
fn seal_many_small_inputs_fill_one_record() {
    let mut pair = established(BOTH[0]);
    // One seal of 4,000 bytes makes one record, however they came in.
    let sealed = seal(&mut pair.client, &[7; 4000]);
    assert_eq!(missing_to_record_end(&sealed), 0);
    assert_eq!(sealed.len(), 5 + 4000 + 17);
}

#[test]
fn close_notify_ends_one_direction_only() {
    for versions in BOTH {
        let mut pair = established(versions);
        let mut out = [0; 1024];
        let n = pair.client.close(&mut out).unwrap();
        let mut inbox = Inbox::default();
        inbox.feed(&mut pair.server, &out[..n]).unwrap();
        assert!(inbox.closed);
        assert_eq!(
            pair.client.close(&mut out).unwrap(),
            0,
            "close_notify goes out once"
        );
        assert!(matches!(
            pair.client.seal(b"late", &mut out),
            Err(TlsError::NotWritable)
        ));
        let sealed = seal(&mut pair.server, b"still open this way");
        let mut back = Inbox::default();
        back.feed(&mut pair.client, &sealed).unwrap();
        assert_eq!(back.plaintext, b"still open this way");
        assert!(!back.closed);
    }
}

#[test]
fn wrong_name_fails_with_a_certificate_error_and_an_alert_for_the_peer() {
    let mut pair = fresh(BOTH[0], "other.test");
    let error = handshake(&mut pair, usize::MAX).unwrap_err();
    assert!(error.is_certificate(), "{error:?}");
    let alert = pair.client.take_outgoing();
    assert!(!alert.is_empty());
    let mut inbox = Inbox::default();
    let error = inbox.feed(&mut pair.server, &alert).unwrap_err();
    assert!(error.peer_alert().is_some(), "{error:?}");
}

#[test]
fn corrupted_record_is_an_error_and_never_data() {
    let mut pair = established(BOTH[0]);
    let mut sealed = seal(&mut pair.client, b"payload");
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    let mut inbox = Inbox::default();
    assert!(inbox.feed(&mut pair.server, &sealed).is_err());
    assert!(inbox.plaintext.is_empty());
    assert!(pair.server.has_outgoing(), "the peer is told by an alert");
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for round in 0..500 {
        let mut pair = established(BOTH[round % 2]);
        let mut junk = seal(&mut pair.client, b"prefix");
        for byte in &mut junk {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            if seed.is_multiple_of(5) {
                *byte = seed.to_le_bytes()[3];
            }
        }
        let mut inbox = Inbox::default();
        drop(inbox.feed(&mut pair.server, &junk));
    }
}

/// A handshake message that stops in the middle must not disturb what is sealed meanwhile.
#[test]
fn seal_beside_an_unfinished_message_goes_on() {
    let mut pair = established(BOTH[0]);
    // A NewSessionTicket of 100 bytes, of which only 6 come.
    let wire = record(&mut pair.server, 22, &[4, 0, 0, 100, 1, 2, 3, 4, 5, 6]);
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.client, &wire).unwrap();
    assert_eq!(pair.client.pending_len(), 0);
    assert!(!seal(&mut pair.client, b"meanwhile").is_empty());
    let wire = record(&mut pair.server, 22, &[0; 94]);
    inbox.feed(&mut pair.client, &wire).unwrap();
    let wire = seal(&mut pair.server, b"after it");
    inbox.feed(&mut pair.client, &wire).unwrap();
    assert_eq!(inbox.plaintext, b"after it");
}

/// The state after the handshake.
fn keys(session: &mut Session) -> &mut Established {
    establish(&mut session.state, session.library).unwrap()
}

/// A record of `kind` with the session's own keys.
fn record(session: &mut Session, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![0; content.len() + 64];
    let len = keys(session).seal_as(kind, content, &mut out);
    out.truncate(len);
    out
}

#[test]
fn key_update_is_followed_and_answered_ahead_of_the_next_data() {
    let mut pair = established(BOTH[0]);
    let mut wire = record(&mut pair.client, 22, &[24, 0, 0, 1, 1]);
    keys(&mut pair.client).rotate_tx();
    wire.extend(seal(&mut pair.client, b"under the new key"));
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.server, &wire).unwrap();
    assert_eq!(inbox.plaintext, b"under the new key");
    assert!(pair.server.has_outgoing(), "the update was asked for");
    assert!(
        pair.server.take_outgoing().is_empty(),
        "it goes ahead of data"
    );
    let sealed = seal(&mut pair.server, b"answer");
    assert!(!pair.server.has_outgoing());
    let mut back = Inbox::default();
    back.feed(&mut pair.client, &sealed).unwrap();
    assert_eq!(back.plaintext, b"answer");
    assert!(!pair.client.has_outgoing(), "nothing was asked for");
}

#[test]
fn key_update_after_our_close_notify_is_followed_and_not_answered() {
    let mut pair = established(BOTH[0]);
    pair.server.close(&mut [0; 1024]).unwrap();
    let mut wire = record(&mut pair.client, 22, &[24, 0, 0, 1, 1]);
    keys(&mut pair.client).rotate_tx();
    wire.extend(seal(&mut pair.client, b"still sending"));
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.server, &wire).unwrap();
    assert_eq!(inbox.plaintext, b"still sending");
    assert!(!pair.server.has_outgoing());
}

#[test]
fn used_up_key_is_replaced_in_tls_1_3_and_ends_tls_1_2() {
    let mut pair = established(BOTH[0]);
    for side in [&mut pair.client, &mut pair.server] {
        keys(side).skip_to_used_up();
    }
    let data = vec![9; 40_000];
    let sealed = seal(&mut pair.client, &data);
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.server, &sealed).unwrap();
    assert_eq!(inbox.plaintext, data);
    let sealed = seal(&mut pair.client, b"on");
    inbox.feed(&mut pair.server, &sealed).unwrap();
    assert!(inbox.plaintext.ends_with(b"on"));

    let mut pair = established(BOTH[1]);
    keys(&mut pair.client).skip_to_used_up();
    assert!(matches!(
        pair.client.seal(&data, &mut vec![0; 50_000]),
        Err(TlsError::KeyExhausted)
    ));
    assert!(pair.client.close(&mut [0; 1024]).unwrap() > 0);
}

#[test]
fn records_without_data_are_bounded_and_data_resets_the_count() {
    let mut pair = established(BOTH[0]);
    let mut inbox = Inbox::default();
    for _ in 0..3 {
        for _ in 0..32 {
            let wire = record(&mut pair.client, 23, &[]);
            inbox.feed(&mut pair.server, &wire).unwrap();
        }
        let wire = seal(&mut pair.client, b"data");
        inbox.feed(&mut pair.server, &wire).unwrap();
    }
    let mut ended = false;
    for _ in 0..33 {
        let wire = record(&mut pair.client, 23, &[]);
        ended |= inbox.feed(&mut pair.server, &wire).is_err();
    }
    assert!(ended);
}

#[test]
fn header_that_promises_too_much_is_refused_before_its_body_comes() {
    for (versions, limit) in [(BOTH[0], 16_384 + 256), (BOTH[1], 16_384 + 2048)] {
        for (len, good) in [(limit, true), (limit + 1, false)] {
            let mut pair = established(versions);
            let [high, low] = u16::to_be_bytes(len);
            let mut inbox = Inbox::default();
            let result = inbox.feed(&mut pair.server, &[23, 3, 3, high, low]);
            assert_eq!(result.is_ok(), good);
        }
    }
}

#[test]
fn header_of_another_type_or_version_is_refused_before_its_body_comes() {
    for (versions, header, good) in [
        (BOTH[0], [23, 3, 3, 0, 40], true),
        (BOTH[0], [23, 3, 1, 0, 40], false),
        (BOTH[0], [23, 2, 3, 0, 40], false),
        (BOTH[0], [21, 3, 3, 0, 40], false),
        (BOTH[1], [21, 3, 3, 0, 40], true),
        (BOTH[1], [23, 3, 4, 0, 40], false),
    ] {
        let mut pair = established(versions);
        let result = Inbox::default().feed(&mut pair.server, &header);
        assert_eq!(result.is_ok(), good, "{header:?}");
    }
}

/// More than a record may hold, sealed with good keys: in TLS 1.3 padding counts.
#[test]
fn content_that_is_too_long_is_refused_although_it_is_authentic() {
    let padded = |len: usize| [&[7; 9][..], &[23], &vec![0; len - 10]].concat();
    for (versions, kind, content, good) in [
        (BOTH[0], 23, vec![7; 16_384], true),
        (BOTH[0], 23, vec![7; 16_385], false),
        (BOTH[0], 0, padded(16_384), true),
        (BOTH[0], 0, padded(16_385), false),
        (BOTH[1], 23, vec![7; 16_384], true),
        (BOTH[1], 23, vec![7; 16_385], false),
    ] {
        let mut pair = established(versions);
        let wire = record(&mut pair.client, kind, &content);
        let mut inbox = Inbox::default();
        match inbox.feed(&mut pair.server, &wire) {
            Ok(()) => assert!(good && inbox.plaintext.starts_with(&[7; 9])),
            Err(error) => assert!(
                !good && matches!(error, TlsError::Record(RecordFault::Oversized)),
                "{error:?}"
            ),
        }
    }
}

#[test]
fn nothing_after_close_notify_counts() {
    for versions in BOTH {
        let mut pair = established(versions);
        let close = record(&mut pair.client, 21, &[1, 0]);
        let late = record(&mut pair.client, 23, b"late");
        let later = record(&mut pair.client, 23, b"later");
        let mut inbox = Inbox::default();
        inbox
            .feed(&mut pair.server, &[close, late].concat())
            .unwrap();
        inbox.feed(&mut pair.server, &later).unwrap();
        inbox.feed(&mut pair.server, b"no record at all").unwrap();
        assert!(inbox.closed && inbox.plaintext.is_empty());
        assert_eq!(pair.server.pending_len(), 0);
    }
}

/// Handshake messages that are split over many records, in reads that end anywhere.
#[test]
fn handshake_in_small_records_completes() {
    for versions in BOTH {
        for step in [1, 50, 137, usize::MAX] {
            let (mut client, mut server) = configs(versions);
            client.max_fragment_size = Some(64);
            server.max_fragment_size = Some(64);
            let name = "kubelet.test".try_into().unwrap();
            let mut pair = Pair {
                client: Session::client(Arc::new(client), name).unwrap(),
                server: Session::server(Arc::new(server)).unwrap(),
            };
            handshake(&mut pair, step).unwrap();
            let sealed = seal(&mut pair.client, b"and data");
            let mut inbox = Inbox::default();
            inbox.feed(&mut pair.server, &sealed).unwrap();
            assert_eq!(inbox.plaintext, b"and data");
        }
    }
}

#[test]
fn data_in_the_same_read_as_the_last_flight_is_opened() {
    let mut pair = fresh(BOTH[0], "kubelet.test");
    let (mut to_client, mut to_server) = (Inbox::default(), Inbox::default());
    to_client.feed(&mut pair.client, &[]).unwrap();
    let hello = pair.client.take_outgoing();
    to_server.feed(&mut pair.server, &hello).unwrap();
    let flight = pair.server.take_outgoing();
    to_client.feed(&mut pair.client, &flight).unwrap();
    // The client's Finished waits, and goes ahead of the data.
    let sealed = seal(&mut pair.client, b"first words");
    to_server.feed(&mut pair.server, &sealed).unwrap();
    assert_eq!(to_server.plaintext, b"first words");
}

#[test]
fn harmless_alerts_are_passed_over() {
    for (versions, alert) in [(BOTH[0], [1, 90]), (BOTH[1], [1, 100])] {
        let mut pair = established(versions);
        let mut wire = record(&mut pair.client, 21, &alert);
        wire.extend(seal(&mut pair.client, b"on"));
        let mut inbox = Inbox::default();
        inbox.feed(&mut pair.server, &wire).unwrap();
        assert_eq!(inbox.plaintext, b"on");
    }
}

#[test]
fn into_kernel_gives_the_sequence_numbers_after_the_handshake() {
    for (versions, sequence) in [(BOTH[0], 0), (BOTH[1], 1)] {
        let pair = established(versions);
        let client = pair.client.into_kernel().unwrap();
        let server = pair.server.into_kernel().unwrap();
        assert!(!client.is_server && server.is_server);
        for secrets in [client.secrets, server.secrets] {
            assert_eq!((secrets.tx.0, secrets.rx.0), (sequence, sequence));
        }
    }
}

#[test]
fn into_kernel_of_a_session_that_was_used_is_refused() {
    let mut pair = established(BOTH[0]);
    seal(&mut pair.client, b"one record");
    assert!(pair.client.into_kernel().is_err());
}

#[test]
fn missing_to_record_end_counts_header_then_payload() {
    assert_eq!(missing_to_record_end(&[]), 5);
    assert_eq!(missing_to_record_end(&[23, 3, 3]), 2);
    assert_eq!(missing_to_record_end(&[23, 3, 3, 1, 0]), 256);
    assert_eq!(missing_to_record_end(&[23, 3, 3, 0, 2, 9, 9]), 0);
    assert_eq!(missing_to_record_end(&[23, 3, 3, 0, 2, 9, 9, 22]), 4);
    assert_eq!(
        missing_to_record_end(&[23, 3, 3, 0, 0, 22, 3, 3, 0, 9, 1]),
        8
    );
}

/// What a relay does: records of `sizes` come in on one session, and go out on another.
fn relayed(versions: [usize; 2], sizes: &[usize], cut: usize) -> (Vec<Layout>, Vec<usize>) {
    let mut from = established(BOTH[versions[0]]);
    let mut to = established(BOTH[versions[1]]);
    seal(&mut to.server, b"");
    let mut wire = Vec::new();
    let mut sent = Vec::new();
    for (n, size) in sizes.iter().enumerate() {
        let content: Vec<u8> = (0..*size).map(|at| ((at + n) % 251) as u8).collect();
        wire.extend(seal(&mut from.client, &content));
        sent.extend(content);
    }
    let (mut layouts, mut records) = (vec![], vec![]);
    let mut inbox = Inbox::default();
    for piece in wire.chunks(cut) {
        let kept = from.server.pending_len();
        let mut buffer = vec![0; 200_000];
        buffer[kept..kept + piece.len()].copy_from_slice(piece);
        let wanted = to.server.layout();
        let got = from
            .server
            .receive_as(wanted, &mut buffer[..kept + piece.len()])
            .unwrap();
        layouts.push(got.layout);
        let sealed = match got.layout {
            Layout::Slots => to.server.seal_slots(got.plaintext, &mut buffer).unwrap(),
            Layout::Dense => None,
        };
        let sealed = match sealed {
            Some(len) => buffer[..len].to_vec(),
            None => seal(&mut to.server, &buffer[..got.plaintext]),
        };
        let mut rest = &sealed[..];
        while let [_, _, _, high, low, ..] = rest {
            records.push(usize::from(u16::from_be_bytes([*high, *low])));
            rest = &rest[5 + records.last().unwrap()..];
        }
        inbox.feed(&mut to.client, &sealed).unwrap();
    }
    assert!(inbox.plaintext == sent, "{versions:?} {sizes:?} {cut}");
    (layouts, records)
}

#[test]
fn full_records_are_sealed_where_they_stand() {
    let full = [16_384; 7];
    let (layouts, records) = relayed([0, 0], &full, 120_000);
    assert_eq!(layouts, [Layout::Slots]);
    assert_eq!(records, [16_384 + 17; 7]);
    // Reads that end in the middle of records make no difference.
    let (layouts, records) = relayed([0, 0], &full, 40_000);
    assert!(layouts.iter().all(|layout| *layout == Layout::Slots));
    assert_eq!(records, [16_384 + 17; 7]);
}

#[test]
fn small_records_are_sealed_as_one_where_they_stand() {
    let (layouts, records) = relayed([0, 0], &[120; 64], 120_000);
    assert_eq!(
        (layouts, records),
        (vec![Layout::Slots], vec![64 * 120 + 17])
    );
}

#[test]
fn records_of_any_sizes_and_versions_go_out_in_as_few_records_as_they_fill() {
    for versions in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        for sizes in [
            &[16_384, 100, 16_384][..],
            &[100, 16_384, 16_384],
            &[16_384, 16_384, 5000, 12_000],
            &[8000, 8384, 16_384, 1],
            &[16_383, 16_384],
            &[1, 1, 1],
        ] {
            let total: usize = sizes.iter().sum();
            let (_, records) = relayed(versions, sizes, 200_000);
            assert_eq!(records.len(), total.div_ceil(RECORD_PAYLOAD), "{sizes:?}");
            for cut in [1000, 17_000] {
                relayed(versions, sizes, cut);
            }
        }
    }
}

#[test]
fn slots_behind_an_answer_that_waits_or_a_key_that_ends_are_moved_together() {
    let mut pair = established(BOTH[0]);
    let mut other = established(BOTH[0]);
    for used_up in [false, true] {
        let data = vec![7; 40_000];
        let mut buffer = seal(&mut other.client, &data);
        buffer.resize(60_000, 0);
        let len = 40_000 + 3 * 22;
        let got = other
            .server
            .receive_as(Layout::Slots, &mut buffer[..len])
            .unwrap();
        assert_eq!((got.plaintext, got.layout), (40_000, Layout::Slots));
        if used_up {
            for side in [&mut pair.client, &mut pair.server] {
                keys(side).skip_to_used_up();
            }
        } else {
            let mut ask = record(&mut pair.client, 22, &[24, 0, 0, 1, 1]);
            keys(&mut pair.client).rotate_tx();
            pair.server.receive(&mut ask).unwrap();
        }
        assert_eq!(pair.server.seal_slots(40_000, &mut buffer).unwrap(), None);
        let sealed = seal(&mut pair.server, &buffer[..40_000]);
        let mut inbox = Inbox::default();
        inbox.feed(&mut pair.client, &sealed).unwrap();
        assert_eq!(inbox.plaintext, data);
    }
}

#[test]
fn session_that_is_gone_on_from_keeps_what_is_behind_its_end() {
    for versions in BOTH {
        for kept in [true, false] {
            let mut pair = established(versions);
            if kept {
                pair.server.goes_on();
                pair.server.goes_on();
            }
            let mut wire = seal(&mut pair.client, b"last");
            let mut end = vec![0; sealed_bound(0)];
            let len = pair.client.close(&mut end).unwrap();
            wire.extend_from_slice(&end[..len]);
            let mut inbox = Inbox::default();
            inbox
                .feed(&mut pair.server, &wire[..wire.len() - 1])
                .unwrap();
            assert_eq!(pair.server.take_behind(), None, "it has not ended");
            let rest = [&wire[wire.len() - 1..], b"\x16\x03\x01 not of the session"].concat();
            inbox.feed(&mut pair.server, &rest).unwrap();
            assert!(inbox.closed && inbox.plaintext == b"last");
            let behind = kept.then(|| rest[1..].to_vec());
            assert_eq!(pair.server.take_behind(), behind);
            assert_eq!(pair.server.take_behind(), kept.then(Vec::new), "once");
        }
    }
}
