//! Judges upgrades: what a request asks for, and whether a reply may turn the stream into raw bytes.
//!
//! Raw mode begins only after a fully parsed 101 that grants exactly what was asked
//! (CVE-2018-1002105), and a reply below 400 that grants nothing is not shown to the client
//! (CVE-2020-8559): docs/wire.md, "Raw bytes after a refused upgrade", "Replies below 400 to an
//! upgrade", "Request smuggling" and "Upgrade tokens".

use ring::digest;
use thiserror::Error;

use crate::framing::{self, Framing, FramingError};
use crate::head::{Method, RequestHead, ResponseHead, Version};
use crate::headers::{Headers, Sole};

/// The protocols that kubelets upgrade to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// SPDY/3.1, by GET or POST.
    Spdy31,
    /// WebSocket version 13, by GET; with the answer that the key demands.
    WebSocket(Accept),
}

/// Holds the `Sec-WebSocket-Accept` that belongs to a request's key.
#[derive(Clone, PartialEq, Eq, derive_more::Debug)]
#[debug("{}", _0.escape_ascii())]
pub struct Accept([u8; ACCEPT_BYTES]);

impl Upgrade {
    /// Gives the value of the `Upgrade` header.
    #[must_use]
    pub const fn token(&self) -> &'static str {
        match self {
            Self::Spdy31 => "SPDY/3.1",
            Self::WebSocket(_) => "websocket",
        }
    }
}

/// Why an upgrade is not passed on. Answer with `status` and a plain body: kubectl then falls back
/// from WebSocket to SPDY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Several `Upgrade` headers, or several protocols in one.
    #[error("request offers more than one upgrade; offer SPDY/3.1 or websocket")]
    Several,
    /// Any protocol but the two, h2c included.
    #[error("request asks for an upgrade other than SPDY/3.1 or websocket")]
    Protocol,
    /// `Connection` holds `upgrade` inside another word; Go peers would take it for an upgrade.
    #[error("request has `upgrade` inside another element of its Connection header")]
    Disguised,
    /// SPDY by other than GET or POST, WebSocket by other than GET.
    #[error("request asks for an upgrade with a method that cannot have one")]
    Method,
    /// The request announces a body, whose bytes could be taken for the other protocol's.
    #[error("request asks for an upgrade and announces a body; send none")]
    Body,
    /// Not exactly one `Sec-WebSocket-Version: 13`.
    #[error("request does not ask for WebSocket version 13")]
    WebSocketVersion,
    /// Not exactly one `Sec-WebSocket-Key` of 16 bytes in base64.
    #[error("request has no well-formed Sec-WebSocket-Key")]
    WebSocketKey,
}

impl Refusal {
    /// Gives the HTTP status that tells the client about it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Method => 405,
            Self::WebSocketVersion => 426,
            _ => 400,
        }
    }
}

/// Says what upgrade a request asks for.
///
/// An `Upgrade` header without `Connection: upgrade` asks for none, nor does the reverse (nginx
/// writes it on every request of a common configuration): `hop` takes both off.
///
/// # Errors
/// `Refusal`: do not dial.
pub fn asked(head: &RequestHead, framing: Framing) -> Result<Option<Upgrade>, Refusal> {
    let headers = &head.headers;
    let mut disguised = false;
    let mut connection = false;
    for element in headers.elements("connection") {
        let exact = element.eq_ignore_ascii_case(UPGRADE);
        connection |= exact;
        disguised |= !exact
            && element
                .windows(UPGRADE.len())
                .any(|w| w.eq_ignore_ascii_case(UPGRADE));
    }
    if disguised {
        return Err(Refusal::Disguised);
    }
    let token = match headers.sole("upgrade") {
        Sole::One(token) if connection => token,
        Sole::Repeated if connection => return Err(Refusal::Several),
        _ => return Ok(None),
    };
    let upgrade = if token.is("SPDY/3.1") {
        if !matches!(head.method, Method::GET | Method::POST) {
            return Err(Refusal::Method);
        }
        Upgrade::Spdy31
    } else if token.is("websocket") {
        Upgrade::WebSocket(websocket(head)?)
    } else if token.elements().count() > 1 {
        return Err(Refusal::Several);
    } else {
        return Err(Refusal::Protocol);
    };
    if framing.is_empty() {
        Ok(Some(upgrade))
    } else {
        Err(Refusal::Body)
    }
}

/// What the reply of an upstream means for the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The upgrade is granted: write this head alone, in its own write, then raw bytes both ways.
    Relay101,
    /// An interim reply: more heads follow. Count them (`limits::INTERIM_REPLIES`). Pass a 100 on
    /// to a client that sent `Expect`, nothing to one that waits for a 101: Go's dialler takes the
    /// first head for the answer.
    Interim,
    /// The reply to an ordinary request: relay it with its framing.
    Relay,
    /// The upgrade was refused: relay head and body by their framing, then close both legs.
    RelayAndClose,
    /// The reply is not acceptable: answer 502 and close the upstream leg.
    BadGateway(BadReply),
}

