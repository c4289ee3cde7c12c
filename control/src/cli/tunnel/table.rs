//! Prints the tunnels of a process as tables.

use crate::cli::table::{columns, word};
use serde_json::Value as Json;

/// Agents, gateways, or both; the last errors stand below.
pub(super) fn table(report: &Json) -> String {
    let mut text = String::new();
    if let Some(agents) = report["agents"].as_array() {
        let head = [
            "AGENT", "STATE", "ADDRESS", "VERSION", "PARKED", "STREAMS", "RTT", "WARM", "COLD",
            "FAILED", "SINCE",
        ];
        let row = |agent: &Json| {
            vec![
                word(&agent["name"]),
                state(agent).to_owned(),
                word(&agent["address"]),
                word(&agent["version"]),
                word(&agent["parked"]),
                word(&agent["streams"]),
                trip(&agent["roundTripMs"]),
                word(&agent["openedWarm"]),
                word(&agent["openedCold"]),
                word(&agent["failed"]),
                word(&agent["since"]),
            ]
        };
        text.push_str(&connected(&head, agents.iter().map(row).collect()));
        text.push_str(&errors(agents));
    }
    if let Some(gateways) = report["gateways"].as_array() {
        let head = ["GATEWAY", "STATE", "PARKED", "STREAMS", "SINCE"];
        let row = |gateway: &Json| {
            vec![
                word(&gateway["name"]),
                match gateway["since"].is_null() {
                    true => "lost".to_owned(),
                    false => state(gateway).to_owned(),
                },
                word(&gateway["parked"]),
                word(&gateway["streams"]),
                word(&gateway["since"]),
            ]
        };
        text.push_str(&connected(&head, gateways.iter().map(row).collect()));
        text.push_str(&errors(gateways));
    }
    text
}

/// A table without rows says so.
fn connected(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let none = if rows.is_empty() {
        "none is connected\n"
    } else {
        ""
    };
    columns(head, rows) + none
}

fn state(each: &Json) -> &'static str {
    if each["draining"] == true {
        "draining"
    } else {
        "serving"
    }
}

fn trip(millis: &Json) -> String {
    millis
        .as_f64()
        .map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1}ms"))
}

fn errors(all: &[Json]) -> String {
    let line = |each: &Json| {
        let error = each["lastError"].as_str()?;
        Some(format!("{}: {error}\n", word(&each["name"])))
    };
    all.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_aligns_agents_and_puts_errors_below() {
        let report = json!({"agents": [
            {"name": "edge-1", "address": "10.0.0.7:41000", "version": "0.1.0", "parked": 2,
             "streams": 11, "draining": false, "roundTripMs": 1.25,
             "openedWarm": 3, "openedCold": 1, "failed": 1,
             "since": "today", "lastError": "refused"},
            {"name": "system:node:w", "address": "10.0.0.8:5", "version": "0.1.0", "parked": 0,
             "streams": 0, "draining": true, "roundTripMs": null,
             "openedWarm": 0, "openedCold": 0, "failed": 0,
             "since": "today", "lastError": null},
        ]});
        assert_eq!(
            table(&report),
            "\
AGENT          STATE     ADDRESS         VERSION  PARKED  STREAMS  RTT    WARM  COLD  FAILED  SINCE
edge-1         serving   10.0.0.7:41000  0.1.0    2       11       1.2ms  3     1     1       today
system:node:w  draining  10.0.0.8:5      0.1.0    0       0        -      0     0     0       today
edge-1: refused
"
        );
    }

    #[test]
    fn table_of_an_agent_says_which_gateway_is_lost() {
        let report = json!({"gateways": [
            {"name": "10.0.0.1:8133", "since": null, "draining": false, "parked": 0, "streams": 0,
             "lastError": "connection refused"},
        ]});
        let text = table(&report);
        assert!(
            text.contains("10.0.0.1:8133  lost   0       0        -\n"),
            "{text}"
        );
        assert!(
            text.ends_with("10.0.0.1:8133: connection refused\n"),
            "{text}"
        );
        assert!(table(&json!({"gateways": []})).ends_with("none is connected\n"));
    }
}
