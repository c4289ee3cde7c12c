//! The table of certificates: name, issuer, subject, usage and alternative names of each.

use super::options::Plan;
use crate::inventory::HostAddress;
use std::net::{IpAddr, Ipv4Addr};
use time::Duration;

/// kubeadm's `CACertificateValidityPeriod`.
pub(super) const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// kubeadm's `CertificateValidityPeriod`.
pub(super) const LEAF_LIFETIME: Duration = Duration::days(365);

/// The cluster's DNS domain, kubelet's and kubeadm's default.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// One certificate.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// File name without extension; what issuers are looked up by.
    pub(super) name: String,
    pub(super) issuer: Issuer,
    pub(super) common_name: String,
    pub(super) organization: Option<&'static str>,
    pub(super) usage: Usage,
    pub(super) names: Vec<HostAddress>,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    /// The certificate is its own root.
    Itself,
    /// The authority of this name, which stands earlier in the table.
    Authority(&'static str),
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
}

/// Builds the table. Authorities come first.
pub(super) fn profiles(plan: &Plan) -> Vec<Profile> {
    let mut table = vec![
        authority("ca", "kubernetes"),
        authority("kubelet-serving-ca", "kubelet-serving-ca"),
        authority("front-proxy-ca", "front-proxy-ca"),
        authority("egress-ca", "egress-ca"),
        authority("egress-client-ca", "egress-client-ca"),
        server("apiserver", "ca", "kube-apiserver", apiserver_names(plan)),
        client(
            "apiserver-kubelet-client",
            "ca",
            "kube-apiserver-kubelet-client",
            None,
        ),
        client(
            "front-proxy-client",
            "front-proxy-ca",
            "front-proxy-client",
            None,
        ),
        client("admin", "ca", "kubernetes-admin", Some("system:masters")),
        client(
            "controller-manager",
            "ca",
            "system:kube-controller-manager",
            None,
        ),
        client("scheduler", "ca", "system:kube-scheduler", None),
        server(
            "egress-server",
            "egress-ca",
            "eyesplice-egress",
            gateway_names(plan),
        ),
        client(
            "egress-client",
            "egress-client-ca",
            "kube-apiserver-egress",
            None,
        ),
        client("eyesplice-kubelet-client", "ca", "eyesplice", None),
    ];
    for node in &plan.nodes {
        let subject = format!("system:node:{}", node.name);
        let names = node.certificate_names();
        let mut serving = server(
            &format!("kubelet-{}", node.name),
            "kubelet-serving-ca",
            &subject,
            names,
        );
        serving.organization = Some("system:nodes");
        table.push(serving);
        let name = format!("kubelet-client-{}", node.name);
        table.push(client(&name, "ca", &subject, Some("system:nodes")));
    }
    table
}

fn authority(name: &str, common_name: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        issuer: Issuer::Itself,
        common_name: common_name.to_owned(),
        organization: None,
        usage: Usage::Authority,
        // kubeadm repeats a CA's common name so: some clients look for any SAN at all.
        names: vec![dns(common_name)],
    }
}

fn server(name: &str, issuer: &'static str, common_name: &str, names: Vec<HostAddress>) -> Profile {
    Profile {
        name: name.to_owned(),
        issuer: Issuer::Authority(issuer),
        common_name: common_name.to_owned(),
        organization: None,
        usage: Usage::Server,
        names,
    }
}

fn client(
    name: &str,
    issuer: &'static str,
    common_name: &str,
    organization: Option<&'static str>,
) -> Profile {
    Profile {
        name: name.to_owned(),
        issuer: Issuer::Authority(issuer),
        common_name: common_name.to_owned(),
        organization,
        usage: Usage::Client,
        names: Vec::new(),
    }
}

fn apiserver_names(plan: &Plan) -> Vec<HostAddress> {
    let mut names = vec![
        dns("kubernetes"),
        dns("kubernetes.default"),
        dns("kubernetes.default.svc"),
        HostAddress::Dns(format!("kubernetes.default.svc.{CLUSTER_DOMAIN}")),
    ];
    names.extend(loopback());
    names.push(HostAddress::Ip(plan.service_ip));
    names.push(plan.server_host.clone());
    names.extend_from_slice(&plan.apiserver);
    without_repeats(names)
}

/// The gateway usually stands beside the API server, so its loopback names are always there.
fn gateway_names(plan: &Plan) -> Vec<HostAddress> {
    let mut names = Vec::from(loopback());
    names.extend_from_slice(&plan.gateway);
    without_repeats(names)
}

fn loopback() -> [HostAddress; 2] {
    [
        dns("localhost"),
        HostAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ]
}

fn dns(name: &str) -> HostAddress {
    HostAddress::Dns(name.to_owned())
}

pub(super) fn without_repeats(names: Vec<HostAddress>) -> Vec<HostAddress> {
    let mut unique: Vec<HostAddress> = Vec::with_capacity(names.len());
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}
