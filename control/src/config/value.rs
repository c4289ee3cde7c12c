//! Reads one scalar of a configuration: names to ask for, gateways, ports.

use super::model::{PortRange, ServerNames};
use eyesplice_identity::document::value::text;
use eyesplice_identity::document::{Node, Problem, Value};
use eyesplice_proto::target::{Host, Target};

/// A name that clients may ask for, or with a dot before it all names below it.
pub(super) fn server_names(node: &Node) -> Result<ServerNames, Problem> {
    let text = text(node)?;
    let suffix = text.strip_prefix('.');
    match suffix.unwrap_or(&text).parse() {
        Ok(Host::Name(name)) if suffix.is_some() => {
            Ok(ServerNames::Below(name.as_str().to_owned()))
        }
        Ok(Host::Name(name)) => Ok(ServerNames::Exactly(name.as_str().to_owned())),
        Ok(Host::Ip(_)) => Err(Problem::new(
            format!("{text:?} is an address, which no client sends as a server name"),
            "remove it: without a server name the dialled address is used",
        )),
        Err(_) => Err(Problem::new(
            format!("{text:?} is neither a DNS name nor a suffix"),
            "write it like web.prod.svc, or .svc for all names below",
        )),
    }
}

/// A name or an address of a gateway, with a port.
pub(super) fn endpoint(node: &Node) -> Result<Target, Problem> {
    let text = text(node)?;
    text.parse().map_err(|error| {
        let fix = "write a name or an address with a port, like \"gateway.example:8132\"";
        Problem::new(format!("{text:?}: {error}"), fix)
    })
}

/// A port, or a range of them as text: `10250`, `"30000-32767"`.
pub(super) fn ports(node: &Node) -> Result<PortRange, Problem> {
    const FIX: &str = "write a port from 1 to 65535, or a range like \"30000-32767\"";
    let (first, last) = match &node.value {
        Value::Integer(port) => (u16::try_from(*port).ok(), u16::try_from(*port).ok()),
        _ => {
            let text = text(node)?;
            let (first, last) = text.split_once('-').unwrap_or((&text, &text));
            (first.trim().parse().ok(), last.trim().parse().ok())
        }
    };
    match (first, last) {
        (Some(first), Some(last)) if first > 0 && first <= last => Ok(PortRange { first, last }),
        _ => Err(Problem::new("is not a port or a range of ports", FIX)),
    }
}
