//! Two TLS sessions without sockets.

use eyesplice_bench::identity::{Identity, Suite};
use eyesplice_proto::tls::{RecordLibrary, Session};
use rustls::{ClientConfig, NamedGroup, ServerConfig};
use std::sync::Arc;

/// Two sessions that have shaken hands.
pub(crate) struct Pair {
    pub(crate) client: Session,
    pub(crate) server: Session,
}

impl Pair {
    /// Makes them, with certificates of their own, and records by ring.
    pub(crate) fn new() -> Self {
        Self::of(RecordLibrary::Ring)
    }

    /// The same with records by a library of choice.
    pub(crate) fn of(library: RecordLibrary) -> Self {
        let (client, server) = ends(NamedGroup::X25519);
        let Self { client, server } = Self::shaken(client, server);
        Self {
            client: client.protected_by(library),
            server: server.protected_by(library),
        }
    }

    /// A full handshake, both ends of it.
    pub(crate) fn shaken(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Self {
        let mut pair = Self {
            client: Session::client(client, Identity::name()).expect("a session"),
            server: Session::server(server).expect("a session"),
        };
        pair.client.receive(&mut []).expect("a flight");
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pass(&mut pair.client, &mut pair.server);
            pass(&mut pair.server, &mut pair.client);
        }
        pair
    }
}

/// A client and a server that know one CA, and the certificates (P-256) that they show each other.
pub(crate) fn ends(exchange: NamedGroup) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let directory = tempfile::tempdir().expect("a directory");
    let identity = Identity::create(directory.path(), Suite::Aes128).expect("certificates");
    let identity = identity.exchanging(exchange);
    let client = identity.client().expect("a client");
    (client, identity.server().expect("a server"))
}

fn pass(from: &mut Session, to: &mut Session) {
    let mut flight = vec![0; to.pending_len()];
    flight.extend_from_slice(&from.take_outgoing());
    to.receive(&mut flight).expect("a handshake");
}
