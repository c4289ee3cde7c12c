//! Gateways that find each other by Leases, and an agent that hears of them: processes over
//! loopback, and an API server that is scripted.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use eyesplice_identity::testing::apiserver::{Asked, ScriptedApiServer, Told};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/eyesplice/leases";

/// The Leases of a cluster, and whether its API server answers.
#[derive(Clone, Default)]
struct Leases(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    leases: BTreeMap<String, Value>,
    away: bool,
    /// Whose writes are lost.
    lost: Option<String>,
}

impl Leases {
    fn answer(&self, asked: &Asked) -> Told {
        let mut state = self.0.lock().unwrap();
        if state.away {
            return Told::Says(503, json!({}));
        }
        let path = asked.path.split('?').next().unwrap_or_default();
        let name = path
            .strip_prefix(LEASES)
            .map(|rest| rest.trim_start_matches('/'));
        let (code, body) = match (asked.method.as_str(), name) {
            ("GET", Some("")) => {
                let items: Vec<&Value> = state.leases.values().collect();
                (200, list(&items))
            }
            ("POST", Some("")) | ("PATCH", Some(_)) => {
                let name = asked.body["metadata"]["name"].as_str().unwrap().to_owned();
                let exists = asked.method == "POST" || state.leases.contains_key(&name);
                let mut lease = asked.body.clone();
                if let Some(annotations) = lease["metadata"]["annotations"].as_object_mut() {
                    annotations.retain(|_, value| !value.is_null());
                }
                if !exists {
                    (404, missing())
                } else {
                    if state.lost.as_ref() != Some(&name) {
                        state.leases.insert(name, lease.clone());
                    }
                    (200, lease)
                }
            }
            other => panic!("{other:?}"),
        };
        Told::Says(code, body)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }
}

fn list(items: &[&Value]) -> Value {
    json!({
        "kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {},
        "items": items,
    })
}

fn missing() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": 404, "reason": "NotFound", "message": "no",
    })
}

/// The configuration of a gateway, at first without a Lease: it says where it listens.
fn gateway(name: &str, leases: &str) -> String {
    format!(
        "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {{path: egress-{name}.sock}}
- name: agents
  tunnel:
    address: '127.0.0.1:0'
    tlsCertFile: pki/egress-server.crt
    tlsPrivateKeyFile: pki/egress-server.key
    clientCAFile: pki/tunnel-ca.crt
tunnel:
  agents:
  - {{name: edge-1, cidrs: [10.0.0.0/8]}}
  ping: 5s
{leases}
egress:
  rules:
  - {{name: all, cidrs: [10.0.0.0/8], action: splice, via: tunnel}}
engine: {{workers: 1}}
admin: {{address: '127.0.0.1:0'}}
audit: {{path: audit-{name}.log}}
"
    )
}

/// A gateway that has a Lease.
struct Gateway {
    _process: Running,
    admin: String,
    address: String,
}

impl Gateway {
    fn start(dir: &Path, name: &str) -> Self {
        let file = format!("gateway-{name}.yaml");
        std::fs::write(dir.join(&file), gateway(name, "")).unwrap();
        let process = Running::start("gateway", dir, &file);
        let admin = process.address("admin endpoint listens");
        let address = process.address("listens for agents with mutual TLS");
        process.event("engine runs");
        let leases = format!(
            "  leases: {{kubeconfigFile: cluster.kubeconfig, name: {name}, address: '{address}', \
             interval: 1s}}"
        );
        std::fs::write(dir.join(&file), gateway(name, &leases)).unwrap();
        process.event("configuration reloaded; in force for new streams");
        Self {
            _process: process,
            admin,
            address,
        }
    }

    fn knows(&self, gateways: usize) -> bool {
        let line = format!("eyesplice_tunnel_members {gateways}");
        get(&self.admin, "/metrics")
            .lines()
            .any(|each| each == line)
    }

