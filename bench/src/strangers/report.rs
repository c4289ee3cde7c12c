//! The result: JSON for tools, Markdown for people.

use super::crowd::Kind;
use super::visits::Visits;
use crate::machine::Machine;
use serde::Serialize;
use std::fmt;

/// A whole measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) rate: u32,
    pub(super) seconds: u64,
    pub(super) visits: u32,
    pub(super) rows: Vec<Row>,
}

/// One crowd: at the sink, and at the gateway.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    kind: Kind,
    sources: u32,
    opened_sink: u64,
    opened_gateway: u64,
    sink: Latency,
    gateway: Latency,
    /// Of the gateway before, at the end of and after the crowd.
    rss_kib: [u64; 3],
}

/// Times to open a stream.
#[derive(Clone, Debug, Serialize)]
struct Latency {
    streams: u64,
    failures: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Latency {
    fn of(visits: &Visits) -> Self {
        let times = &visits.microseconds;
        Self {
            streams: times.len(),
            failures: visits.failures,
            p50_us: times.value_at_quantile(0.5),
            p99_us: times.value_at_quantile(0.99),
            max_us: times.max(),
        }
    }
}

impl Row {
    pub(super) fn new(
        (kind, sources): (Kind, u32),
        (opened_sink, opened_gateway): (u64, u64),
        (sink, gateway): (&Visits, &Visits),
        rss_kib: [u64; 3],
    ) -> Self {
        Self {
            kind,
            sources,
            opened_sink,
            opened_gateway,
            sink: Latency::of(sink),
            gateway: Latency::of(gateway),
            rss_kib,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            sources,
            opened_sink,
            opened_gateway,
            sink,
            gateway,
            rss_kib: [before, during, after],
        } = self;
        let ms = |us: u64| us as f64 / 1000.0;
        let ratio = gateway.p99_us as f64 / sink.p99_us.max(1) as f64;
        write!(
            f,
            "| {kind:?} | {sources} | {opened_sink} / {opened_gateway} | {} / {} | {:.2} / {:.2} | {:.2} / \
             {:.2} | {ratio:.2} | {before} / {during} / {after} |",
            sink.failures,
            gateway.failures,
            ms(sink.p50_us),
            ms(gateway.p50_us),
            ms(sink.p99_us),
            ms(gateway.p99_us),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# New streams of an API server while strangers crowd the TCP listener\n"
        )?;
        self.machine.fmt(f)?;
        writeln!(
            f,
            "- {} hostile connections a second for {} s, while the API server opens {} streams a second over \
             mutual TLS\n- pairs are: crowd at a sink / crowd at the gateway\n- the gateway has one worker, a \
             core of its own, and the default limits\n",
            self.rate, self.seconds, self.visits
        )?;
        writeln!(
            f,
            "| Crowd | Addresses | Connections | Failed streams | p50, ms | p99, ms | p99 ratio | RSS \
             before / with / after, KiB |\n|---|---|---|---|---|---|---|---|"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}
