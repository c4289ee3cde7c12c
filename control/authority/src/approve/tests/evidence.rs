//! What DNS and nodes say, weighed beside the inventory.

use super::*;
use std::net::SocketAddr;

const PORT: u16 = 10_250;

fn node(names: Vec<rcgen::SanType>) -> Case {
    serving(NODE, kubelet_serving("w", names))
}

fn with_dns(dns: DnsUse, names: Vec<rcgen::SanType>, facts: &Facts) -> Result<Decision, Unready> {
    judged(dns, None, names, facts)
}

fn probed(names: Vec<rcgen::SanType>, facts: &Facts) -> Result<Decision, Unready> {
    judged(DnsUse::Ignore, Some(PORT), names, facts)
}

fn judged(
    dns: DnsUse,
    port: Option<u16>,
    names: Vec<rcgen::SanType>,
    facts: &Facts,
) -> Result<Decision, Unready> {
    let evidence = Evidence { dns, port, facts };
    judge(node(names), &inventory(), evidence, |_| ())
}

fn resolved(list: &[(&str, &[&str])]) -> Facts {
    let resolution = |addresses: &[&str]| {
        let parsed = addresses.iter().map(|a| a.parse().unwrap());
        Resolution::To(parsed.collect())
    };
    let names = list.iter().map(|(n, to)| ((*n).to_owned(), resolution(to)));
    Facts {
        names: names.collect(),
        ..Facts::default()
    }
}

fn answered(list: &[(&str, Answer)]) -> Facts {
    let answers = list.iter().map(|(a, w)| (a.parse().unwrap(), w.clone()));
    Facts {
        addresses: answers.collect(),
        ..Facts::default()
    }
}

fn asked(result: Result<Decision, Unready>) -> Questions {
    match result {
        Err(Unready::Ask(questions)) => questions,
        other => panic!("{other:?}"),
    }
}

fn waits(result: Result<Decision, Unready>) -> (Left, String) {
    match result {
        Err(Unready::Wait { left, message }) => (left, message),
        other => panic!("{other:?}"),
    }
}

