//! The exposition as a scraper reads it.

mod reference;

use super::*;
use eyesplice_dataplane::counters::WorkerCounters;
use eyesplice_dataplane::seam::{
    AdmissionLimits, KeyExchange, Peer, Phase, Reason, RecordKind, Side, Snapshot, SnapshotCell,
    StreamBytes, StreamId, StreamMode, StreamRecord, TunnelTls, VerificationResult,
};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

/// Reads an exposition strictly: families are declared once, every sample belongs to the family
/// above it, and no series is there twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let mut families = BTreeMap::new();
    let mut family = String::new();
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let earlier = families.insert(name.to_owned(), kind.to_owned());
            assert_eq!(earlier, None, "{name} is declared twice");
            name.clone_into(&mut family);
        } else if line.starts_with("# HELP ") || line.starts_with("# UNIT ") {
            assert!(
                !line.contains(".."),
                "{line}: the library ends a help text with a full stop"
            );
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let metric = name.split('{').next().unwrap();
            assert!(metric.starts_with(&family), "{metric} under {family}");
            let ours = metric.starts_with("eyesplice_") || metric.starts_with("process_");
            assert!(ours, "{metric}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(
                series.insert(name.to_owned(), value),
                None,
                "{name} is there twice"
            );
        }
    }
    series
}

fn record(reason: Reason, side: Side, verification: VerificationResult) -> StreamRecord {
    StreamRecord {
        kind: RecordKind::End,
        id: StreamId::new(0, 0, 1),
        exchange: 0,
        listener: "uds".into(),
        peer: Peer::Unix {
            pid: 1,
            uid: 0,
            gid: 0,
        },
        client: None,
        target: None,
        address: None,
        via: None,
        rule: None,
        node: Some("worker-3".into()),
        generation: 1,
        mode: StreamMode::Splice,
        verification,
        key_exchange: KeyExchange::default(),
        tunnel_tls: TunnelTls::default(),
        warm: false,
        exchange_labels: None,
        status: None,
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::from_secs(2),
        bytes: StreamBytes::default(),
        reason,
        side,
        phase: Phase::Relay,
        detail: None,
    }
}

#[test]
fn configuration_of_an_authority_is_shown_where_there_is_one_and_never_lies() {
    let name = "eyesplice_authority_config_last_reload_successful";
    let shown = |metrics: &Metrics| parse(&metrics.render().unwrap()).get(name).copied();
    let gateway = Metrics::new();
    assert_eq!(shown(&gateway), None);
    gateway.authority_config.loaded(1, SystemTime::UNIX_EPOCH);
    assert_eq!(shown(&gateway), Some(1.0));
    gateway.authority_config.reload_failed();
    assert_eq!(shown(&gateway), Some(0.0));

    let own = Metrics::of_authority();
    own.config.loaded(1, SystemTime::UNIX_EPOCH);
    assert_eq!(shown(&own), Some(1.0));
    own.config.reload_failed();
    assert_eq!(shown(&own), Some(0.0));
    let series = parse(&own.render().unwrap());
    for config in ["eyesplice_config", "eyesplice_authority_config"] {
        let failures = format!("{config}_reloads_total{{result=\"failure\"}}");
        assert_eq!(series[&failures], 1.0);
    }
}

#[test]
fn render_at_the_start_is_well_formed() {
    let series = parse(&Metrics::new().render().unwrap());
    assert_eq!(series["eyesplice_config_last_reload_successful"], 0.0);
    assert_eq!(
        series["eyesplice_config_reloads_total{result=\"failure\"}"],
        0.0
    );
    for part in ["audit", "log"] {
        for name in [
            "lines_written_total",
            "write_failures_total",
            "lines_lost_total",
        ] {
            assert_eq!(series[&format!("eyesplice_{part}_{name}")], 0.0);
        }
        for name in ["lines_waiting", "bytes_waiting", "blocked_seconds"] {
            assert_eq!(series[&format!("eyesplice_{part}_{name}")], 0.0);
        }
    }
    assert_eq!(series["eyesplice_streams_live"], 0.0);
    assert!(series["process_open_fds"] > 0.0);
    assert!(series["process_max_fds"] > 0.0);
    assert!(series["process_resident_memory_bytes"] > 1e5);
    assert!(series["process_cpu_seconds_total"] >= 0.0);
    let version = format!("version=\"{}\"", BUILD.version);
    assert!(
        series
            .keys()
            .any(|k| k.starts_with("eyesplice_build_info{") && k.contains(&version))
    );
}

