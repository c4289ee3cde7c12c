//! Reads `egressCA` and `kubelet`: the identities of terminated streams.

use super::actions;
use super::bounds;
use super::model::{EgressCa, Kubelet, Verification};
use super::report::{Problem, Report};
use super::section::Section;
use super::tree::Node;
use super::value;
use std::path::Path;
use std::time::Duration;

/// The common name that kubeadm gives the API server's kubelet client certificate.
const KUBEADM_CLIENT_NAME: &str = "kube-apiserver-kubelet-client";

const VERIFICATIONS: [(&str, Verification); 2] = [
    ("enforce", Verification::Enforce),
    ("observe", Verification::Observe),
];

/// Reads the issuer of the leaves.
pub(super) fn read_egress_ca(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> Option<EgressCa> {
    let mut section = root.section("egressCA", report)?;
    let file = |node: &Node| value::path(node, base);
    let cert = section.required("certFile", "egress-ca.crt", file, report);
    let key = section.required("keyFile", "egress-ca.key", file, report);
    let lifetime = |node: &Node| value::duration(node, &bounds::LEAF_LIFETIME);
    let lifetime = section.optional("leafLifetime", lifetime, report);
    section.finish(report);
    Some(EgressCa {
        cert_file: cert?,
        key_file: key?,
        leaf_lifetime: lifetime.unwrap_or(Duration::from_secs(24 * 3600)),
    })
}

/// Reads the trust for kubelets.
pub(super) fn read_kubelet(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> Option<Kubelet> {
    let mut section = root.section("kubelet", report)?;
    let file = |node: &Node| value::path(node, base);
    let ca = section.required("caFile", "kubelet-serving-ca.crt", file, report);
    let cert = section.required(
        "clientCertFile",
        "eyesplice-kubelet-client.crt",
        file,
        report,
    );
    let key = section.required(
        "clientKeyFile",
        "eyesplice-kubelet-client.key",
        file,
        report,
    );
    let client_ca = section.required("apiserverClientCAFile", "ca.crt", file, report);
    let listed = section.has("apiserverClientNames");
    let names = section.list(
        "apiserverClientNames",
        bounds::LISTENER_ENTRIES,
        value::text,
        report,
    );
    if listed && names.is_empty() {
        let problem = Problem::new(
            "is empty: any certificate of apiserverClientCAFile may speak for the API server",
            format!("list its common name, like {KUBEADM_CLIENT_NAME}"),
        );
        let at = section.place_of("apiserverClientNames");
        report.warn(&section.path_of("apiserverClientNames"), at, problem);
    }
    let names = if listed {
        names
    } else {
        vec![KUBEADM_CLIENT_NAME.to_owned()]
    };
    let verification = |node: &Node| value::word(node, &VERIFICATIONS);
    let verification = section
        .optional("verification", verification, report)
        .unwrap_or_default();
    if verification == Verification::Observe {
        let problem = Problem::new(
            "lets kubelets pass that fail verification",
            "set it to enforce once eyesplice_verifications_total shows no observed failures",
        );
        let at = section.place_of("verification");
        report.warn(&section.path_of("verification"), at, problem);
    }
    let inventory_file = section.optional("inventoryFile", file, report);
    let pins_file = section.optional("pinsFile", file, report);
    if section.has("pinsFile") && !section.has("inventoryFile") {
        let problem = Problem::new(
            "has no effect alone: pins are by node, and only an inventory knows a node's addresses",
            "add `inventoryFile: inventory.yaml`",
        );
        let at = section.place_of("pinsFile");
        report.error(&section.path_of("pinsFile"), at, problem);
    }
    let actions = actions::read(&mut section, report);
    section.finish(report);
    Some(Kubelet {
        ca_file: ca?,
        client_cert_file: cert?,
        client_key_file: key?,
        apiserver_client_ca_file: client_ca?,
        apiserver_client_names: names,
        verification,
        inventory_file,
        pins_file,
        actions,
    })
}
