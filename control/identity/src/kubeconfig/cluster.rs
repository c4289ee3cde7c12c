//! Judges a cluster of a kubeconfig: its URL, its proxy, and whom it trusts.

use super::check::Checker;
use super::connect::Target;
use super::flaw::Flaw;
use super::model::Cluster;
use crate::pem::{self, CaBundle, PemError};
use hyper::Uri;

/// The schemes of proxies that client-go has.
const PROXIES: [&str; 3] = ["http", "https", "socks5"];

/// Where an API server is, as client-go reads it.
struct Server {
    uri: Uri,
    secured: bool,
}

/// Reads a URL, or a host with or without a port, which is dialled without TLS whatever the CA.
fn server(text: &str) -> Option<Server> {
    let full = text.parse::<Uri>().ok();
    let full = full.filter(|uri| uri.scheme().is_some() && uri.host().is_some());
    let uri = match full {
        Some(uri) => uri,
        None if text.contains("//") => return None,
        None => {
            let uri = format!("http://{text}").parse::<Uri>().ok()?;
            if uri.path() != "/" {
                return None;
            }
            uri
        }
    };
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let secured = scheme.eq_ignore_ascii_case("https");
    let escapes = authority.as_str().contains('%') || bad_escape(uri.path());
    // A port that is too large parses as text and not as a port.
    let port = authority.as_str().rsplit_once(':');
    let port = port.is_none_or(|(_, port)| port.contains(']') || uri.port_u16().is_some());
    let known = secured || scheme.eq_ignore_ascii_case("http");
    let fit = known && port && !escapes && !authority.host().is_empty();
    fit.then_some(Server { uri, secured })
}

/// Says whether a percent sign stands before something else than two hexadecimal digits.
fn bad_escape(path: &str) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    let mut percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    percents.any(|(at, _)| !is_hex(bytes.get(at + 1)) || !is_hex(bytes.get(at + 2)))
}

impl Checker {
    /// Judges a cluster, and says whether it is dialled by TLS.
    pub(super) fn cluster(&mut self, cluster: &Cluster) -> bool {
        let name = || cluster.name.clone();
        let server = cluster.server.as_deref().and_then(server);
        match &server {
            Some(Server { secured: true, .. }) => {}
            Some(_) => self.flaw(Flaw::PlainServer(name())),
            None => self.flaw(match &cluster.server {
                Some(server) => Flaw::Server(name(), server.clone()),
                None => Flaw::NoServer(name()),
            }),
        }
        let secured = server.as_ref().is_some_and(|server| server.secured);
        match (cluster.insecure, cluster.authority.is_absent()) {
            (true, true) => self.flaw(Flaw::Insecure(name())),
            (true, false) if secured => self.flaw(Flaw::InsecureWithAuthority(name())),
            _ => {}
        }
        self.proxy(cluster);
        if cluster.authority.is_absent() {
            if secured && !cluster.insecure {
                self.flaw(Flaw::SystemRoots(name()));
            }
            return secured || server.is_none();
        }
        self.authority(cluster, server.filter(|server| server.secured));
        secured
    }

    fn proxy(&mut self, cluster: &Cluster) {
        let Some(proxy) = &cluster.proxy else { return };
        let name = cluster.name.clone();
        let scheme = proxy.split_once("://").map(|(scheme, _)| scheme);
        let known = PROXIES
            .iter()
            .any(|known| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(known)));
        self.flaw(if known && !bad_escape(proxy) {
            Flaw::Proxied(name)
        } else {
            Flaw::Proxy(name)
        });
    }

    fn authority(&mut self, cluster: &Cluster, server: Option<Server>) {
        let Some((file, bytes)) = self.load(&cluster.authority) else {
            return;
        };
        let loaded = pem::certificates_of(&bytes).map_err(|fault| PemError::new(&file, fault));
        let loaded =
            loaded.and_then(|found| CaBundle::new(file, found.clone()).map(|ca| (found, ca)));
        let (found, bundle) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.flaw(Flaw::Piece(error)),
        };
        for note in bundle.notes(self.now) {
            self.flaw(Flaw::Validity(note.subject, note.kind));
        }
        if !self.aside {
            self.out.authorities = found;
            let verified = !cluster.insecure && cluster.proxy.is_none();
            self.out.target = server.filter(|_| verified).and_then(|server| {
                let name = cluster.tls_server_name.as_deref();
                Target::new(&server.uri, name, bundle.roots)
            });
        }
    }
}
