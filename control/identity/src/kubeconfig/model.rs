//! Reads the fields of a kubeconfig as client-go does, with the place of each entry.

use super::yaml_of_go as yaml;
use crate::document;
use crate::document::{ConfigErrors, Finding, Node, Problem, Report, Section, Value, value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Entries of one list; the largest kubeconfigs that people share have a few hundred.
const ENTRIES: usize = 4096;
/// Arguments and variables of one plugin.
const ARGUMENTS: usize = 1024;

/// What several kubeconfigs come to: of each name the first entry counts.
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
    /// The kubeconfig.
    pub(super) origin: PathBuf,
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

    pub(super) fn is_twice(&self) -> bool {
        self.file.is_some() && self.data.is_some()
    }

    /// The name of the field with its entry.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.path, self.field)
    }
}

/// An entry of one of the lists.
pub(super) trait Entry {
    fn name(&self) -> &str;
}

macro_rules! entries {
    ($($entry:ty),*) => {
        $(impl Entry for $entry {
            fn name(&self) -> &str {
                &self.name
            }
        })*
    };
}

entries!(Cluster, User, Context);

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) server: Option<String>,
    pub(super) tls_server_name: Option<String>,
    pub(super) insecure: bool,
    pub(super) authority: Piece,
    pub(super) proxy: Option<String>,
}

#[derive(Default)]
pub(super) struct User {
    pub(super) name: String,
    /// The kubeconfig: relative paths start where it lies.
    pub(super) origin: PathBuf,
    pub(super) certificate: Piece,
    pub(super) key: Piece,
    pub(super) token: Option<Zeroizing<String>>,
    pub(super) token_file: Option<String>,
    pub(super) username: bool,
    pub(super) password: bool,
    pub(super) provider: Option<Provider>,
    pub(super) impersonates: bool,
    /// Says of what groups, UID or extra fields whoever is impersonated is.
    pub(super) impersonation_details: bool,
    pub(super) exec: Option<Exec>,
}

/// A credential plugin that is part of the client.
#[derive(Default)]
pub(super) struct Provider {
    pub(super) name: String,
    /// The names of what is configured.
    pub(super) fields: HashSet<String>,
}

#[derive(Default)]
pub(super) struct Exec {
    pub(super) command: Option<String>,
    pub(super) version: Option<String>,
    pub(super) interactive: Option<String>,
    pub(super) nameless_variable: bool,
}

#[derive(Default)]
pub(super) struct Context {
    pub(super) name: String,
    pub(super) cluster: Option<String>,
    pub(super) user: Option<String>,
}

/// Parses a kubeconfig. What client-go takes and does not read is a warning.
pub(super) fn parse(text: &str, file: &Path) -> Result<(Model, Vec<Finding>), ConfigErrors> {
    let root = yaml::parse(text, file)?;
    document::parse_node(&root.node, file, |root_section, report| {
        root.warn(report);
        // To client-go an absent word is the right one.
        for (field, wanted) in [("apiVersion", "v1"), ("kind", "Config")] {
            if root_section.has(field) && !is_empty(root_section, field, report) {
                document::expect(root_section, field, wanted, report);
            } else {
                root_section.ignore(field);
            }
        }
        if let Some(mut preferences) = root_section.section("preferences", report) {
            preferences.optional("colors", value::boolean, report);
            extensions(&mut preferences, report);
            preferences.finish_leniently(report);
        }
        extensions(root_section, report);
        let model = Model {
            current: optional(root_section, "current-context", report),
            clusters: entries_of(root_section, "clusters", file, cluster, report),
            users: entries_of(root_section, "users", file, user, report),
            contexts: entries_of(root_section, "contexts", file, context, report),
        };
        root_section.finish_leniently(report);
        Some(model)
    })
}

fn is_empty(section: &mut Section<'_>, field: &'static str, report: &mut Report) -> bool {
    let before = report.error_count();
    optional(section, field, report).is_none() && report.error_count() == before
}

/// Reads a list whose names are unique: client-go makes a map of it, and refuses a name twice.
fn entries_of<E: Entry>(
    root: &mut Section<'_>,
    field: &'static str,
    file: &Path,
    read: impl Fn(Section<'_>, &Path, &mut Report) -> E,
    report: &mut Report,
) -> Vec<E> {
    let mut found: Vec<E> = Vec::new();
    let mut seen = HashSet::new();
    for section in root.sections(field, ENTRIES, report) {
        let (path, at) = (section.path().to_owned(), section.at());
        let entry = read(section, file, report);
        if seen.insert(entry.name().to_owned()) {
            found.push(entry);
        } else {
            let what = format!("{:?} is there twice, which no client loads", entry.name());
            report.error(
                &format!("{path}.name"),
                at,
                Problem::new(what, "remove one"),
            );
        }
    }
    found
}

fn cluster(mut entry: Section<'_>, file: &Path, report: &mut Report) -> Cluster {
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
            file,
            ("certificate-authority", "certificate-authority-data"),
            report,
        );
        cluster.proxy = optional(&mut section, "proxy-url", report);
        section.optional("disable-compression", value::boolean, report);
        extensions(&mut section, report);
        section.finish_leniently(report);
    }
    entry.finish_leniently(report);
    cluster
}

fn user(mut entry: Section<'_>, file: &Path, report: &mut Report) -> User {
    let mut user = User {
        name: optional(&mut entry, "name", report).unwrap_or_default(),
        origin: file.to_owned(),
        ..User::default()
    };
    if let Some(section) = entry.section("user", report) {
        read_user(section, &mut user, report);
    }
    entry.finish_leniently(report);
    user
}

