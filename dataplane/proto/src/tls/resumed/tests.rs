use super::super::{RECORD_HEADER, Session, sealed_bound};
use super::*;
use crate::tls::provider;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::ClientConnection;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
/// After all that a certificate of the tests lives for.
const CENTURY: u64 = 100 * 366 * 24 * 3600;

/// The server's clock, in seconds after the present.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs() + self.0.load(Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

/// A CA, and what it signs.
struct Made {
    ca: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: KeyPair,
}

impl Made {
    fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        // Of its own name: a stranger's is not known, a namesake's has the wrong signature.
        let name = format!("ca {:?}", ca_key.public_key_raw());
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["kubelet.test".into()]).unwrap();
        leaf.not_after = date_time_ymd(2100, 1, 1);
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        Self {
            ca: ca_certificate.der().clone(),
            leaf: leaf.der().clone(),
            key,
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        roots
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider::shared())
            .build()
            .unwrap()
    }
}

/// A server that resumes, its clock, and a client that does.
struct Site {
    made: Made,
    clock: Arc<Clock>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Site {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let made = Made::new();
        let clock = Arc::new(Clock::default());
        let mut server = ServerConfig::builder_with_details(
            provider::shared(),
            Arc::clone(&clock) as Arc<dyn TimeProvider>,
        )
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(made.verifier())
        .with_single_cert(vec![made.leaf.clone()], made.key())
        .unwrap();
        server.ticketer = Ticketer::new().unwrap();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 1;
        server.enable_secret_extraction = true;
        let client = ClientConfig::builder_with_provider(provider::shared())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(made.roots())
            .with_client_auth_cert(vec![made.leaf.clone()], made.key())
            .unwrap();
        Self {
            made,
            clock,
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    fn session(&self, clients: Option<Arc<dyn ClientCertVerifier>>) -> Session {
        Session::server_of(Arc::clone(&self.server), clients).unwrap()
    }

    fn judging(&self) -> Session {
        self.session(Some(self.made.verifier()))
    }

    fn connection(&self) -> ClientConnection {
        let name = "kubelet.test".try_into().unwrap();
        ClientConnection::new(Arc::clone(&self.client), name).unwrap()
    }

    /// One whole session, at whose end the client has a ticket.
    fn visit(&self) {
        let (mut client, mut server) = (self.connection(), self.judging());
        shake(&mut client, &mut server).unwrap();
        let sealed = seal(&mut server, b"hello");
        assert_eq!(read(&mut client, &sealed), b"hello");
    }
}

/// Hands the client's output to the server; returns the payload in it.
fn take(client: &mut ClientConnection, server: &mut Session) -> Result<Vec<u8>, TlsError> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    let mut buffer = vec![0; server.pending_len()];
    buffer.extend_from_slice(&wire);
    let got = server.receive(&mut buffer)?;
    buffer.truncate(got.plaintext);
    Ok(buffer)
}

fn give(client: &mut ClientConnection, mut wire: &[u8]) -> Result<(), Error> {
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn read(client: &mut ClientConnection, wire: &[u8]) -> Vec<u8> {
    give(client, wire).unwrap();
    let mut payload = Vec::new();
    match client.reader().read_to_end(&mut payload) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
        _ => payload,
    }
}

/// Runs a handshake. What the client wrote before goes out with its last flight.
fn shake(client: &mut ClientConnection, server: &mut Session) -> Result<Vec<u8>, TlsError> {
    let mut payload = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        payload.extend(take(client, server)?);
        give(client, &server.take_outgoing()).unwrap();
    }
    payload.extend(take(client, server)?);
    Ok(payload)
}

fn seal(server: &mut Session, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sealed_bound(payload.len()) + 8192];
    let sealed = server.seal(payload, &mut out).unwrap();
    out.truncate(sealed);
    out
}

/// A resumption that must fail with the same word for the client as a full handshake.
fn refused(site: &Site, mut server: Session, alert: AlertDescription) -> TlsError {
    let mut client = site.connection();
    client.writer().write_all(b"CONNECT").unwrap();
    let error = shake(&mut client, &mut server).unwrap_err();
    assert!(error.is_certificate(), "{error:?}");
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Resumed));
    let told = give(&mut client, &server.take_outgoing());
    assert_eq!(told, Err(Error::AlertReceived(alert)));
    let mut more = [0; 64];
    assert!(server.receive(&mut more).is_err() && server.peer_certificates().is_none());
    error
}

#[test]
fn resumed_client_that_is_still_good_is_taken() {
    for version in BOTH {
        let site = Site::new(version);
        for round in 0..3 {
            let (mut client, mut server) = (site.connection(), site.judging());
            client.writer().write_all(b"CONNECT").unwrap();
            assert_eq!(shake(&mut client, &mut server).unwrap(), b"CONNECT");
            assert_eq!(server.is_resumed(), round > 0, "{version:?}");
            let chain = [site.made.leaf.clone()];
            assert_eq!(server.peer_certificates(), Some(&chain[..]));
            let sealed = seal(&mut server, b"200");
            assert_eq!(read(&mut client, &sealed), b"200");
            assert_eq!(server.is_resumed(), round > 0, "{version:?}");
        }
    }
}

