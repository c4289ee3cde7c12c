//! `eyesplice check --dial`: dials every kubelet of the inventory as the gateway would, and says
//! who would fail `verification: enforce`.
//!
//! Rules, addresses, names, pins and certificates are judged by the gateway's own code. A kubelet
//! is shown the gateway's client certificate, and no request is sent to it.

mod report;
mod shake;

pub use report::{AddressReport, DialReport, NodeReport, Outcome, Verdict};

use crate::admit::{Reached, Rehearsal};
use crate::config::{Config, Document, Timeouts};
use crate::material::{Material, MaterialErrors};
use eyesplice_authority::apiserver::Place;
use eyesplice_authority::{NodesError, cluster_nodes};
use eyesplice_identity::inventory::{HostAddress, Inventory, NodeListError};
use eyesplice_process::resolve::{Lookup, Resolver};
use eyesplice_proto::causes::chain;
use eyesplice_proto::target::{Host, Target};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Kubelets that are dialled at a time: thousands of nodes take a minute, and no switch sees a
/// flood.
const AT_A_TIME: usize = 64;

/// Where the nodes are listed.
#[derive(Clone, Debug)]
pub enum Nodes {
    /// In the configuration's own inventory.
    Configured,
    /// In another one.
    File(PathBuf),
    /// In the cluster of this kubeconfig.
    Cluster(PathBuf),
}

/// Whom to dial.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes.
    pub nodes: Nodes,
    /// The kubelets' port.
    pub port: u16,
}

/// Why nobody is dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The files changed since they were checked.
    #[error("the configuration is not valid any more; run the check again")]
    Config,
    /// The same of a file that it names.
    #[error(transparent)]
    Material(#[from] MaterialErrors),
    /// There is nothing that a kubelet could be validated by.
    #[error(
        "there is no kubelet to validate: add the section `kubelet`, and a rule with action \
         terminate; where an authority issues the client certificate, start the gateway once"
    )]
    NoKubelet,
    /// Nothing says which nodes there are.
    #[error(
        "no inventory says which nodes there are: set kubelet.inventoryFile, or give --inventory \
         or --kubeconfig"
    )]
    NoInventory,
    /// The inventory cannot be used.
    #[error(transparent)]
    Inventory(#[from] NodeListError),
    /// The cluster does not say which nodes it has.
    #[error(transparent)]
    Cluster(#[from] NodesError),
}

/// Dials every node. The configuration was checked before.
///
/// # Errors
/// Nobody can be dialled.
pub async fn dial(
    file: &Path,
    options: &Options,
    lookup: Arc<dyn Lookup>,
) -> Result<DialReport, DialError> {
    let config = Config::load(file).map_err(|_| DialError::Config)?.config;
    let material = Material::load_unenrolled(&config, SystemTime::now())?;
    let Some(kubelet) = &material.kubelet else {
        return Err(DialError::NoKubelet);
    };
    let inventory = match (&options.nodes, &kubelet.inventory) {
        (Nodes::File(file), _) => Arc::new(Inventory::load(file)?),
        (Nodes::Cluster(file), _) => {
            let place = Place::Kubeconfig(file.clone());
            Arc::new(cluster_nodes(&place).await?)
        }
        (Nodes::Configured, Some(inventory)) => Arc::clone(inventory),
        (Nodes::Configured, None) => return Err(DialError::NoInventory),
    };
    let dialler = Arc::new(Dialler {
        timeouts: config.timeouts.clone(),
        rehearsal: Rehearsal::new(&config, material),
        resolver: Resolver::new(lookup),
        permits: Semaphore::new(AT_A_TIME),
        port: options.port,
    });
    let mut tasks = JoinSet::new();
    for (node, address) in whom(&inventory) {
        let dialler = Arc::clone(&dialler);
        tasks.spawn(async move {
            let outcome = dialler.outcome(&address).await;
            (node, AddressReport { address, outcome })
        });
    }
    let mut nodes: BTreeMap<Arc<str>, Vec<AddressReport>> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        if let Ok((node, report)) = done {
            nodes.entry(node).or_default().push(report);
        }
    }
    Ok(DialReport::new(nodes))
}

/// Every node with each of its addresses. A node's own name counts where it has no other: whether
/// an API server dials it depends on --kubelet-preferred-address-types.
fn whom(inventory: &Inventory) -> Vec<(Arc<str>, HostAddress)> {
    let mut found = Vec::new();
    for (node, addresses) in inventory.by_node() {
        let own = node.parse::<HostAddress>().ok();
        let only = addresses.len() == 1;
        for address in addresses {
            if only || own.as_ref() != Some(address) {
                found.push((Arc::clone(node), address.clone()));
            }
        }
    }
    found.sort();
    found
}

/// What all dials share.
#[derive(Debug)]
struct Dialler {
    timeouts: Timeouts,
    rehearsal: Rehearsal,
    resolver: Resolver,
    permits: Semaphore,
    port: u16,
}

impl Dialler {
    /// Dials one address as the gateway would.
    async fn outcome(&self, address: &HostAddress) -> Outcome {
        let Ok(host) = address.to_string().parse::<Host>() else {
            let message = format!("{address} is no name that can be dialled");
            return Outcome::Denied { message };
        };
        let port = self.port;
        let asked = Target { host, port };
        // Nothing closes it.
        let _permit = self.permits.acquire().await;
        let found = match self.resolver.resolve(&asked, self.timeouts.verdict).await {
            Ok(found) => found,
            Err(error) => {
                return Outcome::Unreached {
                    message: chain(&error),
                };
            }
        };
        match self.rehearsal.reach(&asked, &found) {
            Ok(Reached::Dialled(addresses, tls)) => {
                let limits = (self.timeouts.dial, self.timeouts.handshake);
                shake::shake(&addresses, *tls, limits).await
            }
            Ok(Reached::Elsewhere(message)) => Outcome::NotDialled { message },
            Err(refusal) => Outcome::Denied {
                message: refusal.words,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_takes_a_nodes_own_name_only_where_it_has_nothing_else() {
        let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n\
                    - {name: b, addresses: [10.0.0.2, b.example]}\n\
                    - {name: a, addresses: [a]}\n";
        let inventory = Inventory::parse(text, Path::new("inventory.yaml")).unwrap();
        let found: Vec<_> = whom(&inventory)
            .into_iter()
            .map(|(node, address)| format!("{node} {address}"))
            .collect();
        assert_eq!(found, ["a a", "b 10.0.0.2", "b b.example"]);
    }
}
