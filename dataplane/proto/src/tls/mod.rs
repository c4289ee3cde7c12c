//! One TLS session without I/O: rustls' unbuffered API behind four verbs (receive, seal, close,
//! hand over).
//!
//! The caller owns all large buffers: ciphertext is decrypted where it was received, payload is
//! written to the caller's plaintext buffer, and records are sealed into the caller's output
//! buffer. A session that waits holds nothing but the start of a record, if it has one.
//!
//! rustls keeps offsets into the ciphertext of a handshake message that is split over records,
//! and panics if it is shown another buffer then. So the start of a record or message stays in the
//! session ([`Session::pending_len`]), and every call into rustls shows it.

mod error;
mod record;
mod turn;

pub use error::TlsError;
pub use record::{
    PENDING_MAX, RECORD_HEADER, RECORD_MAX, RECORD_PAYLOAD, missing_to_record_end, sealed_bound,
};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, ExtractedSecrets, ProtocolVersion, ServerConfig, SupportedCipherSuite};
use std::fmt;
use std::sync::Arc;
use turn::{Sink, Turn, Writer, turn, write_turn};

/// A TLS connection in either role.
pub struct Session {
    conn: Conn,
    /// Encoded handshake records and alerts that the caller has to send before anything else.
    outgoing: Vec<u8>,
    /// Ciphertext that rustls has seen and not released.
    pending: Vec<u8>,
    peer_closed: bool,
    close_sent: bool,
    failed: bool,
}

