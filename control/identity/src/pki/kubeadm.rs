//! Reads a directory that kubeadm filled as if it were a tree, to show and verify it.
//!
//! kubeadm writes no document of ours, but its file names tell the role of each file. Names, and
//! groups that changed between its releases, are taken as they stand in the certificates; all else
//! (chain, usages, user, key, validity, mode) is judged as ever. Kubeconfigs lie elsewhere.

use super::error::PkiError;
use super::options::InitOptions;
use super::plan::{Plan, SERVICE_ACCOUNT_PUBLIC};
use super::profile::{Profile, Usage};
use crate::certificate::CertificateFacts;
use crate::inventory::certificate_name;
use crate::pem::{self, FileRef};
use std::path::Path;

/// The files that kubeadm makes, without extension (its `certlist.go`).
const NAMES: [&str; 10] = [
    "ca",
    "front-proxy-ca",
    "etcd/ca",
    "apiserver",
    "apiserver-kubelet-client",
    "apiserver-etcd-client",
    "front-proxy-client",
    "etcd/healthcheck-client",
    "etcd/server",
    "etcd/peer",
];

/// What releases of kubeadm put its own clients into: 1.29 moved them out of `system:masters`.
const GROUPS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];

/// Lays out what is there; nothing, if no file has a name of kubeadm's.
pub(super) fn plan(dir: &Path) -> Result<Option<Plan>, PkiError> {
    let defaults = InitOptions::default();
    let mut plan = Plan::new(defaults.spec().map_err(PkiError::Options)?);
    plan.profiles.retain(|profile| {
        let name = profile.name.as_str();
        NAMES.contains(&name) && dir.join(profile.certificate_file()).exists()
    });
    for profile in &mut plan.profiles {
        profile.kubeconfig = None;
        adapt(profile, dir);
    }
    Ok((!plan.profiles.is_empty()).then_some(plan))
}

/// Whether the service-account key pair is there; an external signer has it elsewhere.
pub(super) fn has_key_pair(dir: &Path) -> bool {
    dir.join(SERVICE_ACCOUNT_PUBLIC).exists()
}

/// Takes over what the file names do not tell. A certificate that cannot be read is judged later.
fn adapt(profile: &mut Profile, dir: &Path) {
    let file = FileRef::new(&profile.name, dir.join(profile.certificate_file()));
    let read = |der| CertificateFacts::read(der).ok();
    let chain = pem::certificates(&file).unwrap_or_default();
    let Some(facts) = chain.first().and_then(|der| read(der)) else {
        return;
    };
    if profile.usage == Usage::Authority {
        return;
    }
    let names = facts.names.iter();
    profile.names = names
        .filter_map(|name| certificate_name(name).ok())
        .collect();
    let known = |group: &String| GROUPS.contains(&group.as_str());
    if profile.usage == Usage::Client && facts.subject.organizations.iter().all(known) {
        profile.organizations = facts.subject.organizations;
    }
    // A member of etcd has its host's name.
    if profile.usage == Usage::Peer
        && let Some(name) = facts.subject.common_name
        && profile.names.iter().any(|host| host.to_string() == name)
    {
        profile.common_name = name;
    }
}