/// Why a reply is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadReply {
    /// A 101 to a request that did not ask.
    #[error("upstream switched protocols unasked")]
    Unasked,
    /// 2xx or 3xx to an upgrade.
    #[error("upstream answered an upgrade with status {0} instead of 101")]
    NotSwitched(u16),
    /// A 101 in HTTP/1.0, without `Connection: upgrade`, or with a body.
    #[error("upstream's 101 is malformed")]
    Malformed,
    /// A 101 whose `Upgrade` is not the one that was asked for, once.
    #[error("upstream switched to another protocol than was asked for")]
    Protocol,
    /// A 101 without the `Sec-WebSocket-Accept` that the key demands.
    #[error("upstream's Sec-WebSocket-Accept does not answer the key; a cache or an impostor did")]
    Accept,
    /// The end of its body cannot be told.
    #[error("upstream's reply cannot be framed")]
    Framing(#[source] FramingError),
}

/// Judges a reply to a request that asked for `asked` by `method`, and gives its framing.
#[must_use]
pub fn judge_reply(
    asked: Option<&Upgrade>,
    method: &Method,
    reply: &ResponseHead,
) -> (Reply, Framing) {
    let framing = match framing::response_framing(method, reply) {
        Ok(framing) => framing,
        Err(error) => return (Reply::BadGateway(BadReply::Framing(error)), Framing::None),
    };
    let judged = match (asked, reply.status) {
        (None, 101) => Reply::BadGateway(BadReply::Unasked),
        (Some(asked), 101) => match check_101(asked, reply) {
            Ok(()) => Reply::Relay101,
            Err(why) => Reply::BadGateway(why),
        },
        (_, 100..=199) => Reply::Interim,
        (None, _) => Reply::Relay,
        (Some(_), 200..=399) => Reply::BadGateway(BadReply::NotSwitched(reply.status)),
        (Some(_), _) => Reply::RelayAndClose,
    };
    (judged, framing)
}

fn check_101(asked: &Upgrade, reply: &ResponseHead) -> Result<(), BadReply> {
    let headers = &reply.headers;
    if reply.version != Version::Http11
        || !headers.lists("connection", "upgrade")
        || headers.contains("transfer-encoding")
    {
        return Err(BadReply::Malformed);
    }
    match headers.sole("upgrade") {
        Sole::One(token) if token.is(asked.token()) => {}
        _ => return Err(BadReply::Protocol),
    }
    match (asked, headers.sole("sec-websocket-accept")) {
        (Upgrade::Spdy31, _) => Ok(()),
        (Upgrade::WebSocket(accept), Sole::One(found)) if found.as_bytes() == accept.0 => Ok(()),
        (Upgrade::WebSocket(_), _) => Err(BadReply::Accept),
    }
}

fn websocket(head: &RequestHead) -> Result<Accept, Refusal> {
    if head.method != Method::GET {
        return Err(Refusal::Method);
    }
    match head.headers.sole("sec-websocket-version") {
        Sole::One(version) if version.is("13") => {}
        _ => return Err(Refusal::WebSocketVersion),
    }
    sole_key(&head.headers).ok_or(Refusal::WebSocketKey)
}

/// Reads the key and computes its answer (RFC 6455 section 4.2.2).
fn sole_key(headers: &Headers) -> Option<Accept> {
    let Sole::One(key) = headers.sole("sec-websocket-key") else {
        return None;
    };
    let key = key.as_bytes();
    let digits = key.strip_suffix(b"==")?;
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if digits.len() != KEY_DIGITS || !digits.iter().all(base64) {
        return None;
    }
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key);
    sha1.update(GUID);
    Some(Accept(base64_digest(sha1.finish().as_ref())))
}

/// Base64 digits of a key of 16 bytes, without its padding.
const KEY_DIGITS: usize = 22;
/// Bytes of a SHA-1 digest in base64.
const ACCEPT_BYTES: usize = digest::SHA1_OUTPUT_LEN.div_ceil(3) * 4;
/// Constant of RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const UPGRADE: &[u8] = b"upgrade";

/// Encodes a SHA-1 digest; bytes beyond its length would be left out.
fn base64_digest(bytes: &[u8]) -> [u8; ACCEPT_BYTES] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = [b'='; ACCEPT_BYTES];
    for (group, slots) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for (index, slot) in slots.iter_mut().enumerate().take(group.len() + 1) {
            *slot = DIGITS[(bits >> (18 - 6 * index) & 63) as usize];
        }
    }
    out
}

#[cfg(test)]
mod tests;
