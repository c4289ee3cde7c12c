//! Handshakes in memory, with every kind of key and both versions of TLS.

use super::*;
use crate::pki::testing::{Recipe, certified, client, kubelet};
use eyesplice_dataplane::seam::PeerVerification;
use eyesplice_proto::tls::provider;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConnection, Error, HandshakeKind, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use std::process::Command;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn server(
    key: Arc<CertifiedKey>,
    version: &'static SupportedProtocolVersion,
    clients: Option<&Made>,
) -> Arc<ServerConfig> {
    let provider = provider::shared();
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(ca) => client_verifier(ca.roots(), &["eyesplice".to_owned()]).unwrap(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Runs a handshake to its end; the first error of either side, the client's first.
fn shake(
    upstream: &UpstreamTls,
    server: Arc<ServerConfig>,
) -> (ClientConnection, ServerConnection, Result<(), Error>) {
    let name = upstream.server_name.clone();
    let mut client = ClientConnection::new(Arc::clone(&upstream.config), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut wire = Vec::new();
    let mut result = Ok(());
    while result.is_ok() && (client.wants_write() || server.wants_write()) {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            result = result.and(server.process_new_packets().map(drop));
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            if let Err(error) = client.process_new_packets() {
                result = Err(error);
                break;
            }
        }
    }
    (client, server, result)
}

fn upstream(trust: KubeletTrust) -> UpstreamTls {
    let trust = Arc::new(Trust::kubelets(trust).unwrap());
    upstream_tls(UpstreamSpec {
        trust,
        expected: worker(),
        client: None,
    })
    .unwrap()
}

#[test]
fn handshake_with_every_key_and_version_is_verified() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ] {
        for version in VERSIONS {
            let ca = Recipe {
                algorithm,
                ..authority("ca")
            }
            .self_signed();
            let leaf = Recipe {
                algorithm,
                ..kubelet()
            }
            .signed_by(&ca);
            let upstream = upstream(trust(&ca));
            let (client, _, result) = shake(&upstream, server(leaf.certified(), version, None));
            assert_eq!(result, Ok(()), "{algorithm:?} {version:?}");
            assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
            let identity = "CN=system:node:worker-3,O=system:nodes".into();
            let verified = PeerVerification::Verified { identity };
            assert_eq!(upstream.verification.get(), Some(&verified));
        }
    }
}

