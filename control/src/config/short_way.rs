//! Reads `front.shortWay`: whether streams of pods may go past the API server, and how.

use super::kube_api::{AddressType, Admission, ApiServers, ShortWay};
use super::model::{Config, Verification};
use eyesplice_identity::document::{At, Node, Problem, Section, value};

const ADMISSIONS: [(&str, Admission); 2] =
    [("pass", Admission::Pass), ("trusted", Admission::Trusted)];

const ADDRESS_TYPES: [(&str, AddressType); 5] = [
    ("Hostname", AddressType::Hostname),
    ("InternalDNS", AddressType::InternalDns),
    ("InternalIP", AddressType::InternalIp),
    ("ExternalDNS", AddressType::ExternalDns),
    ("ExternalIP", AddressType::ExternalIp),
];

/// As kubeadm sets up API servers.
const DEFAULT_ADDRESS_TYPES: [AddressType; 3] = [
    AddressType::InternalIp,
    AddressType::ExternalIp,
    AddressType::Hostname,
];

/// Reads what concerns the short way from `front`; without `shortWay` there is none.
pub(super) fn read(front: &mut Section<'_>) -> Option<ShortWay> {
    let field = "endWithCredential";
    let end_with_credential = front.optional(field, value::boolean);
    if front.has(field) && !front.has("shortWay") {
        let what = "has no effect without shortWay: API servers end streams by their own rules";
        front.error(field, what, "add `shortWay: {}`, or remove it");
    }
    let mut section = front.section("shortWay")?;
    let admission = |node: &Node| value::word(node, &ADMISSIONS);
    let address_type = |node: &Node| value::word(node, &ADDRESS_TYPES);
    let address_types = section.list("addressTypes", ADDRESS_TYPES.len(), address_type);
    Some(ShortWay {
        admission: section.optional("admission", admission).unwrap_or_default(),
        address_types: if address_types.is_empty() {
            DEFAULT_ADDRESS_TYPES.to_vec()
        } else {
            address_types
        },
        kubelet_token_file: section.file("kubeletTokenFile"),
        end_with_credential: end_with_credential.unwrap_or_default(),
    })
}

/// Checks what the short way needs of other sections.
pub(super) fn check(config: &Config, root: &Section<'_>) {
    if config.front.short_way.is_none() {
        return;
    }
    let field = "front.shortWay";
    let needs = |missing: bool, what: &str, fix: &str| {
        if missing {
            let problem = Problem::new(what, fix);
            root.report().error(field, root.place_of("front"), problem);
        }
    };
    let anonymous = |servers: &ApiServers| servers.credential.is_none();
    needs(
        config.apiservers.as_ref().is_some_and(anonymous),
        "needs a credential with which API servers are asked about users and pods",
        "add apiservers.clientCertFile and clientKeyFile, or tokenFile, and apply front-rbac.yaml",
    );
    needs(
        !root.has("kubelet"),
        "needs `kubelet`, which says whom to trust as kubelet and who we are to it",
        "add `kubelet: {caFile: .., clientCertFile: .., clientKeyFile: .., \
         apiserverClientCAFile: ..}`",
    );
    needs(
        config.egress.rules.is_empty() && !root.has("egress"),
        "needs `egress`: no rule allows the kubelets' addresses",
        "add `egress: {rules: [{name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], \
         action: splice}]}`",
    );
    let kubelet = config.kubelet.as_ref();
    if kubelet.is_some_and(|kubelet| kubelet.verification != Verification::Enforce) {
        let what = "is not taken by any stream: kubelet.verification is observe";
        let problem = Problem::new(what, "set that to enforce");
        root.report().warn(field, At::default(), problem);
    }
}
