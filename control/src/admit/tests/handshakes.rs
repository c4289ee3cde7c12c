//! Both TLS ends of verdicts and snapshots, against peers with certificates of one PKI.

use super::*;
use crate::pem::{CaBundle, Credential, FileRef, Role};
use crate::tickets::tests::carry;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

fn file(dir: &Path, name: &str) -> FileRef {
    FileRef::new("test", dir.join(name))
}

fn credential(dir: &Path, name: &str, role: Role) -> Credential {
    let certificate = file(dir, &format!("{name}.crt"));
    Credential::load(certificate, &file(dir, &format!("{name}.key")), role).unwrap()
}

/// An API server that trusts `ca` and presents `name`, or nothing.
fn client(dir: &Path, ca: &str, name: Option<&str>) -> Arc<ClientConfig> {
    let roots = CaBundle::load(file(dir, ca)).unwrap().roots;
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let certified = credential(dir, name, Role::Client).certified;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    })
}

/// A kubelet that presents `name` and asks for a client certificate of `ca`.
fn server(dir: &Path, name: &str, ca: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let roots = CaBundle::load(file(dir, ca)).unwrap().roots;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let certified = credential(dir, name, Role::Server).certified;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Arc::new(config)
}

/// Runs a handshake in memory; the first error of either side.
fn handshake(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
) -> Result<(), Error> {
    let mut client = Connection::from(ClientConnection::new(client, name)?);
    let mut server = Connection::from(ServerConnection::new(server)?);
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
        carry(&mut client, &mut server)?;
        carry(&mut server, &mut client)?;
    }
    Ok(())
}

fn name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap()
}

async fn terminate(gatekeeper: &Gatekeeper, target: &str) -> Terminate {
    match connect(gatekeeper, target).await.mode {
        Mode::Terminate(terminate) => terminate,
        other => panic!("{target}: {other:?}"),
    }
}

#[tokio::test]
async fn terminate_downstream_takes_the_api_servers_kubelet_client_only() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    for (host, presents, passes) in [
        ("10.0.0.1", Some("apiserver-kubelet-client"), true),
        ("worker-1", Some("apiserver-kubelet-client"), true),
        ("10.0.0.1", None, false),
        ("10.0.0.1", Some("admin"), false),
        ("10.0.0.1", Some("egress-client"), false),
    ] {
        let ends = terminate(&gatekeeper, &format!("{host}:10250")).await;
        let api_server = client(dir.path(), "egress-ca.crt", presents);
        let result = handshake(api_server, name(host), ends.downstream.config);
        assert_eq!(result.is_ok(), passes, "{host} {presents:?} {result:?}");
    }
}

#[tokio::test]
async fn terminate_opaque_asks_the_api_server_for_nothing() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let ends = terminate(&gatekeeper, "a.web.example:443").await;
    let api_server = client(dir.path(), "egress-ca.crt", None);
    handshake(api_server, name("a.web.example"), ends.downstream.config).unwrap();
}

#[tokio::test]
async fn terminate_upstream_takes_the_node_that_was_asked_for_only() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    for (target, kubelet, cause) in [
        ("10.0.0.1:10250", "kubelet-worker-1", None),
        ("worker-1:10250", "kubelet-worker-1", None),
        ("10.0.0.2:10250", "kubelet-worker-1", Some("wrong_name")),
        ("10.0.0.1:10250", "apiserver", Some("unknown_issuer")),
    ] {
        let ends = terminate(&gatekeeper, target).await.upstream;
        let kubelet = server(dir.path(), kubelet, "ca.crt");
        let result = handshake(ends.config, ends.server_name, kubelet);
        let found = match ends.verification.get() {
            Some(PeerVerification::Refused { cause, .. }) => Some(*cause),
            Some(PeerVerification::Verified { .. }) => None,
            other => panic!("{target}: {other:?}"),
        };
        assert_eq!(
            (found, result.is_ok()),
            (cause, cause.is_none()),
            "{target} {result:?}"
        );
    }
}

#[tokio::test]
async fn snapshot_listener_takes_clients_of_its_ca_and_names_only() {
    let tcp = "listeners:\n- name: mtls\n  tcp: {address: '127.0.0.1:0', \
               tlsCertFile: egress-server.crt, tlsPrivateKeyFile: egress-server.key, \
               clientCAFile: egress-client-ca.crt, allowedNames: [NAME]}\n";
    for (allowed, presents, passes) in [
        ("kube-apiserver-egress", Some("egress-client"), true),
        ("kube-apiserver-egress", None, false),
        (
            "kube-apiserver-egress",
            Some("apiserver-kubelet-client"),
            false,
        ),
        ("somebody-else", Some("egress-client"), false),
    ] {
        let config = CONFIG.replace("listeners:\n", &tcp.replace("NAME", allowed));
        let dir = site(&config);
        let snapshot = gatekeeper(dir.path()).snapshot_cell().load();
        let server = Arc::clone(&snapshot.listener_tls["mtls"].config);
        let api_server = client(dir.path(), "egress-ca.crt", presents);
        let result = handshake(api_server, name("localhost"), server);
        assert_eq!(result.is_ok(), passes, "{allowed} {presents:?} {result:?}");
    }
}
