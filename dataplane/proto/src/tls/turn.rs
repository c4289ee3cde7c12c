//! One turn of rustls' unbuffered state machine, for either side of a connection.

use super::TlsError;
use super::record::CONTROL_HEADROOM;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError};

/// Bytes of handshake and alerts that may wait to be sent; rustls makes no more than one flight,
/// whose size is our own chain's.
pub(super) const OUTGOING_MAX: usize = 256 * 1024;

/// What one turn of rustls' state machine came to.
pub(super) enum Turn {
    /// Payload, handshake output or an end was handled; look again.
    Again,
    /// Established; more input or output may follow.
    Established,
    /// The handshake needs more input.
    NeedInput,
    /// Both sides have closed.
    Closed,
}

/// Where payload goes.
pub(super) struct Sink<'a> {
    pub(super) to: &'a mut [u8],
    pub(super) at: &'a mut usize,
}

impl Sink<'_> {
    fn push(&mut self, payload: &[u8]) -> Result<(), TlsError> {
        let end = *self.at + payload.len();
        let room = self
            .to
            .get_mut(*self.at..end)
            .ok_or(TlsError::OutputTooSmall { required: end })?;
        room.copy_from_slice(payload);
        *self.at = end;
        Ok(())
    }
}

/// Handles one state of the receiving side; returns the bytes to discard and how to go on.
pub(super) fn turn<Data>(
    mut discard: usize,
    state: Result<ConnectionState<'_, '_, Data>, rustls::Error>,
    sink: &mut Sink<'_>,
    outgoing: &mut Vec<u8>,
    peer_closed: &mut bool,
) -> (usize, Result<Turn, TlsError>) {
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error.into())),
    };
    let turn = match state {
        ConnectionState::ReadTraffic(mut traffic) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    if let Err(error) = sink.push(record.payload) {
                        break Err(error);
                    }
                }
                Some(Err(error)) => break Err(error.into()),
                None => break Ok(Turn::Again),
            }
        },
        ConnectionState::EncodeTlsData(mut data) => {
            encode(outgoing, |out| data.encode(out)).map(|()| Turn::Again)
        }
        // The bytes are the caller's from here on; their order is kept by `outgoing`.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Turn::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Turn::NeedInput),
        ConnectionState::WriteTraffic(_) => Ok(Turn::Established),
        ConnectionState::PeerClosed => {
            *peer_closed = true;
            Ok(Turn::Again)
        }
        ConnectionState::Closed => Ok(Turn::Closed),
        _ => Err(TlsError::EarlyData),
    };
    (discard, turn)
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

/// What may be done in the writable state, whichever side it is.
pub(super) trait Writer {
    fn write(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn close(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Writer for rustls::unbuffered::WriteTraffic<'_, Data> {
    fn write(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        self.encrypt(plaintext, out)
    }

    fn close(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(out)
    }
}

/// Handles one state of the sending side; `Some` is the number of bytes sealed into
/// `out[waiting..]`.
pub(super) fn write_turn<Data>(
    state: Result<ConnectionState<'_, '_, Data>, rustls::Error>,
    outgoing: &mut Vec<u8>,
    out: &mut [u8],
    waiting: usize,
    act: &impl Fn(&mut dyn Writer, &mut [u8]) -> Result<usize, EncryptError>,
) -> Result<Option<usize>, TlsError> {
    match state? {
        ConnectionState::EncodeTlsData(mut data) => {
            encode(outgoing, |out| data.encode(out)).map(|()| None)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(None)
        }
        ConnectionState::WriteTraffic(mut writer) => {
            let room = out.get_mut(waiting..).ok_or(TlsError::OutputTooSmall {
                required: waiting + CONTROL_HEADROOM,
            })?;
            act(&mut writer, room)
                .map(Some)
                .map_err(|error| match error {
                    EncryptError::InsufficientSize(size) => TlsError::OutputTooSmall {
                        required: waiting + size.required_size,
                    },
                    EncryptError::EncryptExhausted => TlsError::KeyExhausted,
                })
        }
        // The edge of the peer's close is reported to the receiving side by `peer_closed`, which
        // was set when the alert was read; here it only stands before the writable state.
        ConnectionState::PeerClosed => Ok(None),
        _ => Err(TlsError::NotWritable),
    }
}
