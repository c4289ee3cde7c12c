//! The table of certificates: name, issuer, subject, usage and alternative names of each.
//!
//! Sources: kubeadm's `phases/certs/certlist.go` and `phases/kubeconfig/kubeconfig.go`. What kubeadm
//! lacks: a CA for kubelets' serving certificates, the two CAs of the egress, kubelets' own
//! certificates, and serving certificates of controller manager and scheduler.

use super::names::{apiserver_names, dns, local_names, loopback, without_repeats};
use super::spec::{BREAK_GLASS_GROUP, Layout, NodeSpec, Scope, Spec};
use crate::inventory::HostAddress;
use std::net::{IpAddr, Ipv6Addr};

/// The CA of the API server and its clients.
pub(super) const CLUSTER_CA: &str = "ca";
const KUBELET_SERVING_CA: &str = "kubelet-serving-ca";
const FRONT_PROXY_CA: &str = "front-proxy-ca";
const ETCD_CA: &str = "etcd/ca";
const EGRESS_CA: &str = "egress-ca";
const EGRESS_CLIENT_CA: &str = "egress-client-ca";
/// Of agents alone: neither the API server nor the egress takes what it signs. Only where there are
/// any.
const TUNNEL_CA: &str = "tunnel-ca";

/// Of break-glass alone: API servers must never trust it.
const BREAK_GLASS_CA: &str = "break-glass-ca";

/// The CAs by which gateways and agents are known, or know others.
const OF_GATEWAYS: [&str; 5] = [
    CLUSTER_CA,
    EGRESS_CA,
    EGRESS_CLIENT_CA,
    TUNNEL_CA,
    BREAK_GLASS_CA,
];

/// The group of agents.
const AGENT_GROUP: &str = "eyesplice:agents";

/// Name, common name and trusting side of each CA. kubeadm names the etcd CA `etcd-ca`.
const AUTHORITIES: [(&str, &str, &str); 8] = [
    (
        CLUSTER_CA,
        "kubernetes",
        "kube-apiserver and kubelet --client-ca-file, kubeconfigs",
    ),
    (
        KUBELET_SERVING_CA,
        "kubelet-serving-ca",
        "eyesplice kubelet.caFile, or kube-apiserver --kubelet-certificate-authority",
    ),
    (
        FRONT_PROXY_CA,
        "front-proxy-ca",
        "kube-apiserver --requestheader-client-ca-file",
    ),
    (
        ETCD_CA,
        "etcd-ca",
        "etcd --trusted-ca-file, kube-apiserver --etcd-cafile",
    ),
    (
        EGRESS_CA,
        "egress-ca",
        "kube-apiserver --kubelet-certificate-authority, egress caBundle",
    ),
    (
        EGRESS_CLIENT_CA,
        "egress-client-ca",
        "eyesplice listeners' clientCAFile",
    ),
    (
        TUNNEL_CA,
        "tunnel-ca",
        "eyesplice tunnel listeners' clientCAFile",
    ),
    (
        BREAK_GLASS_CA,
        "break-glass-ca",
        "eyesplice front.breakGlass.clientCAFile",
    ),
];

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// File name without extension; what issuers are looked up by.
    pub(super) name: String,
    pub(super) issuer: Issuer,
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) usage: Usage,
    /// What a client may call the server; empty for clients.
    pub(super) names: Vec<HostAddress>,
    /// Who holds it; for a CA, who trusts it.
    pub(super) used_by: &'static str,
    /// The kubeconfig that embeds it, without extension.
    pub(super) kubeconfig: Option<String>,
}

impl Profile {
    pub(super) fn certificate_file(&self) -> String {
        format!("{}.crt", self.name)
    }

    /// For whoever signs by a CA: its certificate with all that is sent behind what it signs.
    pub(super) fn chain_file(&self) -> String {
        format!("{}-chain.crt", self.name)
    }

    pub(super) fn key_file(&self) -> String {
        format!("{}.key", self.name)
    }

    /// For a CA that signs elsewhere.
    pub(super) fn request_file(&self) -> String {
        format!("{}.csr", self.name)
    }

    pub(super) fn kubeconfig_file(&self) -> Option<String> {
        let name = self.kubeconfig.as_ref()?;
        Some(format!("{name}.kubeconfig"))
    }

    /// The name of the CA that signs it; its own, for a CA.
    pub(super) fn authority(&self) -> &str {
        match &self.issuer {
            Issuer::Itself => &self.name,
            Issuer::Authority(name) => name,
        }
    }

    /// It is for break-glass: meant to expire, and issued by name alone.
    pub(super) fn is_break_glass(&self) -> bool {
        self.usage != Usage::Authority && self.authority() == BREAK_GLASS_CA
    }

