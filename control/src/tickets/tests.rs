use super::*;
use eyesplice_identity::pki::testing::{Made, NOW, authority, client, kubelet};
use eyesplice_proto::tls::provider;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConnection};
use rustls::{Error, SupportedProtocolVersion};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use time::Duration as Span;

const LIFETIME: Duration = Duration::from_secs(600);
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A clock in a test's hands, in seconds after the test's time.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(at(self.0.load(Relaxed)))
    }
}

fn at(seconds: u64) -> UnixTime {
    let start = u64::try_from(NOW.unix_timestamp()).unwrap();
    UnixTime::since_unix_epoch(Duration::from_secs(start + seconds))
}

/// What a client keeps that shows any ticket to any server.
#[derive(Debug)]
struct Unscrupulous(ClientSessionMemoryCache);

impl Unscrupulous {
    fn new() -> Self {
        Self(ClientSessionMemoryCache::new(16))
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("whoever.example").unwrap()
    }
}

impl ClientSessionStore for Unscrupulous {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

/// A PKI, a server's clock, and a client that keeps its tickets.
struct Site {
    ca: Made,
    clock: Arc<Clock>,
    client: Arc<ClientConfig>,
    version: &'static SupportedProtocolVersion,
}

impl Site {
    /// Whose client's certificate ends after `life`; it comes with the CA's.
    fn new(version: &'static SupportedProtocolVersion, life: Span) -> Self {
        let ca = authority("ca").self_signed();
        let own = client("kube-apiserver").valid(-Span::DAY, life);
        let own = own.signed_by(&ca);
        let chain = vec![own.der(), ca.der()];
        let mut client =
            ClientConfig::builder_with_details(provider::shared(), Arc::new(Clock::default()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(ca.roots())
                .with_client_auth_cert(chain, own.private_key())
                .unwrap();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.resumption = Resumption::store(Arc::new(Unscrupulous::new()));
        Self {
            ca,
            clock: Arc::default(),
            client: Arc::new(client),
            version,
        }
    }

    fn leaf(&self) -> Arc<CertifiedKey> {
        kubelet().signed_by(&self.ca).certified()
    }

    fn server(&self, tickets: &Tickets, leaf: &Arc<CertifiedKey>, purpose: &str) -> ServerConfig {
        let provider = provider::shared();
        let clock = Arc::clone(&self.clock) as Arc<dyn TimeProvider>;
        let roots = self.ca.roots();
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let mut config = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_client_cert_verifier(clients.unwrap())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(leaf))));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        tickets.apply(&mut config, leaf, purpose);
        config
    }

