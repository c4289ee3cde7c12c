//! Reads `egressCA` and `kubelet`: the identities of terminated streams.

use super::actions;
use super::bounds;
use super::identity;
use super::model::{EgressCa, Identity, Kubelet, LeafSigner, Verification};
use eyesplice_identity::document::{FileRef, Node, Section, value};
use std::time::Duration;

/// The common name that kubeadm gives the API server's kubelet client certificate.
const KUBEADM_CLIENT_NAME: &str = "kube-apiserver-kubelet-client";

const VERIFICATIONS: [(&str, Verification); 2] = [
    ("enforce", Verification::Enforce),
    ("observe", Verification::Observe),
];

/// Reads the issuer of the leaves.
pub(super) fn read_egress_ca(root: &mut Section<'_>) -> Option<EgressCa> {
    let mut section = root.section("egressCA")?;
    let field = "fromAuthority";
    let signer = if from_authority(&mut section, field, ["certFile", "keyFile"]) {
        if !root.has("identity") {
            identity::missing(&section, field);
        }
        let ca = section.required_file("caFile", "egress-ca.crt");
        ca.map(|ca_file| LeafSigner::Authority { ca_file })
    } else {
        let cert = section.required_file("certFile", "egress-ca.crt");
        let key = section.required_file("keyFile", "egress-ca.key");
        let files = cert.zip(key);
        files.map(|(cert_file, key_file)| LeafSigner::Files {
            cert_file,
            key_file,
        })
    };
    let lifetime = |node: &Node| value::duration(node, &bounds::LEAF_LIFETIME);
    let lifetime = section.optional("leafLifetime", lifetime);
    Some(EgressCa {
        signer: signer?,
        leaf_lifetime: lifetime.unwrap_or(Duration::from_secs(24 * 3600)),
    })
}

/// Reads the trust for kubelets.
pub(super) fn read_kubelet(root: &mut Section<'_>, who: Option<&Identity>) -> Option<Kubelet> {
    let mut section = root.section("kubelet")?;
    let ca = section.required_file("caFile", "kubelet-serving-ca.crt");
    let (field, files) = ("clientFromAuthority", ["clientCertFile", "clientKeyFile"]);
    let (cert, key) = if from_authority(&mut section, field, files) {
        if !root.has("identity") {
            identity::missing(&section, field);
        }
        let kept = who.map(|who| FileRef::new(section.path_of(field), who.client_file().path));
        (kept.clone(), kept)
    } else {
        let [cert, key] = files;
        (
            section.required_file(cert, "eyesplice-kubelet-client.crt"),
            section.required_file(key, "eyesplice-kubelet-client.key"),
        )
    };
    let client_ca = section.required_file("apiserverClientCAFile", "ca.crt");
    let field = "apiserverClientNames";
    let listed = section.has(field);
    let names = section.list(field, bounds::LISTENER_ENTRIES, value::text);
    if listed && names.is_empty() {
        let what =
            "is empty: any certificate of apiserverClientCAFile is accepted as the API server's";
        let fix = format!("list its common name, like {KUBEADM_CLIENT_NAME}");
        section.warn(field, what, fix);
    }
    let names = if listed {
        names
    } else {
        vec![KUBEADM_CLIENT_NAME.to_owned()]
    };
    let verification = |node: &Node| value::word(node, &VERIFICATIONS);
    let verification = section.optional("verification", verification);
    let verification = verification.unwrap_or_default();
    if verification == Verification::Observe {
        let what = "lets kubelets pass that fail validation";
        let fix = "set it to enforce once eyesplice_verifications_total shows no observed failures";
        section.warn("verification", what, fix);
    }
    let warm = section.optional("warm", value::boolean).unwrap_or_default();
    let inventory_file = section.file("inventoryFile");
    let pins_file = section.file("pinsFile");
    if section.has("pinsFile") && !section.has("inventoryFile") {
        let what =
            "has no effect alone: pins are by node, and the inventory has the nodes' addresses";
        section.error("pinsFile", what, "add `inventoryFile: inventory.yaml`");
    }
    let actions = actions::read(&mut section);
    Some(Kubelet {
        ca_file: ca?,
        client_cert_file: cert?,
        client_key_file: key?,
        apiserver_client_ca_file: client_ca?,
        apiserver_client_names: names,
        verification,
        warm,
        inventory_file,
        pins_file,
        actions,
    })
}

/// Reads whether a certificate comes from the authority; then no field names its files.
fn from_authority(
    section: &mut Section<'_>,
    field: &'static str,
    files: [&'static str; 2],
) -> bool {
    let wanted = section.optional(field, value::boolean).unwrap_or_default();
    for file in files.into_iter().filter(|file| wanted && section.has(file)) {
        let what = format!("cannot be combined with {field}");
        section.error(file, what, "remove one of them");
    }
    wanted
}