    fn of(mut self, organization: &str) -> Self {
        self.organizations.push(organization.to_owned());
        self
    }

    fn in_kubeconfig(mut self) -> Self {
        self.kubeconfig = Some(self.name.clone());
        self
    }
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    /// A CA: its own root, unless the specification has a parent for all.
    Itself,
    /// The authority of this name, which stands earlier in the table.
    Authority(String),
}

/// What the certificate is for: key usage and lifetime follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Signs others.
    Authority,
    /// TLS server.
    Server,
    /// TLS client.
    Client,
    /// Both: members of etcd are each other's clients, and etcd dials itself as one.
    Peer,
}

impl Usage {
    pub(super) fn server(self) -> bool {
        matches!(self, Self::Server | Self::Peer)
    }

    pub(super) fn client(self) -> bool {
        matches!(self, Self::Client | Self::Peer)
    }
}

/// Builds the table. Authorities come first.
pub(super) fn profiles(spec: &Spec) -> Vec<Profile> {
    let mut table = Table {
        layout: spec.authorities.layout,
        rows: Vec::new(),
    };
    let whole = spec.scope == Scope::Cluster;
    table.authorities(spec);
    if whole {
        table.control_plane(spec);
        for (index, member) in spec.etcd.iter().enumerate() {
            table.etcd_member(index, member);
        }
        table.components();
    }
    table.users(spec);
    table.egress(spec);
    table.agents(spec);
    table.break_glass(spec);
    for node in spec.nodes.iter().filter(|_| whole) {
        table.node(node);
    }
    table.rows
}

struct Table {
    layout: Layout,
    rows: Vec<Profile>,
}

impl Table {
    fn authorities(&mut self, spec: &Spec) {
        for (name, common_name, used_by) in AUTHORITIES {
            let absent = match name {
                BREAK_GLASS_CA => spec.break_glass.is_empty(),
                CLUSTER_CA => false,
                _ => self.layout == Layout::Single,
            };
            if absent {
                continue;
            }
            if name == TUNNEL_CA && spec.agents.is_empty() {
                continue;
            }
            if spec.scope == Scope::Gateway && !OF_GATEWAYS.contains(&name) {
                continue;
            }
            self.rows.push(Profile {
                name: name.to_owned(),
                issuer: Issuer::Itself,
                common_name: common_name.to_owned(),
                organizations: Vec::new(),
                usage: Usage::Authority,
                // kubeadm repeats a CA's common name so: some clients look for any SAN at all.
                names: vec![dns(common_name)],
                used_by,
                kubeconfig: None,
            });
        }
    }

    fn control_plane(&mut self, spec: &Spec) {
        let rows = [
            self.server(
                "apiserver",
                CLUSTER_CA,
                "kube-apiserver",
                apiserver_names(spec),
                "kube-apiserver --tls-cert-file",
            ),
            self.client(
                "apiserver-kubelet-client",
                CLUSTER_CA,
                "kube-apiserver-kubelet-client",
                "kube-apiserver --kubelet-client-certificate",
            ),
            self.client(
                "apiserver-etcd-client",
                ETCD_CA,
                "kube-apiserver-etcd-client",
                "kube-apiserver --etcd-certfile",
            ),
            self.client(
                "front-proxy-client",
                FRONT_PROXY_CA,
                "front-proxy-client",
                "kube-apiserver --proxy-client-cert-file",
            ),
            self.client(
                "etcd/healthcheck-client",
                ETCD_CA,
                "kube-etcd-healthcheck-client",
                "etcd's liveness probe",
            ),
            self.server(
                "controller-manager-server",
                CLUSTER_CA,
                "kube-controller-manager",
                local_names(&spec.controllers),
                "kube-controller-manager --tls-cert-file",
            ),
            self.server(
                "scheduler-server",
                CLUSTER_CA,
                "kube-scheduler",
                local_names(&spec.controllers),
                "kube-scheduler --tls-cert-file",
            ),
        ];
        self.rows.extend(rows);
    }

