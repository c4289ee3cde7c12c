//! The configuration of an authority in a cluster: `kind: AuthorityConfig` with a `cluster` section.
//!
//! What the API server does there, it says nothing about: listening, logins, roles, the store.

use super::approval::{ApprovalSettings, read_approval};
use super::bounds;
use super::served::{AuthorityConfig, SignerSettings, read_signers};
use super::timing::Timing;
use crate::apiserver::Place;
use eyesplice_identity::document::{Document, FileRef, Node, Problem, Section, paths, value};
use eyesplice_process::admin::AdminSettings;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the API server does, with who does it there.
const NOT_HERE: [(&str, &str); 6] = [
    ("listen", "the API server listens"),
    ("store", "etcd keeps the CSRs"),
    ("authentication", "the API server knows who asks"),
    ("roles", "RBAC says who may do what"),
    (
        "limits",
        "the API server's quotas and flow control are its limits",
    ),
    ("clusterInfo", "the cluster publishes it itself"),
];

/// An authority that works on the CSRs of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The kubeconfig; without one, the service account of the pod.
    pub kubeconfig_file: Option<FileRef>,
    /// How replicas agree on which of them acts.
    pub election: ElectionSettings,
    /// Which signers it serves; at least one.
    pub signers: Vec<SignerSettings>,
    /// What is approved without a person.
    pub approval: ApprovalSettings,
    /// Health and metrics.
    pub admin: AdminSettings,
}

/// The Lease by which replicas agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionSettings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its rhythm.
    pub timing: Timing,
}

impl Default for ElectionSettings {
    fn default() -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: "eyesplice-authority".to_owned(),
            timing: Timing::default(),
        }
    }
}

impl ClusterConfig {
    /// The configuration file, every file that it names, and every file that its kubeconfig names.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = paths(self.signers.iter().flat_map(SignerSettings::files));
        files.extend(paths(&self.approval.inventory_file));
        files.insert(self.file.clone());
        files.extend(self.place().files());
        files
    }

    /// The API server and the credential for it.
    pub(crate) fn place(&self) -> Place {
        let file = self.kubeconfig_file.as_ref();
        file.map_or(Place::Pod, |file| Place::Kubeconfig(file.path.clone()))
    }

    /// Those of them that hold a key or a token. So does the kubeconfig.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let keys = self.signers.iter().map(|signer| &signer.key_file);
        paths(keys.chain(&self.kubeconfig_file))
    }

    /// Fields of `new` that a running process does not take over.
    pub fn restart_required(&self, new: &Self) -> Vec<String> {
        let fields = [
            ("cluster.leaderElection", self.election != new.election),
            ("admin", self.admin != new.admin),
        ];
        let changed = fields.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(field, _)| field.to_owned()).collect()
    }
}

impl Document for ClusterConfig {
    const KIND: &'static str = AuthorityConfig::KIND;

    fn read(root: &mut Section<'_>, file: &Path) -> Option<Self> {
        for (field, who) in NOT_HERE {
            if root.has(field) {
                let what = format!("does not go with `cluster`: {who}");
                let fix = "remove it, or remove `cluster` to serve the CSR API without a cluster";
                root.error(field, what, fix);
            }
            // Its unknown fields do not matter any more.
            root.ignore(field);
        }
        let mut section = root.section("cluster")?;
        let kubeconfig_file = section.file("kubeconfigFile");
        let election = read_election(&mut section);
        let approval = read_approval(root);
        if approval.agents.is_some() {
            let what =
                "does not go with `cluster`: pods show their tokens to an authority that serves";
            let fix =
                "run an authority without `cluster` beside it for agents, alone or in a gateway";
            let problem = Problem::new(what, fix);
            root.report().error("approval.agents", root.at(), problem);
        }
        Some(Self {
            file: file.to_owned(),
            kubeconfig_file,
            election,
            signers: read_signers(root),
            approval,
            admin: AdminSettings::read(root),
        })
    }
}

