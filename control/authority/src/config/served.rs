//! The authority's configuration: `kind: AuthorityConfig`.

use super::approval::{ApprovalSettings, read_approval};
use super::bounds;
use crate::{Binding, Role};
use eyesplice_identity::authn::{Settings, read_settings};
use eyesplice_identity::document::{
    At, Document, FileRef, Node, Problem, Report, Section, groups, paths, value,
};
use eyesplice_identity::x509::{SIGNERS, Signer};
use eyesplice_process::admin::AdminSettings;
use eyesplice_proto::tls::Groups;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROLES: [(&str, Role); 8] = [
    ("admin", Role::Admin),
    ("approver", Role::Approver),
    ("signer", Role::Signer),
    ("requester", Role::Requester),
    ("viewer", Role::Viewer),
    ("reviewer", Role::Reviewer),
    ("node-bootstrapper", Role::Bootstrapper),
    ("gateway-bootstrapper", Role::GatewayBootstrapper),
];

/// kube-controller-manager's `--cluster-signing-duration`.
const DEFAULT_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A whole authority configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where kubelets and kubectls connect.
    pub address: SocketAddr,
    /// Serving certificate with its intermediates.
    pub tls_cert_file: FileRef,
    /// Its key.
    pub tls_private_key_file: FileRef,
    /// The key exchange groups that it allows.
    pub groups: Groups,
    /// What it tells everybody, so that nodes find its CA by a pin.
    pub cluster_info: Option<ClusterInfo>,
    /// Whom it believes.
    pub authentication: Authentication,
    /// Who may do what, beside the built-in groups.
    pub roles: Vec<Binding>,
    /// The file of the store.
    pub store: FileRef,
    /// Which signers it serves; at least one.
    pub signers: Vec<SignerSettings>,
    /// What is approved without a person.
    pub approval: ApprovalSettings,
    /// Bounds.
    pub limits: AuthorityLimits,
    /// Health and metrics.
    pub admin: AdminSettings,
}

/// What is published as ConfigMap `cluster-info`, as kubeadm does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// The URL by which nodes reach the server.
    pub server: String,
    /// The CA of its serving certificate.
    pub ca_file: FileRef,
}

/// Whom the authority believes; at least one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// Who issues client certificates.
    pub client_ca_file: Option<FileRef>,
    /// Bearer tokens.
    pub tokens: Settings,
}

/// One signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerSettings {
    /// Which.
    pub signer: Signer,
    /// The CA's certificate, with the intermediates above it if it is no root.
    pub cert_file: FileRef,
    /// Its key.
    pub key_file: FileRef,
    /// The longest lifetime of what it signs.
    pub duration: Duration,
}

impl SignerSettings {
    pub(super) fn files(&self) -> [&FileRef; 2] {
        [&self.cert_file, &self.key_file]
    }
}

/// Bounds of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorityLimits {
    /// CSRs that are kept, decided or not.
    pub max_csrs: usize,
    /// Of one user.
    pub max_csrs_per_user: usize,
    /// Of one bootstrap token, with the nodes that it brought and no inventory lists.
    pub max_csrs_per_token: usize,
    /// New ones of one user in a minute.
    pub max_creates_per_minute: u32,
}

impl Default for AuthorityLimits {
    fn default() -> Self {
        Self {
            // 5,000 nodes, Kubernetes' own limit, that join within the hour that CSRs are kept.
            max_csrs: 10_000,
            // A kubelet has two at a time; all nodes that join by one bootstrap token share a user.
            max_csrs_per_user: 1_000,
            // Each node that it brings asks for a serving certificate, too.
            max_csrs_per_token: 2_000,
            max_creates_per_minute: 300,
        }
    }
}

impl AuthorityConfig {
    /// The configuration file and every file that it names and that is read, but for the store.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = vec![&self.tls_cert_file, &self.tls_private_key_file];
        files.extend(self.cluster_info.iter().map(|info| &info.ca_file));
        files.extend(self.signers.iter().flat_map(SignerSettings::files));
        files.extend(&self.authentication.client_ca_file);
        files.extend(&self.approval.inventory_file);
        let agents = self.approval.agents.iter();
        files.extend(agents.flat_map(|agents| &agents.deny_file));
        let mut files = paths(files);
        files.extend(self.authentication.tokens.files());
        files.insert(self.file.clone());
        files
    }

    /// Those of them that hold a key or a token.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let keys = self.signers.iter().map(|signer| &signer.key_file);
        let mut secrets = paths(keys.chain([&self.tls_private_key_file]));
        secrets.extend(self.authentication.tokens.secrets());
        secrets
    }

    /// Fields of `new` that a running process does not take over.
    pub fn restart_required(&self, new: &Self) -> Vec<String> {
        let fields = [
            ("listen.address", self.address != new.address),
            (new.store.field.as_str(), self.store != new.store),
            ("admin", self.admin != new.admin),
        ];
        let changed = fields.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(field, _)| field.to_owned()).collect()
    }
}

