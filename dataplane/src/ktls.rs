//! When and how a leg's TLS moves into the kernel, and how control records are read there.

use crate::config::KtlsPolicy;
use crate::counters::WorkerCounters;
use crate::end::LegError;
use eyesplice_proto::tls::{
    CONTROLS_IN_A_ROW, Handover, PostHandshake, RECORD_PAYLOAD, RecordFault, Session, TlsError,
};
use eyesplice_sys::ktls::{
    self, Alert, Cipher, Keys, Record, RecordKind, RecordWait, Trouble, Version,
};
use eyesplice_sys::probe::{self, Capability, Direction};
use eyesplice_sys::socket::{self, Address};
use eyesplice_sys::uring::Fd;
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CipherSuite, ConnectionTrafficSecrets as Secrets, ProtocolVersion};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Records that one AES-GCM key may protect (RFC 8446 section 5.5: 2^24.5). The kernel neither
/// counts them nor can it change the key before Linux 6.14.
const RECORDS_PER_KEY: u64 = 1 << 24;

/// Level of the alerts that end a connection (RFC 8446 section 6).
const FATAL: u8 = 2;

/// What carries a session after its handshake.
pub(crate) enum Carrier {
    /// We do.
    User(Session),
    /// The kernel does.
    Kernel(KernelTls),
}

/// What a worker knows of kernel TLS.
#[derive(Clone, Debug)]
pub(crate) struct Ktls {
    policy: KtlsPolicy,
    supported: Arc<[(Version, Cipher)]>,
}

impl Ktls {
    pub(crate) fn new(policy: KtlsPolicy, supported: Arc<[(Version, Cipher)]>) -> Self {
        Self { policy, supported }
    }

    /// Prepares a connected socket for the hand-over; `false` when TLS stays in user space, as it
    /// does on a UNIX socket under every policy: kernel TLS is a part of TCP.
    ///
    /// Done before the handshake: after the peer's FIN the kernel refuses.
    pub(crate) fn prepare(&self, counters: &WorkerCounters, fd: &Fd) -> Result<bool, LegError> {
        if self.policy == KtlsPolicy::Off
            || matches!(socket::local_address(fd.as_fd()), Ok(Address::Unix))
        {
            return Ok(false);
        }
        if self.policy == KtlsPolicy::Auto && self.supported.is_empty() {
            counters.ktls_declined.inc();
            return Ok(false);
        }
        match ktls::set_ulp(fd.as_fd()) {
            Ok(()) => Ok(true),
            Err(error) if self.policy == KtlsPolicy::Require => Err(LegError::Gone(error.source)),
            Err(_) => {
                counters.ktls_declined.inc();
                Ok(false)
            }
        }
    }

    /// Moves the session of a socket into the kernel, or gives it back if the policy allows that.
    pub(crate) fn take_over(
        &self,
        counters: &WorkerCounters,
        fd: &Fd,
        session: Session,
    ) -> Result<Carrier, LegError> {
        if !self.can_take(&session) {
            counters.ktls_declined.inc();
            return match self.policy {
                KtlsPolicy::Require => Err(LegError::Gone(io::Error::other(
                    "kernel TLS is required, and this kernel does not speak the negotiated cipher",
                ))),
                _ => Ok(Carrier::User(session)),
            };
        }
        let Handover {
            secrets,
            version,
            is_server,
            peer_certificates,
        } = session.into_kernel()?;
        let version = match version {
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            _ => Version::Tls12,
        };
        let transmit = keys(version, secrets.tx.0, &secrets.tx.1)?;
        let receive = keys(version, secrets.rx.0, &secrets.rx.1)?;
        let socket = fd.as_fd();
        ktls::install_tx(socket, &transmit)
            .and_then(|()| ktls::install_rx(socket, &receive))
            .map_err(|error| LegError::Gone(error.source))?;
        counters.ktls_legs.inc();
        Ok(Carrier::Kernel(KernelTls::new(
            is_server,
            peer_certificates,
        )))
    }

    fn can_take(&self, session: &Session) -> bool {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => return false,
        };
        let Some(cipher) = session
            .cipher_suite()
            .and_then(|suite| cipher(suite.suite()))
        else {
            return false;
        };
        session.pending_len() == 0 && self.supported.contains(&(version, cipher))
    }
}

