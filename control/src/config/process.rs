//! Reads the sections about the process: `limits`, `timeouts`, `engine`, `admin`, `audit`.

use super::bounds;
use super::model::{Audit, AuditSink, EngineSettings, Limits, OnFailure, Timeouts};
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_dataplane::cipher::CryptoPolicy;
use eyesplice_dataplane::engine::{COALESCE, KtlsPolicy};
use eyesplice_identity::document::{Node, Problem, Report, Section, Value, value};
use eyesplice_proto::tls::RecordLibrary;
use eyesplice_sys::uring::Backend;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads `limits`. A bound that is not set never exceeds `maxStreams`.
pub(super) fn read_limits(root: &mut Section<'_>, report: &mut Report) -> Limits {
    let default = Limits::default();
    let Some(mut section) = root.section("limits", report) else {
        return default;
    };
    let streams = |node: &Node| value::integer::<usize>(node, &bounds::STREAMS);
    let max_streams = section
        .optional("maxStreams", streams, report)
        .unwrap_or(default.max_streams);
    let part = |field, report: &mut Report, section: &mut Section<'_>| {
        let value = section.optional(field, streams, report)?;
        if value > max_streams {
            let what = format!("{value} is more than maxStreams ({max_streams})");
            section.error(field, what, "lower it, or raise maxStreams", report);
        }
        Some(value)
    };
    let per_peer = part("maxStreamsPerPeer", report, &mut section).unwrap_or(max_streams);
    let pending = part("maxPendingDials", report, &mut section);
    let handshakes = |node: &Node| value::integer::<u32>(node, &bounds::HANDSHAKES);
    let all = section.optional("maxHandshakesPerSecond", handshakes, report);
    let all = all.unwrap_or(default.max_handshakes_per_second);
    let field = "maxHandshakesPerSecondPerAddress";
    let of_one = section.optional(field, handshakes, report);
    if let Some(value) = of_one.filter(|value| *value > all) {
        let what = format!("{value} is more than maxHandshakesPerSecond ({all})");
        section.error(
            field,
            what,
            "lower it, or raise maxHandshakesPerSecond",
            report,
        );
    }
    let unauthenticated = |node: &Node| value::integer::<usize>(node, &bounds::UNAUTHENTICATED);
    let unauthenticated = section.optional("maxUnauthenticated", unauthenticated, report);
    let pipes = |node: &Node| value::integer::<usize>(node, &bounds::PIPES);
    let pipes = section.optional("maxPipesPerWorker", pipes, report);
    section.finish(report);
    Limits {
        max_streams,
        max_streams_per_peer: per_peer,
        max_pending_dials: pending.unwrap_or(default.max_pending_dials.min(max_streams)),
        max_unauthenticated: unauthenticated.unwrap_or(default.max_unauthenticated),
        max_handshakes_per_second: all,
        max_handshakes_per_second_per_address: of_one
            .unwrap_or(default.max_handshakes_per_second_per_address.min(all)),
        max_pipes_per_worker: pipes.unwrap_or(default.max_pipes_per_worker),
    }
}

/// Reads `timeouts`.
pub(super) fn read_timeouts(root: &mut Section<'_>, report: &mut Report) -> Timeouts {
    let default = Timeouts::default();
    let Some(mut section) = root.section("timeouts", report) else {
        return default;
    };
    let mut read = |field, range: &RangeInclusive<Duration>| {
        section.optional(field, |node| value::duration(node, range), report)
    };
    let timeouts = Timeouts {
        handshake: read("handshake", &bounds::PHASE).unwrap_or(default.handshake),
        request_head: read("requestHead", &bounds::PHASE).unwrap_or(default.request_head),
        dial: read("dial", &bounds::PHASE).unwrap_or(default.dial),
        verdict: read("verdict", &bounds::PHASE).unwrap_or(default.verdict),
        idle: read("idle", &bounds::LONG),
        half_closed: match read("halfClosed", &bounds::HALF_CLOSED) {
            None => default.half_closed,
            Some(limit) => (!limit.is_zero()).then_some(limit),
        },
        drain: read("drain", &bounds::DRAIN).unwrap_or(default.drain),
        tcp_keepalive: read("tcpKeepalive", &bounds::TCP).unwrap_or(default.tcp_keepalive),
        tcp_user_timeout: read("tcpUserTimeout", &bounds::TCP).unwrap_or(default.tcp_user_timeout),
        session_ticket: read("sessionTicket", &bounds::TICKET).unwrap_or(default.session_ticket),
    };
    section.finish(report);
    timeouts
}