impl Document for AuthorityConfig {
    const KIND: &'static str = "AuthorityConfig";

    fn read(root: &mut Section<'_>, file: &Path) -> Option<Self> {
        let listen = read_listen(root);
        let groups = groups::read(root);
        let cluster_info = read_cluster_info(root);
        let authentication = read_authentication(root);
        let roles = read_roles(root);
        let store = read_store(root);
        let signers = read_signers(root);
        let approval = read_approval(root);
        let limits = read_limits(root);
        let admin = AdminSettings::read(root);
        if !approval.node_addresses.is_empty() {
            let what =
                "is about the addresses of Node objects, of which there are none without a cluster";
            let problem = Problem::new(what, "list the nodes in approval.inventoryFile");
            root.report()
                .error("approval.nodeAddresses", root.at(), problem);
        }
        let serving = |each: &SignerSettings| each.signer == Signer::KubeletServing;
        if signers.iter().any(serving) && approval.inventory_file.is_none() {
            let what = "is missing: every kubelet-serving CSR waits for a person";
            let problem = Problem::new(what, "add `approval: {inventoryFile: inventory.yaml}`");
            root.report()
                .warn("approval.inventoryFile", root.at(), problem);
        }
        check_agents(
            &approval,
            &signers,
            &authentication,
            (root.at(), root.report()),
        );
        let (address, tls_cert_file, tls_private_key_file) = listen?;
        Some(Self {
            file: file.to_owned(),
            address,
            tls_cert_file,
            tls_private_key_file,
            groups,
            cluster_info,
            authentication,
            roles,
            store: store?,
            signers,
            approval,
            limits,
            admin,
        })
    }
}

/// Checks that there is somebody to ask about the tokens of agents, and somebody to sign for them.
fn check_agents(
    approval: &ApprovalSettings,
    signers: &[SignerSettings],
    authentication: &Authentication,
    (at, report): (At, &Report),
) {
    if approval.agents.is_none() {
        return;
    }
    if authentication.tokens.token_review.is_none() {
        let what = "is required by approval.agents: an API server says whose the token of a pod is";
        let fix = "add `tokenReview: {server: .., caFile: .., tokenFile: ..}`";
        report.error("authentication.tokenReview", at, Problem::new(what, fix));
    }
    let signer = Signer::AgentClient;
    if !signers.iter().any(|each| each.signer == signer) {
        let what = format!("has no {signer}, which approval.agents needs");
        let fix = format!("add `- {{signerName: {signer}, certFile: .., keyFile: ..}}`");
        report.error("signers", at, Problem::new(what, fix));
    }
}

fn read_listen(root: &mut Section<'_>) -> Option<(SocketAddr, FileRef, FileRef)> {
    let example = "{address: \"0.0.0.0:6443\", tlsCertFile: .., tlsPrivateKeyFile: ..}";
    let mut section = root.required_section("listen", example)?;
    let address = section.required("address", "\"0.0.0.0:6443\"", value::socket_address);
    let cert = section.required_file("tlsCertFile", "apiserver.crt");
    let key = section.required_file("tlsPrivateKeyFile", "apiserver.key");
    Some((address?, cert?, key?))
}

fn read_cluster_info(root: &mut Section<'_>) -> Option<ClusterInfo> {
    let mut section = root.section("clusterInfo")?;
    let server = section.required("server", "https://10.0.0.1:6443", value::text);
    let ca = section.required_file("caFile", "ca.crt");
    Some(ClusterInfo {
        server: server?,
        ca_file: ca?,
    })
}

fn read_authentication(root: &mut Section<'_>) -> Authentication {
    let (at, report) = (root.at(), root.report());
    let before = report.error_count();
    let mut read = Authentication::default();
    if let Some(mut section) = root.section("authentication") {
        read.client_ca_file = section.file("clientCAFile");
        read.tokens = read_settings(&mut section);
    }
    if report.error_count() == before && read == Authentication::default() {
        let problem = Problem::new(
            "names nobody whom to believe: every request would be refused",
            "add `authentication: {clientCAFile: ca.crt, bootstrapTokenDir: tokens}`",
        );
        report.error("authentication", at, problem);
    }
    read
}

