//! Asks the admin endpoint of a process on this host.

use super::tunnel_args::AdminArgs;
use crate::agent;
use crate::config::{AgentConfig, Config, Document};
use eyesplice_identity::document::ConfigErrors;
use eyesplice_process::admin::AdminSettings;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the process may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer: a KiB for each of ten thousand agents, with room.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "cannot ask the admin endpoint at {0}; does the process run, and is this its admin.address \
         (--admin, --config)?"
    )]
    Connect(SocketAddr, #[source] io::Error),
    #[error("the admin endpoint at {0} does not speak HTTP")]
    Garbage(SocketAddr),
    #[error("the admin endpoint at {address} answers {path} with {status}: {body}")]
    Status {
        address: SocketAddr,
        path: String,
        status: String,
        body: String,
    },
}

/// Gives the body of an answer.
pub(super) fn ask(address: SocketAddr, path: &str) -> Result<String, AskError> {
    let answer = exchange(address, path).map_err(|error| AskError::Connect(address, error))?;
    let garbage = || AskError::Garbage(address);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(garbage)?;
    let line = head.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").ok_or_else(garbage)?;
    if status.starts_with("200") {
        return Ok(body.to_owned());
    }
    Err(AskError::Status {
        address,
        path: path.to_owned(),
        status: status.trim().to_owned(),
        body: body.trim().to_owned(),
    })
}

fn exchange(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where the process answers.
pub(super) fn admin(args: &AdminArgs) -> Result<SocketAddr, ConfigErrors> {
    if let Some(address) = args.admin {
        return Ok(address);
    }
    let settings = match &args.config {
        Some(file) if agent::is_agent(file) => AgentConfig::load(file)?.config.admin,
        Some(file) => Config::load(file)?.config.admin,
        None => AdminSettings::default(),
    };
    Ok(settings.address)
}
