//! Reads `tunnel.peers`: other gateways, to which streams are passed on whose agents they have, and
//! from which such streams come.

use super::bounds;
use super::model::{Config, Listener, TcpTransport, Transport};
use super::value::endpoint;
use eyesplice_identity::document::{At, FileRef, Node, Problem, Report, Section, value};
use eyesplice_proto::target::{Host, Target};
use std::sync::Arc;

/// Other gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Their TCP listeners for API servers; each address of a name is a gateway of its own.
    pub addresses: Vec<Target>,
    /// The port of their tunnel listeners, by which agents choose among them; `None`: that of our
    /// own.
    pub tunnel_port: Option<u16>,
    /// TLS towards them; present if there are addresses.
    pub tls: Option<PeersTls>,
    /// The common names of those that may pass streams on to this one.
    pub names: Arc<[String]>,
}

/// TLS towards other gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersTls {
    /// Issuers of their certificates.
    pub ca_file: FileRef,
    /// Our certificate as a client of theirs.
    pub cert_file: FileRef,
    /// Its key.
    pub key_file: FileRef,
    /// The name that their certificates must have, if not the one that is dialled.
    pub server_name: Option<Host>,
}

/// What it takes to dial them.
const FILES: [(&str, &str); 3] = [
    ("caFile", "egress-ca.crt"),
    ("certFile", "gateway-client.crt"),
    ("keyFile", "gateway-client.key"),
];

/// What is for dialling them.
const TO_DIAL: [&str; 5] = ["caFile", "certFile", "keyFile", "serverName", "tunnelPort"];

/// Reads the section; with Leases, those name the gateways as well.
pub(super) fn read(parent: &mut Section<'_>, by_leases: bool) -> Option<Peers> {
    let mut section = parent.section("peers")?;
    let report = section.report();
    let errors = report.error_count();
    let addresses = section.list("addresses", bounds::GATEWAYS, endpoint);
    let names = section.list("names", bounds::GATEWAYS, value::text);
    let port = |node: &Node| value::integer::<u16>(node, &(1..=65_535));
    let tunnel_port = section.optional("tunnelPort", port);
    let server_name = section.optional("serverName", value::host);
    let ca = section.file("caFile");
    let cert = section.file("certFile");
    let key = section.file("keyFile");
    let dials = !section.is_blank("addresses")
        || (by_leases && FILES.iter().any(|(field, _)| section.has(field)));
    for (field, example) in FILES.into_iter().filter(|_| dials) {
        if section.is_blank(field) {
            section.missing(field, example);
        }
    }
    for field in TO_DIAL.into_iter().filter(|_| !dials) {
        if section.has(field) {
            let fix = "add `addresses: [\"gateway-b.example:8131\"]`, or remove it";
            section.error(field, "is nothing without `addresses`", fix);
        }
    }
    let files = ca.zip(cert).zip(key).filter(|_| dials);
    let tls = files.map(|((ca_file, cert_file), key_file)| PeersTls {
        ca_file,
        cert_file,
        key_file,
        server_name,
    });
    if !dials && section.is_blank("names") {
        let fix = "add `addresses: [\"gateway-b.example:8131\"]`, `names: [gateway-b]`, or both";
        section.error("", "names no gateway", fix);
    }
    drop(section);
    (report.error_count() == errors).then(|| Peers {
        addresses,
        tunnel_port,
        tls,
        names: names.into(),
    })
}

/// Finds gateways that may pass streams on, and cannot connect.
pub(super) fn check(config: &Config, report: &Report) {
    let peers = config
        .tunnel
        .as_ref()
        .and_then(|tunnel| tunnel.peers.as_ref());
    let Some(peers) = peers.filter(|peers| !peers.names.is_empty()) else {
        return;
    };
    let tcp = |listener: &Listener| match &listener.transport {
        Transport::Tcp(tcp) => Some(tcp.clone()),
        _ => None,
    };
    let listeners: Vec<TcpTransport> = config.listeners.iter().filter_map(tcp).collect();
    let takes = |name: &&String| {
        let allowed = listeners.iter().map(|tcp| &tcp.allowed_names);
        allowed
            .into_iter()
            .any(|names| names.is_empty() || names.contains(name))
    };
    if let Some(name) = peers.names.iter().find(|name| !takes(name)) {
        let what = format!("{name:?} may connect to no listener with `tcp`");
        let fix = "add such a listener, or the name to its allowedNames";
        report.error("tunnel.peers.names", At::default(), Problem::new(what, fix));
    }
}

impl Config {
    /// Whom streams are passed on to or taken from, if anybody.
    pub fn peers(&self) -> Option<&Peers> {
        self.tunnel.as_ref()?.peers.as_ref()
    }

    /// The port of other gateways' tunnel listeners.
    pub(crate) fn peers_tunnel_port(&self) -> u16 {
        let configured = self.peers().and_then(|peers| peers.tunnel_port);
        let own = self
            .listeners
            .iter()
            .find_map(|listener| match &listener.transport {
                Transport::Tunnel(tcp) => Some(tcp.address.port()),
                _ => None,
            });
        configured.or(own).unwrap_or_default()
    }
}
