//! Reads the sections about the process: `limits`, `timeouts`, `engine`, `admin`, `audit`.

use super::bounds;
use super::model::{Audit, AuditSink, EngineSettings, Limits, OnFailure, Timeouts};
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_dataplane::cipher::CryptoPolicy;
use eyesplice_dataplane::engine::{COALESCE, KtlsPolicy};
use eyesplice_identity::document::{Node, Problem, Section, Value, value};
use eyesplice_proto::tls::RecordLibrary;
use eyesplice_sys::uring::Backend;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads `limits`. A bound that is not set never exceeds `maxStreams`.
pub(super) fn read_limits(root: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let Some(mut section) = root.section("limits") else {
        return default;
    };
    let streams = |node: &Node| value::integer::<usize>(node, &bounds::STREAMS);
    let max_streams = section.optional("maxStreams", streams);
    let max_streams = max_streams.unwrap_or(default.max_streams);
    let mut part = |field| {
        let value = section.optional(field, streams)?;
        if value > max_streams {
            let what = format!("{value} is more than maxStreams ({max_streams})");
            section.error(field, what, "lower it, or raise maxStreams");
        }
        Some(value)
    };
    let per_peer = part("maxStreamsPerPeer").unwrap_or(max_streams);
    let pending = part("maxPendingDials");
    let handshakes = |node: &Node| value::integer::<u32>(node, &bounds::HANDSHAKES);
    let all = section.optional("maxHandshakesPerSecond", handshakes);
    let all = all.unwrap_or(default.max_handshakes_per_second);
    let field = "maxHandshakesPerSecondPerAddress";
    let of_one = section.optional(field, handshakes);
    if let Some(value) = of_one.filter(|value| *value > all) {
        let what = format!("{value} is more than maxHandshakesPerSecond ({all})");
        section.error(field, what, "lower it, or raise maxHandshakesPerSecond");
    }
    let unauthenticated = |node: &Node| value::integer::<usize>(node, &bounds::UNAUTHENTICATED);
    let unauthenticated = section.optional("maxUnauthenticated", unauthenticated);
    let pipes = |node: &Node| value::integer::<usize>(node, &bounds::PIPES);
    let pipes = section.optional("maxPipesPerWorker", pipes);
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
pub(super) fn read_timeouts(root: &mut Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let Some(mut section) = root.section("timeouts") else {
        return default;
    };
    let mut read = |field, range: &RangeInclusive<Duration>| {
        section.optional(field, |node| value::duration(node, range))
    };
    Timeouts {
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
    }
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
pub(super) fn read_engine(root: &mut Section<'_>, io: IoPolicy) -> EngineSettings {
    let Some(mut section) = root.section("engine") else {
        return EngineSettings {
            io,
            ..EngineSettings::default()
        };
    };
    let workers = |node: &Node| value::integer::<usize>(node, &bounds::WORKERS);
    let words = |node: &Node| value::word(node, &IO);
    // YAML 1.1 habits: a bare `off` may arrive as a boolean from templates.
    let ktls = |node: &Node| match node.value {
        Value::Bool(false) => Ok(KtlsPolicy::Off),
        _ => value::word(node, &KTLS),
    };
    let coalesce = |node: &Node| value::duration(node, &bounds::COALESCE);
    EngineSettings {
        workers: section.optional("workers", workers).unwrap_or_default(),
        io: section.optional("io", words).unwrap_or(io),
        ktls: section.optional("ktls", ktls).unwrap_or_default(),
        crypto: section.optional("crypto", crypto).unwrap_or_default(),
        coalesce: section.optional("coalesce", coalesce).unwrap_or(COALESCE),
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

/// Reads where lines of audit go.
pub(super) fn read_sink(section: &mut Section<'_>) -> Option<AuditSink> {
    let base = section.base();
    let sink = |node: &Node| match value::text(node)?.as_str() {
        "-" => Ok(AuditSink::Stdout),
        _ => value::path(node, base).map(AuditSink::File),
    };
    section.optional("path", sink)
}

const ON_FAILURE: [(&str, OnFailure); 2] = [("block", OnFailure::Block), ("drop", OnFailure::Drop)];

/// Reads `audit`; `of_gateway`: requests to front listeners may come.
pub(super) fn read_audit(root: &mut Section<'_>, of_gateway: bool) -> Audit {
    let Some(mut section) = root.section("audit") else {
        return Audit::default();
    };
    let on_failure = |node: &Node| value::word(node, &ON_FAILURE);
    let front_requests = match of_gateway {
        true => section.optional("frontRequests", value::boolean),
        false => None,
    };
    Audit {
        sink: read_sink(&mut section).unwrap_or_default(),
        on_failure: section
            .optional("onFailure", on_failure)
            .unwrap_or_default(),
        front_requests: front_requests.unwrap_or_default(),
    }
}
