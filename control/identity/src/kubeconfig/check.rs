//! Finds what is wrong with kubeconfigs. Runs no plugin, sends no credential.
//!
//! What client-go refuses is an error, what it takes is none, unless it is not safe or of no use to an
//! API server. `corpus.jsonl` holds what kubectl itself said of some hundred files.

use super::connect::Target;
use super::flaw::Flaw;
use super::model::{self, Context, Entry, Model};
use super::yaml_of_go;
use crate::certificate::CertificateFacts;
use crate::document;
use crate::kubeconfig::Severity;
use crate::pem::{FileRef, Role};
use crate::verify::chain::leads;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// How kubeconfigs are judged.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// The time.
    pub now: SystemTime,
    /// The context that is used; without one, what they choose.
    pub context: Option<String>,
}

impl CheckOptions {
    /// Judges by the current context.
    pub fn at(now: SystemTime) -> Self {
        Self { now, context: None }
    }
}

/// What kubeconfigs came to.
#[derive(Debug, Default)]
pub struct Checked {
    /// All that is wrong.
    pub flaws: Vec<Flaw>,
    /// The client certificate of the current context.
    pub certificate: Option<CertificateFacts>,
    /// The chain that it is sent with.
    pub chain: Vec<CertificateDer<'static>>,
    /// The CAs of the current context.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The API server of the current context, if it is dialled by TLS and verified.
    pub target: Option<Target>,
}

/// Checks a file: every entry for its form, those of the current context for what they hold.
pub fn check(path: &Path, options: &CheckOptions) -> Checked {
    check_all(&[path.to_owned()], options)
}

/// Checks several files as one, as they stand in KUBECONFIG: of each name the first entry counts.
pub fn check_all(paths: &[PathBuf], options: &CheckOptions) -> Checked {
    let mut files = Files::default();
    let several = paths.len() > 1;
    for path in paths {
        let before = files.out.flaws.len();
        // kubectl passes over what is not there, if there is another.
        if several && !path.exists() {
            files.out.flaws.push(Flaw::Absent);
        } else {
            files.out.flaws.extend(mode(path));
            // Wiped, but for what the YAML parser copied: it may hold keys.
            match document::read_file(path) {
                Ok(text) => files.add(&Zeroizing::new(text), path),
                Err(errors) => files.out.flaws.push(Flaw::Document(errors)),
            }
        }
        if several {
            let own: Vec<Flaw> = files.out.flaws.drain(before..).collect();
            let own = own.into_iter().map(|flaw| flaw.of_file(path));
            files.out.flaws.extend(own);
        }
    }
    files.judge(options)
}

/// For fuzzing: judges a text, and says whether it has the form of a kubeconfig.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    // A base for relative paths in which there is nothing.
    let path = Path::new("/nonexistent/kubeconfig");
    let mut files = Files::default();
    files.add(text, path);
    let checked = files.judge(&CheckOptions::at(SystemTime::UNIX_EPOCH));
    !checked.flaws.iter().any(|flaw| {
        assert!(!flaw.to_string().is_empty());
        matches!(flaw, Flaw::Document(_))
    })
}

/// What was read so far.
#[derive(Default)]
struct Files {
    out: Checked,
    model: Model,
    /// One of them has no form: what the others come to is not known.
    broken: bool,
}

impl Files {
    /// Adds what stands in a file.
    fn add(&mut self, text: &str, path: &Path) {
        match model::parse(text, path) {
            Err(errors) => {
                self.broken = true;
                self.out.flaws.push(Flaw::Document(errors));
            }
            Ok((model, findings)) => {
                let findings = findings.into_iter().map(Flaw::Passed);
                self.out.flaws.extend(findings);
                let flaws = &mut self.out.flaws;
                add(&mut self.model.clusters, model.clusters, "cluster", flaws);
                add(&mut self.model.users, model.users, "user", flaws);
                add(&mut self.model.contexts, model.contexts, "context", flaws);
                self.model.current = self.model.current.take().or(model.current);
            }
        }
    }

    fn judge(mut self, options: &CheckOptions) -> Checked {
        let unread = |flaw: &Flaw| matches!(flaw.bare(), Flaw::Document(_));
        if self.broken || self.out.flaws.iter().any(unread) {
            return self.out;
        }
        if let Some(context) = &options.context {
            self.model.current = Some(context.clone());
        }
        let mut checker = Checker {
            now: options.now,
            out: self.out,
            aside: false,
        };
        checker.references(&self.model);
        let current = self.model.current_context();
        let cluster = current.and_then(|context| context.cluster.as_deref());
        let user = current.and_then(|context| context.user.as_deref());
        let mut secured = true;
        for each in &self.model.clusters {
            checker.aside = cluster != Some(each.name.as_str());
            let is_secured = checker.cluster(each);
            if !checker.aside {
                secured = is_secured;
            }
        }
        for each in &self.model.users {
            // Without TLS clients do not look at the user at all.
            checker.aside = !secured || user != Some(each.name.as_str());
            checker.user(each);
        }
        checker.out
    }
}

