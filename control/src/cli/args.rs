//! The command line's grammar.

use crate::log::Format;
use crate::pki::{DEFAULT_SERVICE_IP, NodeSpec};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

const EXIT_STATUS: &str = "\
Exit status:
  0   done; for `gateway`: drained and stopped after a signal
  1   the configuration is invalid, or the start failed
  64  the command line is wrong
  69  the kernel, or the sandbox around the process, lacks something required";

/// Verified, zero-copy paths between a Kubernetes control plane and its nodes
#[derive(Debug, Parser)]
#[command(
    name = "eyesplice",
    version,
    propagate_version = true,
    after_help = EXIT_STATUS,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the egress that the API server's EgressSelectorConfiguration points at
    #[command(after_help = GATEWAY_EXAMPLES)]
    Gateway(GatewayArgs),
    /// Validate a configuration and every file that it names, without starting
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print what this kernel and sandbox can do, with the remedy for what is missing
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeArgs),
    /// Make certificates, keys and kubeconfigs
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Print the version
    Version(VersionArgs),
    /// Write the man pages or the shell completions
    #[command(hide = true)]
    Generate(GenerateArgs),
}

const GATEWAY_EXAMPLES: &str = "\
Signals:
  TERM, INT  stop accepting, let streams run until timeouts.drain has passed, then end the rest;
             a second one ends them at once
  HUP        reload configuration and certificates, reopen the audit file

Configuration, certificates, keys, CA bundles, inventory and pins are also reloaded when their files
change. A bad new state keeps the last good one, is logged, and sets the metric
eyesplice_config_last_reload_successful to 0. Live streams are never touched by a reload.

Examples:
  eyesplice gateway --config /etc/eyesplice/gateway.yaml
  eyesplice gateway --config gateway.yaml --log-format text --log-level info,eyesplice=debug";

/// Arguments of `gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Configuration: apiVersion eyesplice.dev/v1alpha1, kind GatewayConfig
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How the log is written [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
    /// error, warn, info, debug or trace, or a list of target=level [env: EYESPLICE_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

const CHECK_EXAMPLES: &str = "\
Prints all errors at once and exits with 1 if there are any; warnings alone exit with 0.

Examples:
  eyesplice check /etc/eyesplice/gateway.yaml";

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration to validate
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

const PROBE_EXAMPLES: &str = "\
Exits with 69 if something required is missing.

Examples:
  eyesplice probe
  eyesplice probe -o json";

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = ProbeFormat::Table)]
    pub output: ProbeFormat,
}

/// How `probe` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeFormat {
    /// Aligned columns, remedies below.
    Table,
    /// One JSON object.
    Json,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = VersionFormat::Text)]
    pub output: VersionFormat,
}

/// How `version` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionFormat {
    /// One line.
    Text,
    /// One JSON object.
    Json,
}

/// What to make.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Make the PKI of a new cluster with an eyesplice egress
    #[command(after_help = PKI_EXAMPLES)]
    Init(PkiInitArgs),
}

const PKI_EXAMPLES: &str = "\
Keys are ECDSA P-256, mode 0600. CAs are valid for 10 years, all else for 1 year. If a file exists,
nothing is written unless --force is given.

Examples:
  eyesplice pki init /etc/kubernetes/pki --server https://10.0.0.1:6443 --apiserver 10.0.0.1 \\
      --service-ip 10.96.0.1 --node worker-1=10.0.0.11 --node worker-2=10.0.0.12,worker-2.example \\
      --gateway 10.0.0.1";

/// Arguments of `pki init`.
#[derive(Debug, Args)]
pub struct PkiInitArgs {
    /// Directory to fill; created if absent, mode 0700
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Address or DNS name that the API server's certificate must cover (repeated or a comma list)
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub apiserver: Vec<String>,
    /// URL of the API server in kubeconfigs [default: the first --apiserver, or 127.0.0.1, at 6443]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// First address of the service range: the ClusterIP of the service `kubernetes`
    #[arg(long, value_name = "IP", default_value_t = DEFAULT_SERVICE_IP)]
    pub service_ip: IpAddr,
    /// A node and the addresses or DNS names of its kubelet (repeated)
    #[arg(long = "node", value_name = "NAME=ADDRESS[,ADDRESS..]")]
    pub nodes: Vec<NodeSpec>,
    /// Address or DNS name at which the API server dials the gateway over TCP (repeated or a comma
    /// list)
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub gateway: Vec<String>,
    /// Replace files that exist, keys and CAs included
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to write
    #[arg(value_enum)]
    pub what: Generated,
    /// Directory to write into; created if absent
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// What `generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// One page per command, section 1.
    Man,
    /// Completions for bash, fish and zsh.
    Completions,
}
