//! Says which files, ports and programs a kubeconfig names: what a process that uses it reaches.

use super::check::beside;
use super::model::{self, Model, Piece, User};
use crate::document;
use hyper::Uri;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a kubeconfig names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Itself, and the files of certificates, keys and tokens.
    pub files: BTreeSet<PathBuf>,
    /// The TCP ports of its servers; nothing where a proxy is on the way.
    pub ports: Option<BTreeSet<u16>>,
    /// The user of the current context, if its credential comes from a program.
    pub program: Option<String>,
}

/// Reads a kubeconfig for what it names; one that cannot be read names itself alone. Blocks.
pub fn named(file: &Path) -> Named {
    let mut named = Named {
        files: BTreeSet::from([file.to_owned()]),
        ports: Some(BTreeSet::new()),
        program: None,
    };
    let text = document::read_file(file).map(Zeroizing::new);
    let model = text.and_then(|text| model::parse(&text, file));
    let Ok((model, _)) = model else {
        return named;
    };
    let clusters = model.clusters.iter().map(|cluster| &cluster.authority);
    let users = model.users.iter();
    let users = users.flat_map(|user| [&user.certificate, &user.key]);
    named.files.extend(clusters.chain(users).filter_map(place));
    let tokens = model.users.iter().filter_map(|user| {
        let token = user.token_file.as_ref()?;
        Some(beside(&user.origin, token))
    });
    named.files.extend(tokens);
    named.ports = ports(&model);
    named.program = program(&model);
    named
}

/// The file of a piece; what the kubeconfig has itself is in none.
fn place(piece: &Piece) -> Option<PathBuf> {
    match (&piece.data, &piece.file) {
        (None, Some(file)) => Some(beside(&piece.origin, file)),
        _ => None,
    }
}

fn ports(model: &Model) -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for cluster in &model.clusters {
        if cluster.proxy.is_some() {
            return None;
        }
        let uri = cluster.server.as_deref().unwrap_or_default();
        // What is no URL is refused by whoever connects.
        let Ok(uri) = uri.parse::<Uri>() else {
            continue;
        };
        let usual = match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        };
        ports.insert(uri.port_u16().unwrap_or(usual));
    }
    Some(ports)
}

fn program(model: &Model) -> Option<String> {
    let of_context = model.current_context()?.user.as_deref()?;
    let user = model.users.iter().find(|user| user.name == of_context)?;
    starts_program(user).then(|| user.name.clone())
}

fn starts_program(user: &User) -> bool {
    let provider = user.provider.as_ref();
    user.exec.is_some() || provider.is_some_and(|provider| provider.fields.contains("cmd-path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (tempfile::TempDir, Named) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, text).unwrap();
        let named = named(&file);
        (dir, named)
    }

    const TWO: &str = "\
apiVersion: v1
kind: Config
current-context: a
contexts:
- {name: a, context: {cluster: a, user: a}}
clusters:
- {name: a, cluster: {server: 'https://10.0.0.1:6443', certificate-authority: ca.crt}}
- {name: b, cluster: {server: 'https://b.example', certificate-authority-data: YQ==}}
users:
- {name: a, user: {client-certificate: pki/a.crt, client-key: /k/a.key}}
- {name: b, user: {tokenFile: token}}
- {name: c, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: x}}}
";

    #[test]
    fn files_are_named_beside_the_kubeconfig_and_ports_by_its_servers() {
        let (dir, named) = read(TWO);
        let want = ["config", "ca.crt", "pki/a.crt", "/k/a.key", "token"];
        let want = want.map(|name| dir.path().join(name));
        assert_eq!(named.files, BTreeSet::from(want));
        assert_eq!(named.ports, Some(BTreeSet::from([443, 6443])));
        // Another context's user is not asked.
        assert_eq!(named.program, None);
    }

    #[test]
    fn program_and_proxy_of_the_current_context_are_named() {
        let (_dir, named) = read(&TWO.replace("user: a}}", "user: c}}"));
        assert_eq!(named.program.as_deref(), Some("c"));
        let (_dir, named) = read(&TWO.replace("b.example'", "b.example', proxy-url: 'http://p:1'"));
        assert_eq!(named.ports, None);
    }

    #[test]
    fn what_is_no_kubeconfig_names_itself_alone() {
        let (dir, named) = read("kind: Nonsense");
        assert_eq!(named.files, BTreeSet::from([dir.path().join("config")]));
    }
}
