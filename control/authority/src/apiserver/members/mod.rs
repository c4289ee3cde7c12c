//! The gateways of a cluster, as Leases of coordination.k8s.io/v1 say: each gateway renews one of
//! its own, and reads all.
//!
//! A Lease that is not renewed stays where it is; who reads it decides when its owner is gone.

use super::{CallError, ConnectError, Place, call};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// The resource in messages.
const RESOURCE: &str = "leases.coordination.k8s.io";

/// What the Leases of gateways are found by.
const LABEL: (&str, &str) = ("eyesplice.dev/gateway", "tunnel");
/// The key of the tunnel listener's address.
const TUNNEL: &str = "eyesplice.dev/tunnel-address";
/// The key of the address where other gateways pass streams on.
const PEER: &str = "eyesplice.dev/peer-address";

/// Leases that are looked at: far more than agents are told of.
const MOST: u32 = 500;

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its Lease's name.
    pub name: String,
    /// Where agents connect.
    pub tunnel: SocketAddr,
    /// Where other gateways pass streams on.
    pub peer: Option<SocketAddr>,
}

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its owner.
    pub member: Member,
    /// What changes with each renewal. Clocks of machines are never compared.
    pub renewal: String,
    /// After how long without a renewal its owner is gone.
    pub duration: Duration,
}

/// Why the Leases could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// There is no client.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server refuses.
    #[error(
        "the API server forbids to {0}; bind this gateway's user to the Role \
         eyesplice-gateway-leases of control/dist/gateway-leases-rbac.yaml, in the namespace of \
         tunnel.leases"
    )]
    Forbidden(String),
    /// The API server did not do it.
    #[error("{words}")]
    Call {
        /// The word of metrics.
        cause: &'static str,
        /// What it says.
        words: String,
    },
}

impl MembersError {
    /// The word of metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Connect(_) => "credential",
            Self::Forbidden(_) => "forbidden",
            Self::Call { cause, .. } => cause,
        }
    }
}

impl From<CallError> for MembersError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Forbidden(act, _) => Self::Forbidden(act.to_string()),
            error => Self::Call {
                cause: error.as_str(),
                words: error.to_string(),
            },
        }
    }
}

/// The Leases of one namespace.
#[derive(Clone)]
pub struct Members {
    api: Api<Lease>,
}

impl Members {
    /// Makes a client; asks nothing yet.
    ///
    /// # Errors
    /// There is no usable kubeconfig or service account.
    pub async fn connect(place: &Place, namespace: &str) -> Result<Self, MembersError> {
        Ok(Self::new(place.connect().await?, namespace))
    }

    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
        }
    }

    /// Renews the Lease of a gateway, and makes it if there is none.
    ///
    /// # Errors
    /// The API server did not do it.
    pub async fn renew(&self, own: &Member, duration: Duration) -> Result<(), MembersError> {
        let lease = written(own, duration);
        let parameters = PatchParams::default();
        let merge = Patch::Merge(&lease);
        let patched = self.api.patch(&own.name, &parameters, &merge);
        match call("patch", RESOURCE, patched).await {
            Err(CallError::Missing(_)) => {}
            patched => return Ok(patched.map(drop)?),
        }
        let lease = serde_json::from_value(without_nulls(lease)).map_err(|error| {
            let words = format!("the Lease of {} cannot be written: {error}", own.name);
            MembersError::Call {
                cause: "refused",
                words,
            }
        })?;
        let parameters = PostParams::default();
        let created = self.api.create(&parameters, &lease);
        Ok(call("create", RESOURCE, created).await.map(drop)?)
    }

    /// Reads the Leases of all gateways. One that says nothing useful is left out.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn list(&self) -> Result<Vec<Listed>, MembersError> {
        let parameters = ListParams::default()
            .labels(&format!("{}={}", LABEL.0, LABEL.1))
            .limit(MOST);
        let listed = call("list", RESOURCE, self.api.list(&parameters)).await?;
        Ok(listed.items.iter().filter_map(read).collect())
    }
}

fn written(own: &Member, duration: Duration) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": own.name,
            "labels": {LABEL.0: LABEL.1},
            "annotations": {
                TUNNEL: own.tunnel.to_string(),
                // Null takes away what an earlier configuration wrote.
                PEER: own.peer.map(|peer| peer.to_string()),
            },
        },
        "spec": {
            "holderIdentity": own.name,
            "leaseDurationSeconds": duration.as_secs(),
            "renewTime": MicroTime(Timestamp::now()),
        },
    })
}

/// A new object has nothing that could be taken away.
fn without_nulls(mut lease: Value) -> Value {
    if let Some(annotations) = lease["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|_, value| !value.is_null());
    }
    lease
}

fn read(lease: &Lease) -> Option<Listed> {
    let name = lease.metadata.name.clone()?;
    let annotations = lease.metadata.annotations.as_ref()?;
    let address = |key: &str| annotations.get(key)?.parse::<SocketAddr>().ok();
    let Some(tunnel) = address(TUNNEL).filter(is_usable) else {
        tracing::debug!(lease = name, "Lease of a gateway has no address for agents");
        return None;
    };
    let spec = lease.spec.as_ref()?;
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    Some(Listed {
        member: Member {
            name,
            tunnel,
            peer: address(PEER).filter(is_usable),
        },
        renewal: format!("{:?}", spec.renew_time),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
    })
}

fn is_usable(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests;
