//! Reads the listeners of clients of the Kubernetes API, and `front`: what holds for all of them.

use super::bounds;
use super::break_glass;
use super::front_audit;
use super::kube_api::{FrontLimits, FrontSettings, FrontTransport, UserHeaders};
use super::serving;
use super::short_way;
use eyesplice_identity::document::{Node, Problem, Section, value};
use eyesplice_proto::headers::HeaderName;
use std::path::PathBuf;

/// What a listener reads like.
const EXAMPLE: [&str; 3] = ["\"0.0.0.0:6444\"", "front.crt", "front.key"];

/// Reads a listener; `kept` is where an identity keeps a certificate of the authority.
pub(super) fn read_listener(
    mut section: Section<'_>,
    kept: Option<PathBuf>,
) -> Option<FrontTransport> {
    let serving = serving::read(&mut section, kept, EXAMPLE);
    let client_ca_file = section.file("clientCAFile");
    Some(FrontTransport {
        address: serving.address?,
        tls_cert_file: serving.cert_file?,
        tls_private_key_file: serving.key_file?,
        tls_from_authority: serving.from_authority,
        client_ca_file,
    })
}

/// The fields of the certificate for front proxies.
pub(super) const PROXY_CLIENT: [&str; 2] = ["frontProxyClientCertFile", "frontProxyClientKeyFile"];

/// Reads the section; absent, it is as its defaults.
pub(super) fn read(root: &mut Section<'_>) -> FrontSettings {
    let Some(mut section) = root.section("front") else {
        return FrontSettings::default();
    };
    let [cert_field, key_field] = PROXY_CLIENT;
    let cert = section.file(cert_field);
    let key = section.file(key_field);
    for (has, lacks) in [(cert_field, key_field), (key_field, cert_field)] {
        if section.has(has) && !section.has(lacks) {
            let what = format!("is nothing without {lacks}");
            section.error(has, what, "add that");
        }
    }
    let default = UserHeaders::default();
    let mut names = |field: &'static str, default: Vec<String>| {
        let names = section.list(field, bounds::USER_HEADERS, header);
        if names.is_empty() { default } else { names }
    };
    let headers = UserHeaders {
        username: names("usernameHeaders", default.username),
        group: names("groupHeaders", default.group),
        uid: names("uidHeaders", default.uid),
        extra_prefix: names("extraHeaderPrefixes", default.extra_prefix),
    };
    let short_way = short_way::read(&mut section);
    let audit = front_audit::read(&mut section);
    let limits = read_limits(&mut section);
    let break_glass = break_glass::read(&mut section);
    FrontSettings {
        proxy_client: cert.zip(key),
        headers,
        short_way,
        audit,
        limits,
        break_glass,
    }
}

fn read_limits(front: &mut Section<'_>) -> FrontLimits {
    let Some(mut section) = front.section("limits") else {
        return FrontLimits::default();
    };
    let streams = |node: &Node| value::integer::<usize>(node, &bounds::STREAMS);
    let mut read = |field| section.optional(field, streams);
    FrontLimits {
        of_user: read("maxStreamsPerUser"),
        of_pod: read("maxStreamsPerPod"),
        of_node: read("maxStreamsPerNode"),
    }
}

fn header(node: &Node) -> Result<String, Problem> {
    let name = value::text(node)?;
    match HeaderName::new(name.as_bytes()) {
        Ok(_) => Ok(name),
        Err(_) => Err(Problem::new(
            format!("{name:?} is no name of a header"),
            "write it as the API server's flag has it, like X-Remote-User",
        )),
    }
}
