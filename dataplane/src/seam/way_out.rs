//! How the connections of an agent to a gateway are made: dialled, or through a proxy.

use super::ProxyTls;
use arc_swap::ArcSwap;
use eyesplice_proto::login::Login;
use eyesplice_proto::target::{Host, Target};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// How a gateway is reached.
#[derive(Clone, Debug)]
pub enum GatewayWay {
    /// By dialling one of these: raced. Never empty.
    Dial(Vec<SocketAddr>),
    /// By asking a proxy for it. A name is the proxy's to resolve.
    Proxy(Arc<WayOut>, Target),
}

/// A proxy on the way out of an agent's network.
#[derive(Debug)]
pub struct WayOut {
    /// What it is called in errors: its URL.
    pub name: Arc<str>,
    /// Where it listens, as it was resolved last; empty if it never was. New connections go to what
    /// stands there then.
    pub at: ArcSwap<Vec<SocketAddr>>,
    /// How it is asked.
    pub protocol: ProxyProtocol,
    /// What it is shown where it wants to know who asks.
    pub login: Option<Login>,
}

/// How a proxy is asked for a connection.
#[derive(Debug)]
pub enum ProxyProtocol {
    /// By an HTTP CONNECT; over TLS, or in plain text.
    Http(Option<ProxyTls>),
    /// By SOCKS5.
    Socks5,
}

impl GatewayWay {
    /// Whether connections are made in the same way: to the same address, or through the same
    /// proxy.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dial(addresses), Self::Dial(others)) => addresses == others,
            (Self::Proxy(proxy, target), Self::Proxy(other, asked)) => {
                Arc::ptr_eq(proxy, other) && target == asked
            }
            (Self::Dial(_), Self::Proxy(..)) | (Self::Proxy(..), Self::Dial(_)) => false,
        }
    }

    /// How data connections are made after a control connection, which was dialled at an address:
    /// to what the gateway advertises, or to the same.
    pub(crate) fn of_data(&self, advertised: Option<SocketAddr>, dialled: SocketAddr) -> Self {
        match (self, advertised) {
            (Self::Dial(_), advertised) => Self::Dial(vec![advertised.unwrap_or(dialled)]),
            (Self::Proxy(proxy, _), Some(at)) => Self::Proxy(
                Arc::clone(proxy),
                Target {
                    host: Host::Ip(at.ip().to_canonical()),
                    port: at.port(),
                },
            ),
            (Self::Proxy(..), None) => self.clone(),
        }
    }
}

impl fmt::Display for GatewayWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(addresses) => match addresses.first() {
                Some(address) => address.fmt(f),
                None => f.write_str("no address"),
            },
            Self::Proxy(proxy, target) => write!(f, "{target} through proxy {}", proxy.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Arc<WayOut> {
        Arc::new(WayOut {
            name: "socks5://proxy.example:1080".into(),
            at: ArcSwap::default(),
            protocol: ProxyProtocol::Socks5,
            login: None,
        })
    }

    #[test]
    fn data_connections_go_where_the_control_went_or_where_the_gateway_advertises() {
        let address = |text: &str| text.parse().unwrap();
        let (one, two) = (address("10.0.0.1:8133"), address("10.0.0.2:8133"));
        let of = |way: &GatewayWay, advertised| way.of_data(advertised, two).to_string();
        let dialled = GatewayWay::Dial(vec![one, two]);
        assert_eq!(of(&dialled, None), "10.0.0.2:8133");
        assert_eq!(of(&dialled, Some(one)), "10.0.0.1:8133");
        let asked = GatewayWay::Proxy(proxy(), "gw.example:8133".parse().unwrap());
        let through = "through proxy socks5://proxy.example:1080";
        assert_eq!(of(&asked, None), format!("gw.example:8133 {through}"));
        assert_eq!(of(&asked, Some(one)), format!("10.0.0.1:8133 {through}"));
        // A proxy with another login is another way, wherever it listens.
        assert!(asked.is_same(&asked.clone()) && !asked.is_same(&dialled));
        let other = GatewayWay::Proxy(proxy(), "gw.example:8133".parse().unwrap());
        assert!(!asked.is_same(&other));
    }
}
