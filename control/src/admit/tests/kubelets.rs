//! Kubelets that streams of pods lead to: by which rule, how, and validated as whose.

use super::tunnels::{TUNNELS, tunnels, with_names};
use super::*;
use crate::admit::kubelet::ByRules;
use crate::front::short::{Kubelet, Kubelets, Reached, Why};

/// A kubelet by node and address.
async fn reach(
    gatekeeper: &Gatekeeper,
    node: &str,
    at: &str,
    action: Action,
) -> Result<Reached, Why> {
    let state = gatekeeper.state();
    let by_rules = ByRules {
        state: &state,
        resolver: &gatekeeper.resolver,
    };
    let Target { host, port } = at.parse().unwrap();
    let node: Arc<str> = node.into();
    let kubelet = Kubelet {
        node: &node,
        host,
        port,
        action,
        with_certificate: true,
    };
    by_rules.reach(kubelet).await
}

fn dialled(reached: &Reached) -> Vec<String> {
    let Way::Dial(addresses) = &reached.way else {
        panic!("not dialled: {:?}", reached.way)
    };
    addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn reach_kubelet_that_a_rule_allows_is_by_address_and_for_its_name() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    for (node, at, address, name) in [
        // By a rule that terminates, by one that splices, and one whom the inventory does not know.
        ("worker-1", "10.0.0.1:10250", "10.0.0.1:10250", "10.0.0.1"),
        ("worker-1", "worker-1:10250", "10.0.0.1:10250", "worker-1"),
        ("worker-1", "10.0.0.1:1234", "10.0.0.1:1234", "10.0.0.1"),
        ("other", "10.7.7.7:10250", "10.7.7.7:10250", "10.7.7.7"),
    ] {
        let reached = reach(&gatekeeper, node, at, Action::Exec).await.unwrap();
        assert_eq!(dialled(&reached), [address], "{at}");
        assert_eq!(reached.tls.server_name.to_str(), name, "{at}");
    }
}

#[tokio::test]
async fn reach_kubelet_that_may_not_be_or_is_anothers_says_why() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    for (what, node, at, action, why) in [
        (
            "a port without a rule",
            "worker-1",
            "10.0.0.1:99",
            Action::Exec,
            Why::Egress,
        ),
        (
            "a rule that denies",
            "worker-1",
            "10.9.0.1:10250",
            Action::Exec,
            Why::Egress,
        ),
        (
            "a rule for others",
            "worker-1",
            "10.0.0.1:80",
            Action::Exec,
            Why::Egress,
        ),
        (
            "an action that is denied",
            "worker-1",
            "10.0.0.1:10250",
            Action::Run,
            Why::Egress,
        ),
        (
            "a built-in denial",
            "worker-1",
            "evil.example:10250",
            Action::Exec,
            Why::Egress,
        ),
        (
            "another node's address",
            "worker-1",
            "10.0.0.2:10250",
            Action::Exec,
            Why::Node,
        ),
        (
            "another node's name",
            "worker-2",
            "worker-1:10250",
            Action::Exec,
            Why::Node,
        ),
        (
            "a name without an address",
            "worker-1",
            "none.example:10250",
            Action::Exec,
            Why::Node,
        ),
        (
            "a name that takes its time",
            "worker-1",
            "slow.example:10250",
            Action::Exec,
            Why::Node,
        ),
    ] {
        let reached = reach(&gatekeeper, node, at, action).await;
        assert_eq!(reached.map(|it| it.way).unwrap_err(), why, "{what}");
    }
}

#[tokio::test]
async fn reach_kubelet_that_is_not_validated_is_not_done() {
    let dir = site(&CONFIG.replace(
        "  inventoryFile",
        "  verification: observe\n  inventoryFile",
    ));
    let observing = gatekeeper(dir.path());
    let reached = reach(&observing, "worker-1", "10.0.0.1:10250", Action::Exec).await;
    assert_eq!(reached.map(|it| it.way).unwrap_err(), Why::VerificationOff);
    let splice = "egress:\n  rules:\n  - {name: r, cidrs: [10.0.0.0/8], action: splice}\n";
    let head = CONFIG.split("egress:").next().unwrap();
    let dir = site(&format!("{head}{splice}"));
    let without = gatekeeper(dir.path());
    let reached = reach(&without, "worker-1", "10.0.0.1:10250", Action::Exec).await;
    assert_eq!(reached.map(|it| it.way).unwrap_err(), Why::NotConfigured);
}

#[tokio::test]
async fn reach_kubelet_behind_an_agent_is_by_its_node_also_where_no_name_server_knows_it() {
    let dir = tunnels(TUNNELS);
    let gatekeeper = with_names(dir.path(), &[]);
    for at in ["10.0.0.2:10250", "worker-2:10250"] {
        let reached = reach(&gatekeeper, "worker-2", at, Action::Logs)
            .await
            .unwrap();
        let Way::Tunnel(through) = &reached.way else {
            panic!("{at} is reached otherwise: {:?}", reached.way)
        };
        let routes: Vec<_> = through.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["node worker-2", "address 10.0.0.2"], "{at}");
        assert_eq!(through.target.to_string(), "10.0.0.2:10250", "{at}");
    }
}