#[test]
fn handshake_with_an_rsa_kubelet_is_verified() {
    let Some((chain, key)) = rsa_kubelet() else {
        eprintln!("SKIPPED: handshake_with_an_rsa_kubelet_is_verified: no openssl here");
        return;
    };
    let pin = {
        let facts = crate::certificate::CertificateFacts::read(&chain[0]).unwrap();
        crate::pins::SpkiHash::of(&facts.spki).to_string()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(kubelet_ca().der()).unwrap();
    for version in VERSIONS {
        let key = certified(chain.clone(), key.clone_key());
        let pins = pins("worker-3", std::slice::from_ref(&pin));
        let trust = KubeletTrust {
            pins,
            ..trust(&kubelet_ca())
        };
        let upstream = upstream(trust);
        let (_, _, result) = shake(&upstream, server(key, version, None));
        assert_eq!(result, Ok(()), "{version:?}");
        let verification = upstream.verification.get();
        assert!(matches!(
            verification,
            Some(PeerVerification::Verified { .. })
        ));
    }
}

fn rsa_kubelet() -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (dir.path().join("key"), dir.path().join("crt"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=worker-3", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .ok()?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let chain = CertificateDer::pem_file_iter(certificate)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    Some((chain, PrivateKeyDer::from_pem_file(key).unwrap()))
}

#[test]
fn handshake_without_the_certificates_key_is_refused_even_when_observing() {
    let ca = kubelet_ca();
    let (leaf, other) = (kubelet().signed_by(&ca), kubelet().self_signed());
    let stolen = certified(vec![leaf.der()], other.private_key());
    for version in VERSIONS {
        for mode in [Mode::Enforce, Mode::Observe] {
            let upstream = upstream(KubeletTrust { mode, ..trust(&ca) });
            let (_, _, result) = shake(&upstream, server(Arc::clone(&stolen), version, None));
            assert_eq!(
                result,
                Err(CertificateError::BadSignature.into()),
                "{version:?}"
            );
            let Some(PeerVerification::Refused { cause, message }) = upstream.verification.get()
            else {
                panic!("{:?}", upstream.verification)
            };
            assert_eq!(*cause, "bad_signature");
            assert!(message.contains("presented a certificate and does not have its key"));
        }
    }
}

#[test]
fn handshake_with_a_bad_certificate_is_refused_or_observed() {
    let ca = kubelet_ca();
    let leaf = kubelet().self_signed();
    for version in VERSIONS {
        let enforced = upstream(trust(&ca));
        let (_, _, result) = shake(&enforced, server(leaf.certified(), version, None));
        assert_eq!(result, Err(CertificateError::UnknownIssuer.into()));
        let Some(PeerVerification::Refused { cause, message }) = enforced.verification.get() else {
            panic!("{:?}", enforced.verification)
        };
        assert_eq!(*cause, "self_signed");

        let observed = upstream(KubeletTrust {
            mode: Mode::Observe,
            ..trust(&ca)
        });
        let (_, _, result) = shake(&observed, server(leaf.certified(), version, None));
        assert_eq!(result, Ok(()));
        let expected = PeerVerification::Observed {
            identity: "CN=system:node:worker-3,O=system:nodes".into(),
            cause: "self_signed",
            message: Arc::clone(message),
        };
        assert_eq!(observed.verification.get(), Some(&expected));
    }
}

#[test]
fn handshake_presents_our_client_certificate() {
    let ca = kubelet_ca();
    let leaf = kubelet().signed_by(&ca);
    let clients = authority("kubernetes").self_signed();
    let trust = Arc::new(Trust::kubelets(trust(&ca)).unwrap());
    for version in VERSIONS {
        for (name, accepted) in [("eyesplice", true), ("somebody", false)] {
            let own = client(name).signed_by(&clients);
            let spec = UpstreamSpec {
                trust: Arc::clone(&trust),
                expected: worker(),
                client: Some(own.certified()),
            };
            let upstream = upstream_tls(spec).unwrap();
            let server = server(leaf.certified(), version, Some(&clients));
            let (_, server, result) = shake(&upstream, server);
            assert_eq!(result.is_ok(), accepted, "{name} {version:?}: {result:?}");
            if accepted {
                assert_eq!(server.peer_certificates().unwrap(), [own.der()]);
            }
        }
        let spec = UpstreamSpec {
            trust: Arc::clone(&trust),
            expected: worker(),
            client: None,
        };
        let upstream = upstream_tls(spec).unwrap();
        let (_, _, result) = shake(&upstream, server(leaf.certified(), version, Some(&clients)));
        assert!(result.is_err(), "a client without certificate was accepted");
    }
}

#[test]
fn handshake_sends_sni_for_names_and_never_resumes() {
    let ca = kubelet_ca();
    let leaf = kubelet().signed_by(&ca);
    let trust = Arc::new(Trust::kubelets(trust(&ca)).unwrap());
    for version in VERSIONS {
        let server = server(leaf.certified(), version, None);
        for (host, sni) in [
            ("worker-3.example", Some("worker-3.example")),
            ("10.0.0.7", None),
        ] {
            let expected = Expected::kubelet(host.parse().unwrap(), 10250, None);
            let spec = UpstreamSpec {
                trust: Arc::clone(&trust),
                expected,
                client: None,
            };
            let upstream = upstream_tls(spec).unwrap();
            for _ in 0..2 {
                let (client, server, result) = shake(&upstream, Arc::clone(&server));
                assert_eq!(result, Ok(()));
                assert_eq!(server.server_name(), sni);
                assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
            }
        }
    }
}

#[test]
fn handshake_secrets_can_be_taken_for_kernel_tls() {
    let ca = kubelet_ca();
    let upstream = upstream(trust(&ca));
    let leaf = kubelet().signed_by(&ca);
    let (client, _, result) = shake(&upstream, server(leaf.certified(), &TLS13, None));
    assert_eq!(result, Ok(()));
    assert!(client.dangerous_extract_secrets().is_ok());
}
