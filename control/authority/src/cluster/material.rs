//! What an authority in a cluster works with: everything that its files hold, loaded together.

use super::super::material::{AuthorityMaterialError, AuthorityMaterialErrors, Loader};
use super::super::roles::Roles;
use super::super::sign::SignerCa;
use crate::apiserver::Place;
use crate::config::ClusterConfig;
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_identity::x509::Signer;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// One generation of what an authority in a cluster works with.
#[derive(Debug)]
pub(super) struct ClusterMaterial {
    pub(super) config: ClusterConfig,
    /// Where the API server and our credential are.
    pub(super) place: Place,
    /// All that a client reads once; another digest needs another client.
    pub(super) credential: Vec<u8>,
    pub(super) signers: BTreeMap<Signer, SignerCa>,
    /// What a file says of nodes; it takes the place of Node objects.
    pub(super) inventory: Option<Inventory>,
    pub(super) roles: Roles,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Every certificate that was loaded.
    pub certificates: Vec<CertificateInfo>,
}

impl ClusterMaterial {
    /// Loads and checks every file of a configuration; `kubeconfig` is the command line's. Blocks.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn load(
        config: ClusterConfig,
        kubeconfig: Option<&PathBuf>,
        now: SystemTime,
    ) -> Result<Self, AuthorityMaterialErrors> {
        let mut loader = Loader::new(now);
        let signers = loader.signers(&config.signers);
        let inventory = loader.inventory(&config.approval);
        let file = kubeconfig.or(config.kubeconfig_file.as_ref());
        let place = file.map_or(Place::Pod, |file| Place::Kubeconfig(file.clone()));
        if let Err(error) = place.check() {
            loader.errors.push(AuthorityMaterialError::Cluster(error));
        }
        let Loader {
            errors,
            warnings,
            certificates,
            ..
        } = loader;
        if !errors.is_empty() {
            return Err(AuthorityMaterialErrors(errors));
        }
        Ok(Self {
            credential: place.digest(),
            place,
            config,
            signers,
            inventory,
            roles: Roles::new(&[]),
            warnings,
            certificates,
        })
    }

    /// Node objects say which node has which address.
    pub(super) fn asks_nodes(&self) -> bool {
        let by_nodes = [Signer::KubeletServing, Signer::EgressLeaf];
        let asked = by_nodes.iter().any(|each| self.signers.contains_key(each));
        self.inventory.is_none() && asked
    }
}
