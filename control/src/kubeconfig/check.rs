//! Finds what is wrong with a kubeconfig. Runs no plugin, sends no credential.

use super::connect::Target;
use super::flaw::Flaw;
use super::model::{self, Cluster, Context, Model, Piece, User};
use crate::config::document;
use crate::identity::CertificateFacts;
use crate::pem::{self, CaBundle, Credential, FileRef, PemError, Role, note};
use crate::token::jwt::Compact;
use crate::verify::chain::chain;
use data_encoding::BASE64;
use hyper::Uri;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime};
use webpki::{EndEntityCert, anchor_from_trusted_cert};
use zeroize::Zeroizing;

/// The versions of the plugin protocol that client-go has.
const EXEC_VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

/// How a kubeconfig is judged.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// The time.
    pub now: SystemTime,
}

/// What a kubeconfig came to.
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
    let mut checked = Checked::default();
    checked.flaws.extend(mode(path));
    // Wiped, but for what the YAML parser copied: it may hold keys.
    let text = match document::read_file(path) {
        Ok(text) => Zeroizing::new(text),
        Err(errors) => {
            checked.flaws.push(Flaw::Document(errors));
            return checked;
        }
    };
    check_text(&text, path, options, checked)
}

/// Checks what stands in a file, after what was found of the file itself.
fn check_text(text: &str, path: &Path, options: &CheckOptions, mut checked: Checked) -> Checked {
    let model = match model::parse(text, path) {
        Ok(model) => model,
        Err(errors) => {
            checked.flaws.push(Flaw::Document(errors));
            return checked;
        }
    };
    let mut checker = Checker {
        path,
        base: path.parent().unwrap_or(Path::new("")),
        now: options.now,
        out: checked,
    };
    checker.references(&model);
    for cluster in &model.clusters {
        checker.cluster(
            cluster,
            model.current_cluster() == Some(cluster.name.as_str()),
        );
    }
    for user in &model.users {
        checker.user(user, model.current_user() == Some(user.name.as_str()));
    }
    checker.out
}

/// For fuzzing: judges a text, and says whether it has the form of a kubeconfig.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_any(text: &str) -> bool {
    let options = CheckOptions {
        now: SystemTime::UNIX_EPOCH,
    };
    // A base for relative paths in which there is nothing.
    let path = Path::new("/nonexistent/kubeconfig");
    let checked = check_text(text, path, &options, Checked::default());
    !checked.flaws.iter().any(|flaw| {
        assert!(!flaw.to_string().is_empty());
        matches!(flaw, Flaw::Document(_))
    })
}

impl Model {
    fn current_context(&self) -> Option<&Context> {
        let current = self.current.as_ref()?;
        self.contexts
            .iter()
            .find(|context| context.name == *current)
    }

    fn current_cluster(&self) -> Option<&str> {
        self.current_context()?.cluster.as_deref()
    }

    fn current_user(&self) -> Option<&str> {
        self.current_context()?.user.as_deref()
    }
}

struct Checker<'a> {
    path: &'a Path,
    base: &'a Path,
    now: SystemTime,
    out: Checked,
}

