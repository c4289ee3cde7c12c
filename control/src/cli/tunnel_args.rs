//! The grammar of `eyesplice tunnel`.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What to do with the tunnels of the process on this host.
#[derive(Debug, Subcommand)]
pub enum TunnelCommand {
    /// List the agents of a gateway, or the gateways of an agent
    #[command(after_help = STATUS_EXAMPLES)]
    Status(TunnelStatusArgs),
    /// Print all that is known of the tunnels, for a report of a problem
    #[command(after_help = DIAG_EXAMPLES)]
    Diag(TunnelDiagArgs),
    /// Add agents to the deny list of a gateway: their connections and streams are closed at once
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke(TunnelRevokeArgs),
}

const STATUS_EXAMPLES: &str = "\
Asks the admin endpoint of the gateway or agent on this host.

Examples:
  eyesplice tunnel status
  eyesplice tunnel status --config /etc/eyesplice/agent.yaml
  eyesplice tunnel status --json";

const DIAG_EXAMPLES: &str = "\
Prints version, health, tunnels, metrics and, with --config, the configuration. Nothing of it is
secret: keys and tokens are in files of their own, which are not read.

Examples:
  eyesplice tunnel diag --config /etc/eyesplice/gateway.yaml > diag.txt";

const REVOKE_EXAMPLES: &str = "\
NAME is an agent as in tunnel.agents, or system:node:NODE for a node's own certificate. The file is
replaced in one step, and made if it is not there; comments in it are lost. Each gateway that names
the file reloads it by itself. To let an agent in again, remove the entry.

Examples:
  eyesplice tunnel revoke edge-1 --config /etc/eyesplice/gateway.yaml
  eyesplice tunnel revoke --serial 0a:1b:2c --deny-file /etc/eyesplice/deny.yaml";

/// Which process is asked.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Its admin endpoint [default: admin.address of --config, or 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// Its configuration, of a gateway or an agent
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `tunnel status`.
#[derive(Debug, Args)]
pub struct TunnelStatusArgs {
    /// Which process.
    #[command(flatten)]
    pub process: AdminArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tunnel diag`.
#[derive(Debug, Args)]
pub struct TunnelDiagArgs {
    /// Which process.
    #[command(flatten)]
    pub process: AdminArgs,
}

/// Arguments of `tunnel revoke`.
#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("whom").required(true).multiple(true).args(["names", "serials"])),
    group(clap::ArgGroup::new("where").required(true).args(["config", "deny_file"]))
)]
pub struct TunnelRevokeArgs {
    /// Agents
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Serial number of a certificate, in hexadecimal (repeatable)
    #[arg(long = "serial", value_name = "SERIAL")]
    pub serials: Vec<String>,
    /// Configuration of a gateway, whose tunnel.denyFile is changed
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The deny list itself
    #[arg(long, value_name = "FILE")]
    pub deny_file: Option<PathBuf>,
}
