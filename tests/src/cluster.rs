//! A cluster as its clients see it: certificates for every part, and API servers that tell
//! everybody who he is.

use crate::api_server::name_of;
use crate::conn::Conn;
use crate::http::{Body, Head, Reply, read_body, read_head, read_reply};
use crate::kubelet::{Kubelet, Log, echo, switching};
use crate::pki::{Authority, Identity, Leaf};
use crate::tls;
use crate::world::World;
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_proto::tls::provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

/// A token that the API servers know, and its user.
pub const TOKEN: (&str, &str) = ("good-token", "tom");

/// The same token as a subprotocol of a WebSocket.
pub const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.Z29vZC10b2tlbg";

/// The only name that API servers take a proxy's word from.
pub const PROXY: &str = "front-proxy-client";

/// The authorities of a cluster, each for one purpose.
#[derive(Debug)]
pub struct Cluster {
    /// Signs users.
    pub users: Authority,
    /// Signs those whom API servers believe who a user is.
    pub proxies: Authority,
    /// Signs API servers.
    pub servers: Authority,
    /// Signs the front.
    pub fronts: Authority,
    /// Signs nobody whom others know.
    pub strangers: Authority,
    /// The front to its clients.
    pub front: Identity,
    /// The front to API servers.
    pub proxy: Identity,
}

impl Cluster {
    /// Makes all of them.
    pub fn new() -> Self {
        let (proxies, fronts) = (Authority::new("front-proxy-ca"), Authority::new("front-ca"));
        Self {
            users: Authority::new("kubernetes"),
            servers: Authority::new("server-ca"),
            strangers: Authority::new("kubernetes"),
            front: fronts.issue(&Leaf::server(&["127.0.0.1"])),
            proxy: proxies.issue(&Leaf::client(PROXY)),
            proxies,
            fronts,
        }
    }

    /// A user's certificate.
    pub fn user(&self, name: &str, group: &str) -> Identity {
        self.users.issue(&user(name, group))
    }

    /// Starts an API server.
    pub fn api_server(&self) -> Server {
        self.api_server_of(None)
    }

    /// Starts one that has objects and answers reviews.
    pub fn api_server_of(&self, world: Option<Arc<World>>) -> Server {
        let identity = self.servers.issue(&Leaf::server(&["127.0.0.1"]));
        let ready = Arc::new(AtomicU16::new(200));
        let (answer, judge) = (Arc::clone(&ready), Judge::new(self));
        let config = ServerConfig::builder_with_provider(provider::shared())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyClient))
            .with_single_cert(identity.chain.clone(), identity.key())
            .unwrap();
        let server = Kubelet::with(Some(config), move |conn, log| {
            serve(conn, log, (&judge, world.as_deref()), &answer);
        });
        Server { server, ready }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

/// What a user's certificate says.
pub fn user(name: &str, group: &str) -> Leaf {
    Leaf {
        organization: Some(group.into()),
        ..Leaf::client(name)
    }
}

/// A running API server.
#[derive(Debug)]
pub struct Server {
    server: Kubelet,
    ready: Arc<AtomicU16>,
}

impl Server {
    /// As `apiservers.servers` names it.
    pub fn url(&self) -> String {
        format!("https://{}", self.server.target())
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.server.target().parse().unwrap()
    }

    /// What it answers to `/readyz` from now on.
    pub fn set_ready(&self, status: u16) {
        self.ready.store(status, SeqCst);
    }

    /// The heads of all requests but those to `/readyz`.
    pub fn heads(&self) -> Vec<Head> {
        let mut heads = self.server.heads();
        heads.retain(|head| head.target() != "/readyz");
        heads
    }

    /// The heads of requests that users made.
    pub fn of_users(&self) -> Vec<Head> {
        let mut heads = self.heads();
        heads.retain(|head| head.get("x-forwarded-for").is_some());
        heads
    }

    /// Connections that were made to it.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Waits until all of its connections have ended.
    pub fn finish(self) {
        self.server.finish();
    }
}

/// A client of the front.
#[derive(Debug)]
pub struct Client(pub Conn);

impl Client {
    /// Connects, with a certificate or without one.
    pub fn connect(cluster: &Cluster, front: SocketAddr, identity: Option<&Identity>) -> Self {
        let mut conn = Conn::new(TcpStream::connect(front).unwrap());
        let config = tls::client(identity, &cluster.fronts, &TLS13);
        let name = name_of(&front.to_string());
        conn.start_client(&Arc::new(config), name).unwrap();
        Self(conn)
    }