impl Checker<'_> {
    fn flaw(&mut self, flaw: Flaw) {
        self.out.flaws.push(flaw);
    }

    fn references(&mut self, model: &Model) {
        let clusters: Vec<&str> = model
            .clusters
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let users: Vec<&str> = model
            .users
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let contexts: Vec<&str> = model
            .contexts
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let lists = [
            ("cluster", &clusters),
            ("user", &users),
            ("context", &contexts),
        ];
        for (kind, names) in lists {
            let mut seen = HashSet::new();
            for name in names.iter().filter(|name| !seen.insert(**name)) {
                let name = (*name).to_owned();
                self.flaw(Flaw::Repeated { kind, name });
            }
        }
        match &model.current {
            None => self.flaw(Flaw::NoCurrentContext),
            Some(name) if !contexts.contains(&name.as_str()) => {
                self.flaw(Flaw::NoSuchContext(name.clone()));
            }
            Some(_) => {}
        }
        for context in &model.contexts {
            for (kind, name, known) in [
                ("cluster", &context.cluster, &clusters),
                ("user", &context.user, &users),
            ] {
                let there = name
                    .as_ref()
                    .is_some_and(|name| known.contains(&name.as_str()));
                if !there {
                    self.flaw(Flaw::Dangling {
                        context: context.name.clone(),
                        kind,
                        name: name.clone(),
                    });
                }
            }
        }
    }

    fn cluster(&mut self, cluster: &Cluster, current: bool) {
        let name = || cluster.name.clone();
        let uri = cluster
            .server
            .as_deref()
            .and_then(|server| server.parse::<Uri>().ok());
        let uri = uri.filter(|uri| uri.host().is_some());
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        match scheme {
            Some("https") => {}
            Some("http") => self.flaw(Flaw::PlainServer { cluster: name() }),
            _ => {
                let server = cluster.server.clone();
                self.flaw(Flaw::Server {
                    cluster: name(),
                    server,
                });
            }
        }
        if cluster.insecure {
            self.flaw(Flaw::Insecure { cluster: name() });
        }
        if cluster.proxied {
            self.flaw(Flaw::Proxied { cluster: name() });
        }
        if cluster.authority.is_absent() {
            if scheme == Some("https") && !cluster.insecure {
                self.flaw(Flaw::SystemRoots { cluster: name() });
            }
            return;
        }
        let Some((file, bytes)) = self.load(&cluster.authority) else {
            return;
        };
        let loaded = pem::certificates_of(&bytes).map_err(|fault| PemError::new(&file, fault));
        let loaded =
            loaded.and_then(|found| CaBundle::new(file, found.clone()).map(|ca| (found, ca)));
        let (found, bundle) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.flaw(Flaw::Piece(error)),
        };
        for note in bundle.notes(self.now) {
            self.flaw(Flaw::Validity {
                subject: note.subject,
                kind: note.kind,
            });
        }
        if current {
            self.out.authorities = found;
            let verified = scheme == Some("https") && !cluster.insecure && !cluster.proxied;
            self.out.target = uri.filter(|_| verified).and_then(|uri| {
                Target::new(&uri, cluster.tls_server_name.as_deref(), bundle.roots)
            });
        }
    }

    fn user(&mut self, user: &User, current: bool) {
        let name = || user.name.clone();
        if user.basic {
            self.flaw(Flaw::Basic { user: name() });
        }
        if user.provider {
            self.flaw(Flaw::Provider { user: name() });
        }
        if user.impersonates {
            self.flaw(Flaw::Impersonates { user: name() });
        }
        self.exec(user);
        self.token(user);
        let missing = match (user.certificate.is_absent(), user.key.is_absent()) {
            (false, true) => Some("client-key"),
            (true, false) => Some("client-certificate"),
            _ => None,
        };
        if let Some(missing) = missing {
            let user = name();
            self.flaw(Flaw::Half { user, missing });
        }
        let bare = user.certificate.is_absent()
            && user.key.is_absent()
            && user.token.is_none()
            && user.token_file.is_none()
            && user.exec.is_none();
        if bare && !user.basic && !user.provider {
            self.flaw(Flaw::Anonymous { user: name() });
        }
        self.certificate(user, current);
    }

    fn exec(&mut self, user: &User) {
        let Some(exec) = &user.exec else { return };
        let field = |field, fix| Flaw::ExecField {
            user: user.name.clone(),
            field,
            fix,
        };
        match &exec.command {
            Some(command) => self.flaw(Flaw::Exec {
                user: user.name.clone(),
                command: command.clone(),
            }),
            None => self.flaw(field("command", "name the program")),
        }
        let version = exec.version.as_deref();
        if !version.is_some_and(|version| EXEC_VERSIONS.contains(&version)) {
            self.flaw(field("apiVersion", "write client.authentication.k8s.io/v1"));
        }
        if version == Some(EXEC_VERSIONS[0]) && !exec.interactive {
            self.flaw(field(
                "interactiveMode",
                "write Never, IfAvailable or Always",
            ));
        }
    }

    fn token(&mut self, user: &User) {
        if user.token.is_some() && user.token_file.is_some() {
            let user = user.name.clone();
            self.flaw(Flaw::TokenTwice { user });
        }
        if let Some(token) = &user.token {
            self.one_token(user, token);
        }
        let Some(file) = &user.token_file else { return };
        let path = self.base.join(file);
        match std::fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(text) => self.one_token(user, text.trim()),
            Err(source) => self.flaw(Flaw::TokenFile { path, source }),
        }
    }

    fn one_token(&mut self, user: &User, token: &str) {
        let name = || user.name.clone();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.flaw(Flaw::Token { user: name() });
        }
        if let Some(end) = token_end(token).filter(|end| *end <= self.now) {
            self.flaw(Flaw::TokenExpired { user: name(), end });
        }
    }

    fn certificate(&mut self, user: &User, current: bool) {
        if user.certificate.is_absent() || user.key.is_absent() {
            return;
        }
        let (Some((certificate, chain)), Some((key, private))) =
            (self.load(&user.certificate), self.load(&user.key))
        else {
            return;
        };
        let read = || -> Result<Credential, PemError> {
            let chain = pem::certificates_of(&chain);
            let chain = chain.map_err(|fault| PemError::new(&certificate, fault))?;
            let private = pem::key_of(&private).map_err(|fault| PemError::new(&key, fault))?;
            Credential::new(chain, &private, certificate.clone(), &key, Role::Client)
        };
        match read() {
            Err(error) => self.flaw(Flaw::Piece(error)),
            Ok(credential) => {
                if let Some(note) = note(&certificate, &credential.leaf, self.now) {
                    self.flaw(Flaw::Validity {
                        subject: note.subject,
                        kind: note.kind,
                    });
                }
                if current {
                    self.out.chain = credential.certified.cert.clone();
                    self.out.certificate = Some(credential.leaf);
                }
            }
        }
    }

    /// Reads a piece from where it is; the reference is for errors.
    fn load(&mut self, piece: &Piece) -> Option<(FileRef, Zeroizing<Vec<u8>>)> {
        let field = format!("{}.{}", piece.path, piece.field);
        if piece.data.is_some() && piece.file.is_some() {
            let field = field.clone();
            self.flaw(Flaw::Both { field });
        }
        if let Some(data) = &piece.data {
            let field = format!("{field}-data");
            return match BASE64.decode(data.as_bytes()) {
                Ok(bytes) => Some((FileRef::new(field, self.path), Zeroizing::new(bytes))),
                Err(_) => {
                    self.flaw(Flaw::Base64 { field });
                    None
                }
            };
        }
        let file = FileRef::new(field, self.base.join(piece.file.as_ref()?));
        match pem::text(&file) {
            Ok(text) => Some((file, Zeroizing::new(text.as_bytes().to_vec()))),
            Err(error) => {
                self.flaw(Flaw::Piece(error));
                None
            }
        }
    }
}