fn read_user(mut section: Section<'_>, user: &mut User, report: &mut Report) {
    let certificate = ("client-certificate", "client-certificate-data");
    user.certificate = piece(&mut section, &user.origin, certificate, report);
    let key = ("client-key", "client-key-data");
    user.key = piece(&mut section, &user.origin, key, report);
    user.token = optional(&mut section, "token", report).map(Zeroizing::new);
    user.token_file = optional(&mut section, "tokenFile", report);
    user.username = optional(&mut section, "username", report).is_some();
    let password = optional(&mut section, "password", report).map(Zeroizing::new);
    user.password = password.is_some();
    user.impersonates = optional(&mut section, "as", report).is_some();
    let uid = optional(&mut section, "as-uid", report).is_some();
    let groups = section.list("as-groups", ENTRIES, string, report);
    let extra = section.section("as-user-extra", report).map(|extra| {
        let lists = extra.each(|node| strings(node).map(|_| ()), report);
        !lists.is_empty()
    });
    user.impersonation_details = uid || !groups.is_empty() || extra.unwrap_or_default();
    extensions(&mut section, report);
    user.provider = section
        .section("auth-provider", report)
        .map(|provider| read_provider(provider, report));
    user.exec = section
        .section("exec", report)
        .map(|exec| read_exec(exec, report));
    section.finish_leniently(report);
}

fn read_provider(mut section: Section<'_>, report: &mut Report) -> Provider {
    let mut provider = Provider {
        name: optional(&mut section, "name", report).unwrap_or_default(),
        ..Provider::default()
    };
    if let Some(config) = section.section("config", report) {
        let values = config.each(string, report);
        let given = values.into_iter().filter(|(_, value)| !value.is_empty());
        provider.fields = given.map(|(name, _)| name).collect();
    }
    section.finish_leniently(report);
    provider
}

fn read_exec(mut section: Section<'_>, report: &mut Report) -> Exec {
    let mut exec = Exec {
        command: optional(&mut section, "command", report),
        version: optional(&mut section, "apiVersion", report),
        interactive: optional(&mut section, "interactiveMode", report),
        nameless_variable: false,
    };
    section.list("args", ARGUMENTS, string, report);
    for mut variable in section.sections("env", ARGUMENTS, report) {
        exec.nameless_variable |= optional(&mut variable, "name", report).is_none();
        optional(&mut variable, "value", report).map(Zeroizing::new);
        variable.finish_leniently(report);
    }
    optional(&mut section, "installHint", report);
    section.optional("provideClusterInfo", value::boolean, report);
    section.finish_leniently(report);
    exec
}

fn context(mut entry: Section<'_>, _: &Path, report: &mut Report) -> Context {
    let mut context = Context {
        name: optional(&mut entry, "name", report).unwrap_or_default(),
        ..Context::default()
    };
    if let Some(mut section) = entry.section("context", report) {
        context.cluster = optional(&mut section, "cluster", report);
        context.user = optional(&mut section, "user", report);
        optional(&mut section, "namespace", report);
        extensions(&mut section, report);
        section.finish_leniently(report);
    }
    entry.finish_leniently(report);
    context
}

/// Named pieces of other programs; the names are unique here, too.
fn extensions(section: &mut Section<'_>, report: &mut Report) {
    let mut seen = HashSet::new();
    for mut extension in section.sections("extensions", ENTRIES, report) {
        let name = optional(&mut extension, "name", report).unwrap_or_default();
        if !seen.insert(name.clone()) {
            let what = format!("{name:?} is there twice, which no client loads");
            extension.error("", what, "remove one", report);
        }
        extension.ignore("extension");
        extension.finish_leniently(report);
    }
}

/// A file field and its data field.
fn piece(
    section: &mut Section<'_>,
    origin: &Path,
    (field, data): (&'static str, &'static str),
    report: &mut Report,
) -> Piece {
    let text = |node: &Node| match &node.value {
        // To Go an empty list is as good as empty bytes.
        Value::List(items) if items.is_empty() => Ok(String::new()),
        _ => string(node),
    };
    let file = optional(section, field, report);
    let read = section.optional(data, text, report).map(Zeroizing::new);
    if let Some(text) = &read
        && yaml::decode(text).is_none()
    {
        // One of them keeps a client from loading the whole file, whoever the entry is for.
        section.error(
            data,
            "is no base64",
            "encode the PEM text (base64 -w0)",
            report,
        );
    }
    Piece {
        origin: origin.to_owned(),
        path: section.path().to_owned(),
        field,
        file,
        data: read.filter(|text| !text.is_empty()),
    }
}

/// Text that counts as absent when it is empty, as in Go.
fn optional(section: &mut Section<'_>, field: &'static str, report: &mut Report) -> Option<String> {
    section
        .optional(field, string, report)
        .filter(|text| !text.is_empty())
}

fn string(node: &Node) -> Result<String, Problem> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other => Err(Problem::new(
            format!("is {}, not a string", other.kind()),
            "quote it",
        )),
    }
}

fn strings(node: &Node) -> Result<Vec<String>, Problem> {
    match &node.value {
        Value::List(items) => items.iter().map(string).collect(),
        Value::Null => Ok(Vec::new()),
        other => {
            let what = format!("is {}, not a list", other.kind());
            Err(Problem::new(what, "write it as `[a, b]`"))
        }
    }
}
