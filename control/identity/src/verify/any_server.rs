//! A TLS client's verifier that lets every certificate through, because it is judged afterwards.

use super::signatures::signatures;
use rustls::Error;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

/// Takes any server's certificate; never a handshake that its key did not sign.
///
/// What comes of such a connection is worth nothing until the certificate, or the answer, is
/// judged.
#[derive(Debug)]
pub struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!(|_own, certificate, found| found);
}
