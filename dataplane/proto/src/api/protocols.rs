//! Says who has to know the subprotocols that a WebSocket offers, and finds a token among them.

use super::Subresource;
use crate::headers::{HeaderName, HeaderValue, Headers, Sole};

/// Says which server has to know the subprotocols of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// The container runtime: API server and kubelet pass the bytes on.
    Runtime,
    /// The kubelet, if its node says that it does; else the API server translates.
    Kubelet,
    /// Unknown: the API server decides.
    Unclear,
}

/// What container runtimes have spoken since before API servers translated anything.
const OF_RUNTIMES: &[&str] = &[
    "",
    "base64.channel.k8s.io",
    "channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v4.channel.k8s.io",
];
const CLOSING_STREAMS: &str = "v5.channel.k8s.io";
const TUNNELLED_SPDY: &str = "SPDY/3.1+portforward.k8s.io";
/// Begins the item in which browsers send a token (apiserver `request/websocket/protocol.go`).
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
const HEADER: &str = "Sec-WebSocket-Protocol";

/// Judges the subprotocols of a WebSocket. A token among them is none.
///
/// API server and kubelet look at the first line alone, runtimes at all: more than one is unclear.
#[must_use]
pub fn protocols(subresource: Subresource, headers: &Headers) -> Protocols {
    let offered = match headers.sole(HEADER) {
        Sole::Absent => return Protocols::Runtime,
        Sole::Repeated => return Protocols::Unclear,
        Sole::One(line) => line,
    };
    let translated = match subresource {
        Subresource::Exec | Subresource::Attach => CLOSING_STREAMS,
        Subresource::PortForward => TUNNELLED_SPDY,
        Subresource::Log => return Protocols::Unclear,
    };
    let mut judged = Protocols::Runtime;
    for item in offered.elements().filter(|item| !is_bearer(item)) {
        if item == translated.as_bytes() {
            judged = Protocols::Kubelet;
        } else if !OF_RUNTIMES.iter().any(|known| item == known.as_bytes()) {
            return Protocols::Unclear;
        }
    }
    judged
}

/// A token among the subprotocols. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, derive_more::Debug)]
pub enum Bearer<'a> {
    /// There is none.
    Absent,
    /// This one, in base64url without padding, beside another subprotocol.
    #[debug("Encoded(redacted)")]
    Encoded(&'a str),
    /// Several, or nothing beside it: API servers refuse that.
    Unclear,
}

/// Finds the token among the subprotocols of a WebSocket. It is a secret: never log it.
#[must_use]
pub fn bearer(headers: &Headers) -> Bearer<'_> {
    let mut tokens = headers.elements(HEADER).filter(|item| is_bearer(item));
    let (token, another) = (tokens.next(), tokens.next());
    let Some(token) = token else {
        return Bearer::Absent;
    };
    let beside = headers.elements(HEADER).any(|item| !is_bearer(item));
    let encoded = token
        .get(BEARER.len()..)
        .and_then(|token| str::from_utf8(token).ok());
    match (encoded, another) {
        (Some(encoded), None) if beside => Bearer::Encoded(encoded),
        _ => Bearer::Unclear,
    }
}

/// Takes every token out of the subprotocols, and leaves the others in one line.
pub fn take_bearer(headers: &mut Headers) {
    if !headers.elements(HEADER).any(is_bearer) {
        return;
    }
    let others: Vec<_> = headers
        .elements(HEADER)
        .filter(|item| !is_bearer(item))
        .collect();
    match HeaderValue::new(others.join(&b","[..])) {
        Ok(line) if !line.as_bytes().is_empty() => {
            headers.set(HeaderName::from_static(HEADER), line);
        }
        _ => drop(headers.remove(HEADER)),
    }
}

/// Any case counts: what only looks like a token to us may be one to another reader.
fn is_bearer(item: &[u8]) -> bool {
    let begin = item.get(..BEARER.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(BEARER.as_bytes()))
}
