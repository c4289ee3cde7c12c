//! Reads `egressCA` and `kubelet`: the identities of terminated streams.

use super::actions;
use super::bounds;
use super::identity;
use super::model::{EgressCa, Identity, Kubelet, LeafSigner, Verification};
use eyesplice_identity::document::{Node, Problem, Report, Section, value};
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
    let from_authority = from_authority(
        &mut section,
        "fromAuthority",
        ["certFile", "keyFile"],
        report,
    );
    let signer = if from_authority {
        if !root.has("identity") {
            identity::missing("egressCA.fromAuthority", section.at(), report);
        }
        let ca = section.required("caFile", "egress-ca.crt", file, report);
        ca.map(|ca_file| LeafSigner::Authority { ca_file })
    } else {
        let cert = section.required("certFile", "egress-ca.crt", file, report);
        let key = section.required("keyFile", "egress-ca.key", file, report);
        cert.zip(key)
            .map(|(cert_file, key_file)| LeafSigner::Files {
                cert_file,
                key_file,
            })
    };
    let lifetime = |node: &Node| value::duration(node, &bounds::LEAF_LIFETIME);
    let lifetime = section.optional("leafLifetime", lifetime, report);
    section.finish(report);
    Some(EgressCa {
        signer: signer?,
        leaf_lifetime: lifetime.unwrap_or(Duration::from_secs(24 * 3600)),
    })
}

/// Reads the trust for kubelets.
pub(super) fn read_kubelet(
    root: &mut Section<'_>,
    base: &Path,
    who: Option<&Identity>,
    report: &mut Report,
) -> Option<Kubelet> {
    let mut section = root.section("kubelet", report)?;
    let file = |node: &Node| value::path(node, base);
    let ca = section.required("caFile", "kubelet-serving-ca.crt", file, report);
    let client_from_authority = from_authority(
        &mut section,
        "clientFromAuthority",
        ["clientCertFile", "clientKeyFile"],
        report,
    );
    let (cert, key) = if client_from_authority {
        if !root.has("identity") {
            identity::missing("kubelet.clientFromAuthority", section.at(), report);
        }
        let kept = who.map(Identity::client_file);
        (kept.clone(), kept)
    } else {
        let (cert, key) = (
            "eyesplice-kubelet-client.crt",
            "eyesplice-kubelet-client.key",
        );
        (
            section.required("clientCertFile", cert, file, report),
            section.required("clientKeyFile", key, file, report),
        )
    };
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
        client_from_authority,
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

/// Reads whether a certificate comes from the authority; then its files are named by nobody.
fn from_authority(
    section: &mut Section<'_>,
    field: &'static str,
    files: [&'static str; 2],
    report: &mut Report,
) -> bool {
    let wanted = section
        .optional(field, value::boolean, report)
        .unwrap_or_default();
    for file in files.into_iter().filter(|file| wanted && section.has(file)) {
        let (path, at) = (section.path_of(file), section.place_of(file));
        let what = format!("stands beside {field}");
        report.error(
            &path,
            at,
            Problem::new(what, "keep the file or the authority"),
        );
    }
    wanted
}
