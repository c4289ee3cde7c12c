//! `eyesplice check`: everything that a start would read, read and judged without starting.

use super::{Exit, complain, print};
use crate::audit::rfc3339;
use crate::config::{AuditSink, Config, Transport};
use crate::gateway::{Files, State};
use std::fmt::Write;
use std::path::PathBuf;

pub(super) fn run(file: PathBuf) -> Exit {
    let loaded = Files::new(file).load();
    match loaded.result {
        Ok(state) => {
            for warning in &state.warnings {
                complain(&format!("warning: {warning}"));
            }
            print(&summary(&state, loaded.files.len()))
        }
        Err(errors) => {
            for error in &errors {
                complain(&format!("error: {error}"));
            }
            let noun = if errors.len() == 1 { "error" } else { "errors" };
            complain(&format!("{} {noun}", errors.len()));
            Exit::Failure
        }
    }
}

fn summary(state: &State, files: usize) -> String {
    let State {
        config,
        material,
        warnings,
    } = state;
    let mut text = String::new();
    // Writing into a String has no way to fail.
    let _ = writeln!(text, "{} is valid", config.file.display());
    for listener in &config.listeners {
        let _ = match &listener.transport {
            Transport::Unix(unix) => {
                writeln!(
                    text,
                    "listener  {}: unix {}",
                    listener.name,
                    unix.path.display()
                )
            }
            Transport::Tcp(tcp) => {
                writeln!(
                    text,
                    "listener  {}: tcp {}, mutual TLS",
                    listener.name, tcp.address
                )
            }
        };
    }
    for rule in &config.egress.rules {
        let _ = writeln!(text, "rule      {}: {}", rule.name, rule.action.as_str());
    }
    let _ = writeln!(text, "verify    {}", verification(config));
    for certificate in &material.certificates {
        let expires = rfc3339(certificate.not_after);
        let (field, subject) = (&certificate.field, &certificate.subject);
        let _ = writeln!(text, "expires   {expires}  {field}: {subject}");
    }
    let _ = writeln!(text, "admin     {}", config.admin.address);
    let _ = match &config.audit.sink {
        AuditSink::Stdout => writeln!(text, "audit     standard output"),
        AuditSink::File(path) => writeln!(text, "audit     {}", path.display()),
    };
    let _ = writeln!(text, "{files} files read, {} warnings", warnings.len());
    text
}

fn verification(config: &Config) -> &'static str {
    match &config.kubelet {
        Some(kubelet) => kubelet.verification.as_str(),
        None => "no rule terminates kubelets",
    }
}
