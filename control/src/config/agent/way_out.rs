//! Reads `gateways.proxy` of an agent: what stands between it and its gateways.

use eyesplice_identity::document::{FileRef, Node, Problem, Section, value};
use eyesplice_proto::target::{Target, TargetError};
use std::fmt;

/// A proxy on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyOut {
    /// How it is asked.
    pub scheme: ProxyScheme,
    /// Where it listens; a name is resolved by the agent.
    pub target: Target,
    /// `user:password`.
    pub credentials_file: Option<FileRef>,
    /// Issuers of its certificate; only of an `https` one, and of each of them.
    pub ca_file: Option<FileRef>,
}

/// How a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// By an HTTP CONNECT in plain text.
    Http,
    /// By an HTTP CONNECT over TLS.
    Https,
    /// By SOCKS5, with names for the proxy to resolve.
    Socks5,
}

/// All schemes.
const SCHEMES: [(&str, ProxyScheme); 3] = [
    ("http", ProxyScheme::Http),
    ("https", ProxyScheme::Https),
    ("socks5", ProxyScheme::Socks5),
];

const EXAMPLE: &str = "http://proxy.example:3128";

/// Its URL, which has no credentials.
impl fmt::Display for ProxyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = SCHEMES.iter().find(|(_, scheme)| *scheme == self.scheme);
        let (word, _) = scheme.unwrap_or(&SCHEMES[0]);
        write!(f, "{word}://{}", self.target)
    }
}

/// Reads the section.
pub(super) fn read(mut section: Section<'_>) -> Option<ProxyOut> {
    let url = section.required("url", EXAMPLE, url);
    let credentials_file = section.file("credentialsFile");
    let ca_file = section.file("caFile");
    let (scheme, target) = url?;
    match (scheme, section.is_blank("caFile")) {
        (ProxyScheme::Https, true) => section.missing("caFile", "proxy-ca.crt"),
        (ProxyScheme::Http | ProxyScheme::Socks5, false) => {
            let what = "is for an https proxy alone: nobody presents a certificate here";
            section.error("caFile", what, "remove it, or write `url: https://..`");
        }
        _ => {}
    }
    Some(ProxyOut {
        scheme,
        target,
        credentials_file,
        ca_file,
    })
}

/// A URL without credentials. What may have some is not repeated.
fn url(node: &Node) -> Result<(ProxyScheme, Target), Problem> {
    let text = value::text(node)?;
    let fix = format!("write it like {EXAMPLE} or socks5://proxy.example:1080");
    let (word, rest) = text.split_once("://").unwrap_or(("", &text));
    let scheme = SCHEMES.iter().find(|(name, _)| *name == word);
    let Some((_, scheme)) = scheme else {
        let fix = match word {
            "socks5h" => "write socks5://: names are the proxy's to resolve with it".to_owned(),
            _ => fix,
        };
        return Err(Problem::new(
            "is no URL of a http, https or socks5 proxy",
            fix,
        ));
    };
    match rest.strip_suffix('/').unwrap_or(rest).parse() {
        Ok(target) => Ok((*scheme, target)),
        Err(TargetError::UserInfo) => Err(Problem::new(
            "has a user or a password",
            "write `user:password` to a file of its own, and name that in credentialsFile",
        )),
        Err(error) => Err(Problem::new(format!("{text:?}: {error}"), fix)),
    }
}
