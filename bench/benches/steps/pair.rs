//! Two TLS sessions without sockets.

use eyesplice_bench::identity::{Identity, Suite};
use eyesplice_proto::tls::Session;

/// Two sessions that have shaken hands.
pub(crate) struct Pair {
    pub(crate) client: Session,
    pub(crate) server: Session,
}

impl Pair {
    /// Makes them, with certificates of their own.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let identity = Identity::create(directory.path(), Suite::Aes128).expect("certificates");
        let client = identity.client().expect("a client");
        let server = identity.server().expect("a server");
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

fn pass(from: &mut Session, to: &mut Session) {
    let mut flight = vec![0; to.pending_len()];
    flight.extend_from_slice(&from.take_outgoing());
    to.receive(&mut flight).expect("a handshake");
}