    /// How often it could not look at the Leases.
    fn failures(&self) -> u32 {
        let name = r#"eyesplice_tunnel_membership_failures_total{cause="refused"}"#;
        let shown = get(&self.admin, "/metrics");
        let count = shown.lines().find_map(|line| line.strip_prefix(name));
        count.map_or(0, |count| count.trim().parse().unwrap())
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// The gateways that an agent is registered with, by address.
fn held(dir: &Path, admin: &str) -> Vec<String> {
    let output = Command::new(EYESPLICE)
        .args(["tunnel", "status", "--json", "--admin", admin])
        .current_dir(dir)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let gateways = report["gateways"].as_array().cloned().unwrap_or_default();
    let held = gateways
        .iter()
        .filter(|gateway| gateway["since"].is_string());
    held.map(|gateway| gateway["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_follows_gateways_that_come_late_go_and_are_known_while_the_api_server_is_away() {
    if !kernel_can() {
        return;
    }
    let leases = Leases::default();
    let answering = leases.clone();
    let api = ScriptedApiServer::start(move |asked: &Asked| answering.answer(asked)).await;
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let init = [
        "pki",
        "init",
        "pki",
        "--gateway",
        "127.0.0.1",
        "--agent",
        "edge-1",
    ];
    let made = Command::new(EYESPLICE)
        .args(init)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::write(dir.join("api-ca.crt"), api.ca.certificate.pem()).unwrap();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- {{name: c, cluster: {{server: \
         \"https://{}\", certificate-authority: api-ca.crt}}}}\nusers:\n- {{name: u, user: \
         {{token: t}}}}\ncontexts:\n- {{name: x, context: {{cluster: c, user: u}}}}\n\
         current-context: x\n",
        api.address
    );
    std::fs::write(dir.join("cluster.kubeconfig"), kubeconfig).unwrap();
    let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(dir.join("cluster.kubeconfig"), secret).unwrap();
    let a = Gateway::start(dir, "a");
    let agent = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\nidentity: {{certFile: \
         pki/agent-edge-1.crt, keyFile: pki/agent-edge-1.key}}\ngateways: {{addresses: ['{}'], \
         caFile: pki/egress-ca.crt}}\nallow: {{cidrs: [10.0.0.0/8]}}\nengine: {{workers: \
         1}}\nadmin: {{address: '127.0.0.1:0'}}\naudit: {{path: agent-audit.log}}\n",
        a.address
    );
    std::fs::write(dir.join("agent.yaml"), agent).unwrap();
    let agent = Running::start("agent", dir, "agent.yaml");
    let admin = agent.address("admin endpoint listens");
    let holds = |expected: &[&Gateway]| {
        let mut expected: Vec<_> = expected.iter().map(|each| each.address.clone()).collect();
        expected.sort();
        held(dir, &admin) == expected
    };
    until("the agent holds the first gateway", || holds(&[&a]));

    // It comes late.
    let b = Gateway::start(dir, "b");
    until("the agent holds the late gateway", || holds(&[&a, &b]));

    // The API server is away for longer than any of them promised, and those that are known stay.
    // On a busy machine one may be late with its renewal just then: then it was not known, and that
    // is not what this is about.
    loop {
        until("each gateway knows both", || a.knows(2) && b.knows(2));
        leases.change(|state| state.away = true);
        let failures = a.failures();
        until("the API server is away", || a.failures() > failures);
        if a.knows(2) {
            break;
        }
        leases.change(|state| state.away = false);
    }
    let failures = a.failures();
    until("it is away for long", || a.failures() > failures + 5);
    assert!(a.knows(2));
    until("the agent holds both", || holds(&[&a, &b]));
    leases.change(|state| state.away = false);
    let lists = api.count("labelSelector");
    until("Leases are read again, several times", || {
        api.count("labelSelector") > lists + 6
    });
    until("both are known and held", || a.knows(2) && holds(&[&a, &b]));

    // A Lease that is gone is a gateway that is gone, until there is another one.
    leases.change(|state| {
        state.leases.remove("b");
        state.lost = Some("b".to_owned());
    });
    until("the first gateway knows itself alone", || a.knows(1));
    leases.change(|state| state.lost = None);
    until("both are known and held again", || {
        a.knows(2) && holds(&[&a, &b])
    });

    // One that dies is left when its promise is over.
    drop(b);
    until("the agent is to hold the first gateway alone", || {
        let wanted = "eyesplice_tunnel_gateways_wanted 1";
        get(&admin, "/metrics").lines().any(|line| line == wanted)
    });
    assert!(a.knows(1));
    until("the agent holds it", || holds(&[&a]));
}
