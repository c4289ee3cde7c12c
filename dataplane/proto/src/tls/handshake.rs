//! The handshake, by rustls' unbuffered API: records in, records out, and the secrets at its end.
//!
//! rustls is shown one record at a time, so it never sees one that follows the handshake. It keeps
//! offsets into the ciphertext of a handshake message that is split over records, and panics if it
//! is shown another buffer then: what it has seen and not released is shown to it again, in front
//! of the next record.

use super::TlsError;
use super::group::{self, Group, Groups};
use super::protection::{ALERT, plain_alert};
use super::record::{RECORD_HEADER, missing_to_record_end};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{AlertDescription, CommonState, ConnectionTrafficSecrets, Error, ExtractedSecrets};

/// Bytes of handshake and alerts that may wait to be sent; rustls makes no more than one flight,
/// whose size is our own chain's.
pub const OUTGOING_MAX: usize = 256 * 1024;

/// A handshake that runs, or has just come to its end.
pub(super) struct Handshake {
    conn: Conn,
    /// Bytes at the front of what was not released that rustls has processed.
    seen: usize,
    /// The key exchange groups of its configuration.
    groups: Groups,
}

pub(super) enum Conn {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What rustls keeps of a session whose records it does not protect: the next traffic secrets.
pub(super) enum Secrets {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// What one turn of rustls' state machine came to.
enum Turn {
    /// Handshake output was taken; look again.
    Again,
    /// More input is needed, or the handshake is over.
    Rest,
}

impl Handshake {
    pub(super) fn new(conn: Conn, provider: &CryptoProvider) -> Self {
        let groups = provider.kx_groups.iter();
        let groups: Vec<_> = groups.filter_map(|group| Group::of(group.name())).collect();
        Self {
            conn,
            seen: 0,
            groups: Groups::only(&groups).unwrap_or_default(),
        }
    }

    /// What is known of the connection so far.
    pub(super) fn common(&self) -> &CommonState {
        match &self.conn {
            Conn::Server(conn) => conn,
            Conn::Client(conn) => conn,
        }
    }

    /// Negotiated key exchange group.
    pub(super) fn group(&self) -> Option<Group> {
        let group = self.common().negotiated_key_exchange_group()?;
        Group::of(group.name())
    }

    pub(super) fn is_over(&self) -> bool {
        !self.common().is_handshaking()
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.conn, Conn::Server(_))
    }

    /// Bytes that complete the record that `pending`, which was not released, ends with.
    pub(super) fn missing_to_record_end(&self, pending: &[u8]) -> usize {
        missing_to_record_end(pending.get(self.seen..).unwrap_or_default())
    }

    /// Processes records until the handshake is over or `buffer`, which begins with what was not
    /// released before, is used up. Returns the number of bytes that are released.
    pub(super) fn advance(
        &mut self,
        buffer: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<(), TlsError>) {
        let mut released = 0;
        let mut end = self.seen;
        loop {
            let (next, whole) = first_record(buffer, end);
            loop {
                let shown = buffer.get_mut(released..next).unwrap_or_default();
                match self.turn(shown, outgoing) {
                    (discard, Ok(Turn::Again)) => released += discard,
                    (discard, Ok(Turn::Rest)) => {
                        released += discard;
                        break;
                    }
                    (discard, Err(error)) => {
                        released += discard;
                        let shown = buffer.get_mut(released..next).unwrap_or_default();
                        self.tell(&error, shown, outgoing);
                        // A hello that failed stands where this began.
                        let hello = buffer.get(..next).unwrap_or_default();
                        return (released, Err(self.explained(error, hello)));
                    }
                }
            }
            if whole {
                end = next;
            }
            self.seen = end.saturating_sub(released);
            if !whole || self.is_over() {
                return (released, Ok(()));
            }
        }
    }

    /// Lets the peer know why its handshake failed: by the alert that rustls queued, behind what else it
    /// had to say. For some failures of its peer rustls queues none; then ours goes out, while alerts
    /// are plain text.
    fn tell(&mut self, error: &TlsError, shown: &mut [u8], outgoing: &mut Vec<u8>) {
        let before = outgoing.len();
        // It gives out all that before it looks at input again, which it must not after an error.
        while self.common().wants_write() {
            if self.turn(shown, outgoing).1.is_err() {
                return;
            }
        }
        let plain = self.common().negotiated_cipher_suite().is_none();
        if plain && !says_alert(outgoing.get(before..).unwrap_or_default()) {
            let alert = match error {
                TlsError::Rustls(Error::PeerMisbehaved(_)) => AlertDescription::IllegalParameter,
                TlsError::Rustls(Error::PeerIncompatible(_)) => AlertDescription::HandshakeFailure,
                TlsError::Rustls(Error::AlertReceived(_)) => return,
                _ => AlertDescription::InternalError,
            };
            outgoing.extend(plain_alert(alert));
        }
    }

    /// Adds what each side has to an error that says that they have nothing in common.
    fn explained(&self, error: TlsError, hello: &[u8]) -> TlsError {
        match error {
            TlsError::Rustls(source) if is_apart(&source) => TlsError::Apart {
                source,
                groups: self.groups,
                offered: self.is_server().then(|| offered_groups(hello)).flatten(),
            },
            other => other,
        }
    }