/// Adds entries; a name that is there already stays what it is.
fn add<E: Entry>(all: &mut Vec<E>, more: Vec<E>, kind: &'static str, flaws: &mut Vec<Flaw>) {
    let before = all.len();
    for entry in more {
        if all[..before]
            .iter()
            .any(|known| known.name() == entry.name())
        {
            flaws.push(Flaw::Hidden(kind, entry.name().to_owned()));
        } else {
            all.push(entry);
        }
    }
}

impl Model {
    pub(super) fn current_context(&self) -> Option<&Context> {
        let current = self.current.as_ref()?;
        self.contexts
            .iter()
            .find(|context| context.name == *current)
    }
}

pub(super) struct Checker {
    pub(super) now: SystemTime,
    pub(super) out: Checked,
    /// Whether what is looked at is not the current context's: clients do not mind it.
    pub(super) aside: bool,
}

impl Checker {
    pub(super) fn flaw(&mut self, flaw: Flaw) {
        let mild = self.aside && flaw.severity() == Severity::Error;
        self.out.flaws.push(if mild {
            Flaw::Aside(Box::new(flaw))
        } else {
            flaw
        });
    }

    fn references(&mut self, model: &Model) {
        let is_there = |name: &String| model.contexts.iter().any(|each| each.name == *name);
        match &model.current {
            None => self.flaw(Flaw::NoCurrentContext),
            Some(name) if !is_there(name) => self.flaw(Flaw::NoSuchContext(name.clone())),
            Some(_) => {}
        }
        let clusters: Vec<&str> = model.clusters.iter().map(Entry::name).collect();
        let users: Vec<&str> = model.users.iter().map(Entry::name).collect();
        for context in &model.contexts {
            self.aside = model.current.as_ref() != Some(&context.name);
            for (kind, name, known) in [
                ("cluster", &context.cluster, &clusters),
                ("user", &context.user, &users),
            ] {
                let context = context.name.clone();
                match name {
                    None => self.flaw(Flaw::Unnamed(context, kind)),
                    Some(name) if known.contains(&name.as_str()) => {}
                    Some(name) => self.flaw(Flaw::Dangling(context, kind, name.clone())),
                }
            }
        }
        self.aside = false;
    }

    /// Reads a piece from where it is; the reference is for errors.
    pub(super) fn load(&mut self, piece: &model::Piece) -> Option<(FileRef, Zeroizing<Vec<u8>>)> {
        let field = piece.name();
        if piece.is_twice() {
            self.flaw(Flaw::Both(field));
            return None;
        }
        if let Some(data) = &piece.data {
            let file = FileRef::new(format!("{field}-data"), &piece.origin);
            // What is no base64 was told with its place.
            return yaml_of_go::decode(data).map(|bytes| (file, bytes));
        }
        let path = beside(&piece.origin, piece.file.as_ref()?);
        let file = FileRef::new(field, path);
        match crate::pem::text(&file) {
            Ok(text) => Some((file, Zeroizing::new(text.as_bytes().to_vec()))),
            Err(error) => {
                self.flaw(Flaw::Piece(error));
                None
            }
        }
    }
}

/// A path that a kubeconfig names.
pub(super) fn beside(kubeconfig: &Path, named: &str) -> PathBuf {
    kubeconfig.parent().unwrap_or(Path::new("")).join(named)
}

fn mode(path: &Path) -> Option<Flaw> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(Flaw::Mode(mode))
}

/// Judges whether the CAs of a kubeconfig signed what an API server shows.
pub fn judge_server(
    authorities: &[CertificateDer<'static>],
    shown: &[CertificateDer<'static>],
    now: SystemTime,
) -> Option<Flaw> {
    let facts = CertificateFacts::read(shown.first()?).ok()?;
    if authorities.is_empty() {
        return None;
    }
    let authorities: Vec<_> = authorities.iter().collect();
    let cause = leads(shown, &authorities, now, Role::Server, &facts).err()?;
    Some(Flaw::ServerCertificate(format!(
        "its CA did not sign the API server's certificate {} ({}); write it again",
        facts.subject,
        cause.as_str()
    )))
}
