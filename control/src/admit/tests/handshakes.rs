//! Both TLS ends of verdicts and snapshots, against peers with certificates of one PKI.

use super::*;
use crate::tickets::tests::carry;
use eyesplice_identity::pem::{CaBundle, Credential, FileRef, Role};
use eyesplice_proto::tls::provider;
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
    let builder = ClientConfig::builder_with_provider(provider::shared())
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
    let provider = provider::shared();
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

/// A service that presents `name` and asks for nothing.
fn open_server(dir: &Path, name: &str) -> Arc<ServerConfig> {
    let certified = credential(dir, name, Role::Server).certified;
    let config = ServerConfig::builder_with_provider(provider::shared())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Arc::new(config)
}

/// Runs a handshake in memory; the first error of either side.
pub(super) fn handshake(
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

pub(super) fn name(host: &str) -> ServerName<'static> {
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

/// What the API server is shown: the leaf of a server, which it takes for `asked`.
fn shown(dir: &Path, server: Arc<ServerConfig>, asked: &str) -> certificate::CertificateFacts {
    let present = Some("apiserver-kubelet-client");
    let api_server = client(dir, "egress-ca.crt", present);
    let mut client = Connection::from(ClientConnection::new(api_server, name(asked)).unwrap());
    let mut server = Connection::from(ServerConnection::new(server).unwrap());
    while client.is_handshaking() || server.is_handshaking() {
        carry(&mut client, &mut server).unwrap();
        carry(&mut server, &mut client).unwrap();
    }
    let chain = client.peer_certificates().unwrap();
    certificate::CertificateFacts::read(&chain[0]).unwrap()
}

#[tokio::test]
async fn leaf_names_the_node_of_the_inventory_or_else_the_one_that_was_verified() {
    let dir = site(CONFIG);
    let node = "CN=system:node:worker-1,O=system:nodes";
    let known = gatekeeper(dir.path());
    let ends = terminate(&known, "10.0.0.1:10250").await;
    let leaf = shown(dir.path(), ends.downstream.config, "10.0.0.1");
    assert_eq!(leaf.subject.to_string(), node);

    let dir = site(&CONFIG.replace("  inventoryFile: inventory.yaml\n", ""));
    let unknown = gatekeeper(dir.path());
    for (kubelet, subject) in [(Some("kubelet-worker-1"), node), (None, "CN=10.0.0.1")] {
        let Mode::TerminateVerified(ends) = connect(&unknown, "10.0.0.1:10250").await.mode else {
            panic!("its node is not known before");
        };
        if let Some(kubelet) = kubelet {
            let kubelet = server(dir.path(), kubelet, "ca.crt");
            handshake(ends.upstream.config, ends.upstream.server_name, kubelet).unwrap();
        }
        let leaf = ends.leaf.leaf().await.unwrap().unwrap();
        let leaf = shown(dir.path(), leaf.config, "10.0.0.1");
        assert_eq!(leaf.subject.to_string(), subject);
        assert_eq!(leaf.names, ["10.0.0.1"]);
    }
}

/// A service behind a webhook: dialled by address, verified by the name that the API server asks for.
#[tokio::test]
async fn both_ends_are_for_the_name_that_is_asked_for_if_the_rule_has_it() {
    let rule = "caFile: kubelet-serving-ca.crt, serverNames: [worker-1, .prod.svc]";
    let dir = site(
        &CONFIG
            .replace("dnsSuffixes: [web.example]\n    ", "")
            .replacen(
                "upstream: {caFile: ca.crt}",
                &format!("upstream: {{{rule}}}"),
                1,
            ),
    );
    let gatekeeper = gatekeeper(dir.path());
    let by_name = match connect(&gatekeeper, "10.0.0.7:443").await.mode {
        Mode::TerminateNamed(by_name) => by_name,
        other => panic!("{other:?}"),
    };
    for (asked, verified) in [
        (Some("worker-1"), "worker-1"),
        (Some("web.prod.svc"), "web.prod.svc"),
        (None, "10.0.0.7"),
    ] {
        let ends = by_name.choose(asked).await.unwrap().unwrap();
        assert_eq!(ends.upstream.server_name.to_str(), verified);
        let leaf = shown(dir.path(), ends.downstream.config, verified);
        assert_eq!(leaf.names, [verified]);
        // The target is a kubelet here: its certificate is for worker-1.
        let target = open_server(dir.path(), "kubelet-worker-1");
        let result = handshake(ends.upstream.config, ends.upstream.server_name, target);
        assert_eq!(
            result.is_ok(),
            verified == "worker-1",
            "{verified}: {result:?}"
        );
    }
    for asked in [
        "worker-2",
        "prod.svc",
        "prod.svc.",
        "a.prod.svc.evil",
        "",
        "10.0.0.7",
    ] {
        let refused = by_name.choose(Some(asked)).await.unwrap().unwrap_err();
        assert_eq!(refused.status, 403, "{asked}");
        assert!(
            refused.words.contains("upstream.serverNames of rule web"),
            "{refused:?}"
        );
    }
}
