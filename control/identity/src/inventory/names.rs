//! Names that a node may have: its own, and the addresses it is dialled at.

use std::net::IpAddr;
use std::str::FromStr;

/// A node's name becomes part of file names (`kubelet-client-NAME.crt` and a temporary name next
/// to it), which end at 255 bytes; Kubernetes itself ends at 253.
pub const MAX_NODE_NAME: usize = 200;

/// RFC 1035, section 2.3.4.
pub const MAX_DNS_NAME: usize = 253;
const MAX_DNS_LABEL: usize = 63;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// Longer than what DNS or a file name takes.
    #[error("is {0} bytes long, at most {1} are allowed")]
    TooLong(usize, usize),
    /// A character that no host name has.
    #[error("has the character {0:?}; use letters, digits, '-' and '.' only")]
    Character(char),
    /// Two dots in a row, or a label that begins or ends with a hyphen, or is too long.
    #[error("has a part that is empty, longer than 63 bytes, or begins or ends with '-'")]
    Label,
    /// Looks like an IPv4 address, and is none.
    #[error("ends in a number but is no IP address; write four numbers from 0 to 255")]
    NotAnAddress,
    /// A wildcard of an address or a whole top-level domain.
    #[error("is no wildcard that a client takes; write *.DOMAIN with two labels or more")]
    Wildcard,
    /// An address that names no single host.
    #[error("is no address of one host (unspecified or multicast)")]
    NotOneHost,
}

/// What a node, pod or service is dialled at: an address or a DNS name, in one spelling only
/// (IPv4-mapped IPv6 becomes IPv4, letters become small).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
pub enum HostAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name without trailing dot.
    Dns(String),
}

impl FromStr for HostAddress {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            if ip.is_unspecified() || ip.is_multicast() {
                return Err(NameError::NotOneHost);
            }
            return Ok(Self::Ip(ip));
        }
        let name = dns_name(text, MAX_DNS_NAME)?;
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::NotAnAddress);
        }
        Ok(Self::Dns(name))
    }
}

impl HostAddress {
    /// Whether it stands for many names, which nobody can dial.
    pub(crate) fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with(WILDCARD))
    }
}

/// What stands before the names that a wildcard covers (RFC 6125, section 6.4.3): one whole label.
const WILDCARD: &str = "*.";

/// Reads what a server's certificate may cover: what [`HostAddress`] takes, or a wildcard of at least
/// two labels behind the asterisk, for fewer cover names of strangers.
///
/// # Errors
/// Says what is wrong with the name.
pub(crate) fn certificate_name(text: &str) -> Result<HostAddress, NameError> {
    let Some(domain) = text.strip_prefix(WILDCARD) else {
        return text.parse();
    };
    match domain.parse()? {
        HostAddress::Dns(domain) if domain.contains('.') => {
            Ok(HostAddress::Dns(format!("{WILDCARD}{domain}")))
        }
        _ => Err(NameError::Wildcard),
    }
}

/// Checks a node's name: a DNS subdomain in small letters, as Kubernetes wants it.
///
/// # Errors
/// Says what is wrong with the name.
pub fn check_node_name(name: &str) -> Result<(), NameError> {
    if let Some(upper) = name.chars().find(char::is_ascii_uppercase) {
        return Err(NameError::Character(upper));
    }
    dns_name(name, MAX_NODE_NAME).map(drop)
}

fn dns_name(text: &str, limit: usize) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limit {
        return Err(NameError::TooLong(text.len(), limit));
    }
    let foreign = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if let Some(character) = text.chars().find(foreign) {
        return Err(NameError::Character(character));
    }
    let bad_label = |label: &str| {
        label.is_empty()
            || label.len() > MAX_DNS_LABEL
            || label.starts_with('-')
            || label.ends_with('-')
    };
    if text.split('.').any(bad_label) {
        return Err(NameError::Label);
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_address_is_read_in_one_spelling() {
        for (text, expected) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("2001:DB8::0:1", "2001:db8::1"),
            ("Worker-3.Example", "worker-3.example"),
            ("localhost", "localhost"),
            ("4workers", "4workers"),
        ] {
            assert_eq!(
                text.parse::<HostAddress>().unwrap().to_string(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn host_address_refuses_what_names_no_host() {
        for (text, expected) in [
            ("", NameError::Empty),
            ("0.0.0.0", NameError::NotOneHost),
            ("ff02::1", NameError::NotOneHost),
            ("10.0.0.300", NameError::NotAnAddress),
            ("10.0.0", NameError::NotAnAddress),
            ("[::1]", NameError::Character('[')),
            ("a b", NameError::Character(' ')),
            ("*.example", NameError::Character('*')),
            ("a..b", NameError::Label),
            ("a.", NameError::Label),
            ("-a", NameError::Label),
            ("a-.b", NameError::Label),
            ("wörker", NameError::Character('ö')),
        ] {
            assert_eq!(text.parse::<HostAddress>(), Err(expected), "{text}");
        }
        let long = "a.".repeat(127);
        assert!(matches!(
            long.parse::<HostAddress>(),
            Err(NameError::TooLong(..))
        ));
        assert_eq!("a".repeat(64).parse::<HostAddress>(), Err(NameError::Label));
    }

    #[test]
    fn node_name_follows_kubernetes() {
        for good in [
            "worker-3",
            "ip-10-0-0-7.eu-west-1.compute.internal",
            "10.0.0.7",
            "a",
        ] {
            assert_eq!(check_node_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_node_name("Worker"), Err(NameError::Character('W')));
        assert_eq!(check_node_name("../x"), Err(NameError::Character('/')));
        assert_eq!(check_node_name("x_y"), Err(NameError::Character('_')));
        let limit = MAX_NODE_NAME;
        assert_eq!(
            check_node_name(&"a".repeat(201)),
            Err(NameError::TooLong(201, limit))
        );
    }
}
