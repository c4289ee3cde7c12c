//! Writes a specification as the document that it would be read from.

use super::spec::{AgentName, BreakGlassUser, Existing, Layout, NodeSpec, Pair, Scope, Spec};
use crate::document::{API_VERSION, Document, value};
use crate::inventory::HostAddress;
use serde_json::{Value as Json, json};
use time::Duration;

/// Renders the document; all defaults are written out, so that a later version with others reads
/// the same. JSON is YAML, and its strings need no second quoting.
pub(super) fn render(spec: &Spec) -> String {
    let Spec {
        scope,
        cluster,
        apiserver,
        controllers,
        gateway,
        etcd,
        nodes,
        users,
        agents,
        break_glass,
        authorities,
        keys,
        lifetimes,
    } = spec;
    let service_ips: Vec<String> = cluster
        .service_ips
        .iter()
        .map(ToString::to_string)
        .collect();
    let scope = Scope::NAMES.iter().find(|(_, known)| known == scope);
    let layout = Layout::NAMES
        .iter()
        .find(|(_, layout)| *layout == authorities.layout);
    let mut sources = json!({"layout": layout.map(|(name, _)| *name)});
    if let Some(parent) = &authorities.parent {
        sources["parent"] = pair(parent);
    }
    if !authorities.existing.is_empty() {
        let named = authorities.existing.iter().map(|(name, files)| {
            let mut entry = match files {
                Existing::Signs(files) => pair(files),
                Existing::External(certificate) => json!({"certFile": certificate}),
            };
            entry["name"] = name.as_str().into();
            entry
        });
        sources["existing"] = Json::Array(named.collect());
    }
    let users: Vec<Json> = users
        .iter()
        .map(|user| json!({"name": user.name, "groups": user.groups}))
        .collect();
    let agents: Vec<&str> = agents.iter().map(AgentName::as_str).collect();
    let break_glass: Vec<&str> = break_glass.iter().map(BreakGlassUser::as_str).collect();
    let sections = [
        ("scope", json!(scope.map(|(name, _)| *name))),
        (
            "cluster",
            json!({
                "name": cluster.name,
                "domain": cluster.domain,
                "server": cluster.server.to_string(),
                "serviceIPs": service_ips,
            }),
        ),
        (
            "names",
            json!({
                "apiserver": hosts(apiserver),
                "controllers": hosts(controllers),
                "gateway": hosts(gateway),
            }),
        ),
        ("etcd", node_list(etcd)),
        ("nodes", node_list(nodes)),
        ("users", Json::Array(users)),
        ("agents", json!(agents)),
        ("breakGlass", json!(break_glass)),
        ("authorities", sources),
        ("keys", json!({"algorithm": keys.name()})),
        (
            "lifetimes",
            json!({
                "authorities": lifetime(lifetimes.authorities),
                "certificates": lifetime(lifetimes.certificates),
                "breakGlass": lifetime(lifetimes.break_glass),
            }),
        ),
    ];
    let mut text = format!("apiVersion: {}\nkind: {}\n", API_VERSION, Spec::KIND);
    for (name, section) in sections {
        block(&mut text, name, &section);
    }
    text
}

/// One section: a line for each field or entry.
fn block(text: &mut String, name: &str, section: &Json) {
    match section {
        Json::Object(fields) => {
            text.push_str(&format!("{name}:\n"));
            for (field, value) in fields {
                text.push_str(&format!("  {field}: {value}\n"));
            }
        }
        Json::Array(entries) if !entries.is_empty() => {
            text.push_str(&format!("{name}:\n"));
            for entry in entries {
                text.push_str(&format!("- {entry}\n"));
            }
        }
        other => text.push_str(&format!("{name}: {other}\n")),
    }
}

fn lifetime(lifetime: Duration) -> String {
    value::DurationText(lifetime.unsigned_abs()).to_string()
}

fn pair(pair: &Pair) -> Json {
    json!({"certFile": pair.certificate, "keyFile": pair.key})
}

fn hosts(hosts: &[HostAddress]) -> Vec<String> {
    hosts.iter().map(ToString::to_string).collect()
}

fn node_list(nodes: &[NodeSpec]) -> Json {
    let nodes = nodes
        .iter()
        .map(|node| json!({"name": node.name, "addresses": hosts(&node.addresses)}));
    Json::Array(nodes.collect())
}