    /// Whether a visit to `host`, as whom `server` answers, resumes.
    fn resumes(&self, server: &ServerConfig, host: &str) -> bool {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut client = Connection::from(client);
        let server = ServerConnection::new(Arc::new(server.clone())).unwrap();
        let mut server = Connection::from(server);
        while client.wants_write() || server.wants_write() {
            carry(&mut client, &mut server).unwrap();
            carry(&mut server, &mut client).unwrap();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        client.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Hands over all that one side wrote.
pub(crate) fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn tickets() -> Tickets {
    Tickets::drawn_at(LIFETIME, at(0)).unwrap()
}

const HOSTS: [&str; 2] = ["worker-3.example", "10.0.0.7"];

#[test]
fn ticket_resumes_with_whatever_worker_holds_the_configuration() {
    for version in BOTH {
        for host in HOSTS {
            let site = Site::new(version, Span::DAY);
            let (tickets, leaf) = (tickets(), site.leaf());
            let one = site.server(&tickets, &leaf, "test");
            // Built again for each stream, as leaves of an authority are.
            let other = site.server(&tickets, &leaf, "test");
            assert!(!site.resumes(&one, host));
            assert!(site.resumes(&other, host), "{version:?} {host}");
            assert!(site.resumes(&one, host), "{version:?} {host}");
        }
    }
}

#[test]
fn ticket_is_worth_nothing_elsewhere() {
    for version in BOTH {
        for host in HOSTS {
            let site = Site::new(version, Span::DAY);
            let (keys, leaf) = (tickets(), site.leaf());
            let first = site.server(&keys, &leaf, "test");
            for (what, other) in [
                ("another leaf", site.server(&keys, &site.leaf(), "test")),
                ("another use", site.server(&keys, &leaf, "of it")),
                ("after a reload", site.server(&tickets(), &leaf, "test")),
                ("none", site.server(&Tickets::none(), &leaf, "test")),
            ] {
                site.resumes(&first, host);
                assert!(site.resumes(&first, host));
                assert!(!site.resumes(&other, host), "{version:?} {host}: {what}");
            }
        }
    }
}

#[test]
fn ticket_of_another_name_is_worth_nothing() {
    for version in BOTH {
        let site = Site::new(version, Span::DAY);
        let server = site.server(&tickets(), &site.leaf(), "test");
        site.resumes(&server, "worker-3.example");
        assert!(site.resumes(&server, "worker-3.example"));
        // The same certificate serves both names.
        assert!(!site.resumes(&server, "10.0.0.7"));
    }
}

#[test]
fn ticket_ends_with_its_lifetime_and_with_the_clients_certificate() {
    for version in BOTH {
        for (life, good, over) in [
            (Span::DAY, 599, 600),
            (Span::minutes(3), 179, 180), // the certificate's end
        ] {
            let site = Site::new(version, life);
            let server = site.server(&tickets(), &site.leaf(), "test");
            site.resumes(&server, "10.0.0.7");
            let ticketer = Arc::clone(&server.ticketer);
            let ticket = {
                let recorded = Recorded::new();
                let mut server = server.clone();
                server.ticketer = Arc::new(recorded.over(ticketer));
                site.resumes(&server, "10.0.0.7");
                recorded.last_ticket()
            };
            site.clock.0.store(good, Relaxed);
            assert!(server.ticketer.decrypt(&ticket).is_some(), "{version:?}");
            site.clock.0.store(over, Relaxed);
            assert!(server.ticketer.decrypt(&ticket).is_none(), "{version:?}");
        }
    }
}

#[test]
fn client_proves_its_key_once_a_day_however_often_it_resumes() {
    let site = Site::new(&TLS13, Span::weeks(1));
    let server = site.server(&tickets(), &site.leaf(), "test");
    let mut full = Vec::new();
    for seconds in (0..3 * PROOF_SECONDS).step_by(300) {
        site.clock.0.store(seconds, Relaxed);
        if !site.resumes(&server, "10.0.0.7") {
            full.push(seconds);
        }
    }
    assert_eq!(full, [0, PROOF_SECONDS, 2 * PROOF_SECONDS]);
}

#[test]
fn early_data_and_stored_sessions_stay_off() {
    let site = Site::new(&TLS13, Span::DAY);
    for (tickets, count) in [(tickets(), 1), (Tickets::none(), 0)] {
        let config = site.server(&tickets, &site.leaf(), "test");
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.session_storage.can_cache());
        assert_eq!(config.send_tls13_tickets, count);
        assert_eq!(config.ticketer.enabled(), count > 0);
        assert_eq!(config.max_tls13_tickets, 0, "a client does not choose");
    }
    let config = site.server(&tickets(), &site.leaf(), "test");
    assert_eq!(u64::from(config.ticketer.lifetime()), LIFETIME.as_secs());
}

#[test]
fn session_is_read_as_rustls_writes_it() {
    for version in BOTH {
        for host in HOSTS {
            let site = Site::new(version, Span::minutes(7));
            let recorded = Recorded::new();
            let mut server = site.server(&tickets(), &site.leaf(), "test");
            server.ticketer = Arc::new(recorded.over(Arc::clone(&server.ticketer)));
            site.resumes(&server, host);
            let session = recorded.last_session();
            assert_eq!(session::client_end(&session), Some(at(7 * 60).as_secs()));
            // No beginning of it tells anything but that, or nothing.
            for length in 0..session.len() {
                let end = session::client_end(&session[..length]);
                assert!(
                    end.is_none_or(|end| end == at(7 * 60).as_secs()),
                    "{length}"
                );
            }
            let mut strange = session.clone();
            strange[0] = 2;
            assert_eq!(session::client_end(&strange), None);
        }
    }
    let junk = [
        0, 3, 4, 0x13, 1, 0, 0, 1, 0, 0, 9, 0, 0, 6, 1, 2, 3, 4, 5, 6,
    ];
    assert_eq!(session::client_end(&junk), None, "no certificate");
    assert_eq!(session::client_end(&junk[..7]), None);
    let nobody = [0, 3, 4, 0x13, 1, 0, 0, 0];
    assert_eq!(session::client_end(&nobody), Some(u64::MAX));
}

#[test]
fn ticket_that_cannot_be_dated_is_not_given() {
    let site = Site::new(&TLS13, Span::DAY);
    let server = site.server(&tickets(), &site.leaf(), "test");
    assert!(server.ticketer.encrypt(b"another form").is_none());
    let leaf: &CertificateDer<'_> = &client("old")
        .valid(-Span::DAY, -Span::HOUR)
        .self_signed()
        .der();
    let mut ended = vec![0, 3, 4, 0x13, 1, 0, 0, 1];
    let length = u32::try_from(leaf.len()).unwrap();
    ended.extend_from_slice(&(length + 3).to_be_bytes()[1..]);
    ended.extend_from_slice(&length.to_be_bytes()[1..]);
    ended.extend_from_slice(leaf);
    assert!(server.ticketer.encrypt(&ended).is_none());
}

/// Sees what goes into tickets and comes out.
#[derive(Clone, Debug, Default)]
struct Recorded(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    inner: Option<Arc<dyn ProducesTickets>>,
    session: Vec<u8>,
    ticket: Vec<u8>,
}

impl Recorded {
    fn new() -> Self {
        Self::default()
    }

    fn over(&self, inner: Arc<dyn ProducesTickets>) -> Self {
        self.0.lock().unwrap().inner = Some(inner);
        self.clone()
    }

    fn last_session(&self) -> Vec<u8> {
        self.0.lock().unwrap().session.clone()
    }

    fn last_ticket(&self) -> Vec<u8> {
        self.0.lock().unwrap().ticket.clone()
    }
}

impl ProducesTickets for Recorded {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut seen = self.0.lock().unwrap();
        let ticket = seen.inner.as_ref()?.encrypt(plain)?;
        seen.session = plain.to_vec();
        seen.ticket.clone_from(&ticket);
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let seen = self.0.lock().unwrap();
        seen.inner.as_ref()?.decrypt(cipher)
    }
}