#[test]
fn resumed_client_whose_certificate_ended_is_refused() {
    for version in BOTH {
        let site = Site::new(version);
        site.visit();
        site.clock.0.store(CENTURY, Relaxed);
        let error = refused(&site, site.judging(), AlertDescription::CertificateExpired);
        assert!(matches!(
            error,
            TlsError::Rustls(Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. }
            ))
        ));
    }
}

#[test]
fn resumed_client_whose_ca_is_gone_is_refused() {
    for version in BOTH {
        let site = Site::new(version);
        site.visit();
        let session = site.session(Some(Made::new().verifier()));
        refused(&site, session, AlertDescription::UnknownCA);
    }
}

#[test]
fn resumed_client_whom_nobody_can_judge_is_refused() {
    for version in BOTH {
        let site = Site::new(version);
        for clients in [None, Some(WebPkiClientVerifier::no_client_auth())] {
            site.visit();
            let error = refused(&site, site.session(clients), AlertDescription::AccessDenied);
            assert!(matches!(error, TlsError::ResumedUnjudged));
        }
    }
}

/// A ticket of a server that asks for no certificate, where one is demanded.
#[test]
fn resumed_client_without_a_certificate_is_refused_where_one_is_demanded() {
    let site = Site::new(&TLS13);
    let mut anybody = ServerConfig::builder_with_provider(provider::shared())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![site.made.leaf.clone()], site.made.key())
        .unwrap();
    anybody.ticketer = Arc::clone(&site.server.ticketer);
    anybody.enable_secret_extraction = true;
    let nobody = Some(WebPkiClientVerifier::no_client_auth());
    let (mut client, anybody) = (site.connection(), Arc::new(anybody));
    let mut server = Session::server_of(Arc::clone(&anybody), nobody.clone()).unwrap();
    shake(&mut client, &mut server).unwrap();
    let sealed = seal(&mut server, b"hello");
    read(&mut client, &sealed);
    // Where none is asked for, it resumes.
    let mut client = site.connection();
    let mut server = Session::server_of(anybody, nobody).unwrap();
    shake(&mut client, &mut server).unwrap();
    assert!(server.is_resumed());
    let sealed = seal(&mut server, b"hello");
    read(&mut client, &sealed);
    refused(&site, site.judging(), AlertDescription::CertificateRequired);
}

#[test]
fn ticket_waits_for_the_first_record_and_goes_out_ahead_of_it() {
    let site = Site::new(&TLS13);
    let (mut client, mut server) = (site.connection(), site.judging());
    shake(&mut client, &mut server).unwrap();
    assert!(server.has_ticket() && !server.has_outgoing());
    assert!(server.seal_slots(0, &mut []).unwrap().is_none());
    // Whatever the client sends meanwhile changes nothing.
    client.writer().write_all(b"and so on").unwrap();
    assert_eq!(take(&mut client, &mut server).unwrap(), b"and so on");
    assert!(server.has_ticket() && !server.has_outgoing());
    let alone = seal(&mut server, &[7; 100]);
    assert!(!server.has_ticket());
    assert!(alone.len() > 100 + 500 && alone[0] == 23);
    let ticket = RECORD_HEADER + usize::from(u16::from_be_bytes([alone[3], alone[4]]));
    assert_eq!(read(&mut client, &alone[..ticket]), b"");
    assert_eq!(read(&mut client, &alone[ticket..]), [7; 100]);
}

#[test]
fn ticket_goes_out_ahead_of_answers_ends_and_alerts() {
    let site = Site::new(&TLS13);
    let fresh = || {
        let (mut client, mut server) = (site.connection(), site.judging());
        shake(&mut client, &mut server).unwrap();
        assert!(server.has_ticket());
        (client, server)
    };
    let (mut client, mut server) = fresh();
    client.refresh_traffic_keys().unwrap();
    take(&mut client, &mut server).unwrap();
    assert!(server.has_outgoing(), "rustls asks for our key update, too");
    server.answer().unwrap();
    assert!(!server.has_ticket());
    give(&mut client, &server.take_outgoing()).unwrap();
    assert_eq!(read(&mut client, &seal(&mut server, b"new")), b"new");

    let (mut client, mut server) = fresh();
    let mut end = vec![0; 8192];
    let len = server.close(&mut end).unwrap();
    give(&mut client, &end[..len]).unwrap();
    assert!(client.process_new_packets().unwrap().peer_has_closed());

    let (mut client, mut server) = fresh();
    let mut junk = vec![23, 3, 3, 0, 32];
    junk.resize(RECORD_HEADER + 32, 0);
    assert!(server.receive(&mut junk).is_err());
    let told = give(&mut client, &server.take_outgoing());
    let alert = Error::AlertReceived(AlertDescription::BadRecordMac);
    assert_eq!(told, Err(alert));
}

#[test]
fn session_with_a_ticket_that_waits_is_not_handed_to_the_kernel() {
    let site = Site::new(&TLS13);
    let (mut client, mut server) = (site.connection(), site.judging());
    shake(&mut client, &mut server).unwrap();
    assert!(matches!(server.into_kernel(), Err(TlsError::NotWritable)));
}
