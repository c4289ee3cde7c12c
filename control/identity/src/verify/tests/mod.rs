//! Every way in which a certificate can fail, and real handshakes for what passes.

mod checks;
mod handshakes;
mod messages;
mod trusts;

use super::*;
use crate::inventory::Inventory;
use crate::pins::Pins;
use crate::pki::testing::{Made, authority};
use std::path::Path;

/// The kubelet of worker-3 as the gateway dials it.
fn worker() -> Expected {
    Expected::kubelet("10.0.0.7".parse().unwrap(), 10250, None)
}

fn inventory() -> Arc<Inventory> {
    let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n\
                - name: worker-3\n  addresses: [10.0.0.7, worker-3.example]\n\
                - name: worker-4\n  addresses: [10.0.0.8]\n";
    Arc::new(Inventory::parse(text, Path::new("nodes.yaml")).unwrap())
}

fn pins(node: &str, pins: &[String]) -> Arc<Pins> {
    let text = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: KubeletPins\npins:\n- node: {node}\n  \
         spkiSHA256: [{}]\n",
        pins.join(", ")
    );
    Arc::new(Pins::parse(&text, Path::new("pins.yaml")).unwrap())
}

fn pin_of(made: &Made) -> String {
    let facts = crate::certificate::CertificateFacts::read(made.certificate.der()).unwrap();
    crate::pins::SpkiHash::of(&facts.spki).to_string()
}

/// Kubelet trust in one CA, with the inventory.
fn trust(ca: &Made) -> KubeletTrust {
    KubeletTrust {
        roots: ca.roots(),
        pins: Arc::default(),
        inventory: Some(inventory()),
        mode: Mode::Enforce,
    }
}

fn kubelet_ca() -> Made {
    authority("kubelet-serving-ca").self_signed()
}
