//! The shipped DaemonSet of agents agrees with the program, and with what an authority asks of its
//! pods.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

use clap::Parser;
use eyesplice::cli::{Cli, Command};
use eyesplice::config::{AgentConfig, AgentIdentity, Document, Here};
use eyesplice_authority::config::AuthorityConfig;
use serde_json::Value;
use std::path::Path;

const MANIFEST: &str = include_str!("../dist/agent-daemonset.yaml");
const AUTHORITY: &str = include_str!("../examples/authority.yaml");

/// Every object of the manifest.
fn objects() -> Vec<Value> {
    let documents = MANIFEST.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

fn object(kind: &str) -> Value {
    let mut found = objects()
        .into_iter()
        .filter(|object| object["kind"] == kind);
    found.next().unwrap()
}

fn pod() -> Value {
    object("DaemonSet")["spec"]["template"]["spec"].clone()
}

#[test]
fn configuration_and_arguments_of_a_pod_are_taken_by_the_program() {
    let container = &pod()["containers"][0];
    let arguments = container["args"].as_array().unwrap().iter();
    let arguments = arguments.map(|argument| match argument.as_str().unwrap() {
        "$(NODE_NAME)" => "worker-3",
        "$(NODE_IP)" => "10.0.0.3",
        word => word,
    });
    let cli = Cli::try_parse_from(std::iter::once("eyesplice").chain(arguments)).unwrap();
    let Command::Agent(agent) = cli.command else {
        panic!("{:?}", cli.command);
    };
    assert_eq!(agent.config, Path::new("/etc/eyesplice/agent.yaml"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    let text = object("ConfigMap")["data"]["agent.yaml"].clone();
    std::fs::write(&file, text.as_str().unwrap()).unwrap();
    let here = Here {
        node_name: agent.node_name,
        node_ip: agent.node_ip,
    };
    let config = AgentConfig::load_here(&file, &here).unwrap().config;
    assert_eq!(
        config.allow.kubelet,
        Some("10.0.0.3:10250".parse().unwrap())
    );
    let AgentIdentity::Pod(identity) = &config.identity else {
        panic!("{:?}", config.identity);
    };
    assert_eq!(identity.node.as_deref(), Some("worker-3"));
    // Each path is in a volume that the pod mounts, and what is written is written into memory.
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mount = |path: &Path| {
        let at = |mount: &&Value| path.starts_with(mount["mountPath"].as_str().unwrap());
        mounts
            .iter()
            .find(at)
            .unwrap_or_else(|| panic!("{}", path.display()))["name"]
            .clone()
    };
    assert_eq!(mount(&identity.token_file.path), "token");
    assert_eq!(mount(&identity.dir), "run");
    let memory = pod()["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .any(|volume| volume["name"] == "run" && volume["emptyDir"]["medium"] == "Memory");
    assert!(memory);
    // Probes ask where the agent answers.
    for probe in ["livenessProbe", "readinessProbe"] {
        let ask = &container[probe]["httpGet"];
        let address = format!("{}:{}", ask["host"].as_str().unwrap(), ask["port"]);
        assert_eq!(address, config.admin.address.to_string(), "{probe}");
    }
    // It lives until its streams had their time.
    let grace = pod()["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > config.timeouts.drain.as_secs());
}

#[test]
fn pods_are_those_that_the_example_of_an_authority_takes() {
    let authority = AuthorityConfig::parse(AUTHORITY, Path::new("/etc/eyesplice/authority.yaml"));
    let agents = authority.unwrap().config.approval.agents.unwrap().tokens;
    let (pod, account) = (pod(), object("ServiceAccount"));
    assert_eq!(
        object("DaemonSet")["metadata"]["namespace"],
        *agents.namespace
    );
    assert_eq!(pod["serviceAccountName"], *agents.service_account);
    assert_eq!(account["metadata"]["name"], *agents.service_account);
    let volumes = pod["volumes"].as_array().unwrap();
    let token = volumes
        .iter()
        .find(|volume| volume["name"] == "token")
        .unwrap();
    let token = &token["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], *agents.audience);
    // No other token is in the pod.
    for object in [&pod, &account] {
        assert_eq!(object["automountServiceAccountToken"], false);
    }
}

#[test]
fn pod_has_no_privilege_and_its_account_no_right() {
    let pod = pod();
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"][0], "ALL");
    assert_eq!(container["seccompProfile"]["type"], "RuntimeDefault");
    for binding in objects() {
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            assert_ne!(subject["kind"], "ServiceAccount", "{binding}");
        }
    }
    // Secrets are in no rule, and nothing is written but the question about a token.
    for rule in objects()
        .iter()
        .flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default())
    {
        let (resource, verb) = (&rule["resources"][0], &rule["verbs"][0]);
        assert!(
            (resource == "tokenreviews" && verb == "create")
                || (resource == "pods" && verb == "get"),
            "{rule}"
        );
    }
}
