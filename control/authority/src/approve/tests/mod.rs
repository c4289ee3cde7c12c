//! Decisions about node certificates against an inventory.

use super::*;
use eyesplice_identity::x509::testing::{Ask, dns, gateway, ip, kubelet_client, kubelet_serving};
use std::collections::BTreeSet;
use std::path::Path;

mod agent;
mod evidence;
mod first;

const INVENTORY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: NodeInventory
nodes:
- {name: w, addresses: [10.0.0.7, w.example, \"fd00::7\"]}
- {name: v, addresses: [10.0.0.8]}
";

const BOOT: (&str, &str) = (
    "system:bootstrap:abcdef",
    "system:bootstrappers:kubeadm:default-node-token",
);
const NODE: (&str, &str) = ("system:node:w", "system:nodes");

struct Case {
    signer: Signer,
    usages: &'static [&'static str],
    who: (&'static str, &'static str),
    ask: Ask,
}

fn client(who: (&'static str, &'static str), ask: Ask) -> Case {
    Case {
        signer: Signer::KubeletClient,
        usages: &["client auth", "digital signature"],
        who,
        ask,
    }
}

fn serving(who: (&'static str, &'static str), ask: Ask) -> Case {
    Case {
        signer: Signer::KubeletServing,
        usages: &["server auth", "digital signature"],
        who,
        ask,
    }
}

fn decision(case: Case, change: impl FnOnce(&mut Policy<'_>)) -> Decision {
    let facts = Facts::default();
    let evidence = Evidence {
        dns: DnsUse::Ignore,
        port: None,
        facts: &facts,
    };
    judge(case, &inventory(), evidence, change).unwrap()
}

fn inventory() -> Inventory {
    Inventory::parse(INVENTORY, Path::new("inventory.yaml")).unwrap()
}

fn judge(
    case: Case,
    inventory: &Inventory,
    evidence: Evidence<'_>,
    change: impl FnOnce(&mut Policy<'_>),
) -> Result<Decision, Unready> {
    let (object, request) = parts(case);
    let roles = Roles::new(&[]);
    let own = ["10.0.0.1", "egress.example"].map(|name| name.parse().unwrap());
    let gateways = Gateways::from([("gw".to_owned(), BTreeSet::from(own))]);
    let mut policy = Policy {
        roles: &roles,
        reviewed: None,
        inventory: Some(inventory),
        bootstrap_nodes: BootstrapNodes::Any,
        gateways: &gateways,
        agents: None,
        insecure_group: None,
        prefixes: &[],
        first: First::unknown(eyesplice_identity::pki::testing::NOW),
        evidence,
    };
    change(&mut policy);
    decide(&object, &request, &policy)
}

fn parts(case: Case) -> (CertificateSigningRequest, CertificateRequest) {
    let mut object = CertificateSigningRequest::default();
    case.signer.name().clone_into(&mut object.spec.signer_name);
    object.spec.usages = case
        .usages
        .iter()
        .map(|usage| (*usage).to_owned())
        .collect();
    object.spec.username = case.who.0.to_owned();
    object.spec.groups = vec![case.who.1.to_owned(), "system:authenticated".to_owned()];
    let request = CertificateRequest::read(&case.ask.pem()).unwrap();
    (object, request)
}

fn plain(case: Case) -> Decision {
    decision(case, |_| ())
}

fn denied(decision: Decision) -> String {
    match decision {
        Decision::Deny { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

fn approved(decision: &Decision) -> bool {
    matches!(decision, Decision::Approve { .. })
}

#[test]
fn client_certificate_is_approved_for_bootstrappers_and_for_the_node_itself() {
    assert!(approved(&plain(client(BOOT, kubelet_client("w")))));
    assert!(approved(&plain(client(BOOT, kubelet_client("unknown")))));
    assert!(approved(&plain(client(NODE, kubelet_client("w")))));
    let other = plain(client(NODE, kubelet_client("v")));
    assert_eq!(other, Decision::Leave(Left::ForPeople));
    let admin = plain(client(("admin", "system:masters"), kubelet_client("w")));
    assert_eq!(admin, Decision::Leave(Left::ForPeople));
}

#[test]
fn client_certificate_that_no_signer_takes_is_denied_with_the_rule() {
    let names = kubelet_serving("w", vec![dns("w")]);
    let message = denied(plain(client(BOOT, names)));
    assert!(
        message.contains("must have no alternative names"),
        "{message}"
    );
}

#[test]
fn bootstrap_of_an_unknown_node_waits_where_the_inventory_decides() {
    let decide = |node: &str| {
        decision(client(BOOT, kubelet_client(node)), |policy| {
            policy.bootstrap_nodes = BootstrapNodes::Inventory;
        })
    };
    assert!(approved(&decide("w")));
    assert_eq!(decide("unknown"), Decision::Leave(Left::UnknownNode));
}

#[test]
fn serving_certificate_is_approved_if_every_name_is_the_nodes() {
    for names in [
        vec![dns("w"), ip("10.0.0.7")],
        vec![dns("W.Example")],
        vec![ip("::ffff:10.0.0.7")],
        vec![ip("fd00::7"), ip("10.0.0.7"), dns("w.example"), dns("w")],
    ] {
        let shown = format!("{names:?}");
        let decision = plain(serving(NODE, kubelet_serving("w", names)));
        assert!(approved(&decision), "{shown}: {decision:?}");
    }
}

#[test]
fn serving_certificate_with_an_address_written_as_dns_name_is_denied() {
    // They are the node's own addresses, but a DNS name of digits is read by programs as they like.
    for name in ["10.0.0.7", "fd00::7", "*.10.0.0.7"] {
        let names = vec![dns("w"), dns(name)];
        let message = denied(plain(serving(NODE, kubelet_serving("w", names))));
        assert!(
            message.contains(&format!("{name:?} is an IP address")),
            "{message}"
        );
    }
}

#[test]
fn serving_certificate_with_a_wildcard_of_the_nodes_own_name_is_denied() {
    for name in ["*.w.example", "*.example", "*"] {
        let message = denied(plain(serving(NODE, kubelet_serving("w", vec![dns(name)]))));
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn serving_certificate_with_a_foreign_name_is_denied_and_names_it() {
    for (name, expected) in [
        (
            ip("10.0.0.9"),
            "IP address 10.0.0.9 is not among the addresses of node w",
        ),
        (ip("10.0.0.8"), "it is node v's"),
        (dns("v"), "DNS name v is not among"),
        (
            dns("kubernetes.default.svc"),
            "no node has it; add it to the node there",
        ),
        (dns("*.example"), "DNS name *.example is not among"),
        (ip("127.0.0.1"), "(10.0.0.7, fd00::7, w, w.example)"),
    ] {
        let names = vec![dns("w"), name, ip("10.0.0.7")];
        let message = denied(plain(serving(NODE, kubelet_serving("w", names))));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn serving_certificate_of_another_node_is_denied() {
    let ask = kubelet_serving("v", vec![dns("v")]);
    let message = denied(plain(serving(NODE, ask)));
    assert!(
        message.contains("is not the requester \"system:node:w\""),
        "{message}"
    );
}

#[test]
fn serving_certificate_waits_without_knowledge_of_the_node() {
    let who = ("system:node:unknown", "system:nodes");
    let ask = || kubelet_serving("unknown", vec![dns("unknown")]);
    assert_eq!(
        plain(serving(who, ask())),
        Decision::Leave(Left::UnknownNode)
    );
    let without = decision(serving(who, ask()), |policy| policy.inventory = None);
    assert_eq!(without, Decision::Leave(Left::NoInventory));
    let person = plain(serving(
        ("jane", "dev"),
        kubelet_serving("w", vec![dns("w")]),
    ));
    assert_eq!(person, Decision::Leave(Left::ForPeople));
    // A bootstrap token is no node.
    let boot = plain(serving(BOOT, kubelet_serving("w", vec![dns("w")])));
    assert_eq!(boot, Decision::Leave(Left::ForPeople));
}

#[test]
fn insecure_group_is_approved_unseen_but_within_the_signers_rules() {
    let foreign = || kubelet_serving("w", vec![dns("evil.example")]);
    let decide = |ask: Ask| {
        decision(serving(("jane", "dev"), ask), |policy| {
            policy.insecure_group = Some("dev");
        })
    };
    let Decision::Approve { reason, message } = decide(foreign()) else {
        panic!("not approved")
    };
    assert_eq!(reason, "InsecureAutoApproved");
    assert!(
        message.contains("--insecure-auto-approve-group dev"),
        "{message}"
    );
    assert_eq!(
        decide(kubelet_client("w")),
        Decision::Leave(Left::ForPeople)
    );
    let other = decision(serving(("jane", "ops"), foreign()), |policy| {
        policy.insecure_group = Some("dev");
    });
    assert_eq!(other, Decision::Leave(Left::ForPeople));
}

#[test]
fn other_signers_are_left_alone() {
    let case = Case {
        signer: Signer::ApiServerClient,
        ..client(BOOT, kubelet_client("w"))
    };
    assert_eq!(plain(case), Decision::Leave(Left::ForPeople));
}

const GATEWAY: (&str, &str) = ("eyesplice:gateway:gw", "eyesplice:gateways");
const GATEWAY_BOOT: (&str, &str) = (
    "system:bootstrap:abcdef",
    "system:bootstrappers:eyesplice:gateways",
);

fn of_gateway(signer: Signer, who: (&'static str, &'static str), ask: Ask) -> Decision {
    let usages: &[&str] = match signer {
        Signer::GatewayClient => &["client auth", "digital signature"],
        _ => &["server auth", "digital signature"],
    };
    plain(Case {
        signer,
        usages,
        who,
        ask,
    })
}

#[test]
fn gateway_client_is_approved_for_listed_gateways_by_their_own_bootstrappers() {
    let decide = |who, name: &str| of_gateway(Signer::GatewayClient, who, gateway(name, vec![]));
    assert!(approved(&decide(GATEWAY_BOOT, "gw")));
    assert!(approved(&decide(GATEWAY, "gw")));
    let unknown = Decision::Leave(Left::UnknownGateway);
    assert_eq!(decide(GATEWAY_BOOT, "other"), unknown);
    let gone = ("eyesplice:gateway:gone", "eyesplice:gateways");
    assert_eq!(decide(gone, "gone"), unknown);
    for who in [BOOT, NODE, gone, ("admin", "system:masters")] {
        let person = Decision::Leave(Left::ForPeople);
        assert_eq!(decide(who, "gw"), person, "{who:?}");
    }
    let named = of_gateway(
        Signer::GatewayClient,
        GATEWAY_BOOT,
        gateway("gw", vec![dns("egress.example")]),
    );
    assert!(denied(named).contains("no alternative names"));
}

#[test]
fn gateway_serves_under_its_listed_addresses_only() {
    let decide = |who, names| of_gateway(Signer::Serving, who, gateway("gw", names));
    let good = decide(GATEWAY, vec![ip("10.0.0.1"), dns("Egress.example")]);
    assert!(approved(&good), "{good:?}");
    for foreign in [ip("10.0.0.7"), dns("evil.example"), dns("*.example")] {
        let message = denied(decide(GATEWAY, vec![ip("10.0.0.1"), foreign]));
        assert!(
            message.contains("is not among the addresses of gateway gw")
                && message.contains("10.0.0.1, egress.example"),
            "{message}"
        );
    }
    let other = ("eyesplice:gateway:other", "eyesplice:gateways");
    assert!(denied(decide(other, vec![ip("10.0.0.1")])).contains("is not the requester"));
    for who in [BOOT, NODE, GATEWAY_BOOT, ("jane", "dev")] {
        let person = Decision::Leave(Left::ForPeople);
        assert_eq!(decide(who, vec![ip("10.0.0.1")]), person, "{who:?}");
    }
    let masters = Ask {
        subject: vec![
            (rcgen::DnType::OrganizationName, "system:masters".to_owned()),
            (rcgen::DnType::CommonName, GATEWAY.0.to_owned()),
        ],
        ..gateway("gw", vec![ip("10.0.0.1")])
    };
    let message = denied(of_gateway(Signer::Serving, GATEWAY, masters));
    assert!(message.contains("organization"), "{message}");
}

#[test]
fn leaf_is_for_one_node_of_the_inventory() {
    let decide = |who, names| of_gateway(Signer::EgressLeaf, who, gateway("gw", names));
    let good = decide(GATEWAY, vec![ip("10.0.0.7"), dns("W")]);
    assert!(approved(&good), "{good:?}");
    for (names, words) in [
        (vec![ip("10.0.0.9")], "10.0.0.9 is no node's"),
        (vec![dns("kubernetes.default")], "is no node's"),
        (vec![dns("*.example")], "is no node's"),
        (
            vec![ip("10.0.0.7"), ip("10.0.0.8")],
            "is node v's, other names are node w's",
        ),
        (vec![], "needs a DNS name or IP address"),
    ] {
        let message = denied(decide(GATEWAY, names));
        assert!(message.contains(words), "{words}: {message}");
    }
    for who in [BOOT, NODE, GATEWAY_BOOT] {
        let person = Decision::Leave(Left::ForPeople);
        assert_eq!(decide(who, vec![ip("10.0.0.7")]), person, "{who:?}");
    }
    let case = Case {
        signer: Signer::EgressLeaf,
        ..serving(GATEWAY, gateway("gw", vec![ip("10.0.0.7")]))
    };
    let none = decision(case, |policy| policy.inventory = None);
    assert_eq!(none, Decision::Leave(Left::NoInventory));
}

/// API servers will want the node's own subject (KEP-4872); a gateway that is listed gets it, for the node
/// whose names it asks for, and for no other.
#[test]
fn leaf_has_the_subject_of_its_node_and_of_no_other() {
    let decide =
        |who, node, names| of_gateway(Signer::EgressLeaf, who, kubelet_serving(node, names));
    let good = decide(GATEWAY, "w", vec![ip("10.0.0.7"), dns("W")]);
    assert!(approved(&good), "{good:?}");
    for (node, names, words) in [
        ("v", vec![ip("10.0.0.7")], "is not that of node w"),
        ("W", vec![ip("10.0.0.7")], "is not that of node w"),
        ("w", vec![ip("10.0.0.9")], "is no node's"),
        (
            "w",
            vec![ip("10.0.0.7"), ip("10.0.0.8")],
            "other names are node w's",
        ),
        ("w", vec![], "needs a DNS name or IP address"),
        ("", vec![ip("10.0.0.7")], "does not begin with"),
    ] {
        let message = denied(decide(GATEWAY, node, names));
        assert!(message.contains(words), "{words}: {message}");
    }
    for who in [BOOT, NODE, GATEWAY_BOOT] {
        let person = Decision::Leave(Left::ForPeople);
        assert_eq!(decide(who, "w", vec![ip("10.0.0.7")]), person, "{who:?}");
    }
}
