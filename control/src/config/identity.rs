//! Reads `identity`, who the gateway is to an authority, and `authority`, one of its own.

use super::bounds;
use super::model::Identity;
use eyesplice_identity::document::{At, Node, Problem, Report, Section, value};
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::inventory::check_node_name;
use std::path::{Path, PathBuf};

/// Reads the section. It comes first: other sections name files in its directory.
pub(super) fn read(root: &mut Section<'_>, base: &Path, report: &mut Report) -> Option<Identity> {
    let mut section = root.section("identity", report)?;
    let file = |node: &Node| value::path(node, base);
    let name = section.required("name", "gateway-1", name, report);
    let server = section.required("server", "https://10.0.0.1:6443", server, report);
    let ca = section.required("caFile", "ca.crt", file, report);
    let token = section.optional("tokenFile", file, report);
    let dir = section.required("dir", "/var/lib/eyesplice/identity", file, report);
    let issuer = section.optional("issuerCAFile", file, report);
    let lifetime = |node: &Node| value::duration(node, &bounds::SIGNING);
    let lifetime = section.optional("lifetime", lifetime, report);
    section.finish(report);
    Some(Identity {
        name: name?,
        server: server?,
        ca_file: ca?,
        token_file: token,
        dir: dir?,
        issuer_ca_file: issuer,
        lifetime,
    })
}

/// Reads where the configuration of an authority is that runs in the same process.
pub(super) fn read_authority(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> Option<PathBuf> {
    let mut section = root.section("authority", report)?;
    let file = |node: &Node| value::path(node, base);
    let file = section.required("configFile", "authority.yaml", file, report);
    section.finish(report);
    file
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

fn server(node: &Node) -> Result<Endpoint, Problem> {
    let text = value::text(node)?;
    text.parse().map_err(|problem| {
        let what = format!("{text:?} {problem}");
        Problem::new(what, "write it like https://10.0.0.1:6443")
    })
}

/// Reports that something is to come from the authority and no identity is there to ask with.
pub(super) fn missing(path: &str, at: At, report: &mut Report) {
    let problem = Problem::new(
        "needs `identity`, which says whom to ask and as whom",
        "add `identity: {name: .., server: .., caFile: .., tokenFile: .., dir: ..}`",
    );
    report.error(path, at, problem);
}