/// What this kernel speaks in both directions, as it was tried on a connection to itself.
pub(crate) fn supported_ciphers(policy: KtlsPolicy) -> Arc<[(Version, Cipher)]> {
    if policy == KtlsPolicy::Off {
        return Arc::new([]);
    }
    let probe = probe::found();
    let speaks = |version, cipher| {
        [Direction::Send, Direction::Receive]
            .into_iter()
            .all(|direction| {
                probe.has(Capability::KernelTls {
                    version,
                    cipher,
                    direction,
                })
            })
    };
    Version::ALL
        .into_iter()
        .flat_map(|version| Cipher::ALL.map(|cipher| (version, cipher)))
        .filter(|(version, cipher)| speaks(*version, *cipher))
        .collect()
}

fn cipher(suite: CipherSuite) -> Option<Cipher> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Cipher::Aes128Gcm,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Cipher::Aes256Gcm,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Cipher::ChaCha20Poly1305,
        _ => return None,
    })
}

fn keys(version: Version, sequence: u64, secrets: &Secrets) -> Result<Keys, LegError> {
    let (cipher, key, iv) = match secrets {
        Secrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key.as_ref(), iv),
        Secrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key.as_ref(), iv),
        Secrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key.as_ref(), iv),
        _ => return Err(LegError::Gone(io::ErrorKind::Unsupported.into())),
    };
    let iv: [u8; 12] = iv
        .as_ref()
        .try_into()
        .map_err(|_| LegError::Gone(io::ErrorKind::Unsupported.into()))?;
    Keys::new(version, cipher, key, &iv, sequence)
        .map_err(|error| LegError::Gone(io::Error::other(error)))
}

/// A session that lives in the kernel.
pub(crate) struct KernelTls {
    peer_certificates: Option<Vec<CertificateDer<'static>>>,
    records_sent: Cell<u64>,
    messages: RefCell<PostHandshake>,
    /// Records without data since the last one with data.
    controls: Cell<u8>,
    wait: RefCell<RecordWait>,
}

/// What a read from a kernel session brought.
pub(crate) enum FromKernel {
    /// Payload bytes.
    Payload(usize),
    /// Nothing there.
    Wait,
    /// close_notify.
    End,
}

impl KernelTls {
    fn new(is_server: bool, peer_certificates: Option<Vec<CertificateDer<'static>>>) -> Self {
        Self {
            peer_certificates,
            records_sent: Cell::new(0),
            messages: RefCell::new(PostHandshake::new(is_server)),
            controls: Cell::default(),
            wait: RefCell::default(),
        }
    }

