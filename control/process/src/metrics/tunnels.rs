//! How the tunnels of this process are: of agents at a gateway, and of gateways at an agent.

use eyesplice_dataplane::seam::{AgentStatus, GatewayStatus};
use eyesplice_identity::certificate::rfc3339;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use serde_json::{Value as Json, json};
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// What is known of the tunnels at one moment; a part that the process does not have is absent.
#[derive(Clone, Debug, Default)]
pub struct TunnelReport {
    /// Of a gateway: who is connected.
    pub agents: Option<Vec<AgentStatus>>,
    /// Of an agent: whom it holds.
    pub gateways: Option<Vec<GatewayStatus>>,
}

type Source = Box<dyn Fn() -> TunnelReport + Send + Sync>;

/// The tunnels of this process, once it has an engine.
#[derive(Default, derive_more::Debug)]
#[debug("Tunnels")]
pub struct Tunnels(OnceLock<Source>);

impl Tunnels {
    /// Shows what this tells from now on; only the first call counts.
    pub fn attach(&self, source: impl Fn() -> TunnelReport + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(source));
    }

    /// What is known now; `None`: this process has no tunnels.
    pub fn report(&self) -> Option<TunnelReport> {
        self.0.get().map(|source| source())
    }

    /// The same as JSON, which `eyesplice tunnel status` reads.
    pub fn json(&self) -> Option<String> {
        let report = self.report()?;
        let agents = report
            .agents
            .map(|agents| agents.iter().map(agent).collect());
        let gateways = report.gateways.map(|all| all.iter().map(gateway).collect());
        let mut root = json!({"time": rfc3339(SystemTime::now())});
        if let Some(agents) = agents {
            root["agents"] = Json::Array(agents);
        }
        if let Some(gateways) = gateways {
            root["gateways"] = Json::Array(gateways);
        }
        Some(format!("{root}\n"))
    }
}

fn agent(agent: &AgentStatus) -> Json {
    json!({
        "name": &*agent.grant.name,
        "nodes": agent.grant.nodes.iter().map(|node| &**node).collect::<Vec<_>>(),
        "cidrs": agent.grant.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dnsSuffixes": &*agent.grant.suffixes,
        "instance": hexadecimal(&agent.instance),
        "version": &*agent.version,
        "address": agent.address.to_string(),
        "since": rfc3339(agent.since),
        "draining": agent.draining,
        "parked": agent.parked,
        "streams": agent.streams,
        "roundTripMs": agent.round_trip.map(millis),
        "openedWarm": agent.opened_warm,
        "openedCold": agent.opened_cold,
        "failed": agent.failed,
        "lastError": agent.last_error.as_deref(),
    })
}

fn gateway(gateway: &GatewayStatus) -> Json {
    json!({
        "name": &*gateway.name,
        "address": gateway.address.map(|address| address.to_string()),
        "since": gateway.since.map(rfc3339),
        "draining": gateway.draining,
        "parked": gateway.parked,
        "streams": gateway.streams,
        "backoffMs": gateway.backoff.map(millis),
        "lastError": gateway.last_error.as_deref(),
    })
}

/// With three digits behind the point, as JSON has them.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the round trips of all agents: an agent is no label. The label is not `quantile`, which only
/// a summary may have.
const SHARES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)];

/// What the workers' own counters do not show.
impl Collector for Tunnels {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(report) = self.report() else {
            return Ok(());
        };
        if let Some(agents) = &report.agents {
            let draining = agents.iter().filter(|agent| agent.draining).count();
            let help = "Agents that take no new streams";
            let name = "tunnel_agents_draining";
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(draining).encode(metric)?;
            encode_round_trips(agents, &mut encoder)?;
        }
        if let Some(gateways) = &report.gateways {
            let help = "Gateways that this agent is to hold";
            let name = "tunnel_gateways_wanted";
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(gateways.len()).encode(metric)?;
            let longest = gateways.iter().filter_map(|gateway| gateway.backoff).max();
            let longest = longest.unwrap_or_default().as_secs_f64();
            let help = "The longest pause that runs now before this agent dials a gateway again";
            let (name, unit) = ("tunnel_backoff", Some(&Unit::Seconds));
            let metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            ConstGauge::new(longest).encode(metric)?;
        }
        Ok(())
    }
}

