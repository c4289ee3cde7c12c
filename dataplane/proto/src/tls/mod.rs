//! One TLS session without I/O, behind four verbs (receive, seal, close, hand over).
//!
//! rustls makes the handshake; the records after it are protected here, in place, in the caller's
//! buffers. The caller owns all large buffers: ciphertext is opened where it was received, and
//! records are sealed into the caller's output buffer. A session that waits holds nothing but the
//! start of a record, if it has one ([`Session::pending_len`]).

mod aead;
mod error;
mod established;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod handshake;
mod hello;
mod layout;
mod messages;
mod protection;
pub mod provider;
mod record;
mod resumed;
mod trial;

pub use aead::RecordLibrary;
pub use error::{RecordFault, TlsError};
pub use established::CONTROLS_IN_A_ROW;
pub use group::{Group, Groups, group_name, group_named};
pub use handshake::OUTGOING_MAX;
pub use hello::{Hello, HelloError, HelloReader};
pub use layout::Layout;
pub use messages::{KeyUpdate, MessageFault, PostHandshake};
pub use record::{
    FirstRecord, PENDING_MAX, RECORD_FULL, RECORD_HEADER, RECORD_MAX, RECORD_PAYLOAD, first_record,
    sealed_bound,
};
pub use trial::Trial;

use established::{Established, Facts};
use handshake::{Conn, Handshake};
use layout::compact;
use protection::plain_alert;
use record::{missing_to_record_end, sealed_alone};
use resumed::Judge;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    AlertDescription, ClientConfig, ExtractedSecrets, HandshakeKind, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};
use std::fmt;
use std::sync::Arc;

/// A TLS connection in either role.
///
/// Its configuration must set `enable_secret_extraction`. Session tickets of a server are passed
/// over: a client whose configuration resumes TLS 1.3 sessions finds none to resume.
///
/// A TLS 1.3 server's own ticket waits for the first record that it sends: a peer that closes with
/// anything unread resets the connection and may destroy what it sent itself, and one that reads
/// nothing must be able to close without harm.
pub struct Session {
    state: State,
    /// What protects the records behind the handshake.
    library: RecordLibrary,
    /// Judges resumed sessions of a server.
    judge: Option<Box<Judge>>,
    /// The sealed ticket of a server that has sent nothing since its handshake.
    ticket: Vec<u8>,
    /// Encoded handshake records and alerts that the caller has to send before anything else.
    outgoing: Vec<u8>,
    /// Ciphertext that was received and is not used up.
    pending: Vec<u8>,
    peer_closed: bool,
    close_sent: bool,
    /// What came behind the peer's close_notify, where somebody wants it.
    behind: Behind,
}

/// What becomes of bytes behind a close_notify.
#[derive(Debug, Default)]
enum Behind {
    /// They count for nothing (RFC 8446 section 6.1).
    #[default]
    Dropped,
    /// They are not the session's, but of what follows it on the same connection.
    Kept(Vec<u8>),
}

enum State {
    /// Runs, or is over and has not been followed by anything.
    Handshake(Handshake),
    Established(Box<Established>),
    Failed,
}

/// A fatal alert in plain text, for a peer that has no session yet.
pub fn fatal_alert(alert: AlertDescription) -> Vec<u8> {
    plain_alert(alert)
}

/// What [`Session::receive`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Payload bytes in the buffer.
    pub plaintext: usize,
    /// How they lie there.
    pub layout: Layout,
    /// The peer sent close_notify: what was read is all there will be.
    pub peer_closed: bool,
}

/// What kernel TLS needs to go on with a session, in rustls' terms.
#[derive(derive_more::Debug)]
#[debug("Handover({version:?})")]
pub struct Handover {
    /// Traffic secrets and record sequence numbers of both directions.
    pub secrets: ExtractedSecrets,
    /// Negotiated version.
    pub version: ProtocolVersion,
    /// Whether we were the server.
    pub is_server: bool,
    /// The peer's chain, as presented.
    pub peer_certificates: Option<Vec<CertificateDer<'static>>>,
}

