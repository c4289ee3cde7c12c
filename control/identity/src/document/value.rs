//! Reads one scalar: text, numbers, durations, addresses, ports.

use super::bounds;
use super::report::Problem;
use super::tree::{Node, Value};
use crate::spki::SpkiHash;
use eyesplice_proto::target::Host;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Non-empty text.
///
/// # Errors
/// It is no text, or empty.
pub fn text(node: &Node) -> Result<String, Problem> {
    match &node.value {
        Value::Text(text) if text.is_empty() => Err(Problem::new(
            "is empty",
            "write a value or leave the field out",
        )),
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Fraction | Value::Bool(_) => Err(Problem::new(
            format!("is {}, not a string", node.value.kind()),
            "quote it",
        )),
        other => {
            let what = format!("is {}, not a string", other.kind());
            Err(Problem::new(what, "write one value here"))
        }
    }
}

/// A label of metrics and audit: letters, digits, `-`, `_` and `.`.
///
/// # Errors
/// It cannot be a label.
pub fn name(node: &Node) -> Result<String, Problem> {
    let name = text(node)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.len() > bounds::NAME_BYTES || !name.bytes().all(allowed) {
        let what = format!("{name:?} is not a usable name");
        let fix = format!(
            "use at most {} letters, digits, '-', '_', '.'",
            bounds::NAME_BYTES
        );
        return Err(Problem::new(what, fix));
    }
    Ok(name)
}

/// One of a few words.
///
/// # Errors
/// It is none of them.
pub fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T, Problem> {
    let text = text(node)?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let what = format!("{text:?} is not a known value");
            Err(Problem::new(
                what,
                format!("use one of: {}", known.join(", ")),
            ))
        }
    }
}

/// `true` or `false`.
///
/// # Errors
/// It is neither.
pub fn boolean(node: &Node) -> Result<bool, Problem> {
    match node.value {
        Value::Bool(value) => Ok(value),
        ref other => {
            let what = format!("is {}, not a boolean", other.kind());
            Err(Problem::new(what, "write true or false"))
        }
    }
}

/// A whole number within bounds.
///
/// # Errors
/// It is none, or out of bounds.
pub fn integer<T: TryFrom<i128>>(node: &Node, range: &RangeInclusive<i128>) -> Result<T, Problem> {
    let (low, high) = (range.start(), range.end());
    let fix = format!("write a whole number from {low} to {high}");
    match node.value {
        Value::Integer(value) if range.contains(&value) => {
            T::try_from(value).map_err(|_| Problem::new(format!("{value} is out of range"), fix))
        }
        Value::Integer(value) => Err(Problem::new(format!("{value} is out of range"), fix)),
        ref other => Err(Problem::new(
            format!("is {}, not a whole number", other.kind()),
            fix,
        )),
    }
}

/// A path; a relative one is taken from the configuration file's directory.
///
/// # Errors
/// It is no path.
pub fn path(node: &Node, base: &Path) -> Result<PathBuf, Problem> {
    let path = text(node)?;
    if path.contains('\0') {
        return Err(Problem::new("holds a NUL byte", "write a file system path"));
    }
    Ok(base.join(path))
}

/// A duration within bounds, in the notation of Kubernetes and Go: `10s`, `1m30s`, `1.5h`.
///
/// # Errors
/// It is none, or out of bounds.
pub fn duration(node: &Node, range: &RangeInclusive<Duration>) -> Result<Duration, Problem> {
    const FIX: &str = "write it like 10s, 1m30s, 500ms or 24h";
    if let Value::Integer(value) = node.value {
        return Err(Problem::new(format!("{value} has no unit"), FIX));
    }
    let text = text(node)?;
    let Some(value) = parse_duration(&text) else {
        return Err(Problem::new(format!("{text:?} is not a duration"), FIX));
    };
    if range.contains(&value) {
        return Ok(value);
    }
    let what = format!("{text} is out of range");
    let fix = format!(
        "use {} to {}",
        DurationText(*range.start()),
        DurationText(*range.end())
    );
    Err(Problem::new(what, fix))
}