    /// The first member has kubeadm's file names; its siblings carry theirs.
    fn etcd_member(&mut self, index: usize, member: &NodeSpec) {
        let suffix = if index == 0 {
            String::new()
        } else {
            format!("-{}", member.name)
        };
        let mut names = member.certificate_names();
        names.extend(loopback());
        names.push(HostAddress::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        let names = without_repeats(names);
        for (kind, used_by) in [
            ("server", "etcd --cert-file"),
            ("peer", "etcd --peer-cert-file"),
        ] {
            let name = format!("etcd/{kind}{suffix}");
            let mut row = self.server(&name, ETCD_CA, &member.name, names.clone(), used_by);
            row.usage = Usage::Peer;
            self.rows.push(row);
        }
    }

    /// Clients of the API server that every cluster has.
    fn components(&mut self) {
        let fixed = [
            (
                "admin",
                "kubernetes-admin",
                Some("kubeadm:cluster-admins"),
                "administrators",
            ),
            (
                "super-admin",
                "kubernetes-super-admin",
                Some("system:masters"),
                "repairs of RBAC; keep it locked away",
            ),
            (
                "controller-manager",
                "system:kube-controller-manager",
                None,
                "kube-controller-manager --kubeconfig",
            ),
            (
                "scheduler",
                "system:kube-scheduler",
                None,
                "kube-scheduler --kubeconfig",
            ),
            (
                "kube-proxy",
                "system:kube-proxy",
                None,
                "kube-proxy --kubeconfig",
            ),
        ];
        for (name, common_name, group, used_by) in fixed {
            let mut row = self.client(name, CLUSTER_CA, common_name, used_by);
            row.organizations.extend(group.map(str::to_owned));
            self.rows.push(row.in_kubeconfig());
        }
    }

    fn users(&mut self, spec: &Spec) {
        for user in &spec.users {
            let name = format!("user-{}", user.name);
            let mut row = self.client(&name, CLUSTER_CA, &user.name, "the user");
            row.organizations.clone_from(&user.groups);
            self.rows.push(row.in_kubeconfig());
        }
    }

    fn egress(&mut self, spec: &Spec) {
        let rows = [
            // The gateway usually stands beside the API server: its loopback names are always there.
            self.server(
                "egress-server",
                EGRESS_CA,
                "eyesplice-egress",
                local_names(&spec.gateway),
                "eyesplice listeners' tlsCertFile",
            ),
            self.client(
                "egress-client",
                EGRESS_CLIENT_CA,
                "kube-apiserver-egress",
                "kube-apiserver's egress clientCert",
            ),
            self.client(
                "eyesplice-kubelet-client",
                CLUSTER_CA,
                "eyesplice",
                "eyesplice kubelet.clientCertFile",
            ),
        ];
        self.rows.extend(rows);
    }

    fn agents(&mut self, spec: &Spec) {
        for agent in &spec.agents {
            let name = format!("agent-{}", agent.as_str());
            let used_by = "eyesplice agent's identity";
            let row = self.client(&name, TUNNEL_CA, &agent.user(), used_by);
            self.rows.push(row.of(AGENT_GROUP));
        }
    }

    /// Of a CA of its own in every layout: whom API servers trust would be an ordinary user.
    fn break_glass(&mut self, spec: &Spec) {
        for user in &spec.break_glass {
            let used_by = "the user, while no API server answers";
            let row = self.client(&user.file_name(), BREAK_GLASS_CA, user.as_str(), used_by);
            let row = Profile {
                issuer: Issuer::Authority(BREAK_GLASS_CA.to_owned()),
                ..row
            };
            self.rows.push(row.of(BREAK_GLASS_GROUP).in_kubeconfig());
        }
    }

    fn node(&mut self, node: &NodeSpec) {
        let subject = format!("system:node:{}", node.name);
        let serving = self.server(
            &format!("kubelet-{}", node.name),
            KUBELET_SERVING_CA,
            &subject,
            node.certificate_names(),
            "kubelet tlsCertFile",
        );
        let mut client = self.client(
            &format!("kubelet-client-{}", node.name),
            CLUSTER_CA,
            &subject,
            "kubelet --kubeconfig",
        );
        client.kubeconfig = Some(format!("kubelet-{}", node.name));
        self.rows.push(serving.of("system:nodes"));
        self.rows.push(client.of("system:nodes"));
    }

    fn server(
        &self,
        name: &str,
        authority: &str,
        common_name: &str,
        names: Vec<HostAddress>,
        used_by: &'static str,
    ) -> Profile {
        Profile {
            name: name.to_owned(),
            issuer: self.issuer(authority),
            common_name: common_name.to_owned(),
            organizations: Vec::new(),
            usage: Usage::Server,
            names,
            used_by,
            kubeconfig: None,
        }
    }

    fn client(
        &self,
        name: &str,
        authority: &str,
        common_name: &str,
        used_by: &'static str,
    ) -> Profile {
        Profile {
            usage: Usage::Client,
            ..self.server(name, authority, common_name, Vec::new(), used_by)
        }
    }

    fn issuer(&self, authority: &str) -> Issuer {
        Issuer::Authority(match self.layout {
            Layout::Separate => authority.to_owned(),
            Layout::Single => CLUSTER_CA.to_owned(),
        })
    }
}
