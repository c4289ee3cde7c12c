//! A session after its handshake: records opened and sealed in place, key updates, alerts.
//!
//! rustls' own record layer copies payload twice each way, which was a third of a terminated byte's
//! cost; so the records are protected here, with the secrets of rustls' handshake. What may come in a
//! record then is little: data, an alert, a ticket, a key update.

use super::aead::RecordLibrary;
use super::error::{RecordFault, TlsError};
use super::group::Group;
use super::handshake::{Handshake, Secrets};
use super::layout::{Layout, compact};
use super::messages::{KEY_UPDATE_MESSAGE, KeyUpdate, PostHandshake};
use super::protection::{
    ALERT, DATA, FATAL, HANDSHAKE, Opened, Protection, RECORD_OVERHEAD, WARNING,
};
use super::record::{RECORD_HEADER, RECORD_PAYLOAD};
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, Error, HandshakeKind, ProtocolVersion, SupportedCipherSuite};

/// Records without data that may follow one another: enough for tickets and for key updates at any
/// sane rate (rustls and BoringSSL allow 32 key updates).
pub const CONTROLS_IN_A_ROW: u8 = 32;

/// Keys and state of a session that carries data.
pub(super) struct Established {
    tx: Protection,
    rx: Protection,
    library: RecordLibrary,
    secrets: Secrets,
    messages: PostHandshake,
    controls: u8,
    /// The peer asked for another key of ours, once or often: one answer serves all that it asked
    /// while we were silent (RFC 8446 section 4.6.3), so there is never more than this to remember.
    answer_due: bool,
    pub(super) facts: Facts,
}

/// What the handshake settled.
pub(super) struct Facts {
    pub(super) version: ProtocolVersion,
    pub(super) suite: SupportedCipherSuite,
    pub(super) group: Option<Group>,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) peer_certificates: Option<Vec<CertificateDer<'static>>>,
    pub(super) is_server: bool,
    pub(super) resumed: bool,
}

/// How far [`Established::receive`] came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Bytes of payload in the buffer.
    pub(super) payload: usize,
    /// Bytes of records that are used up.
    pub(super) consumed: usize,
    /// How that payload lies.
    pub(super) layout: Layout,
    /// close_notify came; nothing after it counts.
    pub(super) closed: bool,
}

