//! Reads a rule's `proxy`: another HTTP CONNECT proxy that is asked for the rule's targets.

use super::listeners::socket_path;
use super::model::{ProxySpec, ProxyTlsFiles};
use eyesplice_dataplane::seam::ProxyAddress;
use eyesplice_identity::document::{Node, Section, value};
use std::sync::Arc;

/// What is for TLS with the proxy.
const TLS: [&str; 4] = ["caFile", "certFile", "keyFile", "serverName"];

/// Reads the section of a rule with `via: proxy`, and refuses that of another one.
pub(super) fn read(rule: &mut Section<'_>, wanted: bool) -> Option<Arc<ProxySpec>> {
    if !wanted {
        if rule.has("proxy") {
            let fix = "remove it, or write `via: proxy`";
            rule.error("proxy", "is only for `via: proxy`", fix);
            rule.ignore("proxy");
        }
        return None;
    }
    let example = "{name: konnectivity, unix: /run/proxy.sock}";
    let mut section = rule.required_section("proxy", example)?;
    let name = section.required("name", "konnectivity", value::name);
    let base = section.base().to_owned();
    let unix = |node: &Node| socket_path(node, &base);
    let unix = section.optional("unix", unix);
    let address = section.optional("address", value::socket_address);
    let ca = section.file("caFile");
    let cert = section.file("certFile");
    let key = section.file("keyFile");
    let server_name = section.optional("serverName", value::host);
    if section.is_blank("certFile") != section.is_blank("keyFile") {
        let (has, lacks) = match section.is_blank("keyFile") {
            true => ("certFile", "keyFile"),
            false => ("keyFile", "certFile"),
        };
        section.error(has, format!("is nothing without {lacks}"), "add that");
    }
    let at = match (unix, address) {
        (Some(path), None) => {
            for field in TLS.into_iter().filter(|field| section.has(field)) {
                let what = "does not apply to a UNIX socket, which has no TLS";
                section.error(field, what, "remove it");
            }
            Some(ProxyAddress::Unix(path))
        }
        (None, Some(address)) => {
            if section.is_blank("caFile") {
                section.missing("caFile", "proxy-ca.crt");
            }
            Some(ProxyAddress::Tcp(vec![address]))
        }
        (None, None) => {
            if !section.has("unix") && !section.has("address") {
                let fix = "add `unix: /run/proxy.sock` or `address: 10.0.0.9:8131`";
                section.error("", "has neither `unix` nor `address`", fix);
            }
            None
        }
        (Some(_), Some(_)) => {
            let what = "has both `unix` and `address`";
            section.error("", what, "keep one");
            None
        }
    };
    Some(Arc::new(ProxySpec {
        name: Arc::from(name?),
        at: at?,
        tls: ca.map(|ca_file| ProxyTlsFiles {
            ca_file,
            client: cert.zip(key),
            server_name,
        }),
    }))
}
