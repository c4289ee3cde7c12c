//! A whole authority for tests: a PKI and a configuration in a directory of their own.

use super::controller::Controller;
use super::creation::Rates;
use super::material::AuthorityMaterial;
use super::object::{Blob, CertificateSigningRequest, Timestamp};
use super::server::{Server, serve};
use super::store::Store;
use super::x509::Signer;
use super::x509::testing::Ask;
use crate::authn::Authenticator;
use crate::config::AuthorityConfig;
use crate::metrics::Metrics;
use crate::pki::testing::{Made, Recipe, authority, client, kubelet};
use arc_swap::ArcSwap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tempfile::TempDir;
use tokio::net::TcpListener;
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
approval: {inventoryFile: inventory.yaml}
roles:
- {group: approvers, role: approver, signers: [\"*\"]}
- {group: reviewers, role: reviewer}
limits: {maxCSRs: 200, maxCSRsPerUser: 100}
";

/// The files of an authority.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) ca: Made,
    pub(crate) serving_ca: Made,
    pub(crate) server_ca: Made,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Makes it on another disk.
    pub(crate) fn below(place: &Path) -> Self {
        let site = Self {
            dir: tempfile::tempdir_in(place).unwrap(),
            ca: authority("kubernetes").self_signed(),
            serving_ca: authority("kubelet-serving-ca").self_signed(),
            server_ca: authority("server-ca").self_signed(),
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
        site.write("inventory.yaml", INVENTORY);
        site.write("authority.yaml", CONFIG);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn put(&self, name: &str, made: &Made) {
        self.write(&format!("{name}.crt"), &made.certificate.pem());
        self.write(&format!("{name}.key"), &made.key.serialize_pem());
    }

    pub(crate) fn config(&self) -> AuthorityConfig {
        AuthorityConfig::load(&self.path("authority.yaml"))
            .unwrap()
            .config
    }

    pub(crate) fn material(&self) -> AuthorityMaterial {
        AuthorityMaterial::load(self.config(), SystemTime::now())
            .unwrap()
            .0
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        let now = Timestamp::from(SystemTime::now());
        Arc::new(Store::open(&self.path("authority.redb"), now).unwrap())
    }

    /// A client certificate of this user.
    pub(crate) fn user(&self, name: &str, groups: Vec<&'static str>) -> Made {
        Recipe {
            organizations: groups,
            ..client(name)
        }
        .signed_by(&self.ca)
    }
}

/// A stored CSR of a node or a bootstrapper.
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
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Store>,
    tasks: [JoinHandle<()>; 2],
    _stop: watch::Sender<bool>,
}

impl Served {
    pub(crate) async fn start(site: &Site) -> Self {
        let store = site.store();
        let loaded = AuthorityMaterial::load(site.config(), SystemTime::now());
        let (material, sources) = loaded.unwrap();
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let controller = Controller::new(Arc::clone(&store), material, None, metrics);
        Self {
            address,
            store,
            tasks: [
                tokio::spawn(serve(server, listener)),
                tokio::spawn(controller.run()),
            ],
            _stop: stop,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
