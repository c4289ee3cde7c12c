//! The address of an API server.

use eyesplice_proto::target::Host;
use hyper::http::uri::Authority;
use rustls::pki_types::ServerName;
use std::fmt;
use std::str::FromStr;

const HTTPS_PORT: u16 = 443;

/// An API server by `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What its certificate must cover.
    pub server_name: ServerName<'static>,
}

/// A text that names no API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or no URL.
    #[error("is not an https URL")]
    Scheme,
    /// More than a host and a port.
    #[error("has more than a host and a port")]
    Path,
    /// A host that no certificate names.
    #[error("has no DNS name or IP address")]
    Host,
    /// A port that is none.
    #[error("has no port between 1 and 65535 behind the colon")]
    Port,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: hyper::Uri = text.parse().map_err(|_| EndpointError::Scheme)?;
        if uri.scheme_str() != Some("https") {
            return Err(EndpointError::Scheme);
        }
        let authority = uri.authority().ok_or(EndpointError::Scheme)?;
        let bare = authority.as_str().contains('@') || !matches!(uri.path(), "" | "/");
        if bare || uri.query().is_some() {
            return Err(EndpointError::Path);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let server_name = match host.parse::<Host>() {
            Ok(Host::Ip(ip)) => ServerName::from(ip),
            Ok(Host::Name(name)) => {
                ServerName::try_from(name.as_str().to_owned()).map_err(|_| EndpointError::Host)?
            }
            Err(_) => return Err(EndpointError::Host),
        };
        Ok(Self {
            host: host.to_owned(),
            port: port(authority)?,
            server_name,
        })
    }
}

/// The port behind the host. What is none, hyper takes for one that is not there.
fn port(authority: &Authority) -> Result<u16, EndpointError> {
    let Some((_, behind)) = authority.as_str().split_once(authority.host()) else {
        return Err(EndpointError::Host);
    };
    let Some(digits) = behind.strip_prefix(':') else {
        return Ok(HTTPS_PORT);
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if is_number && port > 0 => Ok(port),
        _ => Err(EndpointError::Port),
    }
}

/// Writes `HOST:PORT`, as a Host header has it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_an_https_host_and_port() {
        let show = |text: &str| {
            text.parse::<Endpoint>()
                .map(|endpoint| endpoint.to_string())
        };
        for (text, expected) in [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("https://api.example", "api.example:443"),
            ("https://api.example/", "api.example:443"),
            ("https://[fd00::1]:6443", "[fd00::1]:6443"),
        ] {
            assert_eq!(show(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, error) in [
            ("", EndpointError::Scheme),
            ("10.0.0.1:6443", EndpointError::Scheme),
            ("http://10.0.0.1", EndpointError::Scheme),
            ("https://", EndpointError::Scheme),
            ("https://a/b", EndpointError::Path),
            ("https://a?b", EndpointError::Path),
            ("https://user@a", EndpointError::Path),
            ("https://a_b!", EndpointError::Host),
            ("https://999.1.1.1", EndpointError::Host),
            ("https://10.0.0.1:99999", EndpointError::Port),
            ("https://10.0.0.1:0", EndpointError::Port),
            ("https://10.0.0.1:", EndpointError::Port),
            ("https://[fd00::1]:65536", EndpointError::Port),
        ] {
            assert_eq!(show(text), Err(error), "{text}");
        }
    }
}
