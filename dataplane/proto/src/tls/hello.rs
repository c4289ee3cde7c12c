//! Reads the name that a client asks for (SNI) before anything is decided about its session.
//!
//! rustls parses the ClientHello, and forgets it: the session that follows is given the same bytes again.

use rustls::server::Acceptor;
use rustls::{AlertDescription, Error};
use std::io;

/// A ClientHello that is on its way.
#[derive(Default, derive_more::Debug)]
pub struct HelloReader {
    #[debug(skip)]
    acceptor: Acceptor,
}

/// A ClientHello that is none, or a broken one.
#[derive(Debug, thiserror::Error)]
#[error("client sent no ClientHello")]
pub struct HelloError {
    /// What was wrong.
    pub source: Error,
    /// The alert for the client, as it goes out.
    pub alert: Vec<u8>,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// In lower case; `None`: it asks for none, as for addresses.
    pub server_name: Option<String>,
}

impl HelloReader {
    /// Takes the next bytes; `None`: the ClientHello goes on. It ends at its first answer.
    ///
    /// # Errors
    /// It is none; rustls bounds its length.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
        while !bytes.is_empty() {
            match self.acceptor.read_tls(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(too_long(&error)),
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_lowercase);
                    return Ok(Some(Hello { server_name: name }));
                }
                Err((source, mut alert)) => {
                    let mut out = Vec::new();
                    // A vector takes everything.
                    let _ = alert.write_all(&mut out);
                    if out.is_empty() {
                        out = super::fatal_alert(match source {
                            Error::InappropriateMessage { .. }
                            | Error::InappropriateHandshakeMessage { .. } => {
                                AlertDescription::UnexpectedMessage
                            }
                            _ => AlertDescription::DecodeError,
                        });
                    }
                    return Err(HelloError { source, alert: out });
                }
            }
        }
        Ok(None)
    }
}

fn too_long(error: &io::Error) -> HelloError {
    HelloError {
        source: Error::General(error.to_string()),
        alert: super::fatal_alert(AlertDescription::DecodeError),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Session, provider};
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;

    fn hello(name: &'static str) -> Vec<u8> {
        let provider = provider::shared();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut session = Session::client(Arc::new(config), name).unwrap();
        session.receive(&mut []).unwrap();
        session.take_outgoing()
    }

    #[test]
    fn name_is_found_however_the_hello_is_cut() {
        for (asked, found) in [
            ("web.prod.svc", Some("web.prod.svc")),
            ("Web.Prod.SVC", Some("web.prod.svc")),
            ("10.0.0.7", None),
            ("fd00::7", None),
        ] {
            let wire = hello(asked);
            for step in [1, 7, wire.len()] {
                let mut reader = HelloReader::default();
                let mut got = Vec::new();
                for (at, piece) in wire.chunks(step).enumerate() {
                    if let Some(hello) = reader.read(piece).unwrap() {
                        assert!((at + 1) * step >= wire.len(), "only when it is whole");
                        got.push(hello.server_name);
                    }
                }
                assert_eq!(
                    got,
                    [found.map(str::to_owned)],
                    "{asked} in steps of {step}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_hello_is_answered_by_an_alert() {
        let mut damaged = hello("web.prod.svc");
        damaged[5] = 2;
        let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 0x4000 - 4]].concat();
        let mut many = endless.clone();
        for _ in 0..8 {
            many.extend([22, 3, 3, 0x40, 0]);
            many.extend([0; 0x4000]);
        }
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[23, 3, 3, 0, 1, 0],
            &[22, 3, 1, 0xff, 0xff],
            &damaged,
            &many,
        ] {
            let error = HelloReader::default().read(bytes).unwrap_err();
            assert!(
                matches!(error.alert[..], [21, 3, 3, 0, 2, 2, _]),
                "{:?}: {:?}",
                bytes.get(..20),
                error
            );
        }
        assert_eq!(HelloReader::default().read(&[]).unwrap(), None);
    }
}