impl Facts {
    pub(super) fn of(handshake: &Handshake) -> Result<Self, TlsError> {
        let common = handshake.common();
        let version = common.protocol_version();
        let suite = common.negotiated_cipher_suite();
        let (Some(version), Some(suite)) = (version, suite) else {
            return Err(TlsError::NotWritable);
        };
        Ok(Self {
            version,
            suite,
            group: handshake.group(),
            alpn: common.alpn_protocol().map(<[u8]>::to_vec),
            peer_certificates: handshake.peer_certificates().map(<[_]>::to_vec),
            is_server: handshake.is_server(),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    fn is_tls13(&self) -> bool {
        self.version == ProtocolVersion::TLSv1_3
    }
}

impl Established {
    /// Takes a session over at the end of its handshake.
    pub(super) fn new(handshake: Handshake, library: RecordLibrary) -> Result<Self, TlsError> {
        let facts = Facts::of(&handshake)?;
        let (now, secrets) = handshake.finish()?;
        Ok(Self {
            tx: Protection::new(library, facts.version, now.tx)?,
            rx: Protection::new(library, facts.version, now.rx)?,
            library,
            secrets,
            messages: PostHandshake::new(facts.is_server),
            controls: 0,
            answer_due: false,
            facts,
        })
    }

    /// Opens the records at `buffer[start..]`; payload gathers at the front of `buffer`, over what is
    /// used up, in the `wanted` layout if it comes so. An answer to key updates is due afterwards, if one
    /// was asked for and `may_answer` is true.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        wanted: Layout,
        may_answer: bool,
    ) -> Result<Progress, TlsError> {
        let mut progress = Progress {
            consumed: start,
            layout: wanted,
            ..Progress::default()
        };
        while !progress.closed {
            let rest = buffer.get(progress.consumed..).unwrap_or_default();
            let Some(header) = rest.first_chunk::<RECORD_HEADER>() else {
                break;
            };
            let len = self.rx.check_header(header)?;
            if rest.len() < len {
                break;
            }
            let record = progress.consumed..progress.consumed + len;
            let longest = (len - RECORD_HEADER).min(RECORD_PAYLOAD);
            let stands = record.start + RECORD_HEADER;
            if !progress.layout.takes(progress.payload, longest, stands) {
                compact(buffer, progress.payload);
                progress.layout = Layout::Dense;
            }
            let to = progress.layout.position(progress.payload);
            progress.consumed = record.end;
            let opened = self.rx.open(buffer, record, to)?;
            let content = buffer.get(to..to + opened.len).unwrap_or_default();
            match opened {
                Opened { kind: DATA, len } if !self.messages.is_within_message() => {
                    progress.payload += len;
                    if len > 0 {
                        self.controls = 0;
                    } else {
                        self.count_control()?;
                    }
                }
                Opened { kind: ALERT, .. } if !self.messages.is_within_message() => {
                    self.count_control()?;
                    progress.closed = self.heed_alert(content)?;
                }
                Opened {
                    kind: HANDSHAKE, ..
                } if self.facts.is_tls13() => {
                    self.count_control()?;
                    let update = self.messages.follow(content).map_err(RecordFault::from)?;
                    if let Some(KeyUpdate { requested }) = update {
                        let next = self.secrets.next_rx()?;
                        self.rx = Protection::new(self.library, self.facts.version, next)?;
                        self.answer_due |= requested && may_answer;
                    }
                }
                _ => return Err(RecordFault::Unexpected.into()),
            }
        }
        Ok(progress)
    }

    fn count_control(&mut self) -> Result<(), RecordFault> {
        self.controls += 1;
        if self.controls > CONTROLS_IN_A_ROW {
            return Err(RecordFault::TooManyControls);
        }
        Ok(())
    }

    /// Returns whether the alert is close_notify; one that does no harm is passed over.
    fn heed_alert(&self, content: &[u8]) -> Result<bool, TlsError> {
        let (level, description) = match *content {
            [level @ (WARNING | FATAL), description] => (level, description),
            [_, _] => return Err(RecordFault::IllegalValue.into()),
            // Records without content are for data only (RFC 8446 section 5.4).
            [] => return Err(RecordFault::Unexpected.into()),
            _ => return Err(RecordFault::Malformed.into()),
        };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => Ok(true),
            AlertDescription::UserCanceled if level == WARNING => Ok(false),
            // TLS 1.3 has no warnings but these two (RFC 8446 section 6).
            _ if level == WARNING && !self.facts.is_tls13() => Ok(false),
            description => Err(TlsError::Rustls(Error::AlertReceived(description))),
        }
    }

    /// Whether the peer is owed a key update.
    pub(super) fn owes_answer(&self) -> bool {
        self.answer_due
    }

    /// Seals the key update that the peer is owed.
    pub(super) fn answer(&mut self, outgoing: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = outgoing.len();
        outgoing.resize(start + KEY_UPDATE_MESSAGE.len() + RECORD_OVERHEAD, 0);
        let room = outgoing.get_mut(start..).unwrap_or_default();
        let sealed = self.update_tx(room)?;
        outgoing.truncate(start + sealed);
        Ok(())
    }

    /// Announces our next key under the present one, and takes it.
    fn update_tx(&mut self, out: &mut [u8]) -> Result<usize, TlsError> {
        if !self.facts.is_tls13() {
            return Err(TlsError::KeyExhausted);
        }
        let sealed = self.tx.seal(HANDSHAKE, &KEY_UPDATE_MESSAGE, out)?;
        let next = self.secrets.next_tx()?;
        self.tx = Protection::new(self.library, self.facts.version, next)?;
        self.answer_due = false;
        Ok(sealed)
    }

    /// Seals `plaintext` into as few records as it fills; a key that is used up, or that the peer wants
    /// replaced, is replaced first.
    /// `out` must hold [`sealed_bound`](super::sealed_bound) of it: the caller has seen to that.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, TlsError> {
        let mut at = 0;
        for piece in plaintext.chunks(RECORD_PAYLOAD) {
            if self.answer_due || self.tx.is_used_up() {
                at += self.update_tx(out.get_mut(at..).unwrap_or_default())?;
            }
            let room = out.get_mut(at..).unwrap_or_default();
            at += self.tx.seal(DATA, piece, room)?;
        }
        Ok(at)
    }

    /// Whether payload in slots can be sealed where it stands.
    pub(super) fn takes_slots(&self) -> bool {
        self.tx.takes_slots()
    }

    /// Seals payload that stands in slots; `None` if it cannot be done so, and nothing was.
    pub(super) fn seal_slots(
        &mut self,
        payload: usize,
        buffer: &mut [u8],
    ) -> Option<Result<usize, TlsError>> {
        let slots =
            self.tx.takes_slots() && !self.answer_due && !self.tx.is_used_up_within(payload);
        slots.then(|| self.tx.seal_slots(payload, buffer))
    }

    /// Seals close_notify, after which nothing is due.
    pub(super) fn close(&mut self, out: &mut [u8]) -> Result<usize, TlsError> {
        self.answer_due = false;
        let alert = [WARNING, AlertDescription::CloseNotify.into()];
        self.tx.seal(ALERT, &alert, out)
    }

    /// Seals the alert that says why the session is over.
    pub(super) fn tell(&mut self, alert: AlertDescription, outgoing: &mut Vec<u8>) {
        let mut room = [0; 2 + RECORD_OVERHEAD];
        let alert = [FATAL, alert.into()];
        if let Ok(len) = self.tx.seal(ALERT, &alert, &mut room) {
            outgoing.extend_from_slice(room.get(..len).unwrap_or_default());
        }
    }
}

#[cfg(test)]
impl Established {
    /// Seals a record of any type, for peers that misbehave.
    pub(super) fn seal_as(&mut self, kind: u8, content: &[u8], out: &mut [u8]) -> usize {
        self.tx.seal(kind, content, out).expect("a sealed record")
    }

    /// Takes the next sending key without a word.
    pub(super) fn rotate_tx(&mut self) {
        let next = self.secrets.next_tx().expect("the next secret");
        let keys = Protection::new(self.library, self.facts.version, next);
        self.tx = keys.expect("its keys");
    }

    /// Goes on from where both keys have one record left.
    pub(super) fn skip_to_used_up(&mut self) {
        self.tx.skip_to_used_up();
        self.rx.skip_to_used_up();
    }
}