fn encode_round_trips(
    agents: &[AgentStatus],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut trips: Vec<f64> = agents
        .iter()
        .filter_map(|agent| Some(agent.round_trip?.as_secs_f64()))
        .collect();
    if trips.is_empty() {
        return Ok(());
    }
    trips.sort_by(f64::total_cmp);
    let help = "Round trips of the last pings, over all agents: a share of them took no longer";
    let (name, unit) = ("tunnel_round_trip", Some(&Unit::Seconds));
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (label, share) in SHARES {
        let trip = ConstGauge::new(at(&trips, share));
        trip.encode(metric.encode_family(&[("share", label)])?)?;
    }
    Ok(())
}

fn gauge(count: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The least value at or above which a part of all lies.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list of at most a million"
)]
fn at(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use eyesplice_dataplane::seam::AgentGrant;
    use std::sync::Arc;

    fn status(name: &str, trip_ms: u64, draining: bool) -> AgentStatus {
        AgentStatus {
            grant: Arc::new(AgentGrant {
                name: name.into(),
                nodes: Arc::from(["w1".into()]),
                networks: Arc::from(["10.0.0.1/32".parse().unwrap()]),
                suffixes: Arc::from([]),
            }),
            instance: [0xa0; 16],
            version: "1".into(),
            address: "10.0.0.1:5".parse().unwrap(),
            since: SystemTime::UNIX_EPOCH,
            draining,
            parked: 2,
            streams: 1,
            round_trip: Some(Duration::from_millis(trip_ms)),
            opened_warm: 3,
            opened_cold: 4,
            failed: 5,
            last_error: Some("refused".into()),
        }
    }

    #[test]
    fn tunnels_of_a_gateway_are_counted_without_names() {
        let metrics = Metrics::new();
        let absent = metrics.render().unwrap();
        assert!(!absent.contains("tunnel_agents_draining"), "{absent}");
        metrics.tunnels.attach(|| TunnelReport {
            agents: Some(vec![
                status("secret-a", 10, false),
                status("secret-b", 30, true),
            ]),
            gateways: None,
        });
        let shown = metrics.render().unwrap();
        for line in [
            "eyesplice_tunnel_agents_draining 1",
            "eyesplice_tunnel_round_trip_seconds{share=\"0.5\"} 0.01",
            "eyesplice_tunnel_round_trip_seconds{share=\"1\"} 0.03",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(!shown.contains("secret"), "{shown}");
        let json: Json = serde_json::from_str(&metrics.tunnels.json().unwrap()).unwrap();
        assert_eq!(json["agents"][0]["name"], "secret-a");
        assert_eq!(json["agents"][1]["roundTripMs"], 30.0);
        assert_eq!(json["agents"][0]["since"], "1970-01-01T00:00:00.000000Z");
        assert!(json.get("gateways").is_none());
    }

    #[test]
    fn tunnels_of_an_agent_say_how_many_gateways_it_wants() {
        let metrics = Metrics::new();
        let gateway = |name: &str, since: Option<SystemTime>, draining| GatewayStatus {
            name: name.into(),
            address: None,
            since,
            draining,
            parked: 1,
            streams: 0,
            backoff: since.is_none().then_some(Duration::from_millis(1_500)),
            last_error: None,
        };
        metrics.tunnels.attach(move || TunnelReport {
            gateways: Some(vec![
                gateway("a", Some(SystemTime::UNIX_EPOCH), false),
                gateway("b", Some(SystemTime::UNIX_EPOCH), true),
                gateway("c", None, false),
            ]),
            agents: None,
        });
        let shown = metrics.render().unwrap();
        assert!(
            shown.contains("eyesplice_tunnel_gateways_wanted 3"),
            "{shown}"
        );
        assert!(
            shown.contains("eyesplice_tunnel_backoff_seconds 1.5"),
            "{shown}"
        );
        let json: Json = serde_json::from_str(&metrics.tunnels.json().unwrap()).unwrap();
        assert_eq!(json["gateways"][2]["since"], Json::Null);
        assert_eq!(json["gateways"][2]["backoffMs"], 1500.0);
        assert!(json.get("agents").is_none());
    }
}
