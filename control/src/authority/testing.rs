//! A whole authority for tests: a PKI and a configuration in a directory of their own.

use super::material::AuthorityMaterial;
use super::object::{Blob, CertificateSigningRequest, Timestamp};
use super::store::Store;
use super::x509::Signer;
use super::x509::testing::Ask;
use crate::config::AuthorityConfig;
use crate::pki::testing::{Made, Recipe, authority, client, kubelet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tempfile::TempDir;

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
authentication: {clientCAFile: ca.crt}
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
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
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
        Signer::KubeletServing | Signer::Serving => "server auth",
        _ => "client auth",
    };
    object.spec.usages = vec!["digital signature".to_owned(), usage.to_owned()];
    object.spec.username = user.to_owned();
    object.spec.groups = vec![group.to_owned()];
    object
}
