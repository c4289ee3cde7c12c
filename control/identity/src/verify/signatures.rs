//! What verifiers of servers and of clients share: signatures are verified by the provider's
//! algorithms.

use eyesplice_proto::tls::provider;
use rustls::crypto::WebPkiSupportedAlgorithms;

/// What signatures may be made by.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    provider::shared().signature_verification_algorithms
}

/// The methods of a rustls verifier that are about the handshake's signature and not about the
/// certificate; the expression says what comes of what they found.
macro_rules! signatures {
    (|$own:ident, $certificate:ident, $found:ident| $settled:expr) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            $certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let ($own, by) = (self, $crate::verify::signatures::algorithms());
            let $found = rustls::crypto::verify_tls12_signature(message, $certificate, signed, &by);
            $settled
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            $certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let ($own, by) = (self, $crate::verify::signatures::algorithms());
            let $found = rustls::crypto::verify_tls13_signature(message, $certificate, signed, &by);
            $settled
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $crate::verify::signatures::algorithms().supported_schemes()
        }
    };
}

pub(super) use signatures;