fn read_roles(root: &mut Section<'_>) -> Vec<Binding> {
    let mut roles = Vec::new();
    for mut section in root.sections("roles", bounds::RULES) {
        let group = section.required("group", "\"platform:approvers\"", value::text);
        let role = |node: &Node| value::word(node, &ROLES);
        let role = section.required("role", "approver", role);
        let signers = section.list("signers", bounds::RULE_ENTRIES, value::text);
        let unbound = matches!(
            role,
            Some(
                Role::Admin
                    | Role::Viewer
                    | Role::Reviewer
                    | Role::Bootstrapper
                    | Role::GatewayBootstrapper
            )
        );
        if unbound && section.has("signers") {
            let what = "has no effect: this role is for all signers";
            let fix = "leave it out, or use the role approver, signer or requester";
            section.error("signers", what, fix);
        }
        if role.is_some() && !unbound && section.is_blank("signers") {
            section.missing("signers", "[kubernetes.io/kubelet-serving]");
        }
        if let (Some(group), Some(role)) = (group, role) {
            roles.push(Binding {
                group,
                role,
                signers,
            });
        }
    }
    roles
}

fn read_store(root: &mut Section<'_>) -> Option<FileRef> {
    let example = "{path: /var/lib/eyesplice/authority.redb}";
    let mut section = root.required_section("store", example)?;
    section.required_file("path", "/var/lib/eyesplice/authority.redb")
}

/// Reads the signers, whose files are called by their names and not by their places.
pub(super) fn read_signers(root: &mut Section<'_>) -> Vec<SignerSettings> {
    if root.is_blank("signers") {
        let example = "[{signerName: kubernetes.io/kubelet-serving, certFile: .., keyFile: ..}]";
        root.missing("signers", example);
    }
    let mut signers: Vec<SignerSettings> = Vec::new();
    for mut section in root.sections("signers", SIGNERS.len()) {
        let known = SIGNERS.map(|signer| (signer.name(), signer));
        let signer = |node: &Node| value::word(node, &known);
        let example = Signer::KubeletServing.name();
        let signer = section.required("signerName", example, signer);
        if let Some(signer) = signer {
            section.name_files(format!("signers[{signer}]"));
        }
        let cert = section.required_file("certFile", "ca.crt");
        let key = section.required_file("keyFile", "ca.key");
        let duration = |node: &Node| value::duration(node, &bounds::SIGNING);
        let duration = section.optional("duration", duration);
        if let Some(signer) = signer
            && signers.iter().any(|other| other.signer == signer)
        {
            let what = format!("{signer} is configured twice");
            section.error("signerName", what, "remove one of them");
        }
        if let (Some(signer), Some(cert_file), Some(key_file)) = (signer, cert, key) {
            signers.push(SignerSettings {
                signer,
                cert_file,
                key_file,
                duration: duration.unwrap_or(DEFAULT_DURATION),
            });
        }
    }
    signers
}