impl Session {
    /// Begins a session as server that resumes none: one that a client resumes all the same fails.
    ///
    /// # Errors
    /// If rustls refuses the configuration.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Self::server_of(config, None)
    }

    /// Begins a session as server. `clients`, the verifier of the configuration, judges the client of
    /// a resumed session again before anything that it sent counts.
    ///
    /// # Errors
    /// If rustls refuses the configuration.
    pub fn server_of(
        config: Arc<ServerConfig>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Self, TlsError> {
        let conn = UnbufferedServerConnection::new(Arc::clone(&config))?;
        let session = Self::new(Conn::Server(Box::new(conn)), config.crypto_provider());
        Ok(Self {
            judge: Some(Box::new(Judge::new(config, clients))),
            ..session
        })
    }

    /// Begins a session as client; the ClientHello waits in [`Session::take_outgoing`] after the first
    /// [`Session::receive`].
    ///
    /// # Errors
    /// If rustls refuses the configuration or the name.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        let conn = UnbufferedClientConnection::new(Arc::clone(&config), name)?;
        let conn = Conn::Client(Box::new(conn));
        Ok(Self::new(conn, config.crypto_provider()))
    }

    /// The same, whose records another library protects than ring.
    pub fn protected_by(self, library: RecordLibrary) -> Self {
        Self { library, ..self }
    }

    fn new(conn: Conn, provider: &CryptoProvider) -> Self {
        Self {
            state: State::Handshake(Handshake::new(conn, provider)),
            library: RecordLibrary::default(),
            judge: None,
            ticket: Vec::new(),
            outgoing: Vec::new(),
            pending: Vec::new(),
            peer_closed: false,
            close_sent: false,
            behind: Behind::Dropped,
        }
    }

    /// From now on what comes behind the peer's close_notify is kept: the connection goes on
    /// without this session.
    pub fn goes_on(&mut self) {
        if matches!(self.behind, Behind::Dropped) {
            self.behind = Behind::Kept(Vec::new());
        }
    }

    /// Takes what came behind the peer's close_notify; none before that came, or if it was not to
    /// be kept.
    pub fn take_behind(&mut self) -> Option<Vec<u8>> {
        match &mut self.behind {
            Behind::Kept(bytes) if self.peer_closed => Some(std::mem::take(bytes)),
            Behind::Kept(_) | Behind::Dropped => None,
        }
    }

    /// Bytes of an unfinished record that the session keeps; the caller leaves as much room at the
    /// front of the buffer that it receives into.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Bytes on the wire that complete the record whose start the session keeps: up to 5 for its
    /// header, then what the header says; 0 if nothing is kept but whole records of an unfinished
    /// message. Lets a caller read exactly to a record boundary, as the hand-over to kernel TLS
    /// demands.
    pub fn missing_to_record_end(&self) -> usize {
        match &self.state {
            State::Handshake(handshake) => handshake.missing_to_record_end(&self.pending),
            State::Established(_) | State::Failed => missing_to_record_end(&self.pending),
        }
    }

    /// Feeds ciphertext and opens it in place: payload is in one piece at the front of `buffer`
    /// afterwards.
    ///
    /// `buffer` begins with [`Session::pending_len`] bytes of room, which are overwritten; what was
    /// received follows. Call it with an empty buffer to start a handshake. Output that the peer
    /// must get (handshake, alert) is in [`Session::take_outgoing`] afterwards, on success and on
    /// failure; a key update that it asked for may be put there by [`Session::answer`].
    ///
    /// # Errors
    /// The session is over; an alert for the peer may wait in [`Session::take_outgoing`].
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, TlsError> {
        self.receive_as(Layout::Dense, buffer)
    }

    /// As [`Session::receive`], with payload in the `wanted` layout if its records allow that without
    /// a copy.
    ///
    /// # Errors
    /// As [`Session::receive`].
    pub fn receive_as(&mut self, wanted: Layout, buffer: &mut [u8]) -> Result<Received, TlsError> {
        let result = self.receive_into(buffer, wanted);
        if let Err(error) = &result {
            let state = std::mem::replace(&mut self.state, State::Failed);
            if let (Some(alert), State::Established(mut session), false) =
                (error.alert(), state, self.close_sent)
            {
                self.release_ticket();
                session.tell(alert, &mut self.outgoing);
            }
        }
        result
    }

    fn receive_into(&mut self, buffer: &mut [u8], wanted: Layout) -> Result<Received, TlsError> {
        let kept = std::mem::take(&mut self.pending);
        buffer
            .get_mut(..kept.len())
            .ok_or(TlsError::PendingOverflow)?
            .copy_from_slice(&kept);
        drop(kept);
        let nothing = Received {
            plaintext: 0,
            layout: Layout::Dense,
            peer_closed: self.peer_closed,
        };
        // After close_notify nothing counts any more (RFC 8446 section 6.1).
        if self.peer_closed {
            return Ok(nothing);
        }
        let mut start = 0;
        if let State::Handshake(handshake) = &mut self.state {
            let mut over = handshake.is_over();
            if !over {
                let before = self.outgoing.len();
                let (released, result) = handshake.advance(buffer, &mut self.outgoing);
                result?;
                start = released;
                over = handshake.is_over();
                if over {
                    self.complete(before)?;
                }
            }
            let rest = buffer.get(start..).unwrap_or_default();
            if !over || rest.is_empty() {
                return self.keep(rest).map(|()| nothing);
            }
        }
        let may_answer = !self.close_sent;
        let session = establish(&mut self.state, self.library)?;
        let progress = session.receive(buffer, start, wanted, may_answer)?;
        self.peer_closed = progress.closed;
        let rest = buffer.get(progress.consumed..).unwrap_or_default();
        match (&mut self.behind, progress.closed) {
            (_, false) => self.keep(rest)?,
            (Behind::Kept(bytes), true) => bytes.extend_from_slice(rest),
            (Behind::Dropped, true) => {}
        }
        Ok(Received {
            plaintext: progress.payload,
            layout: progress.layout,
            peer_closed: progress.closed,
        })
    }

    /// Ends the handshake, whose last flight stands in `outgoing` from `before` on: judges the client of
    /// a resumed session, and holds the ticket back.
    fn complete(&mut self, before: usize) -> Result<(), TlsError> {
        let State::Handshake(handshake) = &self.state else {
            return Ok(());
        };
        let Some(judge) = self.judge.take() else {
            return Ok(());
        };
        if let Err(refused) = judge.judge(handshake) {
            let alert = resumed::alert(&refused);
            establish(&mut self.state, self.library)?.tell(alert, &mut self.outgoing);
            return Err(refused);
        }
        // With the client's Finished a TLS 1.3 server has nothing to say but tickets.
        if handshake.common().protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            self.ticket = self.outgoing.split_off(before);
        }
        Ok(())
    }

    /// Puts a ticket that waits for the first record into [`Session::take_outgoing`]; returns whether
    /// there was one. Who seals into a buffer that is full of payload does this first.
    pub fn release_ticket(&mut self) -> bool {
        let waited = self.has_ticket();
        if waited {
            // Nothing was sealed since, or it would have been released then.
            self.outgoing.append(&mut self.ticket);
        }
        waited
    }

    /// Whether a ticket waits for the first record.
    pub fn has_ticket(&self) -> bool {
        !self.ticket.is_empty()
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), TlsError> {
        if rest.len() > PENDING_MAX {
            return Err(TlsError::PendingOverflow);
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Whether handshake output or an alert waits to be sent, or the peer is owed a key update.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty() || self.owes_answer()
    }

    fn owes_answer(&self) -> bool {
        matches!(&self.state, State::Established(session) if session.owes_answer())
    }

    /// Puts the key update that the peer is owed, if it is, into [`Session::take_outgoing`].
    ///
    /// Without this it goes ahead of what is sealed next. Who calls it only when all that was taken
    /// before is sent has one answer on the way at most, however many a peer that reads none of them asks
    /// for.
    ///
    /// # Errors
    /// If the next key cannot be made.
    pub fn answer(&mut self) -> Result<(), TlsError> {
        if self.owes_answer() {
            self.release_ticket();
            establish(&mut self.state, self.library)?.answer(&mut self.outgoing)?;
        }
        Ok(())
    }

    /// Takes the handshake output, alert or key update that must be sent next.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Whether the handshake still runs.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.state, State::Handshake(handshake) if !handshake.is_over())
    }

    /// Seals `plaintext` into as few records as it fills; returns the bytes written to `out`.
    /// Output that waited in [`Session::take_outgoing`], and a ticket, come first.
    ///
    /// # Errors
    /// If `out` is shorter than [`sealed_bound`] plus what waits, the session is not established,
    /// or its key is used up.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, TlsError> {
        self.release_ticket();
        let required = self.outgoing.len() + sealed_alone(plaintext.len());
        self.write(required, out, |session, out| session.seal(plaintext, out))
    }

    /// The layout of payload that this session seals without a copy.
    pub fn layout(&self) -> Layout {
        match &self.state {
            State::Established(session) if session.takes_slots() => Layout::Slots,
            _ => Layout::Dense,
        }
    }

    /// Seals `plaintext` bytes of payload in [`Layout::Slots`] where they stand in `buffer`; returns the
    /// length of the records at its front. `Ok(None)` if that cannot be done now: the payload was
    /// moved together, for [`Session::seal`].
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn seal_slots(
        &mut self,
        plaintext: usize,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, TlsError> {
        if self.close_sent || self.is_handshaking() {
            return Err(TlsError::NotWritable);
        }
        if self.outgoing.is_empty()
            && !self.has_ticket()
            && let Some(sealed) =
                establish(&mut self.state, self.library)?.seal_slots(plaintext, buffer)
        {
            return sealed.map(Some);
        }
        compact(buffer, plaintext);
        Ok(None)
    }

    /// Writes close_notify, once; later calls write nothing.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn close(&mut self, out: &mut [u8]) -> Result<usize, TlsError> {
        if self.close_sent || matches!(self.state, State::Failed) {
            return Ok(0);
        }
        self.release_ticket();
        let required = self.outgoing.len() + sealed_alone(0);
        let written = self.write(required, out, Established::close)?;
        self.close_sent = true;
        Ok(written)
    }

    fn write(
        &mut self,
        required: usize,
        out: &mut [u8],
        act: impl FnOnce(&mut Established, &mut [u8]) -> Result<usize, TlsError>,
    ) -> Result<usize, TlsError> {
        if self.close_sent || self.is_handshaking() {
            return Err(TlsError::NotWritable);
        }
        if out.len() < required {
            return Err(TlsError::OutputTooSmall { required });
        }
        let session = establish(&mut self.state, self.library)?;
        let (ahead, room) = out.split_at_mut(self.outgoing.len());
        ahead.copy_from_slice(&std::mem::take(&mut self.outgoing));
        Ok(ahead.len() + act(session, room)?)
    }

    /// The peer's certificate chain, leaf first, once it has been presented.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.state {
            State::Handshake(handshake) => handshake.peer_certificates(),
            State::Established(session) => session.facts.peer_certificates.as_deref(),
            State::Failed => None,
        }
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        match &self.state {
            State::Handshake(handshake) => {
                handshake.common().handshake_kind() == Some(HandshakeKind::Resumed)
            }
            State::Established(session) => session.facts.resumed,
            State::Failed => false,
        }
    }

    /// Negotiated protocol version, once known.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        match &self.state {
            State::Handshake(handshake) => handshake.common().protocol_version(),
            State::Established(session) => Some(session.facts.version),
            State::Failed => None,
        }
    }

    /// Negotiated cipher suite, once known.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        match &self.state {
            State::Handshake(handshake) => handshake.common().negotiated_cipher_suite(),
            State::Established(session) => Some(session.facts.suite),
            State::Failed => None,
        }
    }

    /// Negotiated key exchange group, once known; a session of TLS 1.2 that is resumed has none.
    pub fn group(&self) -> Option<Group> {
        match &self.state {
            State::Handshake(handshake) => handshake.group(),
            State::Established(session) => session.facts.group,
            State::Failed => None,
        }
    }

    /// Negotiated application protocol, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.state {
            State::Handshake(handshake) => handshake.common().alpn_protocol(),
            State::Established(session) => session.facts.alpn.as_deref(),
            State::Failed => None,
        }
    }

    /// Gives up the session's secrets so that the kernel can go on with it.
    ///
    /// The caller must have sent all output and must have received to a record boundary, and no
    /// record after the handshake.
    ///
    /// # Errors
    /// If output or a ticket waits, the handshake is not done or was followed by something, or the
    /// configuration forbids extraction.
    pub fn into_kernel(self) -> Result<Handover, TlsError> {
        let busy = self.has_outgoing() || self.has_ticket() || !self.pending.is_empty();
        match self.state {
            State::Handshake(handshake) if handshake.is_over() && !busy => {
                let facts = Facts::of(&handshake)?;
                Ok(Handover {
                    secrets: handshake.finish()?.0,
                    version: facts.version,
                    is_server: facts.is_server,
                    peer_certificates: facts.peer_certificates,
                })
            }
            _ => Err(TlsError::NotWritable),
        }
    }
}

/// The session after its handshake, which is over.
fn establish(state: &mut State, library: RecordLibrary) -> Result<&mut Established, TlsError> {
    if let State::Handshake(_) = state
        && let State::Handshake(handshake) = std::mem::replace(state, State::Failed)
    {
        *state = State::Established(Box::new(Established::new(handshake, library)?));
    }
    match state {
        State::Established(session) => Ok(session),
        State::Handshake(_) | State::Failed => Err(TlsError::NotWritable),
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match &self.state {
            State::Handshake(handshake) => Some(handshake.is_server()),
            State::Established(session) => Some(session.facts.is_server),
            State::Failed => None,
        };
        f.debug_struct("Session")
            .field("server", &server)
            .field("handshaking", &self.is_handshaking())
            .field("outgoing", &self.outgoing.len())
            .field("pending", &self.pending.len())
            .field("peer_closed", &self.peer_closed)
            .field("close_sent", &self.close_sent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
