//! Reads the nodes of a cluster once, for a command that stays no longer than that.

use super::nodes::{Claims, addresses};
use crate::apiserver::{CallError, ConnectError, Place, call};
use eyesplice_identity::inventory::Inventory;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

/// Nodes of one answer, as client-go asks for them.
const PAGE: u32 = 500;

/// Why the nodes of a cluster are not known.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// There is no client.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server did not answer as it should.
    #[error("{0}")]
    Call(String),
}

impl From<CallError> for NodesError {
    fn from(error: CallError) -> Self {
        Self::Call(error.to_string())
    }
}

/// Lists the nodes of the cluster at `place` with their addresses. What several nodes claim is of
/// none.
///
/// # Errors
/// There is no client, or the API server did not answer.
pub async fn cluster_nodes(place: &Place) -> Result<Inventory, NodesError> {
    Ok(listed(place.connect().await?).await?)
}

pub(super) async fn listed(client: Client) -> Result<Inventory, CallError> {
    let api: Api<Node> = Api::all(client);
    let mut nodes = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = call("list", "nodes", api.list(&page)).await?;
        let named = list.items.into_iter();
        nodes.extend(named.map(|node| (node.name_any(), addresses(node))));
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok(Claims::new(&nodes).inventory),
        }
    }
}