    /// Asks with these headers, and reads the reply.
    pub fn ask(&mut self, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("GET", target, headers);
        read_reply(&mut self.0, "GET").unwrap()
    }

    /// Sends a request without a body.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: front.example\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.0.write_all(head.as_bytes()).unwrap();
    }

    /// Ends the connection, and waits for the other end.
    pub fn leave(mut self) {
        // It may have gone before.
        let _ = self.0.shut();
        self.0.read_to_end();
    }
}

/// Tells who asks, as an API server with `--client-ca-file` and the `--requestheader` flags does.
struct Judge {
    users: Arc<dyn ClientCertVerifier>,
    proxies: Arc<dyn ClientCertVerifier>,
}

impl Judge {
    fn new(cluster: &Cluster) -> Self {
        let verifier = |authority: &Authority| {
            WebPkiClientVerifier::builder_with_provider(authority.roots(), provider::shared())
                .build()
                .unwrap()
        };
        Self {
            users: verifier(&cluster.users),
            proxies: verifier(&cluster.proxies),
        }
    }

    /// Who it is: user, groups, extras; or nobody, to whom it says 401.
    fn who(&self, chain: &[CertificateDer<'_>], head: &Head) -> Option<String> {
        let signed = |verifier: &Arc<dyn ClientCertVerifier>| {
            let (leaf, rest) = chain.split_first()?;
            verifier
                .verify_client_cert(leaf, rest, UnixTime::now())
                .ok()?;
            Some(CertificateFacts::read(leaf).unwrap().subject)
        };
        let proxy = signed(&self.proxies).and_then(|subject| subject.common_name);
        let named = head.all("x-remote-user").first().copied().unwrap_or("");
        if proxy.as_deref() == Some(PROXY) && !named.is_empty() {
            let groups = head.all("x-remote-group").join(",");
            let extra = "x-remote-extra-authentication.kubernetes.io%2Fcredential-id";
            let extra = head.get(extra).unwrap_or("");
            let extra = extra.get(.."X509SHA256=".len()).unwrap_or(extra);
            return Some(format!("{named} [{groups}] {extra}"));
        }
        if let Some(subject) = signed(&self.users) {
            let name = subject.common_name.unwrap();
            return Some(format!(
                "{name} [{}] directly",
                subject.organizations.join(",")
            ));
        }
        let offered = head.all("sec-websocket-protocol").join(",");
        if offered.split(',').any(|each| each.trim() == SUBPROTOCOL) {
            return Some(format!("{} [] by subprotocol", TOKEN.1));
        }
        match head.all("authorization").first() {
            Some(value) if *value == format!("Bearer {}", TOKEN.0) => {
                Some(format!("{} [] by token", TOKEN.1))
            }
            Some(_) => None,
            None if !chain.is_empty() => None,
            None => Some("system:anonymous [system:unauthenticated]".into()),
        }
    }
}

/// Answers requests on one connection: upgrades are granted and echoed, all else is told who asks.
fn serve(conn: &mut Conn, log: &Log, (judge, world): (&Judge, Option<&World>), ready: &AtomicU16) {
    let chain = conn.peer_chain().unwrap_or_default();
    loop {
        let head = match read_head(conn) {
            Ok(head) => head,
            Err((_, ending)) => {
                log.ending(ending);
                // It may have gone meanwhile.
                let _ = conn.shut();
                return;
            }
        };
        log.request(&head);
        let Body::Whole(body) = read_body(conn, &head, true) else {
            return;
        };
        let (status, text) = if head.target() == "/readyz" {
            (ready.load(SeqCst), "looked".to_owned())
        } else {
            match judge.who(&chain, &head) {
                Some(who) => match world.and_then(|world| world.answer(&who, &head, &body)) {
                    Some(answer) => answer,
                    None => (200, who),
                },
                None => (401, "Unauthorized".to_owned()),
            }
        };
        if status == 200 && head.get("upgrade").is_some() {
            conn.write_all(switching(&head).as_bytes()).unwrap();
            return echo(conn, log);
        }
        let reply = format!(
            "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if conn.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// Asks for a certificate, and takes any: an API server judges it with each request.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        let by = &provider::shared().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, by)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        let by = &provider::shared().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, by)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let by = &provider::shared().signature_verification_algorithms;
        by.supported_schemes()
    }
}
