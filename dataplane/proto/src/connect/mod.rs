//! Speaks the API server's CONNECT as `tunnelHTTPConnect` in its egress selector does (docs/wire.md,
//! "CONNECT" and "The CONNECT answer").
//!
//! Its Host header is the literal `127.0.0.1` and is not compared with the target. A reply with a
//! single byte after its head fails the API server's dial, so `ESTABLISHED` goes out alone. Of a
//! refusal only status and reason phrase reach the kubectl user.
//!
//! A gateway that has no agent for a target asks another one by the same request, in which `HOP`
//! says that it was passed on. Once is all that can be said.

use thiserror::Error;

use crate::framing;
use crate::head::{Method, RequestHead, ResponseHead};
use crate::headers::{HeaderName, HeaderValue, Sole};
use crate::login::Login;
use crate::parse::{self, HeadError, HeadLimits, Parsed, Progress};
use crate::serialize;
use crate::target::{Target, TargetError};

/// The reply to a CONNECT that succeeded. Nothing may ride in the same write.
pub const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The header of a CONNECT that another gateway passes on, always with the value `1`.
pub const HOP: &str = "Eyesplice-Hop";

/// What a CONNECT asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where to.
    pub target: Target,
    /// It says that another gateway has passed it on.
    pub hop: bool,
}

/// Why a request is no CONNECT that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// Its head is not acceptable.
    #[error("CONNECT head is not acceptable")]
    Head(#[source] HeadError),
    /// It is another method: the peer takes us for an origin server.
    #[error(
        "request is not a CONNECT; point an EgressSelectorConfiguration here, not a kubeconfig"
    )]
    NotConnect,
    /// Its target is not acceptable.
    #[error("CONNECT target is not acceptable")]
    Target(#[source] TargetError),
    /// It announces a body.
    #[error("CONNECT announces a body")]
    Body,
    /// It says otherwise than once that it was passed on.
    #[error("CONNECT was passed on by more than one gateway; a stream is passed on once")]
    Hops,
}

impl ConnectError {
    /// Gives the HTTP status that tells the peer about it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Head(error) => error.status(),
            Self::NotConnect => 405,
            Self::Target(_) | Self::Body | Self::Hops => 400,
        }
    }
}

/// Parses a CONNECT; arguments as for `parse::parse_request`. Bytes after `consumed` are the
/// tunnel's first: deliver them upstream once the dial succeeded.
///
/// # Errors
/// `ConnectError`: answer with `write_refusal` and close.
pub fn parse_connect(
    buf: &[u8],
    progress: &mut Progress,
    limits: &HeadLimits,
) -> Result<Parsed<Target>, ConnectError> {
    let parsed = parse::parse_request(buf, progress, limits).map_err(ConnectError::Head)?;
    parsed.try_map(|head| connect_target(&head))
}

/// Parses a CONNECT of an API server, or of another gateway; as `parse_connect`.
///
/// # Errors
/// `ConnectError`: answer with `write_refusal` and close.
pub fn parse_asked(
    buf: &[u8],
    progress: &mut Progress,
    limits: &HeadLimits,
) -> Result<Parsed<Asked>, ConnectError> {
    let parsed = parse::parse_request(buf, progress, limits).map_err(ConnectError::Head)?;
    parsed.try_map(|head| {
        let target = connect_target(&head)?;
        let hop = match head.headers.sole(HOP) {
            Sole::Absent => false,
            Sole::One(value) if value.is("1") => true,
            Sole::One(_) | Sole::Repeated => return Err(ConnectError::Hops),
        };
        Ok(Asked { target, hop })
    })
}

/// Reads the target of a CONNECT whose head was parsed.
///
/// # Errors
/// `ConnectError`: never `Head`.
pub fn connect_target(head: &RequestHead) -> Result<Target, ConnectError> {
    if head.method != Method::CONNECT {
        return Err(ConnectError::NotConnect);
    }
    match framing::request_framing(head) {
        Ok(framing) if framing.is_empty() => {}
        Ok(_) | Err(_) => return Err(ConnectError::Body),
    }
    head.target.as_str().parse().map_err(ConnectError::Target)
}

/// Appends a CONNECT to another proxy (RFC 9110 section 9.3.6), with the login that it wants.
pub fn write_connect(target: &Target, login: Option<&Login>, out: &mut Vec<u8>) {
    match login {
        None => write(target, &[], out),
        Some(login) => {
            let line = ["Proxy-Authorization: Basic ", &login.basic(), "\r\n"];
            write(target, &line, out);
        }
    }
}

/// Appends a CONNECT to another gateway, to which it is passed on.
pub fn write_passed_on(target: &Target, out: &mut Vec<u8>) {
    write(target, &[HOP, ": 1\r\n"], out);
}

fn write(target: &Target, line: &[&str], out: &mut Vec<u8>) {
    let authority = target.to_string();
    let head = [
        "CONNECT ",
        &authority,
        " HTTP/1.1\r\nHost: ",
        &authority,
        "\r\n",
    ];
    for part in head.iter().chain(line).chain(&["\r\n"]) {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Parses a proxy's answer to a CONNECT; arguments as for `parse::parse_request`. With a status of
/// 2xx the bytes after `consumed` are the tunnel's first, whatever its headers say of a body.
///
/// # Errors
/// `HeadError`: it is no answer.
pub fn parse_answer(
    buf: &[u8],
    progress: &mut Progress,
) -> Result<Parsed<ResponseHead>, HeadError> {
    parse::parse_response(buf, progress, &HeadLimits::CONNECT)
}

/// Appends the reply to a CONNECT that failed. Cause and remedy go into `reason`, which is made one
/// visible line of bounded length. If the target is what failed, `unreached` says so to programs.
pub fn write_refusal(status: u16, reason: &str, unreached: Option<Unreached>, out: &mut Vec<u8>) {
    let mut head = ResponseHead::new(status, reason);
    let headers = &mut head.headers;
    headers.append(
        HeaderName::from_static(PROXY_STATUS),
        HeaderValue::from_static(unreached.map_or("eyesplice", Unreached::line)),
    );
    headers.append(
        HeaderName::from_static("Content-Length"),
        HeaderValue::from(0),
    );
    headers.append(
        HeaderName::from_static("Connection"),
        HeaderValue::from_static("close"),
    );
    serialize::write_response(&head, out);
}

/// The header in which a proxy says that a target failed, and not itself (RFC 9209).
pub const PROXY_STATUS: &str = "Proxy-Status";

/// Names what keeps a proxy from reaching a target: error types of RFC 9209, section 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreached {
    /// The target refused the connection.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// Nothing leads to it.
    Unavailable,
}

impl Unreached {
    const ALL: &[Self] = &[Self::Refused, Self::Timeout, Self::Unavailable];

    const fn line(self) -> &'static str {
        match self {
            Self::Refused => "eyesplice; error=connection_refused",
            Self::Timeout => "eyesplice; error=connection_timeout",
            Self::Unavailable => "eyesplice; error=destination_unavailable",
        }
    }

    /// Reads the header of any proxy: what the last member of the list says, which is the proxy
    /// nearest to the client.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let last = value.rsplit(|byte| *byte == b',').next()?;
        let mut parameters = last.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let error = parameters.find_map(|one| one.strip_prefix(b"error="))?;
        let named = |it: &&Self| {
            it.line()
                .split_once('=')
                .is_some_and(|(_, name)| name.as_bytes() == error)
        };
        match error {
            b"destination_ip_unroutable" | b"destination_not_found" => Some(Self::Unavailable),
            _ => Self::ALL.iter().find(named).copied(),
        }
    }
}

#[cfg(test)]
mod tests;