fn message(result: Result<Decision, Unready>) -> String {
    match result {
        Ok(Decision::Approve { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

fn targets(questions: &Questions) -> Vec<String> {
    questions
        .addresses
        .iter()
        .map(SocketAddr::to_string)
        .collect()
}

#[test]
fn names_are_asked_about_once_the_inventory_has_nothing_against_them() {
    let names = vec![dns("W.Example"), dns("w"), ip("10.0.0.7")];
    let questions = asked(with_dns(DnsUse::Require, names, &Facts::default()));
    let wanted: Vec<&str> = questions.names.iter().map(String::as_str).collect();
    assert_eq!(wanted, ["w", "w.example"]);
    assert!(questions.addresses.is_empty());
    assert_eq!(questions.node, "w");
    for mode in [DnsUse::Require, DnsUse::Allow] {
        let foreign = vec![dns("w"), ip("10.0.0.9")];
        denied(with_dns(mode, foreign, &Facts::default()).unwrap());
    }
    let ignored = with_dns(DnsUse::Ignore, vec![dns("w")], &Facts::default());
    assert!(approved(&ignored.unwrap()));
}

#[test]
fn required_name_must_resolve_to_the_node_alone() {
    let decide = |to: &[&str]| {
        let facts = resolved(&[("w.example", to)]);
        with_dns(DnsUse::Require, vec![dns("w.example")], &facts)
    };
    let told = message(decide(&["10.0.0.7", "fd00::7"]));
    assert!(
        told.contains("w.example resolves to 10.0.0.7, fd00::7"),
        "{told}"
    );
    for foreign in [
        &["10.0.0.8"][..],
        &["10.0.0.7", "10.0.0.8"],
        &["203.0.113.1"],
    ] {
        let (left, why) = waits(decide(foreign));
        assert_eq!(left, Left::ForeignDns);
        let last = foreign.last().unwrap();
        assert!(
            why.contains(&format!("resolves to {last}, which is not")),
            "{why}"
        );
    }
}

#[test]
fn name_that_does_not_resolve_waits_in_both_modes() {
    for mode in [DnsUse::Require, DnsUse::Allow] {
        let name = match mode {
            DnsUse::Allow => "alias.example",
            _ => "w.example",
        };
        let failed = Resolution::Failed("no such host".to_owned());
        let facts = Facts {
            names: [(name.to_owned(), failed)].into(),
            ..Facts::default()
        };
        let (left, why) = waits(with_dns(mode, vec![dns(name)], &facts));
        assert_eq!(left, Left::Unresolved);
        assert!(
            why.contains(&format!("{name} does not resolve (no such host)")),
            "{why}"
        );
    }
}

#[test]
fn requirement_never_widens() {
    let facts = resolved(&[("alias.example", &["10.0.0.7"])]);
    let decision = with_dns(DnsUse::Require, vec![dns("alias.example")], &facts);
    assert!(denied(decision.unwrap()).contains("is not among the addresses of node w"));
}

#[test]
fn unlisted_name_is_allowed_if_it_resolves_to_the_node_alone() {
    let decide = |to: &[&str]| {
        let facts = resolved(&[("alias.example", to)]);
        with_dns(DnsUse::Allow, vec![dns("Alias.example"), dns("w")], &facts)
    };
    let told = message(decide(&["10.0.0.7"]));
    assert!(told.contains("by the inventory or by DNS"), "{told}");
    for foreign in [&["10.0.0.8"][..], &["10.0.0.7", "10.0.0.8"], &["127.0.0.1"]] {
        let why = denied(decide(foreign).unwrap());
        let last = foreign.last().unwrap();
        assert!(why.contains(&format!("resolves to {last}")), "{why}");
    }
}

#[test]
fn allowance_reaches_no_address_no_wildcard_no_number_and_no_name_of_another_node() {
    for name in [
        ip("10.0.0.9"),
        dns("*.example"),
        dns("0x0a000007"),
        dns("a.0x7"),
        dns("v"),
    ] {
        let shown = format!("{name:?}");
        let decision = with_dns(DnsUse::Allow, vec![name], &Facts::default());
        let decision = decision.unwrap_or_else(|unready| panic!("{shown}: {unready:?}"));
        denied(decision);
    }
}

#[test]
fn every_address_of_the_request_is_probed_else_those_of_the_inventory() {
    let both = vec![dns("w"), ip("fd00::7"), ip("10.0.0.7")];
    let questions = asked(probed(both, &Facts::default()));
    assert_eq!(targets(&questions), ["10.0.0.7:10250", "[fd00::7]:10250"]);
    let one = asked(probed(vec![ip("fd00::7")], &Facts::default()));
    assert_eq!(targets(&one), ["[fd00::7]:10250"]);
    let none = asked(probed(vec![dns("w")], &Facts::default()));
    assert_eq!(targets(&none), ["10.0.0.7:10250", "[fd00::7]:10250"]);
    denied(probed(vec![ip("10.0.0.9")], &Facts::default()).unwrap());
}

#[test]
fn whoever_speaks_tls_and_is_no_other_node_lets_it_pass() {
    for (answer, words) in [
        (
            Answer::Node("w".to_owned()),
            "node w answers at 10.0.0.7:10250",
        ),
        (Answer::Bare, "a kubelet without a certificate answers at"),
        (
            Answer::Stranger("CN=x".to_owned()),
            "another CA's certificate (CN=x)",
        ),
        (
            Answer::Alert("HandshakeFailure".to_owned()),
            "by the alert HandshakeFailure",
        ),
    ] {
        let facts = answered(&[("10.0.0.7", answer)]);
        let told = message(probed(vec![ip("10.0.0.7")], &facts));
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn silent_address_waits_although_another_answers() {
    let silent = Answer::Nobody("Connection refused".to_owned());
    let facts = answered(&[("10.0.0.7", Answer::Bare), ("fd00::7", silent)]);
    let (left, why) = waits(probed(vec![ip("10.0.0.7"), ip("fd00::7")], &facts));
    assert_eq!(left, Left::Unreachable);
    assert!(
        why.contains("at [fd00::7]:10250 (Connection refused)"),
        "{why}"
    );
}

#[test]
fn certificate_of_another_node_denies_and_names_both() {
    let facts = answered(&[("10.0.0.7", Answer::Node("v".to_owned()))]);
    let why = denied(probed(vec![ip("10.0.0.7")], &facts).unwrap());
    assert!(
        why.contains("10.0.0.7:10250 is answered by node v"),
        "{why}"
    );
    assert!(why.contains("gives the address to node w"), "{why}");
}

#[test]
fn node_without_any_address_waits_and_says_so() {
    let inventory = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- {name: w, addresses: [w.example]}\n";
    let inventory = Inventory::parse(inventory, Path::new("inventory.yaml")).unwrap();
    let facts = Facts::default();
    let evidence = Evidence {
        dns: DnsUse::Ignore,
        port: Some(PORT),
        facts: &facts,
    };
    let (left, why) = waits(judge(node(vec![dns("w")]), &inventory, evidence, |_| ()));
    assert_eq!(left, Left::Unreachable);
    assert!(why.contains("has an IP address of it"), "{why}");
}
