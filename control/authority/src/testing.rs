//! A whole authority for tests: a PKI and a configuration in a directory of their own.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use super::controller::Controller;
use super::creation::Rates;
use super::material::AuthorityMaterial;
#[cfg(test)]
use super::object::CertificateSigningRequest;
use super::object::{Blob, Timestamp};
use super::server::{Server, serve};
use super::store::{Change, Store, StoreError};
use crate::config::{AuthorityConfig, Document};
use arc_swap::ArcSwap;
use eyesplice_identity::authn::Authenticator;
use eyesplice_identity::pki::testing::{Made, Recipe, authority, client, kubelet};
use eyesplice_identity::testing::apiserver::ScriptedApiServer;
use eyesplice_identity::x509::CertificateRequest;
#[cfg(test)]
use eyesplice_identity::x509::Signer;
#[cfg(test)]
use eyesplice_identity::x509::testing::Ask;
use eyesplice_process::metrics::Metrics;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const INVENTORY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: NodeInventory
nodes:
- {name: w, addresses: [10.0.0.7, w.example]}
";

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: \"127.0.0.1:0\", tlsCertFile: server.crt, tlsPrivateKeyFile: server.key}
clusterInfo: {server: \"https://127.0.0.1:6443\", caFile: server-ca.crt}
authentication: {clientCAFile: ca.crt, bootstrapTokenDir: tokens}
store: {path: authority.redb}
signers:
- {signerName: kubernetes.io/kube-apiserver-client-kubelet, certFile: ca.crt, keyFile: ca.key}
- {signerName: kubernetes.io/kube-apiserver-client, certFile: ca.crt, keyFile: ca.key}
- {signerName: kubernetes.io/kubelet-serving, certFile: serving.crt, keyFile: serving.key}
- {signerName: eyesplice.dev/gateway-client, certFile: ca.crt, keyFile: ca.key}
- {signerName: eyesplice.dev/serving, certFile: ca.crt, keyFile: ca.key}
- {signerName: eyesplice.dev/egress-leaf, certFile: egress.crt, keyFile: egress.key}
approval:
  inventoryFile: inventory.yaml
  gateways: [{name: gw, addresses: [127.0.0.1, egress.example]}]
roles:
- {group: approvers, role: approver, signers: [\"*\"]}
- {group: reviewers, role: reviewer}
limits: {maxCSRs: 200, maxCSRsPerUser: 100}
";

/// The files of an authority.
pub struct Site {
    /// Where its files are.
    pub dir: TempDir,
    /// The CA of client certificates.
    pub ca: Made,
    /// The CA of kubelets' serving certificates.
    pub serving_ca: Made,
    /// The CA of the authority's own serving certificate.
    pub server_ca: Made,
    /// The CA of leaves.
    pub egress_ca: Made,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// Makes it.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Makes it on another disk.
    pub fn below(place: &Path) -> Self {
        let site = Self {
            dir: tempfile::tempdir_in(place).unwrap(),
            ca: authority("kubernetes").self_signed(),
            serving_ca: authority("kubelet-serving-ca").self_signed(),
            server_ca: authority("server-ca").self_signed(),
            egress_ca: authority("egress-ca").self_signed(),
        };
        let server = Recipe {
            names: vec!["localhost", "127.0.0.1"],
            ..kubelet()
        }
        .signed_by(&site.server_ca);
        site.put("ca", &site.ca);
        site.put("serving", &site.serving_ca);
        site.put("server", &server);
        site.put("server-ca", &site.server_ca);
        site.put("egress", &site.egress_ca);
        site.write("inventory.yaml", INVENTORY);
        site.write("authority.yaml", CONFIG);
        site
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of it.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn put(&self, name: &str, made: &Made) {
        self.write(&format!("{name}.crt"), &made.certificate.pem());
        self.write(&format!("{name}.key"), &made.key.serialize_pem());
        self.chmod(&format!("{name}.key"), 0o600);
    }

    /// Changes who may do what to a file of it.
    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Its configuration.
    pub fn config(&self) -> AuthorityConfig {
        AuthorityConfig::load(&self.path("authority.yaml"))
            .unwrap()
            .config
    }

    /// What that loads.
    pub fn material(&self) -> AuthorityMaterial {
        AuthorityMaterial::load(self.config(), SystemTime::now())
            .unwrap()
            .state
            .0
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        let now = Timestamp::from(SystemTime::now());
        Arc::new(Store::open(&self.path("authority.redb"), now).unwrap())
    }

    /// A client certificate of this user.
    pub fn user(&self, name: &str, groups: Vec<&'static str>) -> Made {
        Recipe {
            organizations: groups,
            ..client(name)
        }
        .signed_by(&self.ca)
    }
}

/// Puts a bootstrap token for gateways where the authority finds it, and into the file `token`.
pub fn put_gateway_token(site: &Site) {
    fs::create_dir(site.path("tokens")).unwrap();
    site.write(
        "tokens/bootstrap-token-abcdef.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: bootstrap-token-abcdef, namespace: \
         kube-system}\ntype: bootstrap.kubernetes.io/token\nstringData: {token-id: abcdef, \
         token-secret: 0123456789abcdef, usage-bootstrap-authentication: \"true\", \
         auth-extra-groups: \"system:bootstrappers:eyesplice:gateways\", eyesplice-gateways: \
         \"gw,other\"}\n",
    );
    site.write("token", "abcdef.0123456789abcdef\n");
}

/// Puts a client certificate of gateway `gw` in place that is `past` of its hundred hours old.
pub fn put_gateway_client(site: &Site, past: i64) {
    let now = OffsetDateTime::now_utc();
    let made = Recipe {
        organizations: vec!["eyesplice:gateways"],
        not_before: now - Duration::hours(past),
        not_after: now + Duration::hours(100 - past),
        ..client("eyesplice:gateway:gw")
    }
    .signed_by(&site.ca);
    fs::create_dir_all(site.path("identity")).unwrap();
    let pair = format!("{}{}", made.certificate.pem(), made.key.serialize_pem());
    site.write("identity/gateway-client.pem", &pair);
}

/// Lets the pods of account `eyesplice:agents` be agents, whose tokens an API server reviews. Gives
/// the CA of agents.
pub fn put_agents(site: &Site, review: &ScriptedApiServer) -> Made {
    let ca = authority("agents").self_signed();
    site.put("agents", &ca);
    site.write("review-ca.crt", &review.ca.certificate.pem());
    site.write("review-token", "our-own-token\n");
    site.chmod("review-token", 0o600);
    site.write(
        "deny.yaml",
        "apiVersion: eyesplice.dev/v1alpha1\nkind: TunnelDenyList\nnames: []\n",
    );
    let text = fs::read_to_string(site.path("authority.yaml")).unwrap();
    let review = format!(
        "bootstrapTokenDir: tokens, tokenReview: {{server: \"https://{}\", caFile: review-ca.crt, \
         tokenFile: review-token}}}}",
        review.address
    );
    let text = text.replace("bootstrapTokenDir: tokens}", &review).replace(
        "approval:\n",
        "- {signerName: eyesplice.dev/agent-client, certFile: agents.crt, keyFile: agents.key}\n\
             approval:\n  agents: {namespace: eyesplice, serviceAccount: agents, audience: \
             tunnel.example, denyFile: deny.yaml}\n",
    );
    site.write("authority.yaml", &text);
    ca
}

/// The audience of the tokens of [`put_agents`].
pub const AGENTS_AUDIENCE: &str = "tunnel.example";

/// A stored CSR of a node or a bootstrapper.
#[cfg(test)]
pub(crate) fn csr(
    name: &str,
    signer: Signer,
    user: &str,
    group: &str,
    ask: Ask,
) -> CertificateSigningRequest {
    let mut object = CertificateSigningRequest::default();
    object.metadata.name = name.to_owned();
    object.metadata.uid = format!("uid-{name}");
    object.metadata.creation_timestamp = Some(Timestamp::from(SystemTime::now()));
    signer.name().clone_into(&mut object.spec.signer_name);
    object.spec.request = Blob(ask.pem());
    let usage = match signer {
        Signer::KubeletServing | Signer::Serving | Signer::EgressLeaf => "server auth",
        _ => "client auth",
    };
    object.spec.usages = vec!["digital signature".to_owned(), usage.to_owned()];
    object.spec.username = user.to_owned();
    object.spec.groups = vec![group.to_owned()];
    object
}

/// An authority that serves, approves and signs until it is dropped.
pub struct Served {
    /// Where it listens.
    pub address: SocketAddr,
    pub(crate) store: Arc<Store>,
    tasks: [JoinHandle<()>; 2],
    /// Keeps the port from others when the server has left it.
    _port: TcpSocket,
    _stop: watch::Sender<bool>,
}

impl Served {
    /// Serves on a port of its own.
    pub async fn start(site: &Site) -> Self {
        let store = site.store();
        let loaded = AuthorityMaterial::load(site.config(), SystemTime::now());
        let (material, sources) = loaded.unwrap().state;
        let material = Arc::new(ArcSwap::from_pointee(material));
        let metrics = Metrics::new();
        let (stop, stopping) = watch::channel(false);
        let server = Arc::new(Server {
            store: Arc::clone(&store),
            material: Arc::clone(&material),
            authenticator: Arc::new(Authenticator::new(sources)),
            rates: Rates::default(),
            metrics: Arc::clone(&metrics),
            stopping,
        });
        let port = reusable("127.0.0.1:0".parse().unwrap());
        let address = port.local_addr().unwrap();
        let listener = reusable(address).listen(128).unwrap();
        let controller = Controller::new(Arc::clone(&store), material, None, metrics);
        Self {
            address,
            store,
            tasks: [
                tokio::spawn(serve(server, listener)),
                tokio::spawn(controller.run()),
            ],
            _port: port,
            _stop: stop,
        }
    }
}

/// A socket at an address that another of these may have, too.
fn reusable(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Served {
    /// Ends the server. Who connects from then on is refused, and nobody else gets its port.
    pub async fn leave(&mut self) {
        for task in &mut self.tasks {
            task.abort();
            // An error is that it was aborted.
            drop(task.await);
        }
    }

    /// Who asked, and what for.
    pub fn asked(&self) -> Vec<(String, String)> {
        let objects = self.store.list().objects;
        let asked = objects.iter().map(|object| {
            let spec = &object.spec;
            (spec.username.clone(), spec.signer_name.clone())
        });
        asked.collect()
    }

    /// Waits until a CSR is there that nobody decides about, and puts this certificate into it,
    /// whoever it is for: an authority that errs.
    pub async fn answer(&self, pem: impl FnOnce(&[u8]) -> String) {
        let mut changes = self.store.subscribe();
        let found = loop {
            let objects = self.store.list().objects;
            match objects.iter().find(|object| object.is_pending()) {
                Some(object) => break Arc::clone(object),
                None => changes.changed().await.unwrap(),
            }
        };
        let request = CertificateRequest::read(&found.spec.request.0).unwrap();
        let certificate = pem(&request.spki);
        let written = self.store.update(&found.metadata.name, |current| {
            let mut object = current.clone();
            object.status.certificate = Blob(certificate.clone().into_bytes());
            Ok::<_, StoreError>(Change::Put(object))
        });
        written.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
