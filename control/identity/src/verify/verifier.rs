//! The rustls verifier of one stream.

use super::check::check;
use super::expected::Expected;
use super::failure::{Cause, Failure};
use super::signatures::signatures;
use super::trust::{Mode, Trust};
use crate::certificate::CertificateFacts;
use eyesplice_dataplane::seam::{PeerVerification, VerificationSlot};
use rustls::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, OnceLock};

/// Verifies the peer of one stream, and leaves what it found in the stream's slot.
///
/// A certificate is public: whoever has seen one can present it. So a good verdict is published
/// only once the handshake's signature proved that the peer has its key; a bad one at once.
#[derive(Debug)]
pub(super) struct StreamVerifier {
    trust: Arc<Trust>,
    expected: Expected,
    slot: VerificationSlot,
    pending: OnceLock<PeerVerification>,
}

impl StreamVerifier {
    pub(super) fn new(trust: Arc<Trust>, expected: Expected, slot: VerificationSlot) -> Self {
        Self {
            trust,
            expected,
            slot,
            pending: OnceLock::new(),
        }
    }

    fn publish(&self, verification: PeerVerification) {
        // A second value would be of a second handshake, which a stream does not have.
        let _ = self.slot.set(verification);
    }

    fn refuse(&self, failure: &Failure) -> Error {
        self.publish(PeerVerification::Refused {
            cause: failure.cause.as_str(),
            message: failure.to_string().into(),
        });
        failure.cause.tls_error()
    }

    /// Publishes the certificate's verdict by what came of the handshake's signature. This one is
    /// never merely observed: without it there would be no peer to speak of.
    fn settle(
        &self,
        certificate: &CertificateDer<'_>,
        signature: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match (signature, self.pending.get()) {
            (Ok(valid), Some(verification)) => {
                self.publish(verification.clone());
                Ok(valid)
            }
            (Ok(_), None) => Err(Error::General(
                "a signature came before its certificate".into(),
            )),
            (Err(_), _) => {
                let facts = CertificateFacts::read(certificate).ok();
                let cause = Cause::HandshakeSignature;
                Err(self.refuse(&Failure::new(&self.trust, &self.expected, cause, facts)))
            }
        }
    }
}

impl ServerCertVerifier for StreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verification = match check(&self.trust, &self.expected, end_entity, intermediates, now)
        {
            Ok(facts) => PeerVerification::Verified {
                identity: facts.subject.to_string().into(),
            },
            Err(failure) => match self.trust.mode() {
                Mode::Enforce => return Err(self.refuse(&failure)),
                Mode::Observe => PeerVerification::Observed {
                    identity: failure.identity(),
                    cause: failure.cause.as_str(),
                    message: failure.to_string().into(),
                },
            },
        };
        let _ = self.pending.set(verification);
        Ok(ServerCertVerified::assertion())
    }

    signatures!(|own, certificate, found| own.settle(certificate, found));
}
