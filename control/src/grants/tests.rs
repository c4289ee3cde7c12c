use super::*;
use crate::config::InnerTls;
use eyesplice_identity::pki::testing::{Made, Recipe, authority, client};
use std::path::Path;
use std::time::Duration;

fn tunnel(node_agents: bool) -> Tunnel {
    Tunnel {
        agents: vec![AgentSpec {
            name: "edge".into(),
            nodes: vec!["worker-2".into()],
            cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            dns_suffixes: vec!["lab.example".to_owned()],
        }],
        node_agents,
        advertise: None,
        deny_file: None,
        max_agents: 1,
        pool: 0..=8,
        max_parked: None,
        max_parked_per_address: 1,
        ping: Duration::from_secs(15),
        inner: InnerTls::Both,
        leases: None,
        peers: None,
    }
}

fn inventory() -> Inventory {
    let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n\
                - {name: worker-1, addresses: [10.0.0.1, \"fd00::1\"]}\n\
                - {name: worker-2, addresses: [10.0.0.2]}\n";
    Inventory::parse(text, Path::new("inventory.yaml")).unwrap()
}

fn certificate(user: &str, group: &'static str) -> Made {
    let ca = authority("agents").self_signed();
    Recipe {
        organizations: vec![group],
        ..client(user)
    }
    .signed_by(&ca)
}

fn words(verdict: AgentVerdict) -> String {
    verdict.unwrap_err().words
}

#[test]
fn judge_agent_has_what_it_was_granted_and_its_nodes_addresses() {
    let grants = Grants::new(&tunnel(false), Some(&inventory()), None);
    let made = certificate("eyesplice:agent:edge", AGENT_GROUP);
    let grant = grants.judge(&[made.der()]).unwrap();
    assert_eq!(&*grant.name, "edge");
    let address = |text: &str| Route::Address(text.parse().unwrap());
    for (route, covered) in [
        (Route::Node("worker-2".into()), true),
        (Route::Node("worker-1".into()), false),
        (address("10.0.0.2"), true),
        (address("10.0.0.1"), false),
        (address("10.244.9.9"), true),
        (Route::Name("db.lab.example".into()), true),
        (Route::Name("db.example".into()), false),
    ] {
        assert_eq!(grant.covers(&route), covered, "{route}");
        assert_eq!(grants.covers(&route), covered, "{route}");
    }
}

#[test]
fn judge_node_is_the_agent_of_itself_alone_where_nodes_may_be() {
    let made = certificate("system:node:worker-1", "system:nodes");
    let grants = Grants::new(&tunnel(true), Some(&inventory()), None);
    let grant = grants.judge(&[made.der()]).unwrap();
    assert_eq!(&*grant.name, "system:node:worker-1");
    assert!(grant.covers(&Route::Node("worker-1".into())));
    assert!(grant.covers(&Route::Address("fd00::1".parse().unwrap())));
    assert!(!grant.covers(&Route::Node("worker-2".into())));
    assert!(!grant.covers(&Route::Address("10.0.0.2".parse().unwrap())));

    let said = words(Grants::new(&tunnel(false), Some(&inventory()), None).judge(&[made.der()]));
    assert!(said.contains("set tunnel.nodeAgents"), "{said}");
    let gone = certificate("system:node:worker-9", "system:nodes");
    let said = words(grants.judge(&[gone.der()]));
    assert!(said.contains("worker-9 is not in the inventory"), "{said}");
}

#[test]
fn judge_pod_of_a_node_has_what_its_node_has_under_a_name_of_its_own() {
    let made = certificate("eyesplice:agent:node:worker-1", AGENT_GROUP);
    let grants = Grants::new(&tunnel(true), Some(&inventory()), None);
    let grant = grants.judge(&[made.der()]).unwrap();
    assert_eq!(&*grant.name, "node:worker-1");
    let node = Route::Node("worker-1".into());
    assert!(grant.covers(&node));
    assert!(grant.covers(&Route::Address("10.0.0.1".parse().unwrap())));
    assert!(!grant.covers(&Route::Node("worker-2".into())));
    let users: Vec<&str> = grants
        .users(&node)
        .into_iter()
        .map(|user| &**user)
        .collect();
    assert_eq!(
        users,
        ["eyesplice:agent:node:worker-1", "system:node:worker-1"]
    );

    let said = words(Grants::new(&tunnel(false), Some(&inventory()), None).judge(&[made.der()]));
    assert!(said.contains("set tunnel.nodeAgents"), "{said}");
    let foreign = certificate("eyesplice:agent:node:worker-1", "system:nodes");
    assert!(words(grants.judge(&[foreign.der()])).contains("is no agent's"));
    let gone = certificate("eyesplice:agent:node:worker-9", AGENT_GROUP);
    assert!(words(grants.judge(&[gone.der()])).contains("worker-9 is not in the inventory"));
}

#[test]
fn judge_pod_is_revoked_with_its_node_and_a_node_not_with_its_pod() {
    let pod = certificate("eyesplice:agent:node:worker-1", AGENT_GROUP);
    let host = certificate("system:node:worker-1", "system:nodes");
    for (revoked, of_pod, of_host) in [
        ("node:worker-1", true, false),
        ("eyesplice:agent:node:worker-1", true, false),
        ("system:node:worker-1", true, true),
        ("node:worker-2", false, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deny.yaml");
        DenyList::add(&path, &[revoked.to_owned()], &[]).unwrap();
        let list = <DenyList as eyesplice_identity::document::Document>::load(&path).unwrap();
        let grants = Grants::new(&tunnel(true), Some(&inventory()), Some((path, list.config)));
        assert_eq!(grants.judge(&[pod.der()]).is_err(), of_pod, "{revoked}");
        assert_eq!(grants.judge(&[host.der()]).is_err(), of_host, "{revoked}");
    }
}

#[test]
fn judge_other_certificates_are_refused_with_words_that_help() {
    let grants = Grants::new(&tunnel(true), Some(&inventory()), None);
    for (user, group, help) in [
        (
            "eyesplice:agent:other",
            AGENT_GROUP,
            "add {name: other, ..} to tunnel.agents",
        ),
        (
            "eyesplice:agent:edge",
            "system:nodes",
            "pki issue DIR --agent NAME",
        ),
        (
            "edge",
            AGENT_GROUP,
            "its common name must be eyesplice:agent:NAME",
        ),
        ("system:node:worker-1", AGENT_GROUP, "is no agent's"),
        ("eyesplice:gateway:edge", AGENT_GROUP, "is no agent's"),
    ] {
        let refusal = grants.judge(&[certificate(user, group).der()]).unwrap_err();
        assert!(refusal.words.contains(help), "{user}: {}", refusal.words);
        assert_eq!(refusal.status, 403);
    }
    let garbage = CertificateDer::from(vec![0x30, 0x00]);
    assert!(words(grants.judge(&[garbage])).contains("issue another"));
    assert!(words(grants.judge(&[])).contains("no certificate"));
}

#[test]
fn judge_deny_list_wins_over_every_grant_by_name_and_by_any_serial_of_the_chain() {
    let ca = authority("agents").self_signed();
    let made = certificate("eyesplice:agent:edge", AGENT_GROUP);
    let node = certificate("system:node:worker-1", "system:nodes");
    let serial = |made: &Made| CertificateFacts::read(&made.der()).unwrap().serial;
    let denied = |names: &[&str], serials: &[String]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deny.yaml");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        DenyList::add(&path, &names, serials).unwrap();
        let list = <DenyList as eyesplice_identity::document::Document>::load(&path).unwrap();
        Grants::new(&tunnel(true), Some(&inventory()), Some((path, list.config)))
    };
    let chain = [made.der(), ca.der()];
    assert!(denied(&["edge-2"], &[]).judge(&chain).is_ok());
    let said = words(denied(&["edge"], &[]).judge(&chain));
    assert!(said.contains("agent edge is revoked"), "{said}");
    for revoked in [&made, &ca] {
        let said = words(denied(&[], &[serial(revoked)]).judge(&chain));
        assert!(said.contains("give it a new certificate"), "{said}");
    }
    let said = words(denied(&["system:node:worker-1"], &[]).judge(&[node.der()]));
    assert!(said.contains("system:node:worker-1 is revoked"), "{said}");
}
