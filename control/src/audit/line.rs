//! One stream record as one line of JSON.
//!
//! Absent facts are absent keys. Text that a peer chose is cut at [`MAX_TEXT`], so that a line has
//! a ceiling. There is no field for a query or a command, and none may be added.

use eyesplice_dataplane::seam::{
    ApiPath, ExchangeLabels, KeyExchange, Peer, RecordKind, StreamRecord, VerificationResult,
};
use eyesplice_identity::certificate::rfc3339;
use eyesplice_proto::tls::Group;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::SystemTime;

/// Bytes of any one text in a line. Kubernetes names have at most 253; errors with a remedy about
/// 400.
const MAX_TEXT: usize = 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    kind: &'static str,
    stream: String,
    exchange: u32,
    listener: &'a str,
    peer: PeerFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    /// The agent that dialled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    generation: u64,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verification<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_exchange: Option<KeyExchangeFields>,
    /// Which TLS is between agent and gateway, where it might have been the kubelet's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel_inner: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    warm: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    exchange_fields: Option<ExchangeFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    end: Option<EndFields<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PeerFields<'a> {
    Unix {
        uid: u32,
        gid: u32,
        pid: i32,
    },
    Tcp {
        address: SocketAddr,
        #[serde(skip_serializing_if = "Option::is_none")]
        identity: Option<Cow<'a, str>>,
    },
}

#[derive(Serialize)]
struct Verification<'a> {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct KeyExchangeFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    downstream: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'static str>,
}

#[derive(Serialize)]
struct ExchangeFields<'a> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    /// How a request to a front listener went.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'static str>,
    /// Why a stream went no other way.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndFields<'a> {
    bytes_up: u64,
    bytes_down: u64,
    duration_ms: u64,
    reason: &'static str,
    side: &'static str,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Lost<'a> {
    time: String,
    kind: &'static str,
    lines: u64,
    reason: Cow<'a, str>,
}

/// Appends `record` and a line feed to `out`.
pub(super) fn append(out: &mut Vec<u8>, record: &StreamRecord) {
    let line = Line {
        time: rfc3339(record.started + record.duration),
        kind: kind(record.kind),
        stream: record.id.to_string(),
        exchange: record.exchange,
        listener: &record.listener,
        peer: peer(&record.peer),
        client: record.client.as_deref().map(cut),
        node: record.node.as_deref(),
        target: record.target.as_ref().map(shown),
        address: record.address,
        via: record.via.as_deref().map(cut),
        rule: record.rule.as_deref(),
        generation: record.generation,
        mode: record.mode.as_str(),
        verification: verification(&record.verification),
        key_exchange: key_exchange(record.key_exchange),
        tunnel_inner: record.tunnel_tls.as_str(),
        warm: record.warm,
        exchange_fields: record.exchange_labels.as_ref().map(exchange),
        status: record.status,
        end: end(record),
    };
    let mark = out.len();
    // Writing numbers and strings into a Vec has no way to fail; should serde ever find one, half a
    // line must not stay.
    if serde_json::to_writer(&mut *out, &line).is_err() {
        out.truncate(mark);
    } else {
        out.push(b'\n');
    }
}

/// Writes the line that stands where lines are missing.
pub(super) fn lost(now: SystemTime, lines: u64, why: &str) -> Vec<u8> {
    let line = Lost {
        time: rfc3339(now),
        kind: "lost",
        lines,
        reason: cut(why),
    };
    // Strings and numbers have no way to fail.
    let mut out = serde_json::to_vec(&line).unwrap_or_default();
    out.push(b'\n');
    out
}

/// The label of a record's kind.
fn kind(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Start => "start",
        RecordKind::End => "end",
    }
}

fn peer(peer: &Peer) -> PeerFields<'_> {
    match peer {
        Peer::Unix { pid, uid, gid } => PeerFields::Unix {
            uid: *uid,
            gid: *gid,
            pid: *pid,
        },
        Peer::Tcp { address, identity } => PeerFields::Tcp {
            address: *address,
            identity: identity.as_deref().map(cut),
        },
    }
}

fn verification(result: &VerificationResult) -> Option<Verification<'_>> {
    match result {
        VerificationResult::NotApplicable => None,
        VerificationResult::Verified(identity) => Some(Verification {
            result: "verified",
            cause: None,
            identity: Some(cut(identity)),
        }),
        VerificationResult::Observed { identity, cause } => Some(Verification {
            result: "observed",
            cause: Some(cause),
            identity: Some(cut(identity)),
        }),
        VerificationResult::Refused { cause } => Some(Verification {
            result: "refused",
            cause: Some(cause),
            identity: None,
        }),
    }
}

fn key_exchange(groups: KeyExchange) -> Option<KeyExchangeFields> {
    let fields = KeyExchangeFields {
        listener: groups.listener.map(Group::as_str),
        downstream: groups.downstream.map(Group::as_str),
        upstream: groups.upstream.map(Group::as_str),
    };
    (groups != KeyExchange::default()).then_some(fields)
}

fn exchange(labels: &ExchangeLabels) -> ExchangeFields<'_> {
    ExchangeFields {
        action: labels.action.as_str(),
        protocol: labels.protocol,
        namespace: labels.namespace.as_deref().map(cut),
        pod: labels.pod.as_deref().map(cut),
        container: labels.container.as_deref().map(cut),
        user: labels.user.as_deref().map(cut),
        path: labels.path.map(ApiPath::as_str),
        why: labels.path.and_then(ApiPath::why),
    }
}

fn end(record: &StreamRecord) -> Option<EndFields<'_>> {
    match record.kind {
        RecordKind::Start => None,
        RecordKind::End => Some(EndFields {
            bytes_up: record.bytes.up,
            bytes_down: record.bytes.down,
            duration_ms: u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            reason: record.reason.as_str(),
            side: record.side.as_str(),
            phase: record.phase.as_str(),
            detail: record.detail.as_deref().map(cut),
        }),
    }
}

fn shown(value: &impl Display) -> Cow<'static, str> {
    Cow::Owned(cut(&value.to_string()).into_owned())
}

/// Cuts a text at [`MAX_TEXT`] bytes or the character boundary before it.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    Cow::Owned(format!("{}...", &text[..end]))
}
