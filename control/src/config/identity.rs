//! Reads `identity`, who the gateway is to an authority, and `authority`, one of its own.

use super::bounds;
use super::model::Identity;
use eyesplice_identity::document::{FileRef, Node, Problem, Section, value};
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::inventory::check_node_name;

/// Reads the section. It comes first: other sections name files in its directory.
pub(super) fn read(root: &mut Section<'_>) -> Option<Identity> {
    let mut section = root.section("identity")?;
    let name = section.required("name", "gateway-1", name);
    let server = section.required("server", "https://10.0.0.1:6443", server);
    let ca = section.required_file("caFile", "ca.crt");
    let token = section.file("tokenFile");
    let dir = section.required_file("dir", "/var/lib/eyesplice/identity");
    let issuer = section.file("issuerCAFile");
    let lifetime = |node: &Node| value::duration(node, &bounds::SIGNING);
    let lifetime = section.optional("lifetime", lifetime);
    Some(Identity {
        name: name?,
        server: server?,
        ca_file: ca?,
        token_file: token,
        dir: dir?.path,
        issuer_ca_file: issuer,
        lifetime,
    })
}

/// Reads where the configuration of an authority is that runs in the same process.
pub(super) fn read_authority(root: &mut Section<'_>) -> Option<FileRef> {
    let mut section = root.section("authority")?;
    section.required_file("configFile", "authority.yaml")
}

fn name(node: &Node) -> Result<String, Problem> {
    let name = value::text(node)?;
    match check_node_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => Err(Problem::new(
            format!("{name:?} {problem}"),
            "write it like gateway-1, as in approval.gateways of the authority",
        )),
    }
}

/// The address of an API server.
pub(super) fn server(node: &Node) -> Result<Endpoint, Problem> {
    let text = value::text(node)?;
    text.parse().map_err(|problem| {
        let what = format!("{text:?} {problem}");
        Problem::new(what, "write it like https://10.0.0.1:6443")
    })
}

/// Reports that something is to come from the authority and no identity is there to ask with.
pub(super) fn missing(section: &Section<'_>, field: &str) {
    let what = "needs `identity`, which names the authority and this gateway";
    let fix = "add `identity: {name: .., server: .., caFile: .., tokenFile: .., dir: ..}`";
    section.error(field, what, fix);
}
