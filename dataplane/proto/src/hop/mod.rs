//! Takes hop-by-hop headers off a head, then writes the few that the next hop needs.
//!
//! The handlers in front of and behind us forward all of them, and read only the first line of
//! `Connection` and `Upgrade` (docs/wire.md, "Hop-by-hop lines"), so exactly one line of each goes
//! out.

use smallvec::SmallVec;
use thiserror::Error;

use crate::chars::is_token;
use crate::framing::Framing;
use crate::head::{RequestHead, ResponseHead, Version};
use crate::headers::{HeaderName, HeaderValue, Headers};
use crate::limits;
use crate::upgrade::Upgrade;

/// Why a `Connection` header cannot be obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HopError {
    /// It names more headers than the bound.
    #[error("Connection lists more than {} elements", limits::CONNECTION_ELEMENTS)]
    TooMany,
    /// An element is no token.
    #[error("Connection lists something that is not a token")]
    NotAToken,
    /// It names a header that every hop needs: obeying would change routing, framing or identity.
    #[error("Connection lists {0}, which is not hop-by-hop")]
    EndToEnd(&'static str),
}

/// Headers that a peer may not have us drop by listing them in `Connection`.
const END_TO_END: &[&str] = &[
    "Authorization",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Host",
    "Origin",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "X-Stream-Protocol-Version",
];

/// Headers that concern one connection only, beside `Connection` itself, what it lists, and all
/// whose names begin with `Proxy-`.
const HOP_BY_HOP: &[&str] = &[
    "HTTP2-Settings",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Names who may be forged by a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// `X-Remote-*`: the user, for a server that takes us for a front proxy.
    Remote,
    /// `Impersonate-*`: the user to act as.
    Impersonate,
    /// `X-Forwarded-*`, `Forwarded`, `X-Real-Ip`: the address and name that the client used.
    Forwarded,
}

impl Identity {
    /// All of them: what no client may send to a kubelet.
    pub const ALL: &[Self] = &[Self::Remote, Self::Impersonate, Self::Forwarded];

    /// Says whom a header name could forge; `_` counts as `-`, as CGI-like peers read it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let starts = |prefix: &str| {
            let mut bytes = name
                .bytes()
                .map(|byte| if byte == b'_' { b'-' } else { byte });
            prefix
                .bytes()
                .all(|want| bytes.next().is_some_and(|b| b.eq_ignore_ascii_case(&want)))
        };
        let is = |whole: &str| name.len() == whole.len() && starts(whole);
        if starts("x-remote-") {
            Some(Self::Remote)
        } else if starts("impersonate-") {
            Some(Self::Impersonate)
        } else if starts("x-forwarded-") || is("forwarded") || is("x-real-ip") {
            Some(Self::Forwarded)
        } else {
            None
        }
    }
}

/// Takes out every header that could forge one of these identities, and counts them.
pub fn strip_identity(headers: &mut Headers, forged: &[Identity]) -> usize {
    headers.remove_where(|name| Identity::of(name.as_str()).is_some_and(|it| forged.contains(&it)))
}

/// Takes out every hop-by-hop header.
///
/// # Errors
/// `HopError`: refuse the message (400 or 502); the headers are as before.
pub fn strip_hop_by_hop(headers: &mut Headers) -> Result<(), HopError> {
    let mut listed: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for element in headers.elements("connection") {
        if listed.len() >= limits::CONNECTION_ELEMENTS {
            return Err(HopError::TooMany);
        }
        if !element.iter().all(|byte| is_token(*byte)) {
            return Err(HopError::NotAToken);
        }
        let name = HeaderName::new(element).map_err(|_| HopError::NotAToken)?;
        if let Some(needed) = END_TO_END.iter().find(|needed| name.is(needed)) {
            return Err(HopError::EndToEnd(needed));
        }
        listed.push(name);
    }
    headers.remove_where(|name| {
        name.is("connection")
            || HOP_BY_HOP.iter().any(|hop| name.is(hop))
            || name
                .as_str()
                .get(..PROXY.len())
                .is_some_and(|it| it.eq_ignore_ascii_case(PROXY))
            || listed.iter().any(|gone| name.is(gone.as_str()))
    });
    Ok(())
}

const PROXY: &str = "proxy-";

/// Makes the head of a request fit for the upstream: hop-by-hop headers out, then the framing and,
/// for an upgrade, one `Connection: Upgrade` and one `Upgrade`.
///
/// Decide framing and upgrade from the head *before* this call, and add identity headers *after* it:
/// a client's `Connection` can list any of them.
///
/// # Errors
/// `HopError`: answer 400; the head is as before.
pub fn rewrite_request(
    head: &mut RequestHead,
    framing: Framing,
    upgrade: Option<&Upgrade>,
) -> Result<(), HopError> {
    strip_hop_by_hop(&mut head.headers)?;
    head.version = Version::Http11;
    framing.announce(&mut head.headers);
    if let Some(upgrade) = upgrade {
        write_upgrade(&mut head.headers, upgrade);
    }
    Ok(())
}

/// Says what follows a reply on the downstream connection.
#[derive(Debug, Clone, Copy)]
pub enum After<'a> {
    /// The next request.
    KeepAlive,
    /// The end: `Connection: close` is written. Always so after `Framing::UntilClose`.
    Close,
    /// The other protocol: a 101.
    Switch(&'a Upgrade),
}

/// Makes the head of a reply fit for the downstream, as `rewrite_request` does.
///
/// # Errors
/// `HopError`: answer 502; the head is as before.
pub fn rewrite_response(
    head: &mut ResponseHead,
    framing: Framing,
    after: After<'_>,
) -> Result<(), HopError> {
    strip_hop_by_hop(&mut head.headers)?;
    head.version = Version::Http11;
    if matches!(head.status, 100..=199 | 204) {
        head.headers.remove("Content-Length");
    }
    framing.announce(&mut head.headers);
    match after {
        After::Switch(upgrade) => write_upgrade(&mut head.headers, upgrade),
        After::KeepAlive if framing != Framing::UntilClose => {}
        After::KeepAlive | After::Close => head.headers.append(CONNECTION, CLOSE),
    }
    Ok(())
}

/// Says whether the sender of this head will go on using the connection (RFC 9112 section 9.3).
#[must_use]
pub fn keeps_alive(version: Version, headers: &Headers) -> bool {
    match version {
        Version::Http11 => !headers.lists("connection", "close"),
        Version::Http10 => false,
    }
}

const CONNECTION: HeaderName = HeaderName::from_static("Connection");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const UPGRADE: &str = "Upgrade";

fn write_upgrade(headers: &mut Headers, upgrade: &Upgrade) {
    headers.append(CONNECTION, HeaderValue::from_static(UPGRADE));
    let token = HeaderValue::from_static(upgrade.token());
    headers.append(HeaderName::from_static(UPGRADE), token);
}

#[cfg(test)]
mod tests;
