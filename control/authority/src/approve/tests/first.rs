//! First certificates: names that are taken, tokens that are bound, machines that are announced.

use super::*;
use crate::held::{Held, key_of};
use crate::object::Timestamp;
use eyesplice_identity::pki::testing::NOW;
use eyesplice_identity::token::bootstrap::Bound;
use std::time::Duration as Wait;
use time::Duration;

const GATEWAY_BOOT: (&str, &str) = (
    "system:bootstrap:abcdef",
    "system:bootstrappers:eyesplice:gateways",
);

fn held() -> Held {
    Held {
        issued: Timestamp::new(NOW - Duration::days(1)),
        not_after: Timestamp::new(NOW + Duration::days(1)),
        key: "another".to_owned(),
        brought_by: BOOT.0.to_owned(),
        seen: "CSR csr-1".to_owned(),
    }
}

fn bound(nodes: &[&str], gateways: &[&str]) -> Bound {
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Bound {
        nodes: text(nodes),
        gateways: text(gateways),
    }
}

fn inventory_with(added: Option<Duration>) -> Inventory {
    let added = added.map(|ago| {
        format!(
            ", added: \"{}\"",
            eyesplice_identity::certificate::instant(NOW - ago)
        )
    });
    let text = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- {{name: w, addresses: \
         [10.0.0.7]{}}}\n",
        added.unwrap_or_default()
    );
    Inventory::parse(&text, Path::new("inventory.yaml")).unwrap()
}

fn first(case: Case, inventory: &Inventory, first: First<'_>) -> Decision {
    let (object, request) = parts(case);
    weigh(&object, &request, inventory, first, &[])
}

fn weigh(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    inventory: &Inventory,
    first: First<'_>,
    prefixes: &[IpNet],
) -> Decision {
    let facts = Facts::default();
    let (roles, mut gateways) = (Roles::new(&[]), Gateways::new());
    gateways.insert("gw".to_owned(), BTreeSet::new());
    let policy = Policy {
        roles: &roles,
        reviewed: None,
        inventory: Some(inventory),
        bootstrap_nodes: BootstrapNodes::Any,
        agents: None,
        gateways: &gateways,
        insecure_group: None,
        prefixes,
        first,
        evidence: Evidence {
            dns: DnsUse::Ignore,
            port: None,
            facts: &facts,
        },
    };
    decide(object, request, &policy).unwrap()
}

#[test]
fn name_that_is_taken_is_denied_with_evidence_and_remedy() {
    let held = held();
    let known = First {
        held: Some(&held),
        ..First::unknown(NOW)
    };
    let why = denied(first(
        client(BOOT, kubelet_client("w")),
        &inventory(),
        known,
    ));
    for words in [
        "node w holds a client certificate already",
        "CSR csr-1",
        "set `added` of node w",
        "token bootstrap create --node w",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    // Itself it renews.
    assert!(approved(&first(
        client(NODE, kubelet_client("w")),
        &inventory(),
        known
    )));
    let over = First {
        now: NOW + Duration::days(2),
        ..known
    };
    assert!(approved(&first(
        client(BOOT, kubelet_client("w")),
        &inventory(),
        over
    )));
}

#[test]
fn name_that_is_taken_is_given_to_its_own_key_again() {
    let (object, request) = parts(client(BOOT, kubelet_client("w")));
    let held = Held {
        key: key_of(&request.spki),
        ..held()
    };
    let known = First {
        held: Some(&held),
        ..First::unknown(NOW)
    };
    assert!(approved(&weigh(
        &object,
        &request,
        &inventory(),
        known,
        &[]
    )));
}

#[test]
fn machine_that_was_added_after_the_certificate_may_have_the_name() {
    let held = held();
    let known = First {
        held: Some(&held),
        ..First::unknown(NOW)
    };
    let decide = |added| {
        let inventory = inventory_with(added);
        first(client(BOOT, kubelet_client("w")), &inventory, known)
    };
    assert!(approved(&decide(Some(Duration::hours(1)))));
    denied(decide(Some(Duration::days(2))));
    denied(decide(None));
}

#[test]
fn token_that_is_bound_is_the_operators_word_for_these_names_alone() {
    let held = held();
    let with = |bound: &Bound, case: Case| {
        let known = First {
            held: Some(&held),
            bound: Some(bound),
            ..First::unknown(NOW)
        };
        first(case, &inventory(), known)
    };
    let node = || client(BOOT, kubelet_client("w"));
    assert!(approved(&with(&bound(&["v", "w"], &[]), node())));
    let why = denied(with(&bound(&["v"], &[]), node()));
    assert!(
        why.contains("bound to node v") && why.contains("--node w"),
        "{why}"
    );
    let why = denied(with(&bound(&[], &["w"]), node()));
    assert!(why.contains("for no node"), "{why}");
    let of_gateway = || Case {
        signer: Signer::GatewayClient,
        ..client(GATEWAY_BOOT, gateway("gw", Vec::new()))
    };
    assert!(approved(&with(&bound(&[], &["gw"]), of_gateway())));
    let why = denied(with(&bound(&[], &[]), of_gateway()));
    assert!(why.contains("--gateway gw"), "{why}");
}

#[test]
fn window_begins_when_the_machine_was_added() {
    let known = First {
        window: Some(Wait::from_secs(3600)),
        ..First::unknown(NOW)
    };
    let decide = |added| {
        let inventory = inventory_with(added);
        first(client(BOOT, kubelet_client("w")), &inventory, known)
    };
    assert!(approved(&decide(Some(Duration::minutes(59)))));
    let why = denied(decide(Some(Duration::minutes(61))));
    assert!(why.contains("approval.window (3600 s) is over"), "{why}");
    let why = denied(decide(None));
    assert!(why.contains("does not say when node w was added"), "{why}");
}

#[test]
fn names_of_no_pattern_wait_and_patterns_are_whole_names() {
    let patterns = ["worker-*", "*.edge.*.example", "w"].map(|p| NamePattern::new(p).unwrap());
    let known = First {
        names: &patterns,
        ..First::unknown(NOW)
    };
    for (node, fits) in [
        ("w", true),
        ("worker-7", true),
        ("worker-", true),
        ("a.edge.b.example", true),
        ("xworker-7", false),
        ("ww", false),
        ("edge.b.example", false),
        ("a.edge.b.example.com", false),
    ] {
        let decision = first(client(BOOT, kubelet_client(node)), &inventory(), known);
        assert_eq!(approved(&decision), fits, "{node}: {decision:?}");
        if !fits {
            assert_eq!(decision, Decision::Leave(Left::UnknownNode), "{node}");
        }
    }
    for wrong in ["", "Worker", "a b", "[a]"] {
        assert!(NamePattern::new(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn address_outside_of_the_prefixes_is_denied() {
    let within = |prefix: &str| {
        let (object, request) = parts(serving(NODE, kubelet_serving("w", vec![ip("10.0.0.7")])));
        let prefixes = [prefix.parse().unwrap()];
        weigh(
            &object,
            &request,
            &inventory(),
            First::unknown(NOW),
            &prefixes,
        )
    };
    assert!(approved(&within("10.0.0.0/24")));
    let why = denied(within("10.1.0.0/16"));
    assert!(
        why.contains("10.0.0.7 of node w is in none of approval.nodeAddresses"),
        "{why}"
    );
}