#[test]
fn render_sums_the_workers() {
    let metrics = Metrics::new();
    let workers = [
        Arc::new(WorkerCounters::default()),
        Arc::new(WorkerCounters::default()),
    ];
    metrics.engine.attach(&workers);
    workers[0].bytes_up.add(3);
    workers[1].bytes_up.add(4);
    workers[1].pipes_in_use.set(2);
    let series = parse(&metrics.render().unwrap());
    assert_eq!(
        series["eyesplice_payload_bytes_total{direction=\"up\"}"],
        7.0
    );
    assert_eq!(
        series["eyesplice_payload_bytes_total{direction=\"down\"}"],
        0.0
    );
    assert_eq!(series["eyesplice_pipes{state=\"in_use\"}"], 2.0);
}

#[test]
fn render_shows_every_counter_of_the_workers() {
    let metrics = Metrics::new();
    let worker = Arc::new(WorkerCounters::default());
    metrics.engine.attach(std::slice::from_ref(&worker));
    let WorkerCounters {
        accepted,
        accept_errors,
        unauthenticated,
        unauthenticated_ended,
        unauthenticated_evicted,
        unauthenticated_untold,
        handshakes_limited,
        streams_live,
        streams_established,
        streams_pending,
        limited,
        dials,
        dial_failures,
        dial_cancels,
        spares,
        spares_made,
        spares_used,
        spares_dropped_reload,
        spares_dropped_expired,
        spares_dropped_closed,
        spares_dropped_limit,
        spares_dropped_drain,
        handshakes_server,
        handshakes_resumed,
        handshakes_client,
        exchanges_x25519mlkem768,
        exchanges_x25519,
        exchanges_p256,
        exchanges_p384,
        handshake_failures,
        bytes_up,
        bytes_down,
        bytes_spliced,
        bytes_copied,
        splice_starts,
        pipe_shortages,
        reads_deferred,
        watches_refused,
        liveness_sweeps,
        peers_lost,
        cuts_unseen,
        pipes_in_use,
        pipes_open,
        buffers_in_use,
        buffers_open,
        ktls_legs,
        ktls_declined,
        ops_in_flight,
        exhausted,
        tunnel_agents,
        tunnel_parked,
        tunnel_opens_warm,
        tunnel_opens_cold,
        tunnel_opens_chained,
        tunnel_opens_failed,
        tunnel_inner_only,
        tunnel_inner_declined,
        tunnel_retries,
        tunnel_refused,
        tunnel_revoked,
        tunnel_gateways,
        tunnel_waiting,
        tunnel_backoffs,
        tunnel_replayed,
        records_lost,
    } = &*worker;
    let all = [
        accepted,
        accept_errors,
        unauthenticated,
        unauthenticated_ended,
        unauthenticated_evicted,
        unauthenticated_untold,
        handshakes_limited,
        streams_live,
        streams_established,
        streams_pending,
        limited,
        dials,
        dial_failures,
        dial_cancels,
        spares,
        spares_made,
        spares_used,
        spares_dropped_reload,
        spares_dropped_expired,
        spares_dropped_closed,
        spares_dropped_limit,
        spares_dropped_drain,
        handshakes_server,
        handshakes_resumed,
        handshakes_client,
        exchanges_x25519mlkem768,
        exchanges_x25519,
        exchanges_p256,
        exchanges_p384,
        handshake_failures,
        bytes_up,
        bytes_down,
        bytes_spliced,
        bytes_copied,
        splice_starts,
        pipe_shortages,
        reads_deferred,
        watches_refused,
        liveness_sweeps,
        peers_lost,
        cuts_unseen,
        pipes_in_use,
        pipes_open,
        buffers_in_use,
        buffers_open,
        ktls_legs,
        ktls_declined,
        ops_in_flight,
        exhausted,
        tunnel_agents,
        tunnel_parked,
        tunnel_opens_warm,
        tunnel_opens_cold,
        tunnel_opens_chained,
        tunnel_opens_failed,
        tunnel_inner_only,
        tunnel_inner_declined,
        tunnel_retries,
        tunnel_refused,
        tunnel_revoked,
        tunnel_gateways,
        tunnel_waiting,
        tunnel_backoffs,
        tunnel_replayed,
        records_lost,
    ];
    for (value, counter) in (1_000_001..).zip(all) {
        counter.set(value);
    }
    let mut shown: Vec<_> = parse(&metrics.render().unwrap())
        .into_iter()
        .filter(|(name, value)| name.starts_with("eyesplice_") && *value > 1e6 && *value < 2e6)
        .map(|(_, value)| value as usize - 1_000_000)
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, Vec::from_iter(1..=all.len()), "each counter once");
}

