//! The rows of the table of docs/performance.md: which figure of which cells, against whom.

use super::shows::{Row, Shown};

/// All rows, in their order.
pub(super) const ROWS: &[Row] = &[
    row(
        "splice, bulk, 1 connection",
        "peers-splice",
        "bulk, 1 ",
        Shown::CpuPerGib,
        SPLICERS,
    ),
    row(
        "splice, bulk, 16 connections",
        "peers-splice",
        "bulk, 16 ",
        Shown::CpuPerGib,
        SPLICERS,
    ),
    row(
        "CONNECT throughput, spliced",
        "peers-splice",
        "bulk",
        Shown::OfDirect,
        &[],
    ),
    row(
        "one TLS leg, bulk",
        "peers-tls-one",
        "bulk",
        Shown::CpuPerGib,
        ORIGINATORS,
    )
    .of(ORIGINATE),
    row(
        "TLS to TLS, bulk",
        "peers-tls-both",
        "bulk",
        Shown::CpuPerGib,
        TERMINATORS,
    ),
    row(
        "log lines, 100 followers, spliced",
        "peers-splice",
        "log lines",
        Shown::CpuPerMib,
        SPLICERS,
    ),
    row(
        "log lines, 100 followers, TLS to TLS",
        "peers-tls-both",
        "log lines",
        Shown::CpuPerMib,
        TERMINATORS,
    ),
    row(
        "64 B round trips, 16 streams, spliced",
        "peers-splice",
        TRIPS,
        Shown::CpuPerOperation,
        SPLICERS,
    ),
    row(
        "64 B round trips, 16 streams, spliced",
        "peers-splice",
        TRIPS,
        Shown::P99,
        SPLICERS,
    ),
    row(
        "64 B round trips, 16 streams, one TLS leg",
        "peers-tls-one",
        TRIPS,
        Shown::CpuPerOperation,
        ORIGINATORS,
    )
    .of(ORIGINATE),
    row(
        "64 B round trips, 16 streams, one TLS leg",
        "peers-tls-one",
        TRIPS,
        Shown::P99,
        ORIGINATORS,
    )
    .of(ORIGINATE),
    row(
        "64 B round trips, 16 streams, TLS to TLS",
        "peers-tls-both",
        TRIPS,
        Shown::CpuPerOperation,
        TERMINATORS,
    ),
    row(
        "64 B round trips, 16 streams, TLS to TLS",
        "peers-tls-both",
        TRIPS,
        Shown::P99,
        TERMINATORS,
    ),
    row(
        "full handshakes, TLS to TLS",
        "peers-tls-both",
        "full handshakes",
        Shown::PerCpuSecond,
        TERMINATORS,
    ),
    row(
        "resumed handshakes, TLS to TLS",
        "peers-resumption",
        "resumed",
        Shown::PerCpuSecond,
        TERMINATORS,
    ),
    row(
        "idle streams, TLS to TLS",
        "peers-idle",
        "idle",
        Shown::RssPerStream,
        TERMINATORS,
    ),
    row(
        "two workers, spliced, round trips",
        "peers-workers",
        "64 B",
        Shown::Growth,
        &[],
    )
    .of("eyesplice, splice, 2 workers"),
    row(
        "two workers on one core, spliced, round trips",
        "peers-workers",
        "64 B",
        Shown::Growth,
        &[],
    )
    .of("eyesplice, splice, 2 workers on one core"),
    row(
        "two workers, spliced, transfers",
        "peers-workers",
        "1 MiB",
        Shown::Growth,
        &[],
    )
    .of("eyesplice, splice, 2 workers"),
    row(
        "two workers on one core, spliced, transfers",
        "peers-workers",
        "1 MiB",
        Shown::Growth,
        &[],
    )
    .of("eyesplice, splice, 2 workers on one core"),
    row(
        "two workers, TLS to TLS, round trips",
        "peers-workers",
        "64 B",
        Shown::Growth,
        &[],
    )
    .of(TWO_TLS),
    row(
        "two workers on one core, TLS to TLS, round trips",
        "peers-workers",
        "64 B",
        Shown::Growth,
        &[],
    )
    .of(TWO_TLS_ON_ONE),
    row(
        "two workers, TLS to TLS, transfers",
        "peers-workers",
        "1 MiB",
        Shown::Growth,
        &[],
    )
    .of(TWO_TLS),
    row(
        "two workers on one core, TLS to TLS, transfers",
        "peers-workers",
        "1 MiB",
        Shown::Growth,
        &[],
    )
    .of(TWO_TLS_ON_ONE),
    row(
        "p99 beside stalled readers, spliced",
        "peers-splice",
        STALLED,
        Shown::Growth,
        &[],
    ),
    row(
        "p99 beside stalled readers, TLS to TLS",
        "peers-tls-both",
        STALLED,
        Shown::Growth,
        &[],
    ),
];

const SPLICERS: &[&str] = &[
    "haproxy, splice",
    NGINX,
    "bare splice loop",
    "bare copy loop",
];
const ORIGINATORS: &[&str] = &["haproxy", NGINX, "hitch", "stunnel4", RECORDS];
const TERMINATORS: &[&str] = &["haproxy", NGINX, "tokio-rustls, 64 KiB", RECORDS];
const RECORDS: &str = "bare record loop";
const ORIGINATE: &str = "eyesplice, originate";
const NGINX: &str = "nginx stream";
const TRIPS: &str = "64 B round trips, 16 ";
const STALLED: &str = "64 B round trips, 20 streams + stalled";
const TWO_TLS: &str = "eyesplice, TLS on both legs, 2 workers";
const TWO_TLS_ON_ONE: &str = "eyesplice, TLS on both legs, 2 workers on one core";

const fn row(
    work: &'static str,
    scenario: &'static str,
    cells: &'static str,
    shown: Shown,
    against: &'static [&'static str],
) -> Row {
    Row {
        work,
        scenario,
        cells,
        subject: "eyesplice",
        shown,
        against,
    }
}

impl Row {
    const fn of(mut self, subject: &'static str) -> Self {
        self.subject = subject;
        self
    }
}
