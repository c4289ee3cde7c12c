//! The allow-list of an agent: what it dials for its gateways, whom it does not trust blindly.

use crate::config::{Allow, is_below};
use crate::policy::{BuiltinDenial, builtin_denial};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// By what an address is allowed; the rule in audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// The kubelet of this node.
    Kubelet,
    /// One of the networks.
    Network,
}

impl Allowed {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Network => "cidrs",
        }
    }
}

/// Why an address or a name is not dialled, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// Whatever the networks say.
    Builtin(IpAddr, BuiltinDenial),
    /// In none of them.
    Network(IpAddr),
    /// In one of them, at another port.
    Port(u16),
    /// Below none of the suffixes.
    Name(String),
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(address, denial) => write!(
                f,
                "{address} is {denial}, and an agent dials none; only allow.kubelet may be at a \
                 loopback address"
            ),
            Self::Network(address) => write!(
                f,
                "{address} is in none of the agent's allow.cidrs; add it there if gateways may \
                 reach it"
            ),
            Self::Port(port) => write!(
                f,
                "port {port} is not among the agent's allow.ports; add it there if gateways may \
                 reach it"
            ),
            Self::Name(name) => write!(
                f,
                "{name} is below none of the agent's allow.dnsSuffixes; add one if the agent is \
                 to resolve it"
            ),
        }
    }
}

/// Judges one address, which a gateway asked for or a name has. `own` is where this process
/// listens.
pub(super) fn judge(
    allow: &Allow,
    own: &[SocketAddr],
    address: IpAddr,
    port: u16,
) -> Result<Allowed, Forbidden> {
    let address = address.to_canonical();
    let dialled = SocketAddr::new(address, port);
    if own.contains(&dialled) {
        return Err(Forbidden::Builtin(address, BuiltinDenial::OwnListener));
    }
    if allow.kubelet == Some(dialled) {
        return Ok(Allowed::Kubelet);
    }
    if let Some(denial) = builtin_denial(address, &[]) {
        return Err(Forbidden::Builtin(address, denial));
    }
    if !allow.cidrs.iter().any(|net| net.contains(&address)) {
        return Err(Forbidden::Network(address));
    }
    if !allow.ports.is_empty() && !allow.ports.iter().any(|ports| ports.contains(port)) {
        return Err(Forbidden::Port(port));
    }
    Ok(Allowed::Network)
}

/// Whether the agent resolves a name, in lower case; its addresses are judged afterwards.
pub(super) fn judge_name(allow: &Allow, name: &str) -> Result<(), Forbidden> {
    if allow
        .dns_suffixes
        .iter()
        .any(|suffix| is_below(name, suffix))
    {
        Ok(())
    } else {
        Err(Forbidden::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InnerTls;
    use crate::config::PortRange;

    fn allow() -> Allow {
        Allow {
            kubelet: Some("127.0.0.1:10250".parse().unwrap()),
            kubelet_port: None,
            inner: InnerTls::default(),
            cidrs: ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "::/0"]
                .map(|net| net.parse().unwrap())
                .into(),
            ports: vec![PortRange {
                first: 80,
                last: 89,
            }],
            dns_suffixes: vec!["lab.example".to_owned()],
        }
    }

    #[test]
    fn judge_allows_the_kubelet_and_the_networks_and_no_special_address_in_them() {
        let own = ["10.0.0.9:80".parse().unwrap()];
        for (target, allowed) in [
            ("127.0.0.1:10250", Some(Allowed::Kubelet)),
            ("[::ffff:127.0.0.1]:10250", Some(Allowed::Kubelet)),
            ("127.0.0.1:80", None),
            ("127.0.0.2:10250", None),
            ("[::1]:80", None),
            ("169.254.169.254:80", None),
            ("[64:ff9b::a9fe:a9fe]:80", None),
            ("10.0.0.1:80", Some(Allowed::Network)),
            ("10.0.0.1:10250", None),
            ("10.0.0.9:80", None),
            ("192.168.0.1:80", None),
            ("[fd00::1]:89", Some(Allowed::Network)),
            ("[fd00::1]:90", None),
            ("[fe80::1]:80", None),
        ] {
            let target: SocketAddr = target.parse().unwrap();
            let verdict = judge(&allow(), &own, target.ip(), target.port());
            assert_eq!(
                verdict.as_ref().ok(),
                allowed.as_ref(),
                "{target}: {verdict:?}"
            );
        }
    }

    #[test]
    fn judge_words_say_which_list_to_change() {
        let say = |target: &str| {
            let target: SocketAddr = target.parse().unwrap();
            judge(&allow(), &[], target.ip(), target.port())
                .unwrap_err()
                .to_string()
        };
        assert!(say("192.168.0.1:80").contains("allow.cidrs"));
        assert!(say("10.0.0.1:443").contains("allow.ports"));
        assert!(say("127.0.0.1:80").contains("is a loopback address"));
        assert!(judge_name(&allow(), "db.lab.example").is_ok());
        let refused = judge_name(&allow(), "db.other.example")
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("db.other.example is below none"),
            "{refused}"
        );
    }
}