    pub(crate) fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.peer_certificates.clone()
    }

    /// Counts what one send or splice may have sealed, and stops before the key is used up.
    pub(crate) fn count(&self, bytes: usize) -> Result<(), LegError> {
        let records = (bytes / RECORD_PAYLOAD + 1) as u64;
        let sent = self.records_sent.get() + records;
        self.records_sent.set(sent);
        if sent > RECORDS_PER_KEY {
            Err(LegError::Tls(TlsError::KeyExhausted))
        } else {
            Ok(())
        }
    }

    /// Before a read or splice.
    pub(crate) fn reading(&self, fd: &Fd) -> Result<(), LegError> {
        self.wait
            .borrow_mut()
            .reading(fd.as_fd())
            .map_err(LegError::Gone)
    }

    /// After a read or splice said `WouldBlock`: whether to try once more rather than to wait. Part
    /// of a record would wake the waiter over and over otherwise.
    pub(crate) fn blocked(&self, fd: &Fd) -> Result<bool, LegError> {
        let next = self
            .wait
            .borrow_mut()
            .blocked(fd.as_fd())
            .map_err(LegError::Gone)?;
        Ok(next == ktls::Next::Retry)
    }

    /// After a read or splice moved something.
    pub(crate) fn progressed(&self) {
        self.wait.borrow_mut().progressed();
    }

    /// Reads once; session tickets are passed over. The peer learns by an alert what it did wrong.
    pub(crate) fn read(&self, fd: &Fd, room: &mut [u8]) -> Result<FromKernel, LegError> {
        self.read_record(fd, room).inspect_err(|error| {
            if let LegError::Tls(error) = error
                && let Some(alert) = error.alert()
            {
                // A peer that takes no more is not told.
                let alert = [FATAL, alert.into()];
                let _ = ktls::send_record(fd.as_fd(), RecordKind::Alert, &alert);
            }
        })
    }

    fn read_record(&self, fd: &Fd, room: &mut [u8]) -> Result<FromKernel, LegError> {
        loop {
            self.reading(fd)?;
            match ktls::recv_record(fd.as_fd(), room) {
                Ok(Record::Content {
                    kind: RecordKind::Data,
                    len: 0,
                    ..
                }) => self.count_control()?,
                Ok(Record::Content {
                    kind: RecordKind::Data,
                    len,
                    ..
                }) => {
                    self.controls.set(0);
                    self.progressed();
                    return Ok(FromKernel::Payload(len));
                }
                Ok(Record::Content {
                    kind: RecordKind::Alert,
                    len,
                    ..
                }) => {
                    self.count_control()?;
                    let alert = Alert::parse(room.get(..len).unwrap_or_default());
                    match alert {
                        Some(alert) if alert.is_close_notify() => return Ok(FromKernel::End),
                        Some(alert) if !alert.fatal => {}
                        Some(alert) => {
                            let description = AlertDescription::from(alert.description);
                            return Err(rustls_error(rustls::Error::AlertReceived(description)));
                        }
                        None => return Err(fault(RecordFault::Malformed)),
                    }
                }
                Ok(Record::Content {
                    kind: RecordKind::Handshake,
                    len,
                    ..
                }) => {
                    self.count_control()?;
                    self.pass_messages(room.get(..len).unwrap_or_default())?;
                }
                Ok(Record::Content { .. }) => return Err(fault(RecordFault::Unexpected)),
                Ok(Record::Fin) => return Err(LegError::Truncated),
                Err(error) => {
                    return match Trouble::of(&error) {
                        Trouble::WouldBlock if self.blocked(fd)? => continue,
                        Trouble::WouldBlock => Ok(FromKernel::Wait),
                        Trouble::BadRecord => Err(fault(RecordFault::Authentication)),
                        Trouble::MalformedRecord => Err(fault(RecordFault::Oversized)),
                        Trouble::KeyUpdate | Trouble::ControlRecord => Err(cannot_follow()),
                        Trouble::Connection => Err(LegError::Gone(error)),
                    };
                }
            }
        }
    }

    /// Passes over tickets; a key update cannot be followed, so the connection ends as an error.
    fn pass_messages(&self, content: &[u8]) -> Result<(), LegError> {
        match self.messages.borrow_mut().follow(content) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(cannot_follow()),
            Err(found) => Err(fault(found.into())),
        }
    }

    fn count_control(&self) -> Result<(), LegError> {
        let controls = self.controls.get() + 1;
        if controls > CONTROLS_IN_A_ROW {
            return Err(fault(RecordFault::TooManyControls));
        }
        self.controls.set(controls);
        Ok(())
    }
}

fn rustls_error(error: rustls::Error) -> LegError {
    LegError::Tls(TlsError::Rustls(error))
}

fn fault(fault: RecordFault) -> LegError {
    LegError::Tls(fault.into())
}

fn cannot_follow() -> LegError {
    LegError::Tls(TlsError::ControlRecord)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_passes_and_key_update_ends_the_connection() {
        let session = KernelTls::new(false, None);
        session
            .pass_messages(&[&[4, 0, 0, 14][..], &[7; 14]].concat())
            .unwrap();
        assert!(session.pass_messages(&[24, 0, 0, 1, 0]).is_err());
    }

    #[test]
    fn records_without_data_are_counted() {
        let session = KernelTls::new(false, None);
        for _ in 0..CONTROLS_IN_A_ROW {
            session.count_control().unwrap();
        }
        assert!(session.count_control().is_err());
    }

    #[test]
    fn used_up_key_ends_the_connection() {
        let session = KernelTls::new(false, None);
        session.records_sent.set(RECORDS_PER_KEY - 1);
        assert!(session.count(100).is_ok());
        assert!(session.count(1).is_err());
    }
}
