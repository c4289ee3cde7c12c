//! What an authority in a cluster works with: everything that its files hold, loaded together.

use super::super::material::{AuthorityMaterialError, Loader};
use super::super::roles::Roles;
use super::super::sign::SignerCa;
use crate::apiserver::Place;
use crate::config::ClusterConfig;
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::x509::Signer;
use eyesplice_process::reload::Valid;
use std::collections::BTreeMap;
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
}

impl ClusterMaterial {
    /// Loads and checks every file of a configuration. Blocks.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn load(
        config: ClusterConfig,
        now: SystemTime,
    ) -> Result<Valid<Self>, Vec<AuthorityMaterialError>> {
        let mut loader = Loader::new(now);
        let signers = loader.signers(&config.signers);
        let inventory = loader.inventory(&config.approval);
        let place = config.place();
        if let Err(error) = place.check() {
            loader.errors.push(AuthorityMaterialError::Cluster(error));
        }
        if let Some(program) = place.program() {
            loader.warnings.push(format!(
                "{program}, which a sandbox does not start; name a certificate or a token, or \
                 start with --insecure-no-sandbox"
            ));
        }
        loader.finish(Some(Self {
            credential: place.digest(),
            place,
            config,
            signers,
            inventory,
            roles: Roles::new(&[]),
        }))
    }

    /// Node objects say which node has which address.
    pub(super) fn asks_nodes(&self) -> bool {
        let by_nodes = [Signer::KubeletServing, Signer::EgressLeaf];
        let asked = by_nodes.iter().any(|each| self.signers.contains_key(each));
        self.inventory.is_none() && asked
    }
}
