//! The command line's grammar.

use super::kubeconfig_args::KubeconfigCommand;
use super::pki_args::PkiCommand;
use super::token_args::TokenCommand;
use clap::{Args, Parser, Subcommand, ValueEnum};
use eyesplice_process::log::Format;
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
    /// Serve the certificates API to kubelets and kubectl: approve, sign, renew
    #[command(after_help = AUTHORITY_EXAMPLES)]
    Authority(AuthorityArgs),
    /// Get a node's client certificate and kubeconfig with a bootstrap token, and keep them valid
    #[command(after_help = BOOTSTRAP_EXAMPLES)]
    Bootstrap(BootstrapArgs),
    /// Validate a configuration and every file that it names, without starting
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print what this kernel and sandbox can do, with the remedy for what is missing
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeArgs),
    /// Make, check and renew a cluster's certificates and keys
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Write and check kubeconfigs
    #[command(subcommand)]
    Kubeconfig(KubeconfigCommand),
    /// Make, keep, check and verify tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print the version
    Version(VersionArgs),
    /// Write the man pages, the shell completions or tables of the documents
    #[command(hide = true)]
    Generate(GenerateArgs),
}

const GATEWAY_EXAMPLES: &str = "\
Signals:
  TERM, INT  stop accepting, let streams run until timeouts.drain has passed, then end the rest;
             a second one ends them at once
  HUP        reload configuration and certificates, reopen the audit file

Configuration, certificates, keys, CA bundles, inventory and pins are also reloaded when their files
change. A reload that fails keeps the previous configuration, is logged, and sets the metric
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

const AUTHORITY_EXAMPLES: &str = "\
What is approved without a person:
  - a node's first client certificate, asked for with a bootstrap token; its renewal by the node
  - a node's serving certificate, if approval.inventoryFile has every name and address in it

Everything else waits for `kubectl certificate approve|deny`.

Signals:
  TERM, INT  stop
  HUP        reload configuration, certificates, CAs, tokens and inventory

Examples:
  eyesplice authority --config /etc/eyesplice/authority.yaml
  kubectl --server https://10.0.0.1:6443 get csr -o wide";

/// Arguments of `authority`.
#[derive(Debug, Args)]
pub struct AuthorityArgs {
    /// Configuration: apiVersion eyesplice.dev/v1alpha1, kind AuthorityConfig
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Work on the CSRs of this kubeconfig's cluster; the configuration must have a `cluster` section
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// INSECURE: approve every CSR of this group that its signer allows
    #[arg(long, value_name = "GROUP")]
    pub insecure_auto_approve_group: Option<String>,
    /// How the log is written [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
    /// error, warn, info, debug or trace, or a list of target=level [env: EYESPLICE_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

const BOOTSTRAP_EXAMPLES: &str = "\
Makes a key, asks for its certificate, waits until it is approved and signed, and writes into DIR:
  node-client.pem   key and certificate, mode 0600
  node.kubeconfig   a kubeconfig that names them
  ca.crt            the CA that the server was verified by

A certificate that is there is renewed with itself between 70 and 90 % of its life, and asked for
with the token again if it has expired. Without --keep, nothing is done before that.

Examples:
  eyesplice bootstrap --server https://10.0.0.1:6443 --node worker-1 --token-file token \\
      --ca-file ca.crt --dir /var/lib/eyesplice
  eyesplice bootstrap ... --ca-pin sha256:HEX --keep
  eyesplice bootstrap ... --dry-run";

/// Arguments of `bootstrap`.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// The authority or API server
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// The node's name
    #[arg(long, value_name = "NAME")]
    pub node: String,
    /// File with a bootstrap token, read when it is needed
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// CA that issued the server's certificate
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of that CA's public key; without --ca-file, the CA is taken from the server's
    /// cluster-info
    #[arg(long, value_name = "sha256:HEX")]
    pub ca_pin: Option<String>,
    /// Directory to write into; created if absent, mode 0700
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How long to wait for the certificate, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub timeout: u64,
    /// Stay, and renew the certificate when its time comes
    #[arg(long, conflicts_with = "dry_run")]
    pub keep: bool,
    /// Look at token, expiry, CA pin, network, clock and approval, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How the log of --keep is written [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
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
Exits with 69 if something required is missing, with 1 if that is a limit that can be raised.

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
    /// The table of certificates for docs/pki.md.
    RoleTable,
}
