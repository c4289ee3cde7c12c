//! `eyesplice authority` in a cluster: approver and signer as a controller on the API server's own
//! CertificateSigningRequests, bootstrap-token Secrets and Nodes.
//!
//! The API server and etcd are the store and the queue. `watched` sees every object, `controller`
//! says which of them need something, `worker` does it by `approve` and `sign`, which are the same as
//! without a cluster, and `lease` sees to it that one replica does it.

mod controller;
mod fair;
mod foreign;
mod lease;
mod listed;
mod material;
mod nodes;
mod object;
mod process;
mod report;
mod review;
mod session;
mod standing;
mod watched;
mod worker;

pub use listed::{NodesError, cluster_nodes};
pub(super) use process::{reach, supervise};
pub use report::check_cluster;

#[cfg(test)]
mod tests;