const IO: [(&str, IoPolicy); 3] = [
    ("io_uring", IoPolicy::Fixed(Backend::IoUring)),
    ("epoll", IoPolicy::Fixed(Backend::Epoll)),
    ("auto", IoPolicy::Auto),
];

const KTLS: [(&str, KtlsPolicy); 3] = [
    ("off", KtlsPolicy::Off),
    ("auto", KtlsPolicy::Auto),
    ("require", KtlsPolicy::Require),
];

/// Reads `engine`; `io` is what waits for sockets where it does not say.
pub(super) fn read_engine(
    root: &mut Section<'_>,
    io: IoPolicy,
    report: &mut Report,
) -> EngineSettings {
    let Some(mut section) = root.section("engine", report) else {
        return EngineSettings {
            io,
            ..EngineSettings::default()
        };
    };
    let workers = |node: &Node| value::integer::<usize>(node, &bounds::WORKERS);
    let workers = section
        .optional("workers", workers, report)
        .unwrap_or_default();
    let read = section.optional("io", |node: &Node| value::word(node, &IO), report);
    // YAML 1.1 habits: a bare `off` may arrive as a boolean from templates.
    let ktls = |node: &Node| match node.value {
        Value::Bool(false) => Ok(KtlsPolicy::Off),
        _ => value::word(node, &KTLS),
    };
    let ktls = section.optional("ktls", ktls, report).unwrap_or_default();
    let crypto = section.optional("crypto", crypto, report);
    let coalesce = |node: &Node| value::duration(node, &bounds::COALESCE);
    let coalesce = section.optional("coalesce", coalesce, report);
    section.finish(report);
    EngineSettings {
        workers,
        io: read.unwrap_or(io),
        ktls,
        crypto: crypto.unwrap_or_default(),
        coalesce: coalesce.unwrap_or(COALESCE),
    }
}

fn crypto(node: &Node) -> Result<CryptoPolicy, Problem> {
    const WORDS: [(&str, Option<CryptoPolicy>); 3] = [
        ("auto", Some(CryptoPolicy::Auto)),
        ("ring", Some(CryptoPolicy::Fixed(RecordLibrary::Ring))),
        ("aws-lc", AWS_LC),
    ];
    const AWS_LC: Option<CryptoPolicy> = match RecordLibrary::aws_lc() {
        Some(library) => Some(CryptoPolicy::Fixed(library)),
        None => None,
    };
    value::word(node, &WORDS)?.ok_or_else(|| {
        Problem::new(
            "is aws-lc, which this build of eyesplice does not have",
            "write auto or ring, or take a build with the feature aws-lc",
        )
    })
}

const ON_FAILURE: [(&str, OnFailure); 2] = [("block", OnFailure::Block), ("drop", OnFailure::Drop)];

/// Reads `audit`; `of_gateway`: requests to front listeners may come.
pub(super) fn read_audit(root: &mut Section<'_>, of_gateway: bool, report: &mut Report) -> Audit {
    let Some(mut section) = root.section("audit", report) else {
        return Audit::default();
    };
    let base = section.base();
    let sink = |node: &Node| match value::text(node)?.as_str() {
        "-" => Ok(AuditSink::Stdout),
        _ => value::path(node, base).map(AuditSink::File),
    };
    let sink = section.optional("path", sink, report).unwrap_or_default();
    let on_failure = |node: &Node| value::word(node, &ON_FAILURE);
    let on_failure = section.optional("onFailure", on_failure, report);
    let front_requests = match of_gateway {
        true => section.optional("frontRequests", value::boolean, report),
        false => None,
    };
    section.finish(report);
    Audit {
        sink,
        on_failure: on_failure.unwrap_or_default(),
        front_requests: front_requests.unwrap_or_default(),
    }
}