    fn turn(
        &mut self,
        ciphertext: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Turn, TlsError>) {
        match &mut self.conn {
            Conn::Server(conn) => {
                let UnbufferedStatus { discard, state, .. } = conn.process_tls_records(ciphertext);
                (discard, turn(state, outgoing))
            }
            Conn::Client(conn) => {
                let UnbufferedStatus { discard, state, .. } = conn.process_tls_records(ciphertext);
                (discard, turn(state, outgoing))
            }
        }
    }

    /// Gives up the secrets of a handshake that is over. rustls has seen to it that its last message
    /// ended a record, since the keys change there.
    pub(super) fn finish(self) -> Result<(ExtractedSecrets, Secrets), TlsError> {
        Ok(match self.conn {
            Conn::Server(conn) => {
                let (secrets, kept) = conn.dangerous_into_kernel_connection()?;
                (secrets, Secrets::Server(kept))
            }
            Conn::Client(conn) => {
                let (secrets, kept) = conn.dangerous_into_kernel_connection()?;
                (secrets, Secrets::Client(kept))
            }
        })
    }

    /// The peer's certificate chain, leaf first, once it has been presented.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.common().peer_certificates()
    }
}

impl Secrets {
    /// The next secret of what we send; TLS 1.3 only.
    pub(super) fn next_tx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Server(kept) => kept.update_tx_secret(),
            Self::Client(kept) => kept.update_tx_secret(),
        }
    }

    /// The next secret of what we receive; TLS 1.3 only.
    pub(super) fn next_rx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Server(kept) => kept.update_rx_secret(),
            Self::Client(kept) => kept.update_rx_secret(),
        }
    }
}

/// Whether the two ends of a handshake have nothing in common, as far as an error says.
fn is_apart(error: &Error) -> bool {
    use rustls::PeerIncompatible::{
        NoCipherSuitesInCommon, NoKxGroupsInCommon, NoSignatureSchemesInCommon,
        ServerDoesNotSupportTls12Or13, Tls12NotOffered,
    };
    match error {
        Error::PeerIncompatible(why) => matches!(
            why,
            NoCipherSuitesInCommon
                | NoKxGroupsInCommon
                | NoSignatureSchemesInCommon
                | ServerDoesNotSupportTls12Or13
                | Tls12NotOffered
        ),
        Error::AlertReceived(alert) => matches!(
            alert,
            AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity
                | AlertDescription::ProtocolVersion
        ),
        _ => false,
    }
}

/// Names the groups that a ClientHello offers, if it is one and offers any.
fn offered_groups(mut hello: &[u8]) -> Option<Box<str>> {
    let mut acceptor = Acceptor::default();
    loop {
        // Its end is the end of the hello.
        if acceptor.read_tls(&mut hello).ok()? == 0 {
            return None;
        }
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            return Some(group::names(hello.named_groups()?).into());
        }
    }
}

/// Whether an alert is among these records, which are plain text.
fn says_alert(mut records: &[u8]) -> bool {
    while let [kind, ..] = records {
        if *kind == ALERT {
            return true;
        }
        let (end, _) = first_record(records, 0);
        records = records.get(end..).unwrap_or_default();
    }
    false
}

/// The end of the record at `start`, as far as it is there, and whether it is there as a whole.
fn first_record(buffer: &[u8], start: usize) -> (usize, bool) {
    let rest = buffer.get(start..).unwrap_or_default();
    let [_, _, _, high, low, body @ ..] = rest else {
        return (buffer.len(), false);
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if body.len() < len {
        return (buffer.len(), false);
    }
    (start + RECORD_HEADER + len, true)
}

fn turn<Data>(
    state: Result<ConnectionState<'_, '_, Data>, Error>,
    outgoing: &mut Vec<u8>,
) -> Result<Turn, TlsError> {
    match state? {
        ConnectionState::EncodeTlsData(mut data) => {
            encode(outgoing, |out| data.encode(out)).map(|()| Turn::Again)
        }
        // The bytes are the caller's from here on; their order is kept by `outgoing`.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Turn::Again)
        }
        // A server is writable before the handshake is over, which is of no use here.
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(Turn::Rest),
        // Payload and ends follow the handshake, and rustls is not shown what does.
        _ => Err(TlsError::EarlyData),
    }
}

fn encode(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), TlsError> {
    let start = outgoing.len();
    let mut room = 1024;
    loop {
        outgoing.resize(start + room, 0);
        match encode(outgoing.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                outgoing.truncate(start + written);
                // More than one flight can wait only if the peer takes none of it.
                if outgoing.len() > OUTGOING_MAX {
                    outgoing.truncate(start);
                    return Err(TlsError::OutgoingOverflow);
                }
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
                if start + room > OUTGOING_MAX {
                    outgoing.truncate(start);
                    return Err(TlsError::OutgoingOverflow);
                }
            }
            Err(_) => {
                outgoing.truncate(start);
                return Err(TlsError::NotWritable);
            }
        }
    }
}
