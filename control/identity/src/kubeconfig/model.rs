//! Reads the fields of a kubeconfig as client-go does, with the place of each entry.

use super::yaml_of_go as yaml;
use crate::document;
use crate::document::{ConfigErrors, Finding, Node, Problem, Section, Value, value};
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
    document::parse_node(&root.node, file, |root_section| {
        root_section.be_lenient();
        root.warn(root_section.report());
        // To client-go an absent word is the right one.
        for (field, wanted) in [("apiVersion", "v1"), ("kind", "Config")] {
            if root_section.has(field) && !is_empty(root_section, field) {
                document::expect(root_section, field, wanted);
            } else {
                root_section.ignore(field);
            }
        }
        if let Some(mut preferences) = root_section.section("preferences") {
            preferences.optional("colors", value::boolean);
            extensions(&mut preferences);
        }
        extensions(root_section);
        let model = Model {
            current: optional(root_section, "current-context"),
            clusters: entries_of(root_section, "clusters", file, cluster),
            users: entries_of(root_section, "users", file, user),
            contexts: entries_of(root_section, "contexts", file, context),
        };
        Some(model)
    })
}

fn is_empty(section: &mut Section<'_>, field: &'static str) -> bool {
    let report = section.report();
    let before = report.error_count();
    optional(section, field).is_none() && report.error_count() == before
}

/// Reads a list whose names are unique: client-go makes a map of it, and refuses a name twice.
fn entries_of<E: Entry>(
    root: &mut Section<'_>,
    field: &'static str,
    file: &Path,
    read: impl Fn(Section<'_>, &Path) -> E,
) -> Vec<E> {
    let mut found: Vec<E> = Vec::new();
    let mut seen = HashSet::new();
    for section in root.sections(field, ENTRIES) {
        let (path, at) = (section.path().to_owned(), section.at());
        let entry = read(section, file);
        if seen.insert(entry.name().to_owned()) {
            found.push(entry);
        } else {
            let what = format!("{:?} is there twice, which no client loads", entry.name());
            let problem = Problem::new(what, "remove one");
            root.report().error(&format!("{path}.name"), at, problem);
        }
    }
    found
}

fn cluster(mut entry: Section<'_>, file: &Path) -> Cluster {
    let mut cluster = Cluster {
        name: optional(&mut entry, "name").unwrap_or_default(),
        ..Cluster::default()
    };
    if let Some(mut section) = entry.section("cluster") {
        cluster.server = optional(&mut section, "server");
        cluster.tls_server_name = optional(&mut section, "tls-server-name");
        let insecure = section.optional("insecure-skip-tls-verify", value::boolean);
        cluster.insecure = insecure.unwrap_or_default();
        cluster.authority = piece(
            &mut section,
            file,
            ("certificate-authority", "certificate-authority-data"),
        );
        cluster.proxy = optional(&mut section, "proxy-url");
        section.optional("disable-compression", value::boolean);
        extensions(&mut section);
    }
    cluster
}

fn user(mut entry: Section<'_>, file: &Path) -> User {
    let mut user = User {
        name: optional(&mut entry, "name").unwrap_or_default(),
        origin: file.to_owned(),
        ..User::default()
    };
    if let Some(section) = entry.section("user") {
        read_user(section, &mut user);
    }
    user
}

fn read_user(mut section: Section<'_>, user: &mut User) {
    let certificate = ("client-certificate", "client-certificate-data");
    user.certificate = piece(&mut section, &user.origin, certificate);
    let key = ("client-key", "client-key-data");
    user.key = piece(&mut section, &user.origin, key);
    user.token = optional(&mut section, "token").map(Zeroizing::new);
    user.token_file = optional(&mut section, "tokenFile");
    user.username = optional(&mut section, "username").is_some();
    let password = optional(&mut section, "password").map(Zeroizing::new);
    user.password = password.is_some();
    user.impersonates = optional(&mut section, "as").is_some();
    let uid = optional(&mut section, "as-uid").is_some();
    let groups = section.list("as-groups", ENTRIES, string);
    let extra = section.section("as-user-extra").map(|extra| {
        let lists = extra.each(|node| strings(node).map(|_| ()));
        !lists.is_empty()
    });
    user.impersonation_details = uid || !groups.is_empty() || extra.unwrap_or_default();
    extensions(&mut section);
    user.provider = section.section("auth-provider").map(read_provider);
    user.exec = section.section("exec").map(read_exec);
}

fn read_provider(mut section: Section<'_>) -> Provider {
    let mut provider = Provider {
        name: optional(&mut section, "name").unwrap_or_default(),
        ..Provider::default()
    };
    if let Some(config) = section.section("config") {
        let values = config.each(string);
        let given = values.into_iter().filter(|(_, value)| !value.is_empty());
        provider.fields = given.map(|(name, _)| name).collect();
    }
    provider
}

fn read_exec(mut section: Section<'_>) -> Exec {
    let mut exec = Exec {
        command: optional(&mut section, "command"),
        version: optional(&mut section, "apiVersion"),
        interactive: optional(&mut section, "interactiveMode"),
        nameless_variable: false,
    };
    section.list("args", ARGUMENTS, string);
    for mut variable in section.sections("env", ARGUMENTS) {
        exec.nameless_variable |= optional(&mut variable, "name").is_none();
        optional(&mut variable, "value").map(Zeroizing::new);
    }
    optional(&mut section, "installHint");
    section.optional("provideClusterInfo", value::boolean);
    exec
}

fn context(mut entry: Section<'_>, _: &Path) -> Context {
    let mut context = Context {
        name: optional(&mut entry, "name").unwrap_or_default(),
        ..Context::default()
    };
    if let Some(mut section) = entry.section("context") {
        context.cluster = optional(&mut section, "cluster");
        context.user = optional(&mut section, "user");
        optional(&mut section, "namespace");
        extensions(&mut section);
    }
    context
}

/// Named pieces of other programs; the names are unique here, too.
fn extensions(section: &mut Section<'_>) {
    let mut seen = HashSet::new();
    for mut extension in section.sections("extensions", ENTRIES) {
        let name = optional(&mut extension, "name").unwrap_or_default();
        if !seen.insert(name.clone()) {
            let what = format!("{name:?} is there twice, which no client loads");
            extension.error("", what, "remove one");
        }
        extension.ignore("extension");
    }
}

/// A file field and its data field.
fn piece(
    section: &mut Section<'_>,
    origin: &Path,
    (field, data): (&'static str, &'static str),
) -> Piece {
    let text = |node: &Node| match &node.value {
        // To Go an empty list is as good as empty bytes.
        Value::List(items) if items.is_empty() => Ok(String::new()),
        _ => string(node),
    };
    let file = optional(section, field);
    let read = section.optional(data, text).map(Zeroizing::new);
    if let Some(text) = &read
        && yaml::decode(text).is_none()
    {
        // One of them keeps a client from loading the whole file, whoever the entry is for.
        section.error(data, "is no base64", "encode the PEM text (base64 -w0)");
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
fn optional(section: &mut Section<'_>, field: &'static str) -> Option<String> {
    section
        .optional(field, string)
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
