//! Leader election over a Lease of coordination.k8s.io/v1, as client-go does it
//! (`tools/leaderelection/leaderelection.go`).
//!
//! Clocks of machines are never compared. A candidate watches the Lease, and takes it when it has
//! seen no change of it for as long as the holder said, by its own monotonic clock. The holder counts
//! from before it sent its last renewal, and stops acting `renew` after that: others began to count
//! when they saw that renewal, so later, and `renew` is shorter than the lease. Every write to the
//! Lease is conditional on its resource version, so of two that take it one fails.
//!
//! A process that was stopped in the middle of a write, or a write that the network held back, can
//! still arrive late. The election alone cannot exclude that; what is written is therefore
//! conditional on resource versions, too.

mod elector;
mod leadership;

pub(super) use elector::{Elector, Leases};
pub(super) use leadership::Leadership;

use crate::apiserver::{CallError, call};
use crate::config::Timing;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};

/// The Lease's resource in messages.
const RESOURCE: &str = "leases.coordination.k8s.io";

/// The Lease on the API server.
#[derive(Clone)]
pub(super) struct ApiLease {
    pub(super) api: Api<Lease>,
    pub(super) name: String,
}

impl ApiLease {
    pub(super) fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
        }
    }
}

impl Leases for ApiLease {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        call("get", RESOURCE, self.api.get_opt(&self.name)).await
    }

    async fn create(&self, mut lease: Lease) -> Result<Lease, CallError> {
        lease.metadata.name = Some(self.name.clone());
        let parameters = PostParams::default();
        let created = self.api.create(&parameters, &lease);
        call("create", RESOURCE, created).await
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, CallError> {
        let parameters = PostParams::default();
        let replaced = self.api.replace(&self.name, &parameters, &lease);
        call("update", RESOURCE, replaced).await
    }
}

#[cfg(test)]
mod tests;