fn read_election(cluster: &mut Section<'_>) -> ElectionSettings {
    let default = ElectionSettings::default();
    let Some(mut section) = cluster.section("leaderElection") else {
        return default;
    };
    let namespace = section.optional("namespace", value::name);
    let name = section.optional("name", value::name);
    let wait = |node: &Node| value::duration(node, &bounds::ELECTION);
    let mut wait = |field, default| section.optional(field, wait).unwrap_or(default);
    let timing = Timing {
        lease: wait("leaseDuration", default.timing.lease),
        renew: wait("renewDeadline", default.timing.renew),
        retry: wait("retryPeriod", default.timing.retry),
    };
    if timing.lease.subsec_nanos() != 0 {
        let what = "is no whole number of seconds";
        section.error("leaseDuration", what, "a Lease holds seconds: 15s");
    }
    // client-go's rules: the holder stops before others may begin, and has tried more than once.
    let jittered = timing.retry.mul_f64(RETRY_FACTOR);
    if timing.lease <= timing.renew || timing.renew <= jittered {
        let what = format!(
            "needs leaseDuration ({}) > renewDeadline ({}) > {RETRY_FACTOR} x retryPeriod ({})",
            seconds(timing.lease),
            seconds(timing.renew),
            seconds(timing.retry)
        );
        section.error("", what, "leave them out for 15s, 10s and 2s");
    }
    ElectionSettings {
        namespace: namespace.unwrap_or(default.namespace),
        name: name.unwrap_or(default.name),
        timing,
    }
}

/// A pause of a candidate at most, in retry periods, and one more try.
const RETRY_FACTOR: f64 = 2.2;

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
cluster:
  kubeconfigFile: authority.kubeconfig
  leaderElection: {namespace: certs, name: signer, leaseDuration: 30s, renewDeadline: 20s, retryPeriod: 5s}
signers:
- {signerName: kubernetes.io/kubelet-serving, certFile: ca.crt, keyFile: ca.key}
";

    fn errors(text: &str) -> String {
        let error = ClusterConfig::parse(text, Path::new("/etc/a.yaml")).unwrap_err();
        let lines = error.errors.iter().map(ToString::to_string);
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn document_of_a_cluster_is_read_with_all_of_its_fields() {
        let loaded = ClusterConfig::parse(GOOD, Path::new("/etc/a.yaml")).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let config = loaded.config;
        let kubeconfig = config.kubeconfig_file.unwrap();
        assert_eq!(kubeconfig.path, Path::new("/etc/authority.kubeconfig"));
        assert_eq!(kubeconfig.field, "cluster.kubeconfigFile");
        assert_eq!(config.election.namespace, "certs");
        assert_eq!(config.election.name, "signer");
        assert_eq!(config.election.timing.renew, Duration::from_secs(20));
        assert_eq!(config.signers.len(), 1);
    }

    #[test]
    fn example_has_every_field_and_is_valid() {
        let text = include_str!("../../../examples/authority-cluster.yaml");
        let loaded = ClusterConfig::parse(text, Path::new("a.yaml")).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!(loaded.config.election, ElectionSettings::default());
        assert!(loaded.config.kubeconfig_file.is_some());
    }

    #[test]
    fn section_that_is_empty_means_the_pod_and_the_defaults() {
        let text = GOOD.lines().filter(|line| !line.starts_with("  "));
        let text = text
            .collect::<Vec<_>>()
            .join("\n")
            .replace("cluster:", "cluster: {}");
        let loaded = ClusterConfig::parse(&text, Path::new("a.yaml")).unwrap();
        assert_eq!(loaded.config.kubeconfig_file, None);
        assert_eq!(loaded.config.election, ElectionSettings::default());
    }

    #[test]
    fn field_of_a_server_contradicts_a_cluster() {
        for (field, _) in NOT_HERE {
            let told = errors(&format!("{GOOD}{field}: {{a: b}}\n"));
            assert!(told.contains(field), "{field}: {told}");
            assert!(told.contains("does not go with `cluster`"), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn election_whose_leader_could_outlive_its_lease_is_refused() {
        for (was, becomes) in [
            ("renewDeadline: 20s", "renewDeadline: 30s"),
            ("retryPeriod: 5s", "retryPeriod: 10s"),
            ("leaseDuration: 30s", "leaseDuration: 20s"),
        ] {
            let told = errors(&GOOD.replace(was, becomes));
            assert!(told.contains("cluster.leaderElection"), "{told}");
            assert!(told.contains("leave them out"), "{told}");
        }
        let told = errors(&GOOD.replace("leaseDuration: 30s", "leaseDuration: 30500ms"));
        assert!(told.contains("whole number of seconds"), "{told}");
    }

    #[test]
    fn unknown_field_is_an_error() {
        let told = errors(&GOOD.replace("kubeconfigFile", "kubeConfigFil"));
        assert!(told.contains("did you mean `kubeconfigFile`?"), "{told}");
    }
}