fn read_limits(root: &mut Section<'_>) -> AuthorityLimits {
    let default = AuthorityLimits::default();
    let Some(mut section) = root.section("limits") else {
        return default;
    };
    let count = |node: &Node| value::integer::<usize>(node, &bounds::CSRS);
    let max_csrs = section
        .optional("maxCSRs", count)
        .unwrap_or(default.max_csrs);
    let per_user = section.optional("maxCSRsPerUser", count);
    let per_token = section.optional("maxCSRsPerToken", count);
    let rate = |node: &Node| value::integer::<u32>(node, &bounds::CSRS);
    let rate = section.optional("maxCreatesPerMinute", rate);
    AuthorityLimits {
        max_csrs,
        max_csrs_per_user: per_user.unwrap_or(default.max_csrs_per_user.min(max_csrs)),
        // One of two tokens leaves the other its part.
        max_csrs_per_token: per_token
            .unwrap_or(default.max_csrs_per_token.min((max_csrs / 2).max(1))),
        max_creates_per_minute: rate.unwrap_or(default.max_creates_per_minute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeSettings;
    use crate::{BootstrapNodes, DnsUse, NamePattern, OnRefusal};
    use eyesplice_identity::document::ConfigErrors;
    use eyesplice_identity::document::Loaded;

    const GOOD: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: \"127.0.0.1:0\", tlsCertFile: s.crt, tlsPrivateKeyFile: s.key}
authentication: {clientCAFile: ca.crt}
store: {path: a.redb}
signers:
- {signerName: kubernetes.io/kubelet-serving, certFile: k.crt, keyFile: k.key, duration: 24h}
approval: {inventoryFile: inventory.yaml}
";

    fn parse(text: &str) -> Result<Loaded<AuthorityConfig>, ConfigErrors> {
        AuthorityConfig::parse(text, Path::new("/etc/e/authority.yaml"))
    }

    #[test]
    fn parse_smallest_configuration_fills_in_the_defaults() {
        let Loaded { config, warnings } = parse(GOOD).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.limits, AuthorityLimits::default());
        assert_eq!(config.store.path, Path::new("/etc/e/a.redb"));
        assert_eq!(config.signers[0].duration, Duration::from_secs(86_400));
        assert_eq!(config.approval.bootstrap_nodes, BootstrapNodes::Inventory);
        let files = config.files();
        for file in [
            "authority.yaml",
            "s.crt",
            "s.key",
            "ca.crt",
            "k.crt",
            "k.key",
            "inventory.yaml",
        ] {
            assert!(files.contains(&Path::new("/etc/e").join(file)), "{file}");
        }
        assert_eq!(files.len(), 7);
    }

    #[test]
    fn parse_example_is_valid() {
        let text = include_str!("../../../examples/authority.yaml");
        let Loaded { config, warnings } = parse(text).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.signers.len(), 7);
        assert!(config.approval.agents.is_some());
        assert_eq!(config.roles.len(), 3);
        let tokens = &config.authentication.tokens;
        assert!(tokens.bootstrap_token_dir.is_some() && tokens.service_accounts.is_some());
    }

    #[test]
    fn parse_names_every_mistake_at_once() {
        let text = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: here}
roles:
- {group: a, role: king}
- {group: b, role: approver}
- {group: c, role: viewer, signers: [x]}
signers:
- {signerName: example.com/mine, certFile: a, keyFile: b}
approval: {bootstrapNodes: inventory}
limits: {maxCSRs: 0}
colour: red
";
        let errors = parse(text).unwrap_err().to_string();
        for expected in [
            "listen.address (line 3",
            "listen.tlsCertFile (line 3",
            "roles[0].role (line 5, column 20): \"king\" is not a known value",
            "roles[1].signers (line 6",
            "roles[2].signers (line 7",
            "signers[0].signerName (line 9",
            "approval.inventoryFile (line 10",
            "limits.maxCSRs (line 11",
            "colour (line 12",
            "authentication (line 1",
            "store (line 1",
        ] {
            assert!(errors.contains(expected), "{expected}: {errors}");
        }
    }

    #[test]
    fn parse_serving_signer_without_inventory_warns() {
        let text = GOOD.replace("approval: {inventoryFile: inventory.yaml}\n", "");
        let warnings = parse(&text).unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_string().contains("waits for a person"));
    }

    #[test]
    fn parse_checks_of_serving_certificates() {
        let with = |checks: &str| {
            let listed = "inventoryFile: inventory.yaml";
            parse(&GOOD.replace(listed, &format!("{listed}, {checks}")))
        };
        let plain = parse(GOOD).unwrap().config.approval;
        assert_eq!((plain.dns, plain.probe), (DnsUse::Ignore, None));
        let Loaded { config, warnings } = with("dns: require, probe: {}").unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.approval.dns, DnsUse::Require);
        assert_eq!(config.approval.probe, Some(ProbeSettings::default()));
        let set = with("probe: {port: 10251, timeout: 500ms}").unwrap().config;
        let probe = set.approval.probe.unwrap();
        assert_eq!((probe.port, probe.timeout.as_millis()), (10_251, 500));
        let warnings = with("dns: allow").unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_string().contains("forge an answer of DNS"));
        for wrong in ["dns: true", "probe: {port: 0}", "probe: {timeout: 1h}"] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        let alone = GOOD.replace("inventoryFile: inventory.yaml", "dns: allow");
        let errors = parse(&alone).unwrap_err().to_string();
        assert!(errors.contains("approval.inventoryFile"), "{errors}");
    }

    #[test]
    fn parse_who_may_join() {
        let with = |fields: &str| {
            let listed = "inventoryFile: inventory.yaml";
            parse(&GOOD.replace(listed, &format!("{listed}, {fields}")))
        };
        let any = with("bootstrapNodes: any, nodeNames: [\"w-*\"]")
            .unwrap()
            .config
            .approval;
        assert_eq!(any.bootstrap_nodes, BootstrapNodes::Any);
        assert_eq!(any.node_names, [NamePattern::new("w-*").unwrap()]);
        let set = with("window: 2h, maxPending: 5, onRefusal: leave")
            .unwrap()
            .config
            .approval;
        assert_eq!(set.window, Some(Duration::from_secs(7200)));
        assert_eq!(
            (set.max_pending, set.on_refusal),
            (Some(5), OnRefusal::Leave)
        );
        let plain = parse(GOOD).unwrap().config.approval;
        assert_eq!((plain.window, plain.max_pending), (None, None));
        assert_eq!(plain.on_refusal, OnRefusal::Deny);
        let without = parse(&GOOD.replace("approval: {inventoryFile: inventory.yaml}\n", ""));
        let without = without.unwrap().config.approval;
        assert_eq!(without.bootstrap_nodes, BootstrapNodes::Any);
        for (fields, words) in [
            ("nodeNames: [\"w-*\"]", "approval.nodeNames"),
            ("bootstrapNodes: any, nodeNames: [W]", "small letters"),
            ("nodeAddresses: [10.0.0.0/8]", "approval.nodeAddresses"),
            ("window: 1s", "approval.window"),
            ("maxPending: 0", "approval.maxPending"),
            ("onRefusal: drop", "approval.onRefusal"),
        ] {
            let told = with(fields).unwrap_err().to_string();
            assert!(told.contains(words), "{words}: {told}");
        }
        let alone = GOOD.replace("inventoryFile: inventory.yaml", "window: 2h");
        let told = parse(&alone).unwrap_err().to_string();
        assert!(told.contains("approval.inventoryFile"), "{told}");
        let limits = GOOD.to_owned() + "limits: {maxCSRs: 100}\n";
        let limits = parse(&limits).unwrap().config.limits;
        assert_eq!(
            (limits.max_csrs_per_user, limits.max_csrs_per_token),
            (100, 50)
        );
    }

    #[test]
    fn parse_agents_need_a_reviewer_and_a_signer_and_no_cluster() {
        let agents =
            "agents: {namespace: tunnels, serviceAccount: agent, audience: a, denyFile: d}";
        let with = |agents: &str| {
            let listed = "inventoryFile: inventory.yaml";
            GOOD.replace(listed, &format!("{listed}, {agents}"))
        };
        let errors = parse(&with(agents)).unwrap_err().to_string();
        for words in [
            "authentication.tokenReview",
            "has no eyesplice.dev/agent-client",
        ] {
            assert!(errors.contains(words), "{words}: {errors}");
        }
        let signer =
            "signers:\n- {signerName: eyesplice.dev/agent-client, certFile: t, keyFile: u}\n";
        let review =
            "clientCAFile: ca.crt, tokenReview: {server: \"https://a\", caFile: b, tokenFile: c}";
        let whole = |agents| {
            with(agents)
                .replace("signers:\n", signer)
                .replace("clientCAFile: ca.crt", review)
        };
        let config = parse(&whole(agents)).unwrap().config;
        let read = config.approval.agents.as_ref().unwrap();
        assert_eq!(read.tokens.namespace, "tunnels");
        assert!(config.files().contains(Path::new("/etc/e/d")));
        let errors = parse(&whole("agents: {namespace: A/b}"))
            .unwrap_err()
            .to_string();
        for words in [
            "approval.agents.namespace (line",
            "approval.agents.serviceAccount (line",
            "approval.agents.audience (line",
        ] {
            assert!(errors.contains(words), "{words}: {errors}");
        }
        let cluster = "apiVersion: eyesplice.dev/v1alpha1\nkind: AuthorityConfig\ncluster: {}\n\
                       signers:\n- {signerName: kubernetes.io/kubelet-serving, certFile: a, \
                       keyFile: b}\napproval: {AGENTS}\n";
        let path = Path::new("/etc/e/authority.yaml");
        let parsed = crate::config::ClusterConfig::parse(&cluster.replace("AGENTS", agents), path);
        let errors = parsed.unwrap_err().to_string();
        assert!(errors.contains("approval.agents"), "{errors}");
        assert!(errors.contains("does not go with `cluster`"), "{errors}");
    }

    #[test]
    fn parse_roles_of_bootstrappers() {
        let roles = "roles:\n- {group: \"system:bootstrappers:rack-7\", role: node-bootstrapper}\n\
                     - {group: \"system:bootstrappers:gw\", role: gateway-bootstrapper}\n";
        let config = parse(&(GOOD.to_owned() + roles)).unwrap().config;
        let read: Vec<Role> = config.roles.iter().map(|binding| binding.role).collect();
        assert_eq!(read, [Role::Bootstrapper, Role::GatewayBootstrapper]);
    }

    #[test]
    fn restart_required_names_what_a_running_process_keeps() {
        let old = parse(GOOD).unwrap().config;
        let new = parse(&GOOD.replace("a.redb", "b.redb").replace("24h", "1h"))
            .unwrap()
            .config;
        assert_eq!(old.restart_required(&new), ["store.path"]);
    }
}