/// Nanoseconds of each unit; two letters before their first letter alone.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses Go's `time.ParseDuration` notation without signs; `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole: u64 = if number == 0 {
            0
        } else {
            rest[..number].parse().ok()?
        };
        rest = &rest[number..];
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            fraction = &after[..digits];
            rest = &after[digits..];
        }
        if (number == 0 && fraction.is_empty()) || fraction.len() > 9 {
            return None;
        }
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        let part: u64 = if fraction.is_empty() {
            0
        } else {
            let tenths = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
            let scaled = fraction.parse::<u128>().ok()? * u128::from(*scale) / tenths;
            u64::try_from(scaled).ok()?
        };
        nanos = nanos
            .checked_add(whole.checked_mul(*scale)?)?
            .checked_add(part)?;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// Writes a duration as a configuration does.
pub struct DurationText(pub Duration);

impl std::fmt::Display for DurationText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => write!(f, "0s"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1000) => write!(f, "{}s", millis / 1000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

/// An address and port to listen on; port 0 lets the kernel choose.
///
/// # Errors
/// It is none.
pub fn socket_address(node: &Node) -> Result<SocketAddr, Problem> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let fix = "write an IP address and a port, like \"10.0.0.1:8131\" or \"[fd00::1]:8131\"";
        Problem::new(format!("{text:?} is not an address with a port"), fix)
    })
}

/// A CIDR; a bare address stands for itself alone.
///
/// # Errors
/// It is none.
pub fn cidr(node: &Node) -> Result<IpNet, Problem> {
    let text = text(node)?;
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            let fix = "write it like 10.0.0.0/8 or fd00::/8";
            return Err(Problem::new(format!("{text:?} is not a CIDR"), fix));
        }
    };
    if net.addr() != net.network() {
        let what = format!("{text:?} has bits set beyond its prefix");
        return Err(Problem::new(what, format!("write {}", net.trunc())));
    }
    if let IpNet::V6(v6) = net
        && v6.addr().to_ipv4_mapped().is_some()
        && v6.prefix_len() >= 96
    {
        let what = format!("{text:?} is an IPv4 network in IPv6 notation");
        return Err(Problem::new(what, "write it in IPv4 notation"));
    }
    Ok(net)
}

/// A DNS suffix, lower case, without the dots that people put before and behind it.
///
/// # Errors
/// It is none.
pub fn dns_suffix(node: &Node) -> Result<String, Problem> {
    let text = text(node)?;
    if text.starts_with('*') {
        let what = format!("{text:?} is a wildcard");
        let fix = "write the suffix alone; it matches the name itself and all below";
        return Err(Problem::new(what, fix));
    }
    match text.trim_start_matches('.').parse() {
        Ok(Host::Name(name)) => Ok(name.as_str().to_owned()),
        Ok(Host::Ip(_)) => {
            let fix = "write addresses under `cidrs`";
            Err(Problem::new(
                format!("{text:?} is an address, not a name"),
                fix,
            ))
        }
        Err(_) => {
            let fix = "write it like nodes.example";
            Err(Problem::new(format!("{text:?} is not a DNS name"), fix))
        }
    }
}

/// A DNS name or an address, as certificates carry them.
///
/// # Errors
/// It is neither.
pub fn host(node: &Node) -> Result<Host, Problem> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let what = format!("{text:?} is neither a DNS name nor an IP address");
        Problem::new(what, "write it like api.example or 10.0.0.5")
    })
}

/// Permission bits in octal, as text: YAML would read a bare 0600 as six hundred.
///
/// # Errors
/// It is none.
pub fn mode(node: &Node) -> Result<u32, Problem> {
    const FIX: &str = "write octal digits in quotes, like \"0600\"";
    if !matches!(node.value, Value::Text(_)) {
        return Err(Problem::new("is not a quoted file mode", FIX));
    }
    let text = text(node)?;
    let digits = text.strip_prefix("0o").unwrap_or(&text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => Ok(mode),
        _ => Err(Problem::new(format!("{text:?} is not a file mode"), FIX)),
    }
}

/// SHA-256 of a public key, in every spelling that a pins file takes.
///
/// # Errors
/// It is none.
pub fn spki_hash(node: &Node) -> Result<SpkiHash, Problem> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let fix = "write 44 characters of base64 or 64 of hex";
        Problem::new(format!("{text:?} is not a SHA-256"), fix)
    })
}
