//! `eyesplice tunnel`: shows the tunnels of the process on this host, and revokes agents.

mod table;

use super::admin::{AskError, admin, ask};
use super::say::{complain, print};
use super::tunnel_args::{TunnelCommand, TunnelDiagArgs, TunnelRevokeArgs, TunnelStatusArgs};
use crate::config::{Config, Document};
use eyesplice_identity::denylist::{DenyError, DenyList, check_name, check_serial};
use eyesplice_identity::document::ConfigErrors;
use eyesplice_process::{BUILD, Exit};
use eyesplice_proto::causes::chain;
use serde_json::Value as Json;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the answer of {0} is not what eyesplice gives; is the endpoint another program's?")]
    Answer(SocketAddr, #[source] serde_json::Error),
    #[error("{} names no deny list; add tunnel.denyFile, or use --deny-file", .0.display())]
    NoList(PathBuf),
    #[error("{0:?} {1}")]
    Entry(String, &'static str),
    #[error(transparent)]
    Deny(#[from] DenyError),
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
}

pub(super) fn run(command: TunnelCommand) -> Exit {
    let result = match command {
        TunnelCommand::Status(args) => status(&args),
        TunnelCommand::Diag(args) => diag(&args),
        TunnelCommand::Revoke(args) => revoke(args),
    };
    result.unwrap_or_else(|error| {
        complain(&chain(&error));
        Exit::Failure
    })
}

fn status(args: &TunnelStatusArgs) -> Result<Exit, TunnelError> {
    let address = admin(&args.process)?;
    let answer = ask(address, "/tunnels")?;
    if args.json {
        return Ok(print(&answer));
    }
    let report: Json =
        serde_json::from_str(&answer).map_err(|error| TunnelError::Answer(address, error))?;
    Ok(print(&table::table(&report)))
}

/// Every part that can be had; what cannot says why.
fn diag(args: &TunnelDiagArgs) -> Result<Exit, TunnelError> {
    let address = admin(&args.process)?;
    let mut text = format!(
        "== eyesplice {} ({}, {})\n",
        BUILD.version, BUILD.commit, BUILD.architecture
    );
    for path in ["/readyz?verbose", "/tunnels", "/metrics"] {
        let answer = ask(address, path).unwrap_or_else(|error| format!("{}\n", chain(&error)));
        text.push_str(&format!("== {path} of {address}\n{answer}"));
    }
    if let Some(file) = &args.process.config {
        let content = std::fs::read_to_string(file);
        let content = content.map_err(|error| TunnelError::Read(file.clone(), error))?;
        text.push_str(&format!("== {}\n{content}", file.display()));
    }
    Ok(print(&text))
}

fn revoke(args: TunnelRevokeArgs) -> Result<Exit, TunnelError> {
    let checked = |entries: Vec<String>, check: fn(&str) -> Result<String, &'static str>| {
        let one = |entry: String| check(&entry).map_err(|what| TunnelError::Entry(entry, what));
        entries.into_iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let names = checked(args.names, check_name)?;
    let serials = checked(args.serials, check_serial)?;
    let file = match (args.deny_file, args.config) {
        (Some(file), _) => file,
        (None, config) => deny_file(&config.unwrap_or_default())?,
    };
    let changed = DenyList::add(&file, &names, &serials)?;
    let all: Vec<String> = names.into_iter().chain(serials).collect();
    let what = if changed {
        "gateways that name it reload by themselves"
    } else {
        "nothing was changed: it is there already"
    };
    Ok(print(&format!(
        "{} in {}; {what}\n",
        all.join(", "),
        file.display()
    )))
}

fn deny_file(config: &Path) -> Result<PathBuf, TunnelError> {
    let loaded = Config::load(config)?.config;
    let file = loaded.tunnel.and_then(|tunnel| tunnel.deny_file);
    let none = || TunnelError::NoList(config.to_owned());
    Ok(file.ok_or_else(none)?.path)
}
