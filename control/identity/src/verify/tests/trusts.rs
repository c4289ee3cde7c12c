//! Pins, nodes, and what a rule trusts.

use super::checks::{label, run};
use super::*;
use crate::certificate::CertificateFacts;
use crate::pins::SpkiHash;
use crate::pki::testing::{Recipe, kubelet};
use time::Duration;

#[test]
fn check_pin_stands_in_for_everything_but_validity() {
    let ca = kubelet_ca();
    let day = Duration::days(1);
    let own = Recipe {
        names: vec![],
        common_name: "worker-3@1".into(),
        ..kubelet()
    };
    let own = own.self_signed();
    let with_pin = |pin: &Made| {
        let pins = pins("worker-3", &[pin_of(&ca), pin_of(pin)]);
        Trust::kubelets(KubeletTrust { pins, ..trust(&ca) }).unwrap()
    };
    assert_eq!(
        label(run(&with_pin(&own), worker(), &[own.der()])),
        "verified"
    );
    let late = kubelet().valid(-day * 2, -day).self_signed();
    assert_eq!(
        label(run(&with_pin(&late), worker(), &[late.der()])),
        "expired"
    );
    // A node with pins must match one, whoever signed.
    let signed = kubelet().signed_by(&ca);
    assert_eq!(
        label(run(&with_pin(&signed), worker(), &[signed.der()])),
        "verified"
    );
    assert_eq!(
        label(run(&with_pin(&own), worker(), &[signed.der()])),
        "pin_mismatch"
    );
    assert_eq!(
        label(run(&with_pin(&signed), worker(), &[own.der()])),
        "pin_mismatch"
    );
    // The pin is the node's, not the cluster's.
    let other = Expected::kubelet("10.0.0.8".parse().unwrap(), 10250, None);
    assert_eq!(
        label(run(&with_pin(&own), other, &[own.der()])),
        "self_signed"
    );
}

#[test]
fn trust_in_pins_without_an_inventory_is_refused() {
    let ca = kubelet_ca();
    let pins = pins("worker-3", &[pin_of(&ca)]);
    let trust = Trust::kubelets(KubeletTrust {
        pins,
        inventory: None,
        ..trust(&ca)
    });
    assert!(matches!(trust, Err(TrustError::PinsWithoutInventory)));
}

#[test]
fn check_require_node_refuses_an_address_without_one() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let chain = [Recipe {
        names: vec!["10.0.0.99"],
        ..kubelet()
    }
    .signed_by(&ca)
    .der()];
    let mut expected = Expected::kubelet("10.0.0.99".parse().unwrap(), 10250, None);
    assert_eq!(label(run(&trust, expected.clone(), &chain)), "verified");
    expected.require_node = true;
    assert_eq!(
        run(&trust, expected, &chain).unwrap_err().cause,
        Cause::NoNode
    );
}

#[test]
fn check_rule_trust_knows_names_and_pins_but_no_node() {
    let ca = kubelet_ca();
    let recipe = |names| Recipe {
        common_name: "web".into(),
        organizations: Vec::new(),
        names,
        ..kubelet()
    };
    let web = recipe(vec!["web.default.svc", "*.pods.example"]).signed_by(&ca);
    let spki =
        |made: &Made| SpkiHash::of(&CertificateFacts::read(made.certificate.der()).unwrap().spki);
    let rooted = |pins: Vec<SpkiHash>| {
        Trust::targets(TargetTrust {
            roots: Some(ca.roots()),
            pins: pins.into(),
        })
        .unwrap()
    };
    let pinned = |pins: Vec<SpkiHash>| {
        Trust::targets(TargetTrust {
            roots: None,
            pins: pins.into(),
        })
        .unwrap()
    };
    let expect = |host: &str, names: &[&str], server_name: Option<&str>| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let server_name = server_name.map(|name| name.parse().unwrap());
        Expected::target(host.parse().unwrap(), 443, names, server_name)
    };
    let own = recipe(vec!["x"]).self_signed();
    let by_ip = expect("10.1.2.3", &[], None);
    let by_names = expect("10.1.2.3", &["a.example", "web.default.svc"], None);
    for (expected, trust, at, made) in [
        (
            "verified",
            rooted(vec![]),
            expect("web.default.svc", &[], None),
            &web,
        ),
        (
            "verified",
            rooted(vec![]),
            expect("a.pods.example", &[], None),
            &web,
        ),
        ("wrong_name", rooted(vec![]), by_ip.clone(), &web),
        ("verified", rooted(vec![]), by_names.clone(), &web),
        (
            "verified",
            rooted(vec![]),
            expect("10.1.2.3", &[], Some("web.default.svc")),
            &web,
        ),
        // Accepted names count, not what is sent as SNI.
        (
            "wrong_name",
            rooted(vec![]),
            expect("10.1.2.3", &["b"], Some("web.default.svc")),
            &web,
        ),
        ("self_signed", rooted(vec![]), by_ip.clone(), &own),
        ("verified", pinned(vec![spki(&own)]), by_ip.clone(), &own),
        (
            "pin_mismatch",
            pinned(vec![spki(&own)]),
            by_ip.clone(),
            &web,
        ),
        // CA and pins: both.
        ("verified", rooted(vec![spki(&web)]), by_names.clone(), &web),
        ("pin_mismatch", rooted(vec![spki(&own)]), by_names, &web),
        ("wrong_name", rooted(vec![spki(&web)]), by_ip.clone(), &web),
        ("self_signed", rooted(vec![spki(&own)]), by_ip, &own),
    ] {
        assert_eq!(
            label(run(&trust, at.clone(), &[made.der()])),
            expected,
            "{at:?}"
        );
    }
    let nobody = Trust::targets(TargetTrust {
        roots: None,
        pins: Arc::new([]),
    });
    assert!(matches!(nobody, Err(TrustError::Nobody)));
}
