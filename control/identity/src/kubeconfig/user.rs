//! Judges a user of a kubeconfig: what it shows, and whether a client can show it.

use super::check::{Checker, beside};
use super::flaw::Flaw;
use super::model::{Exec, Provider, User};
use crate::access::expires;
use crate::pem::{self, Credential, PemError, Role, note};
use crate::token::BearerToken;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// The versions of the plugin protocol that client-go has.
const EXEC_VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];
/// How a plugin may use the terminal.
const MODES: [&str; 3] = ["Never", "IfAvailable", "Always"];
/// What OpenID Connect cannot do without.
const OIDC_FIELDS: [&str; 2] = ["idp-issuer-url", "client-id"];

impl Checker {
    pub(super) fn user(&mut self, user: &User) {
        let name = || user.name.clone();
        if user.username || user.password {
            self.flaw(Flaw::Basic(name()));
        }
        let token = user.token.is_some() || user.token_file.is_some();
        if token && user.username {
            self.flaw(Flaw::TwoMethods(name(), "a token and a password"));
        }
        if user.exec.is_some() && user.provider.is_some() {
            self.flaw(Flaw::TwoMethods(name(), "exec and auth-provider"));
        }
        if let Some(provider) = &user.provider {
            self.provider(user, provider);
        }
        if user.impersonates {
            self.flaw(Flaw::Impersonates(name()));
        } else if user.impersonation_details {
            self.flaw(Flaw::ImpersonatesNobody(name()));
        }
        if let Some(exec) = &user.exec {
            self.exec(user, exec);
        }
        self.token(user);
        let certificate = !user.certificate.is_absent();
        let other = token || user.exec.is_some() || user.provider.is_some() || user.username;
        match (certificate, user.key.is_absent()) {
            (true, true) => self.flaw(Flaw::Half(name(), "client-key")),
            (false, false) if other => self.flaw(Flaw::IdleKey(name())),
            (false, false) => self.flaw(Flaw::Half(name(), "client-certificate")),
            (false, true) if !other && !user.password => self.flaw(Flaw::Anonymous(name())),
            _ => {}
        }
        self.certificate(user);
    }

    fn provider(&mut self, user: &User, provider: &Provider) {
        let problem = match provider.name.as_str() {
            "oidc" => {
                let missing = OIDC_FIELDS
                    .iter()
                    .find(|it| !provider.fields.contains(**it));
                missing.map(|field| format!("oidc needs config.{field}; add it"))
            }
            "gcp" | "azure" => Some(format!(
                "Kubernetes 1.26 removed {}; use its exec plugin",
                provider.name
            )),
            other => Some(format!("no client has {other:?}; use an exec plugin")),
        };
        if let Some(problem) = problem {
            self.flaw(Flaw::Provider(user.name.clone(), problem));
        }
    }

    fn exec(&mut self, user: &User, exec: &Exec) {
        let field = |field, fix| Flaw::ExecField(user.name.clone(), field, fix);
        match &exec.command {
            Some(command) => {
                self.flaw(Flaw::Exec(user.name.clone(), command.clone()));
                if !is_found(command, &user.origin) {
                    let fix = "this machine has no such program: install it";
                    self.flaw(field("command", fix));
                }
            }
            None => self.flaw(field("command", "name the program")),
        }
        let version = exec.version.as_deref();
        if !version.is_some_and(|version| EXEC_VERSIONS.contains(&version)) {
            self.flaw(field("apiVersion", "write client.authentication.k8s.io/v1"));
        }
        let mode = exec.interactive.as_deref();
        let required = version == Some(EXEC_VERSIONS[0]);
        if mode.map_or(required, |mode| !MODES.contains(&mode)) {
            let fix = "write Never, IfAvailable or Always";
            self.flaw(field("interactiveMode", fix));
        }
        if exec.nameless_variable {
            self.flaw(field("env", "give each variable a name"));
        }
    }

    fn token(&mut self, user: &User) {
        if let Some(token) = &user.token {
            self.one_token(user, token);
        }
        let Some(file) = &user.token_file else { return };
        let path = beside(&user.origin, file);
        let read = std::fs::read_to_string(&path).map(Zeroizing::new);
        match (read, &user.token) {
            // The token of the kubeconfig stands in.
            (Err(_), Some(_)) => {
                let counts = "token counts, for the file cannot be read";
                self.flaw(Flaw::TokenTwice(user.name.clone(), counts));
            }
            (Ok(_), Some(_)) => {
                self.flaw(Flaw::TokenTwice(user.name.clone(), "the file counts"));
            }
            (Ok(text), None) => self.one_token(user, text.trim()),
            (Err(source), None) => self.flaw(Flaw::TokenFile(path, source)),
        }
    }

    fn one_token(&mut self, user: &User, token: &str) {
        let name = || user.name.clone();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.flaw(Flaw::Token(name()));
        }
        if let Some(end) = token_end(token).filter(|end| *end <= self.now) {
            self.flaw(Flaw::TokenExpired(name(), end));
        }
    }

    fn certificate(&mut self, user: &User) {
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
                    self.flaw(Flaw::Validity(note.subject, note.kind));
                }
                if !self.aside {
                    self.out.chain = credential.certified.cert.clone();
                    self.out.certificate = Some(credential.leaf);
                }
            }
        }
    }
}

/// Says whether this machine has a program, named by a path, or found on PATH.
fn is_found(command: &str, kubeconfig: &Path) -> bool {
    let runs = |path: &PathBuf| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if command.contains('/') {
        return runs(&beside(kubeconfig, command));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| runs(&dir.join(command)))
}

/// When a token ends, if it says so: service accounts' and OpenID Connect's are JWTs, others are not.
fn token_end(token: &str) -> Option<SystemTime> {
    expires(&BearerToken::new(token).ok()?)
}
