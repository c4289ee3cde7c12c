//! Our records against rustls' own: the same wire bytes, fed to a session of each, must give the same
//! payload, the same end, and an error at the same place.

use super::super::*;
use crate::tls::provider;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rustls::crypto::ring::cipher_suite;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, Connection, RootCertStore, ServerConnection};
use std::io::{Read, Write};
use std::sync::LazyLock;

/// Room for the tickets ahead of the first record, and for the answer to a key update.
const TICKETS: usize = 2048;

/// Every cipher that can be negotiated.
static SUITES: [(&rustls::SupportedProtocolVersion, SupportedCipherSuite); 6] = [
    (&TLS13, cipher_suite::TLS13_AES_128_GCM_SHA256),
    (&TLS13, cipher_suite::TLS13_AES_256_GCM_SHA384),
    (&TLS13, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        &TLS12,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        &TLS12,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        &TLS12,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

static CONFIGS: LazyLock<Vec<(Arc<ClientConfig>, Arc<ServerConfig>)>> =
    LazyLock::new(|| SUITES.iter().map(configs).collect());

fn configs(
    (version, suite): &(
        &'static rustls::SupportedProtocolVersion,
        SupportedCipherSuite,
    ),
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let mut provider = CryptoProvider::clone(&provider::shared());
    provider.cipher_suites = vec![*suite];
    let provider = Arc::new(provider);
    let issued = rcgen::generate_simple_self_signed(vec!["kubelet.test".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    // Its default, two tickets, is what a client of ours must pass over, and what a server of ours
    // sends ahead of its first record.
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

/// A session of ours and its peer, which is rustls'.
struct Mixed {
    ours: Session,
    theirs: Connection,
    got: Vec<u8>,
}

impl Mixed {
    fn new(suite: usize, we_serve: bool, library: RecordLibrary) -> Self {
        let (client, server) = CONFIGS[suite].clone();
        let name = ServerName::try_from("kubelet.test").unwrap();
        let (ours, theirs) = if we_serve {
            let theirs = ClientConnection::new(client, name).unwrap().into();
            // Sessions are resumed here, with the tickets of earlier cases.
            let anybody = Some(WebPkiClientVerifier::no_client_auth());
            (Session::server_of(server, anybody).unwrap(), theirs)
        } else {
            let theirs = ServerConnection::new(server).unwrap().into();
            (Session::client(client, name).unwrap(), theirs)
        };
        let mut mixed = Self {
            ours: ours.protected_by(library),
            theirs,
            got: Vec::new(),
        };
        mixed.ours.receive(&mut []).unwrap();
        for _ in 0..8 {
            mixed.ours_to_theirs();
            let wire = mixed.their_output();
            mixed.feed_ours(&wire).unwrap();
        }
        assert!(!mixed.ours.is_handshaking() && !mixed.theirs.is_handshaking());
        mixed
    }

    fn ours_to_theirs(&mut self) {
        let wire = self.ours.take_outgoing();
        self.feed_theirs(&wire);
    }

    fn feed_theirs(&mut self, mut wire: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        while !wire.is_empty() {
            self.theirs.read_tls(&mut wire).unwrap();
            self.theirs.process_new_packets().unwrap();
            let mut piece = vec![0; 32 * 1024];
            while let Ok(n @ 1..) = self.theirs.reader().read(&mut piece) {
                payload.extend_from_slice(&piece[..n]);
            }
        }
        payload
    }

    fn their_output(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut wire).unwrap();
        }
        wire
    }

    fn feed_ours(&mut self, wire: &[u8]) -> Result<bool, TlsError> {
        let mut buffer = vec![0; self.ours.pending_len()];
        buffer.extend_from_slice(wire);
        let got = self.ours.receive(&mut buffer)?;
        self.got.extend_from_slice(&buffer[..got.plaintext]);
        Ok(got.peer_closed)
    }

    fn refresh_theirs(&mut self) {
        self.theirs.refresh_traffic_keys().unwrap();
    }
}

/// Full records of every cipher, whose records are of different lengths, wanted where they can be
/// sealed again.
#[test]
fn full_records_of_every_suite_are_opened_to_slots_or_together() {
    let each = |library| SUITES.iter().enumerate().map(move |suite| (library, suite));
    for (library, (suite, (_, cipher))) in RecordLibrary::BUILT.iter().flat_map(each) {
        let mut mixed = Mixed::new(suite, false, *library);
        let sent = data(3 * RECORD_PAYLOAD);
        mixed.theirs.writer().write_all(&sent).unwrap();
        let mut buffer = mixed.their_output();
        let got = mixed.ours.receive_as(Layout::Slots, &mut buffer).unwrap();
        assert_eq!(got.plaintext, sent.len());
        if got.layout == Layout::Slots {
            compact(&mut buffer, got.plaintext);
        }
        assert!(buffer[..sent.len()] == sent, "{library} {cipher:?}");
    }
}

/// What one side does next.
#[derive(Clone, Debug)]
enum Act {
    WeSend(usize),
    TheySend(usize),
    TheyUpdateTheirKey,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let size = prop_oneof![1..200usize, 16_380..16_390usize, 1..70_000usize];
    let act = prop_oneof![
        size.clone().prop_map(Act::WeSend),
        size.prop_map(Act::TheySend),
        Just(Act::TheyUpdateTheirKey),
    ];
    vec(act, 1..12)
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn conversation_with_rustls_is_byte_exact_both_ways(
        suite in 0..SUITES.len(),
        we_serve: bool,
        library in select(RecordLibrary::BUILT),
        acts in acts(),
        cuts in vec(1..9000usize, 1..8),
    ) {
        let mut mixed = Mixed::new(suite, we_serve, library);
        let (mut theirs_sent, mut ours_sent, mut theirs_got) = (vec![], vec![], vec![]);
        for act in acts {
            match act {
                Act::WeSend(len) => {
                    let mut out = vec![0; sealed_bound(len) + TICKETS];
                    let n = mixed.ours.seal(&data(len), &mut out).unwrap();
                    ours_sent.extend(data(len));
                    theirs_got.extend(mixed.feed_theirs(&out[..n]));
                }
                Act::TheySend(len) => {
                    let mut left = data(len);
                    theirs_sent.extend_from_slice(&left);
                    while !left.is_empty() {
                        let taken = mixed.theirs.writer().write(&left).unwrap();
                        left.drain(..taken);
                        let wire = mixed.their_output();
                        let mut rest = &wire[..];
                        for cut in cuts.iter().cycle() {
                            let (piece, next) = rest.split_at((*cut).min(rest.len()));
                            mixed.feed_ours(piece).unwrap();
                            rest = next;
                            if rest.is_empty() { break; }
                        }
                    }
                }
                Act::TheyUpdateTheirKey if SUITES[suite].0 == &TLS13 => mixed.refresh_theirs(),
                Act::TheyUpdateTheirKey => {}
            }
        }
        prop_assert!(mixed.got == theirs_sent);
        prop_assert!(theirs_got == ours_sent);
        // Both ends come through, and an answer to a key update before them.
        let mut out = vec![0; 4096];
        let n = mixed.ours.close(&mut out).unwrap();
        mixed.feed_theirs(&out[..n]);
        mixed.theirs.send_close_notify();
        let wire = mixed.their_output();
        prop_assert!(mixed.feed_ours(&wire).unwrap());
    }

    /// A stream that was damaged or cut: rustls and we deliver the same bytes, and then both fail or
    /// both wait.
    #[test]
    fn damaged_stream_ends_where_it_ends_for_rustls(
        suite in 0..SUITES.len(),
        library in select(RecordLibrary::BUILT),
        sizes in vec(0..20_000usize, 1..5),
        at: prop::sample::Index,
        with in 1..=255u8,
        drop in 0..3usize,
    ) {
        let (client, server) = CONFIGS[suite].clone();
        // Two clients of one rustls server cannot share its keys, so the same thing is done to two.
        let mut mixed = Mixed::new(suite, false, library);
        let mut plain = (
            Connection::from(ClientConnection::new(client, ServerName::try_from("kubelet.test").unwrap()).unwrap()),
            Connection::from(ServerConnection::new(server).unwrap()),
        );
        for _ in 0..4 {
            transfer(&mut plain.0, &mut plain.1);
            transfer(&mut plain.1, &mut plain.0);
        }
        let damage = |mut wire: Vec<u8>| {
            let at = at.index(wire.len());
            wire[at] ^= with;
            wire.drain(at..(at + drop).min(wire.len()));
            wire
        };
        let (mut ours, mut theirs) = (vec![], vec![]);
        for size in sizes {
            mixed.theirs.writer().write_all(&data(size)).unwrap();
            ours.extend(mixed.their_output());
            plain.1.writer().write_all(&data(size)).unwrap();
            while plain.1.wants_write() {
                plain.1.write_tls(&mut theirs).unwrap();
            }
        }
        prop_assert_eq!(ours.len(), theirs.len());
        prop_assume!(!ours.is_empty());
        // Record by record: an error takes nothing back that came before it.
        let (ours, theirs) = (damage(ours), damage(theirs));
        // Where the damage makes ciphertext a header, the two are damaged differently.
        prop_assume!(headers(&ours) == headers(&theirs));
        prop_assume!(headers_are_judged_alike(&ours, SUITES[suite].0 == &TLS13));
        let our_end = by_records(&ours, |piece| mixed.feed_ours(piece).is_err());
        let mut got = vec![];
        let their_end = by_records(&theirs, |mut piece| {
            let mut failed = false;
            while !piece.is_empty() && !failed {
                plain.0.read_tls(&mut piece).unwrap();
                failed = plain.0.process_new_packets().is_err();
                let mut room = vec![0; 32 * 1024];
                while let Ok(n @ 1..) = plain.0.reader().read(&mut room) {
                    got.extend_from_slice(&room[..n]);
                }
            }
            failed
        });
        prop_assert!(mixed.got == got);
        prop_assert_eq!(our_end, their_end);
    }
}

/// Whether no header was damaged in a way that we refuse and rustls does not, or not yet: it takes
/// any type and minor version in TLS 1.3, and longer records than TLS 1.3 allows.
fn headers_are_judged_alike(wire: &[u8], tls13: bool) -> bool {
    let longest = if tls13 { 16_384 + 256 } else { 16_384 + 2048 };
    let refused = by_records(wire, |record| match record {
        [kind, 3, 3, high, low, ..] => {
            let len = u16::from_be_bytes([*high, *low]);
            !(20..=23).contains(kind) || (tls13 && *kind != 23) || len > longest
        }
        [_, _, _, _, _, ..] => true,
        _ => false,
    });
    refused.is_none()
}

/// The headers of what look like records.
fn headers(wire: &[u8]) -> Vec<Vec<u8>> {
    let mut headers = Vec::new();
    by_records(wire, |record| {
        headers.push(record[..record.len().min(RECORD_HEADER)].to_vec());
        false
    });
    headers
}

fn transfer(from: &mut Connection, to: &mut Connection) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = &wire[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
}

/// Feeds what looks like a record at a time until `feed` says that it failed; tells after how many.
fn by_records(mut wire: &[u8], mut feed: impl FnMut(&[u8]) -> bool) -> Option<usize> {
    for count in 0.. {
        if wire.is_empty() {
            return None;
        }
        let len = match wire {
            [_, _, _, high, low, ..] => 5 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => wire.len(),
        };
        let (record, rest) = wire.split_at(len.min(wire.len()));
        if feed(record) {
            return Some(count);
        }
        wire = rest;
    }
    None
}
