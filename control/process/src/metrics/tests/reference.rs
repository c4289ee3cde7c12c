//! The table of docs/metrics.md has every family that a process can show, with its labels.

use super::*;
use eyesplice_dataplane::seam::{AgentGrant, AgentStatus, ApiPath, ExchangeLabels, GatewayStatus};
use eyesplice_identity::x509::Signer;
use eyesplice_proto::route::Action;
use std::collections::BTreeSet;
use std::fmt::Write;

/// If set, the table is written in place of being compared.
const WRITE: &str = "EYESPLICE_WRITE_DOCS";

const BEGIN: &str = "<!-- metrics:begin -->\n";
const END: &str = "<!-- metrics:end -->\n";

/// Metrics with at least one sample of every family, and a snapshot that they show while it is
/// there.
fn everything() -> (Arc<Metrics>, SnapshotCell) {
    let metrics = Metrics::new();
    let refused = VerificationResult::Refused {
        cause: "self_signed",
    };
    metrics
        .streams
        .ended(&record(Reason::Unverified, Side::Upstream, refused));
    let none = VerificationResult::NotApplicable;
    metrics.streams.ended(&StreamRecord {
        exchange_labels: Some(ExchangeLabels {
            action: Action::Exec,
            namespace: None,
            pod: None,
            container: None,
            protocol: None,
            user: None,
            path: Some(ApiPath::Short),
        }),
        ..record(Reason::Completed, Side::Upstream, none)
    });
    authority(&metrics);
    metrics.enrolment.answered(Signer::EgressLeaf, "issued");
    metrics.membership.failed("forbidden");
    metrics.takeovers.completed();
    metrics.servers.entered("admin");
    metrics.servers.closed("admin", "full");
    metrics.authority_config.loaded(1, SystemTime::UNIX_EPOCH);
    let tables = [
        (&metrics.certificates, &["name", "file"][..]),
        (&metrics.probe, &["capability", "required"]),
        (&metrics.sandbox, &["part"]),
        (
            &metrics.strategy,
            &["io", "ktls", "crypto", "splice", "workers"],
        ),
        (&metrics.limits, &["limit", "state"]),
        (&metrics.api_servers, &["server"]),
        (&metrics.authority.pending, &["signer", "reason"]),
        (&metrics.authority.pending_age, &["signer", "reason"]),
    ];
    for (table, labels) in tables {
        let labels = labels.iter().map(|label| (*label, "x".to_owned()));
        table.replace(vec![Row {
            labels: labels.collect(),
            value: 1,
        }]);
    }
    let cell = SnapshotCell::new(snapshot(1));
    metrics.generations.published(&cell.load());
    metrics.tunnels.attach(|| TunnelReport {
        agents: Some(vec![agent()]),
        gateways: Some(vec![gateway()]),
    });
    metrics.front.attach(|| FrontReport {
        limited: vec![("user", 1)],
        events: vec![EventSink {
            sink: "file",
            ..EventSink::default()
        }],
        break_glass: Some(BreakGlassReport {
            requests: vec![("opened", 1)],
            kubelets: vec![("warm", 1)],
            ..BreakGlassReport::default()
        }),
    });
    (metrics, cell)
}

fn authority(metrics: &Metrics) {
    let authority = &metrics.authority;
    authority.request("get", 200);
    authority.authentication_failure("token", "expiry");
    authority.decision("x", "approved");
    authority.signature("x", "signed");
    authority.check("dns", "resolved");
    authority.cleaned("issued");
    authority.limited("max-csrs");
    let cluster = &metrics.cluster;
    cluster.leads("kube-system/eyesplice-authority", true);
    cluster.watch("nodes", true);
    cluster.failed("watch", "nodes", "network");
    cluster.foreign("x");
}

fn agent() -> AgentStatus {
    AgentStatus {
        grant: Arc::new(AgentGrant {
            name: "a".into(),
            nodes: Arc::from([]),
            networks: Arc::from([]),
            suffixes: Arc::from([]),
        }),
        instance: [0; 16],
        version: "1".into(),
        address: "10.0.0.1:5".parse().unwrap(),
        since: SystemTime::UNIX_EPOCH,
        draining: false,
        parked: 0,
        streams: 0,
        round_trip: Some(Duration::from_millis(1)),
        opened_warm: 0,
        opened_cold: 0,
        failed: 0,
        last_error: None,
    }
}

fn gateway() -> GatewayStatus {
    GatewayStatus {
        name: "g".into(),
        address: None,
        since: None,
        draining: false,
        parked: 0,
        streams: 0,
        backoff: None,
        last_error: None,
    }
}

/// One family, as the text format shows it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            name.clone_into(&mut current);
            let family = families.entry(current.clone()).or_default();
            family.help = help.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (_, kind) = rest.split_once(' ').unwrap();
            families.get_mut(&current).unwrap().kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.split("=\"").map(|part| {
                let name = part.rsplit([',', '"']).next().unwrap_or_default();
                name.to_owned()
            });
            let known = |label: &String| !label.is_empty() && label != "le";
            let labels = labels.filter(known).filter(|label| !label.contains('}'));
            families.get_mut(&current).unwrap().labels.extend(labels);
        }
    }
    families
}

#[test]
fn labels_of_a_family_are_those_of_its_samples() {
    let text = "# HELP a A, b.\n# TYPE a gauge\na{x=\"1\",y_z=\"2, 3\"} 4\na{le=\"5\"} 6\n";
    let family = &families(text)["a"];
    assert_eq!((&*family.kind, &*family.help), ("gauge", "A, b"));
    assert_eq!(Vec::from_iter(&family.labels), ["x", "y_z"]);
}

#[test]
fn reference_lists_every_family_with_its_labels() {
    let (metrics, _snapshot) = everything();
    let families = families(&metrics.write(Form::Text).unwrap());
    let registered = metrics.encode().unwrap();
    for line in registered.lines() {
        let Some((name, _)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let shown =
            ["", "_total", "_info"].map(|end| families.contains_key(&format!("{name}{end}")));
        assert!(shown.contains(&true), "give {name} a sample above");
    }
    let mut table = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    for (name, family) in &families {
        let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
        let (kind, labels, help) = (&family.kind, labels.join(", "), &family.help);
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    if std::env::var_os(WRITE).is_some() {
        let whole = [before, BEGIN, &table, END, after].concat();
        std::fs::write(path, whole).unwrap();
        return;
    }
    let missing = table.lines().filter(|line| !there.contains(line));
    let gone = there.lines().filter(|line| !table.contains(line));
    let differs: Vec<&str> = missing.chain(gone).collect();
    assert!(
        there == table,
        "docs/metrics.md is not what is shown; write it by {WRITE}=1: {differs:#?}"
    );
}
