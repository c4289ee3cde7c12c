//! `eyesplice authority`: the certificates.k8s.io API for kubelets and kubectl, with approver and
//! signer, on one machine.
//!
//! `server` speaks HTTP and JSON, `store` keeps the objects, `controller` approves, signs and cleans;
//! what they decide by is in pure functions: `validation`, `x509`, `roles`, `approve`, `sign`,
//! `clean`. What `approve` has to be told about the network, `checks` finds out. A CSR is only ever changed in the store, one at a time, so that server and controller
//! need not know of each other. `cluster` does the same on the objects of an API server.
#![forbid(unsafe_code)]

pub mod apiserver;
mod approve;
mod checks;
mod clean;
mod cluster;
pub mod config;
mod controller;
mod creation;
mod error;
mod held;
mod limits;
mod material;
mod object;
mod pending;
mod pods;
mod process;
#[cfg(feature = "bench")]
mod rehearsal;
mod report;
mod roles;
mod rules;
mod run;
mod say;
mod server;
mod share;
mod sign;
mod standing;
mod store;
mod validation;

pub use approve::{BootstrapNodes, DnsUse, Gateways, NamePattern, OnRefusal};
pub use cluster::{NodesError, check_cluster, cluster_nodes};
pub use material::AuthorityMaterial;
pub use process::{AuthorityError, Options, Prepared, Running};
#[cfg(feature = "bench")]
pub use rehearsal::Rehearsal;
pub use report::{AuthorityReport, check};
pub use roles::{Binding, Role};
pub use run::run;

/// For the fuzz targets: reads a URL's query and an Accept header.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any_query(text: &str) {
    server::check_any(text);
}

/// For the fuzz targets: reads a body in protobuf, and the request in it.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any_body(bytes: &[u8]) {
    if let Ok(object) = object::decode(bytes) {
        let _ = validation::create(&object);
    }
    let _ = object::decode_delete_options(bytes);
    let _ = object::decode_review::<rules::Attributes>(bytes);
}

#[cfg(any(test, feature = "testing"))]
pub mod testing;
