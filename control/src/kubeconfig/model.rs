//! Reads the fields of a kubeconfig, with the place of each entry.

use crate::config::{ConfigErrors, Node, Problem, Report, Section, Value, document, value};
use std::path::Path;
use zeroize::Zeroizing;

/// Entries of one list; the largest kubeconfigs that people share have a few hundred.
const ENTRIES: usize = 4096;
/// Arguments and variables of one plugin.
const ARGUMENTS: usize = 1024;

/// A kubeconfig as it stands in its file.
#[derive(Default)]
pub(super) struct Model {
    pub(super) current: Option<String>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) users: Vec<User>,
    pub(super) contexts: Vec<Context>,
}

/// Base64 in the file, or a path.
#[derive(Default)]
pub(super) struct Piece {
    /// The entry's path in the document, as in `users[0].user`.
    pub(super) path: String,
    /// The field, as in `client-key`.
    pub(super) field: &'static str,
    pub(super) file: Option<String>,
    pub(super) data: Option<Zeroizing<String>>,
}

impl Piece {
    pub(super) fn is_absent(&self) -> bool {
        self.file.is_none() && self.data.is_none()
    }
}

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) server: Option<String>,
    pub(super) tls_server_name: Option<String>,
    pub(super) insecure: bool,
    pub(super) authority: Piece,
    pub(super) proxied: bool,
}

#[derive(Default)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) certificate: Piece,
    pub(super) key: Piece,
    pub(super) token: Option<Zeroizing<String>>,
    pub(super) token_file: Option<String>,
    pub(super) basic: bool,
    pub(super) provider: bool,
    pub(super) impersonates: bool,
    pub(super) exec: Option<Exec>,
}

#[derive(Default)]
pub(super) struct Exec {
    pub(super) command: Option<String>,
    pub(super) version: Option<String>,
    pub(super) interactive: bool,
}

#[derive(Default)]
pub(super) struct Context {
    pub(super) name: String,
    pub(super) cluster: Option<String>,
    pub(super) user: Option<String>,
}

/// Parses a kubeconfig; fields that client-go does not know are mistakes, though it ignores them.
pub(super) fn parse(text: &str, file: &Path) -> Result<Model, ConfigErrors> {
    let (model, _) = document::parse_any(text, file, |root, report| {
        document::expect(root, "apiVersion", "v1", report);
        document::expect(root, "kind", "Config", report);
        ignore(root, &["preferences", "extensions"], report);
        Some(Model {
            current: optional(root, "current-context", report),
            clusters: clusters(root, report),
            users: users(root, report),
            contexts: contexts(root, report),
        })
    })?;
    Ok(model)
}

fn clusters(root: &mut Section<'_>, report: &mut Report) -> Vec<Cluster> {
    let mut found = Vec::new();
    for mut entry in root.sections("clusters", ENTRIES, report) {
        let mut cluster = Cluster {
            name: optional(&mut entry, "name", report).unwrap_or_default(),
            ..Cluster::default()
        };
        if let Some(mut section) = entry.section("cluster", report) {
            cluster.server = optional(&mut section, "server", report);
            cluster.tls_server_name = optional(&mut section, "tls-server-name", report);
            let insecure = section.optional("insecure-skip-tls-verify", value::boolean, report);
            cluster.insecure = insecure.unwrap_or_default();
            cluster.authority = piece(
                &mut section,
                ("certificate-authority", "certificate-authority-data"),
                report,
            );
            cluster.proxied = optional(&mut section, "proxy-url", report).is_some();
            ignore(&mut section, &["disable-compression", "extensions"], report);
            section.finish(report);
        }
        entry.finish(report);
        found.push(cluster);
    }
    found
}

fn users(root: &mut Section<'_>, report: &mut Report) -> Vec<User> {
    let mut found = Vec::new();
    for mut entry in root.sections("users", ENTRIES, report) {
        let mut user = User {
            name: optional(&mut entry, "name", report).unwrap_or_default(),
            ..User::default()
        };
        if let Some(section) = entry.section("user", report) {
            read_user(section, &mut user, report);
        }
        entry.finish(report);
        found.push(user);
    }
    found
}

fn read_user(mut section: Section<'_>, user: &mut User, report: &mut Report) {
    user.certificate = piece(
        &mut section,
        ("client-certificate", "client-certificate-data"),
        report,
    );
    user.key = piece(&mut section, ("client-key", "client-key-data"), report);
    user.token = optional(&mut section, "token", report).map(Zeroizing::new);
    user.token_file = optional(&mut section, "tokenFile", report);
    user.basic = section.has("username") || section.has("password");
    user.provider = section.has("auth-provider");
    user.impersonates = section.has("as") || section.has("as-groups");
    ignore(
        &mut section,
        &[
            "username",
            "password",
            "auth-provider",
            "as",
            "as-uid",
            "as-groups",
            "as-user-extra",
            "extensions",
        ],
        report,
    );
    if let Some(mut exec) = section.section("exec", report) {
        user.exec = Some(Exec {
            command: optional(&mut exec, "command", report),
            version: optional(&mut exec, "apiVersion", report),
            interactive: optional(&mut exec, "interactiveMode", report).is_some(),
        });
        exec.list("args", ARGUMENTS, anything, report);
        exec.list("env", ARGUMENTS, anything, report);
        ignore(
            &mut exec,
            &["installHint", "provideClusterInfo", "extensions"],
            report,
        );
        exec.finish(report);
    }
    section.finish(report);
}

fn contexts(root: &mut Section<'_>, report: &mut Report) -> Vec<Context> {
    let mut found = Vec::new();
    for mut entry in root.sections("contexts", ENTRIES, report) {
        let mut context = Context {
            name: optional(&mut entry, "name", report).unwrap_or_default(),
            ..Context::default()
        };
        if let Some(mut section) = entry.section("context", report) {
            context.cluster = optional(&mut section, "cluster", report);
            context.user = optional(&mut section, "user", report);
            ignore(&mut section, &["namespace", "extensions"], report);
            section.finish(report);
        }
        entry.finish(report);
        found.push(context);
    }
    found
}

/// A file field and its data field.
fn piece(
    section: &mut Section<'_>,
    (field, data): (&'static str, &'static str),
    report: &mut Report,
) -> Piece {
    Piece {
        path: section.path().to_owned(),
        field,
        file: optional(section, field, report),
        data: optional(section, data, report).map(Zeroizing::new),
    }
}

/// Text that counts as absent when it is empty, as in Go.
fn optional(section: &mut Section<'_>, field: &'static str, report: &mut Report) -> Option<String> {
    let text = |node: &Node| match &node.value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(Problem::new(
            format!("is {}, not a string", other.kind()),
            "quote it",
        )),
    };
    section
        .optional(field, text, report)
        .filter(|text| !text.is_empty())
}

fn anything(_: &Node) -> Result<(), Problem> {
    Ok(())
}

fn ignore(section: &mut Section<'_>, fields: &[&'static str], report: &mut Report) {
    for field in fields {
        section.optional(field, anything, report);
    }
}
