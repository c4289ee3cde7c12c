//! Decisions about agents that are pods.

use super::*;
use eyesplice_identity::denylist::DenyList;
use eyesplice_identity::document::Document;
use eyesplice_identity::x509::testing::agent;

const AGENT: (&str, &str) = ("eyesplice:agent:node:w", "eyesplice:agents");

/// Decides about what the pod `p` of node `w` asks for, under a list of names that are revoked.
fn decide_about(
    who: (&'static str, &'static str),
    ask: Ask,
    proven: Option<&str>,
    revoked: &str,
) -> Decision {
    let case = Case {
        signer: Signer::AgentClient,
        usages: &["client auth", "digital signature"],
        who,
        ask,
    };
    let (mut object, request) = parts(case);
    if let Some(node) = proven {
        object.spec.extra = reviewed(node, "p");
    }
    let text =
        format!("apiVersion: eyesplice.dev/v1alpha1\nkind: TunnelDenyList\nnames: [{revoked}]\n");
    let path = Path::new("deny.yaml");
    let list = DenyList::parse(&text, path).unwrap().config;
    let facts = Facts::default();
    let roles = Roles::new(&[]);
    let inventory = inventory();
    let policy = Policy {
        roles: &roles,
        reviewed: None,
        inventory: Some(&inventory),
        bootstrap_nodes: BootstrapNodes::Any,
        gateways: &Gateways::new(),
        agents: Some(Agents {
            denied: Some((path, &list)),
        }),
        insecure_group: None,
        prefixes: &[],
        first: First::unknown(eyesplice_identity::pki::testing::NOW),
        evidence: Evidence {
            dns: DnsUse::Ignore,
            port: None,
            facts: &facts,
        },
    };
    decide(&object, &request, &policy).unwrap()
}

#[test]
fn agent_gets_a_certificate_for_the_node_of_its_pod_and_for_no_other() {
    let own = decide_about(AGENT, agent("node:w"), Some("w"), "");
    let Decision::Approve { message, .. } = &own else {
        panic!("{own:?}");
    };
    assert_eq!(message, "pod p of the agents runs on node w");
    for (ask, words) in [
        (agent("node:v"), "runs on node w"),
        (agent("w"), "runs on node w"),
        (agent("edge-1"), "runs on node w"),
        (
            kubelet_client("w"),
            "organization must be \"eyesplice:agents\" alone",
        ),
    ] {
        let message = denied(decide_about(AGENT, ask, Some("w"), ""));
        assert!(message.contains(words), "{message}");
    }
    // The user and the node that was proven are one.
    let other = decide_about(AGENT, agent("node:w"), Some("v"), "");
    assert!(denied(other).contains("runs on node v"));
}

#[test]
fn agent_without_a_reviewed_pod_waits_for_a_person() {
    for (who, proven) in [
        (AGENT, None),
        (("eyesplice:agent:edge-1", "eyesplice:agents"), None),
        (("eyesplice:agent:node:w", "dev"), Some("w")),
        (NODE, None),
        (BOOT, None),
    ] {
        let decision = decide_about(who, agent("node:w"), proven, "");
        assert_eq!(decision, Decision::Leave(Left::ForPeople), "{who:?}");
    }
    let unset = decision(
        Case {
            signer: Signer::AgentClient,
            usages: &["client auth", "digital signature"],
            who: AGENT,
            ask: agent("node:w"),
        },
        |_| (),
    );
    assert_eq!(unset, Decision::Leave(Left::ForPeople));
}

#[test]
fn agent_that_is_revoked_or_whose_node_is_gets_none() {
    for (revoked, gets) in [
        ("\"node:w\"", false),
        ("\"eyesplice:agent:node:w\"", false),
        ("\"system:node:w\"", false),
        ("w", true),
        ("\"node:v\"", true),
        ("\"system:node:v\"", true),
    ] {
        let decision = decide_about(AGENT, agent("node:w"), Some("w"), revoked);
        assert_eq!(approved(&decision), gets, "{revoked}: {decision:?}");
        if !gets {
            let message = denied(decision);
            assert!(
                message.contains("is revoked: it is among the names of deny.yaml"),
                "{message}"
            );
        }
    }
}

#[test]
fn agent_of_a_node_that_the_inventory_does_not_have_waits() {
    let who = ("eyesplice:agent:node:unknown", "eyesplice:agents");
    let decision = decide_about(who, agent("node:unknown"), Some("unknown"), "");
    assert_eq!(decision, Decision::Leave(Left::UnknownNode));
}