/// When a token ends, if it says so: service accounts' and OpenID Connect's are JWTs, others are not.
fn token_end(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims: Claims = Compact::parse(token).ok()?.unverified().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp))
}

fn mode(path: &Path) -> Option<Flaw> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(Flaw::Mode { mode })
}

/// Judges whether the CAs of a kubeconfig signed what an API server shows.
pub fn judge_server(
    authorities: &[CertificateDer<'static>],
    shown: &[CertificateDer<'static>],
    now: SystemTime,
) -> Option<Flaw> {
    let (leaf, intermediates) = shown.split_first()?;
    let anchors: Vec<TrustAnchor<'_>> = authorities
        .iter()
        .filter_map(|der| anchor_from_trusted_cert(der).ok())
        .collect();
    if anchors.is_empty() {
        return None;
    }
    let facts = CertificateFacts::read(leaf).ok()?;
    let certificate = EndEntityCert::try_from(leaf).ok()?;
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = UnixTime::since_unix_epoch(since);
    let result = chain(
        &anchors,
        &certificate,
        intermediates,
        now,
        Role::Server,
        &facts,
    );
    result.err().map(|cause| Flaw::ServerCertificate {
        message: format!(
            "its CA did not sign the API server's certificate {} ({}); write it anew",
            facts.subject,
            cause.as_str()
        ),
    })
}
