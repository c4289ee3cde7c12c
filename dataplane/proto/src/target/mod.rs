//! Parses `host:port`, the target of a CONNECT, into an address or a DNS name.
//!
//! What a resolver or `inet_aton` could read as another address than we do is refused: a policy that
//! checks the name must see what is dialled (docs/wire.md, "Names that resolve twice").

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use crate::limits;

/// Names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub host: Host,
    /// From 1.
    pub port: u16,
}

/// Names a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{_0}")]
pub enum Host {
    /// An address; IPv4 mapped into IPv6 is held as IPv4.
    Ip(IpAddr),
    /// A name that control resolves.
    Name(DnsName),
}

/// Holds a DNS name: lower-case letters, digits, hyphens and underscores, no dot at the end, and no
/// last label that could be a number.
#[derive(Clone, PartialEq, Eq, Hash, derive_more::Display, derive_more::Debug)]
#[display("{_0}")]
#[debug("{_0:?}")]
pub struct DnsName(Box<str>);

/// Why text is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    /// There is no port.
    #[error("authority has no port")]
    NoPort,
    /// The port is not a plain number from 1 to 65535.
    #[error("authority has a port that is not a number from 1 to 65535")]
    BadPort,
    /// There is an `@`.
    #[error("authority has user information")]
    UserInfo,
    /// An IPv6 address has a zone.
    #[error("authority has an IPv6 zone")]
    Zone,
    /// What stands in brackets is no IPv6 address, or brackets or colons are missing or misplaced.
    #[error("authority has a malformed IPv6 address; write it in brackets")]
    BadIpv6,
    /// The last label is a number, but the host is no dotted IPv4 address.
    #[error("authority has an IPv4 address in an unusual spelling; write four decimal parts")]
    OddIpv4,
    /// The name is empty, too long, or has an illegal label.
    #[error("authority has a malformed DNS name")]
    BadName,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            return Err(TargetError::UserInfo);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(TargetError::BadIpv6)?;
            let port = match port.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None if port.is_empty() => return Err(TargetError::NoPort),
                None => return Err(TargetError::BadIpv6),
            };
            return Ok(Self {
                host: Host::Ip(parse_ipv6(address)?),
                port,
            });
        }
        let (host, port) = text.split_once(':').ok_or(TargetError::NoPort)?;
        if port.contains(':') {
            return Err(TargetError::BadIpv6);
        }
        Ok(Self {
            port: parse_port(port)?,
            host: parse_name(host)?,
        })
    }
}

impl FromStr for Host {
    type Err = TargetError;

    /// Parses a host alone: an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(address) = text.strip_prefix('[') {
            let address = address.strip_suffix(']').ok_or(TargetError::BadIpv6)?;
            return parse_ipv6(address).map(Self::Ip);
        }
        if text.contains('@') {
            return Err(TargetError::UserInfo);
        }
        if text.contains(':') {
            parse_ipv6(text).map(Self::Ip)
        } else {
            parse_name(text)
        }
    }
}

impl DnsName {
    /// Gives the name, lower case, without a final dot.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_port(digits: &str) -> Result<u16, TargetError> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() {
        return Err(TargetError::NoPort);
    }
    if plain {
        digits.parse().map_err(|_| TargetError::BadPort)
    } else {
        Err(TargetError::BadPort)
    }
}

fn parse_ipv6(address: &str) -> Result<IpAddr, TargetError> {
    if address.contains('%') {
        return Err(TargetError::Zone);
    }
    let address: Ipv6Addr = address.parse().map_err(|_| TargetError::BadIpv6)?;
    Ok(address
        .to_ipv4_mapped()
        .map_or(IpAddr::V6(address), IpAddr::V4))
}

/// Parses what has no brackets: an IPv4 address or a name.
fn parse_name(host: &str) -> Result<Host, TargetError> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(address.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.split('.').all(is_label) {
        return Err(TargetError::BadName);
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(TargetError::OddIpv4);
    }
    Ok(Host::Name(DnsName(
        name.to_ascii_lowercase().into_boxed_str(),
    )))
}

fn is_label(label: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty()
        && label.len() <= limits::LABEL_BYTES
        && label.bytes().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Says whether `inet_aton` could take a label for a number: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let hexadecimal = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests;
