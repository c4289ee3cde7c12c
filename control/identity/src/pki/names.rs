//! The names that servers are called by.

use super::spec::Spec;
use crate::inventory::HostAddress;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn apiserver_names(spec: &Spec) -> Vec<HostAddress> {
    let mut names = vec![
        dns("kubernetes"),
        dns("kubernetes.default"),
        dns("kubernetes.default.svc"),
        HostAddress::Dns(format!("kubernetes.default.svc.{}", spec.cluster.domain)),
    ];
    names.extend(loopback());
    names.extend(
        spec.cluster
            .service_ips
            .iter()
            .copied()
            .map(HostAddress::Ip),
    );
    names.push(spec.cluster.server.host.clone());
    names.extend_from_slice(&spec.apiserver);
    without_repeats(names)
}

pub(super) fn local_names(more: &[HostAddress]) -> Vec<HostAddress> {
    let mut names = Vec::from(loopback());
    names.extend_from_slice(more);
    without_repeats(names)
}

pub(super) fn loopback() -> [HostAddress; 2] {
    [
        dns("localhost"),
        HostAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ]
}

pub(super) fn dns(name: &str) -> HostAddress {
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
