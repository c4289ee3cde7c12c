use super::*;
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::unbuffered::ConnectionState;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

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
        let mut out = vec![0; buffer.len()];
        let got = session.receive(&mut buffer, &mut out)?;
        self.plaintext.extend_from_slice(&out[..got.plaintext]);
        self.closed |= got.peer_closed;
        Ok(())
    }
}

fn configs(versions: &[&'static rustls::SupportedProtocolVersion]) -> (ClientConfig, ServerConfig) {
    let issued = rcgen::generate_simple_self_signed(vec!["kubelet.test".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    server.send_tls13_tickets = 0;
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (client, server)
}

fn fresh(versions: &[&'static rustls::SupportedProtocolVersion], name: &'static str) -> Pair {
    let (client, server) = configs(versions);
    Pair {
        client: Session::client(Arc::new(client), name.try_into().unwrap()).unwrap(),
        server: Session::server(Arc::new(server)).unwrap(),
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
        let mut out = [0; 512];
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
fn seal_beside_an_unfinished_handshake_message_does_not_panic() {
    let mut pair = established(BOTH[0]);
    let keys = pair.server.into_kernel().unwrap().secrets;
    // A NewSessionTicket of 100 bytes, of which only 10 come: made with the server's own keys.
    let rustls::ConnectionTrafficSecrets::Aes256Gcm { key, iv } = keys.tx.1 else {
        panic!("another suite than rustls prefers")
    };
    let mut record = vec![4, 0, 0, 100, 1, 2, 3, 4, 5, 6, 22];
    let header = [23, 3, 3, 0, u8::try_from(record.len() + 16).unwrap()];
    let key = ring::aead::LessSafeKey::new(
        ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, key.as_ref()).unwrap(),
    );
    let nonce = ring::aead::Nonce::try_assume_unique_for_key(iv.as_ref()).unwrap();
    key.seal_in_place_append_tag(nonce, ring::aead::Aad::from(header), &mut record)
        .unwrap();
    let wire = [&header[..], &record].concat();
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.client, &wire).unwrap();
    assert_eq!(pair.client.pending_len(), wire.len());
    assert!(!seal(&mut pair.client, b"meanwhile").is_empty());
    assert!(pair.client.close(&mut [0; 600]).unwrap() > 0);
}

#[test]
fn key_update_is_answered_ahead_of_the_next_data() {
    let mut pair = established(BOTH[0]);
    let Conn::Client(conn) = &mut pair.client.conn else {
        unreachable!()
    };
    let status = conn.process_tls_records(&mut []);
    let Ok(ConnectionState::WriteTraffic(writer)) = status.state else {
        panic!("not writable")
    };
    writer.refresh_traffic_keys().unwrap();
    let sealed = seal(&mut pair.client, b"under the new key");
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.server, &sealed).unwrap();
    assert_eq!(inbox.plaintext, b"under the new key");
    let sealed = seal(&mut pair.server, b"answer");
    let mut back = Inbox::default();
    back.feed(&mut pair.client, &sealed).unwrap();
    assert_eq!(back.plaintext, b"answer");
}

#[test]
fn into_kernel_gives_sequence_numbers_that_count_the_records_so_far() {
    let mut pair = established(BOTH[0]);
    let sealed = seal(&mut pair.client, b"one record");
    let mut inbox = Inbox::default();
    inbox.feed(&mut pair.server, &sealed).unwrap();
    let handover = pair.client.into_kernel().unwrap();
    assert_eq!(handover.secrets.tx.0, 1);
    assert_eq!(pair.server.into_kernel().unwrap().secrets.rx.0, 1);
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