enum Conn {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What [`Session::receive`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Payload bytes written to the front of the plaintext buffer.
    pub plaintext: usize,
    /// The peer sent close_notify: what was read is all there will be.
    pub peer_closed: bool,
}

/// What kernel TLS needs to go on with a session, in rustls' terms.
pub struct Handover {
    /// Traffic secrets and record sequence numbers of both directions.
    pub secrets: ExtractedSecrets,
    /// Negotiated version.
    pub version: ProtocolVersion,
    /// The peer's chain, as presented.
    pub peer_certificates: Option<Vec<CertificateDer<'static>>>,
}

impl Session {
    /// Begins a session as server.
    ///
    /// # Errors
    /// If rustls refuses the configuration.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(Conn::Server(Box::new(
            UnbufferedServerConnection::new(config)?,
        ))))
    }

    /// Begins a session as client; the ClientHello waits in [`Session::take_outgoing`] after the first
    /// [`Session::receive`].
    ///
    /// # Errors
    /// If rustls refuses the configuration or the name.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self::new(Conn::Client(Box::new(
            UnbufferedClientConnection::new(config, name)?,
        ))))
    }

    fn new(conn: Conn) -> Self {
        Self {
            conn,
            outgoing: Vec::new(),
            pending: Vec::new(),
            peer_closed: false,
            close_sent: false,
            failed: false,
        }
    }

    /// Bytes of an unfinished record that the session keeps; the caller leaves as much room at the
    /// front of the buffer that it receives into.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The unfinished record that the session keeps.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Feeds ciphertext, which is decrypted in place.
    ///
    /// `buffer` begins with [`Session::pending_len`] bytes of room, which are overwritten; what was
    /// received follows. `plaintext` must be at least as long as `buffer`: payload is always shorter
    /// than its records. Call it with an empty buffer to start a handshake. Output that the
    /// peer must get (handshake, alert) is in [`Session::take_outgoing`] afterwards, on success and
    /// on failure.
    ///
    /// # Errors
    /// The session is over; an alert for the peer may wait in [`Session::take_outgoing`].
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        plaintext: &mut [u8],
    ) -> Result<Received, TlsError> {
        let kept = std::mem::take(&mut self.pending);
        let room = buffer
            .get_mut(..kept.len())
            .ok_or(TlsError::PendingOverflow)?;
        room.copy_from_slice(&kept);
        drop(kept);
        let mut consumed = 0;
        let mut written = 0;
        let result = loop {
            let mut sink = Sink {
                to: plaintext,
                at: &mut written,
            };
            let rest = buffer.get_mut(consumed..).unwrap_or_default();
            match self.advance(rest, &mut sink) {
                (discard, Ok(Turn::Again)) => consumed += discard,
                (discard, Ok(Turn::Established | Turn::NeedInput | Turn::Closed)) => {
                    consumed += discard;
                    break Ok(());
                }
                (discard, Err(error)) => {
                    consumed += discard;
                    break Err(error);
                }
            }
        };
        let rest = buffer.get_mut(consumed..).unwrap_or_default();
        let result = result.and_then(|()| match rest.len() {
            // After close_notify nothing counts any more (RFC 8446 section 6.1).
            _ if self.peer_closed => Ok(()),
            0..=PENDING_MAX => {
                self.pending = rest.to_vec();
                Ok(())
            }
            _ => Err(TlsError::PendingOverflow),
        });
        if let Err(error) = result {
            self.failed = true;
            self.collect_alert(rest);
            return Err(error);
        }
        Ok(Received {
            plaintext: written,
            peer_closed: self.peer_closed,
        })
    }

    fn advance(
        &mut self,
        ciphertext: &mut [u8],
        sink: &mut Sink<'_>,
    ) -> (usize, Result<Turn, TlsError>) {
        match &mut self.conn {
            Conn::Server(conn) => {
                let UnbufferedStatus { discard, state, .. } = conn.process_tls_records(ciphertext);
                turn(
                    discard,
                    state,
                    sink,
                    &mut self.outgoing,
                    &mut self.peer_closed,
                )
            }
            Conn::Client(conn) => {
                let UnbufferedStatus { discard, state, .. } = conn.process_tls_records(ciphertext);
                turn(
                    discard,
                    state,
                    sink,
                    &mut self.outgoing,
                    &mut self.peer_closed,
                )
            }
        }
    }

    /// After a failure: moves the alert that rustls queued into `outgoing`. `ciphertext` is the
    /// buffer that failed, from the first byte that rustls did not release.
    fn collect_alert(&mut self, ciphertext: &mut [u8]) {
        let mut written = 0;
        let mut sink = Sink {
            to: &mut [],
            at: &mut written,
        };
        // rustls gives out what it queued before it looks at input again; the error itself has
        // been reported.
        let _ = self.advance(ciphertext, &mut sink);
    }

    /// Whether handshake output or an alert waits to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes the handshake output or alert that must be sent next.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Whether the handshake still runs.
    pub fn is_handshaking(&self) -> bool {
        match &self.conn {
            Conn::Server(conn) => conn.is_handshaking(),
            Conn::Client(conn) => conn.is_handshaking(),
        }
    }

    /// Seals `plaintext` into as few records as it fills; returns the bytes written to `out`.
    /// Output that waited in [`Session::take_outgoing`] comes first.
    ///
    /// # Errors
    /// If `out` is shorter than [`sealed_bound`] plus what waits, the session is not established,
    /// or its key is used up.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, TlsError> {
        if self.close_sent || self.failed {
            return Err(TlsError::NotWritable);
        }
        self.with_writer(out, |writer, out| writer.write(plaintext, out))
    }

    /// Writes close_notify, once; later calls write nothing.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn close(&mut self, out: &mut [u8]) -> Result<usize, TlsError> {
        if self.close_sent || self.failed {
            return Ok(0);
        }
        let written = self.with_writer(out, |writer, out| writer.close(out))?;
        self.close_sent = true;
        Ok(written)
    }

    fn with_writer(
        &mut self,
        out: &mut [u8],
        act: impl Fn(&mut dyn Writer, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, TlsError> {
        let mut result = None;
        // One turn per queued message, then the writable state; rustls queues few.
        for _ in 0..64 {
            let waiting = self.outgoing.len();
            let turn = match &mut self.conn {
                Conn::Server(conn) => {
                    let status = conn.process_tls_records(&mut self.pending);
                    write_turn(status.state, &mut self.outgoing, out, waiting, &act)
                }
                Conn::Client(conn) => {
                    let status = conn.process_tls_records(&mut self.pending);
                    write_turn(status.state, &mut self.outgoing, out, waiting, &act)
                }
            };
            if let Some(done) = turn? {
                result = Some(done);
                break;
            }
        }
        let sealed = result.ok_or(TlsError::NotWritable)?;
        let waiting = self.outgoing.len();
        // `write_turn` sealed behind the room that it kept for what waits.
        out.get_mut(..waiting)
            .ok_or(TlsError::OutputTooSmall { required: waiting })?
            .copy_from_slice(&self.outgoing);
        self.outgoing = Vec::new();
        Ok(waiting + sealed)
    }

    /// The peer's certificate chain, leaf first, once it has been presented.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.conn {
            Conn::Server(conn) => conn.peer_certificates(),
            Conn::Client(conn) => conn.peer_certificates(),
        }
    }

    /// Negotiated protocol version, once known.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        match &self.conn {
            Conn::Server(conn) => conn.protocol_version(),
            Conn::Client(conn) => conn.protocol_version(),
        }
    }

    /// Negotiated cipher suite, once known.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        match &self.conn {
            Conn::Server(conn) => conn.negotiated_cipher_suite(),
            Conn::Client(conn) => conn.negotiated_cipher_suite(),
        }
    }

    /// Negotiated application protocol, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.conn {
            Conn::Server(conn) => conn.alpn_protocol(),
            Conn::Client(conn) => conn.alpn_protocol(),
        }
    }

    /// Gives up the session's secrets so that the kernel can go on with it.
    ///
    /// The caller must have sent all output and must have decrypted all input up to a record
    /// boundary.
    ///
    /// # Errors
    /// If output waits, the handshake is not done, or the configuration forbids extraction.
    pub fn into_kernel(self) -> Result<Handover, TlsError> {
        let busy = !self.outgoing.is_empty() || !self.pending.is_empty();
        if busy || self.failed || self.peer_closed || self.close_sent {
            return Err(TlsError::NotWritable);
        }
        let version = self.protocol_version().ok_or(TlsError::NotWritable)?;
        let peer_certificates = self.peer_certificates().map(<[_]>::to_vec);
        let secrets = match self.conn {
            Conn::Server(conn) => conn.dangerous_into_kernel_connection()?.0,
            Conn::Client(conn) => conn.dangerous_into_kernel_connection()?.0,
        };
        Ok(Handover {
            secrets,
            version,
            peer_certificates,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field(
                "role",
                &if matches!(self.conn, Conn::Server(_)) {
                    "server"
                } else {
                    "client"
                },
            )
            .field("handshaking", &self.is_handshaking())
            .field("outgoing", &self.outgoing.len())
            .field("pending", &self.pending.len())
            .field("peer_closed", &self.peer_closed)
            .field("close_sent", &self.close_sent)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