#[test]
fn streams_ended_are_counted_by_bounded_labels() {
    let metrics = Metrics::new();
    let none = VerificationResult::NotApplicable;
    metrics
        .streams
        .ended(&record(Reason::Completed, Side::Upstream, none.clone()));
    metrics
        .streams
        .ended(&record(Reason::Completed, Side::Upstream, none.clone()));
    metrics
        .streams
        .ended(&record(Reason::Reset, Side::Downstream, none));
    let text = metrics.render().unwrap();
    let series = parse(&text);
    let completed = "eyesplice_streams_ended_total{listener=\"uds\",mode=\"splice\",\
                     action=\"none\",reason=\"completed\",side=\"upstream\"}";
    assert_eq!(series[completed], 2.0);
    let count = "eyesplice_stream_duration_seconds_count{mode=\"splice\",action=\"none\"}";
    assert_eq!(series[count], 3.0);
    assert!(!text.contains("worker-3"), "nodes are not labels");
}

#[test]
fn verifications_are_counted_once_per_connection() {
    let metrics = Metrics::new();
    let refused = VerificationResult::Refused {
        cause: "self_signed",
    };
    metrics
        .streams
        .ended(&record(Reason::Unverified, Side::Upstream, refused));
    let identity = Arc::from("CN=system:node:worker-3");
    for exchange in 1..=3 {
        let verified = VerificationResult::Verified(Arc::clone(&identity));
        let record = record(Reason::Completed, Side::Upstream, verified);
        metrics.streams.ended(&StreamRecord { exchange, ..record });
    }
    let series = parse(&metrics.render().unwrap());
    let name = |result, cause| {
        format!("eyesplice_verifications_total{{result=\"{result}\",cause=\"{cause}\"}}")
    };
    assert_eq!(series[&name("refused", "self_signed")], 1.0);
    assert_eq!(series[&name("verified", "none")], 1.0);
}

#[test]
fn config_follows_loads_and_failures() {
    let metrics = Metrics::new();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    metrics.config.loaded(1, now);
    assert!(metrics.config.last_successful());
    metrics.config.reload_failed();
    assert!(!metrics.config.last_successful());
    metrics.config.reloaded(2, 1, now);
    let series = parse(&metrics.render().unwrap());
    assert_eq!(series["eyesplice_config_generation"], 2.0);
    assert_eq!(series["eyesplice_config_last_reload_successful"], 1.0);
    assert_eq!(
        series["eyesplice_config_last_reload_success_timestamp_seconds"],
        1.7e9
    );
    assert_eq!(
        series["eyesplice_config_reloads_total{result=\"failure\"}"],
        1.0
    );
    assert_eq!(
        series["eyesplice_config_reloads_total{result=\"success\"}"],
        1.0
    );
    assert_eq!(series["eyesplice_config_restart_required"], 1.0);
}

#[test]
fn table_replaces_all_rows() {
    let metrics = Metrics::new();
    let row = |file: &str, value| Row {
        labels: vec![("file", file.to_owned())],
        value,
    };
    metrics.certificates.replace(vec![row("a", 1), row("b", 2)]);
    metrics.certificates.replace(vec![row("c\"\n", 3)]);
    let series = parse(&metrics.render().unwrap());
    let rows: Vec<_> = series
        .keys()
        .filter(|name| name.contains("certificate_expiry"))
        .collect();
    assert_eq!(
        rows,
        [r#"eyesplice_certificate_expiry_timestamp_seconds{file="c\"\n"}"#]
    );
}

#[test]
fn generations_show_the_streams_that_hold_them() {
    let metrics = Metrics::new();
    let cell = SnapshotCell::new(snapshot(1));
    let old = cell.load();
    metrics.generations.published(&old);
    let streams = [Arc::clone(&old), Arc::clone(&old)];
    drop(old);
    cell.publish(snapshot(2));
    metrics.generations.published(&cell.load());
    let value = |generation| format!("eyesplice_generation_streams{{generation=\"{generation}\"}}");
    let series = parse(&metrics.render().unwrap());
    assert_eq!((series[&value(1)], series[&value(2)]), (2.0, 0.0));
    drop(streams);
    let series = parse(&metrics.render().unwrap());
    assert!(
        !series.contains_key(&value(1)),
        "forgotten with its last stream"
    );
    assert_eq!(series[&value(2)], 0.0);
}

fn snapshot(generation: u64) -> Snapshot {
    let second = Duration::from_secs(1);
    Snapshot {
        generation,
        listener_tls: HashMap::new(),
        allowed_uids: HashMap::new(),
        admission: AdmissionLimits {
            max_streams: 1,
            max_streams_per_peer: 1,
            max_pending: 1,
            max_unauthenticated: 1,
            max_handshakes_per_second: 1,
            max_handshakes_per_second_per_address: 1,
            handshake_timeout: second,
            head_timeout: second,
            admit_timeout: second,
        },
        tunnel: None,
        agent: None,
    }
}
