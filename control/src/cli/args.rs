//! The command line's grammar.

use super::break_glass_args::BreakGlassCommand;
use super::kubeconfig_args::KubeconfigCommand;
use super::pki_args::PkiCommand;
use super::token_args::TokenCommand;
use super::tunnel_args::TunnelCommand;
use crate::bootstrap::Options;
use clap::{Args, Parser, Subcommand, ValueEnum};
use eyesplice_identity::inventory::{NameError, check_node_name};
use eyesplice_process::log::Format;
use eyesplice_process::sandbox::Sandbox;
use std::net::IpAddr;
use std::path::PathBuf;

const EXIT_STATUS: &str = "\
Exit status:
  0   done; for `gateway`: drained and stopped after a signal
  1   the configuration is invalid, or the start failed
  64  the command line is wrong
  69  the kernel or the sandbox lacks something that is required";

/// Validated and audited streams between a Kubernetes API server and its nodes
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
    /// Run the gateway that the API server's EgressSelectorConfiguration points at
    #[command(after_help = GATEWAY_EXAMPLES)]
    Gateway(GatewayArgs),
    /// Run an agent: dial out to gateways, so that they reach this node or network through it
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(AgentArgs),
    /// Serve the certificates API to kubelets and kubectl: approve, sign, renew
    #[command(after_help = AUTHORITY_EXAMPLES)]
    Authority(AuthorityArgs),
    /// Get a node's client certificate and kubeconfig with a bootstrap token, and keep them valid
    #[command(after_help = BOOTSTRAP_EXAMPLES)]
    Bootstrap(BootstrapArgs),
    /// Validate a configuration and every file that it names, without starting
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print what the kernel and the sandbox support, and how to get what is missing
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeArgs),
    /// Create, check and renew a cluster's certificates and keys
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Write and check kubeconfigs
    #[command(subcommand)]
    Kubeconfig(KubeconfigCommand),
    /// Create, store, check and verify tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show the tunnels of the gateway or agent on this host, and revoke agents
    #[command(subcommand)]
    Tunnel(TunnelCommand),
    /// Show break-glass of the gateway on this host, and rehearse it
    #[command(subcommand)]
    BreakGlass(BreakGlassCommand),
    /// Print the version
    Version(VersionArgs),
    /// Write the man pages or the shell completions
    #[command(hide = true)]
    Generate(GenerateArgs),
}

const GATEWAY_EXAMPLES: &str = "\
Signals:
  TERM, INT  stop accepting, let streams run for timeouts.drain, then close the rest; a second
             signal closes them at once
  HUP        reload configuration and certificates, reopen the audit file

Configuration, certificates, keys, CA bundles, inventory and pins are also reloaded when their files
change. A reload that fails keeps the previous configuration, is logged, and sets the metric
eyesplice_config_last_reload_successful to 0. Live streams are never touched by a reload.

Once its configuration is read, the process gives up privileges, system calls, and files and ports
that the configuration does not name; what that is, `docs/sandbox.md` says, and the log what the
kernel has of it. A reload that names a new directory fails, and asks for a restart or a takeover.

A new version takes over without a gap: --upgrade starts it beside the one that runs. It gets the
listening sockets, and when it is ready, the old one drains as after TERM. If it does not become
ready, the old one goes on.

Examples:
  eyesplice gateway --config /etc/eyesplice/gateway.yaml
  eyesplice gateway --config gateway.yaml --log-format text --log-level info,eyesplice=debug";

/// Arguments of `gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Configuration: apiVersion eyesplice.dev/v1alpha1, kind GatewayConfig
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Directory of mode 0700 where a gateway meets the next one [default: `handover` in
    /// $RUNTIME_DIRECTORY]
    #[arg(long, value_name = "DIR")]
    pub handover_dir: Option<PathBuf>,
    /// Take the listening sockets of the gateway that runs, which drains when this one is ready
    #[arg(long)]
    pub takeover: bool,
    /// Have the gateway that runs reload, or, if it is of another binary, start this one to take
    /// over; ends when that is done
    #[arg(long, conflicts_with = "takeover")]
    pub upgrade: bool,
    /// Tell on standard input that the takeover is complete
    #[arg(long, hide = true, requires = "takeover")]
    pub tell: bool,
    /// The sandbox.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How a process that stays confines itself.
#[derive(Clone, Copy, Debug, Args)]
pub struct SandboxArgs {
    /// INSECURE: reach every file, port and system call that the user of this process may use
    #[arg(long)]
    pub insecure_no_sandbox: bool,
}

impl SandboxArgs {
    /// What the flag says.
    pub fn wanted(self) -> Sandbox {
        Sandbox::unless(self.insecure_no_sandbox)
    }
}

/// How a process that stays logs.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Format of the log [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
    /// error, warn, info, debug or trace, or a list of target=level [env: EYESPLICE_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

const AGENT_EXAMPLES: &str = "\
Nothing listens here: the agent dials its gateways, presents its certificate, and dials what they
ask for if `allow` of its configuration has it.

Signals:
  TERM, INT  take no new streams, let the live ones run for timeouts.drain, then close the rest; a
             second signal closes them at once
  HUP        reload configuration and certificates, reopen the audit file, resolve gateways again

Configuration and certificates are also reloaded when their files change; new connections use the
new ones. A reload that fails keeps the previous configuration.

It runs in a sandbox, as `eyesplice gateway --help` says.

Examples:
  eyesplice agent --config /etc/eyesplice/agent.yaml
  eyesplice tunnel status --config /etc/eyesplice/agent.yaml";

fn node_name(text: &str) -> Result<String, NameError> {
    check_node_name(text).map(|()| text.to_owned())
}

/// Arguments of `agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Configuration: apiVersion eyesplice.dev/v1alpha1, kind AgentConfig
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The node that this agent runs on, where identity.node is left open
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<String>,
    /// The address of its kubelet, where allow.kubelet.address is left open
    #[arg(long, value_name = "ADDRESS")]
    pub node_ip: Option<IpAddr>,
    /// The sandbox.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

const AUTHORITY_EXAMPLES: &str = "\
What is approved without a person:
  - a node's first client certificate, requested with a bootstrap token, and its renewals
  - a node's serving certificate, if approval.inventoryFile has every name and address in it

Everything else waits for `kubectl certificate approve|deny`.

It runs in a sandbox, as `eyesplice gateway --help` says.

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
    /// Handle the CSRs of this kubeconfig's cluster; the configuration must have a `cluster` section
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// INSECURE: approve every CSR of this group that its signer allows
    #[arg(long, value_name = "GROUP")]
    pub insecure_auto_approve_group: Option<String>,
    /// The sandbox.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

const BOOTSTRAP_EXAMPLES: &str = "\
Makes a key, requests its certificate, waits until it is approved and signed, and writes to DIR:
  node-client.pem   key and certificate, mode 0600
  node.kubeconfig   a kubeconfig that names them
  ca.crt            the CA by which the server was validated

An existing certificate is renewed between 70 and 90 % of its lifetime, with itself as credential;
when it has expired, a new one is requested with the token. Before that, a run without --keep leaves
it as it is.

Examples:
  eyesplice bootstrap --server https://10.0.0.1:6443 --node worker-1 --token-file token \\
      --ca-file ca.crt --dir /var/lib/eyesplice
  eyesplice bootstrap ... --ca-pin sha256:HEX --keep
  eyesplice bootstrap ... --dry-run";

/// Arguments of `bootstrap`.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// How.
    #[command(flatten)]
    pub options: Options,
    /// Keep running, and renew the certificate when it is due
    #[arg(long, conflicts_with = "dry_run")]
    pub keep: bool,
    /// Check token, expiry, CA pin, network, clock and approval, without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Format of the log with --keep [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
}

const CHECK_EXAMPLES: &str = "\
Prints all errors at once and exits with 1 if there are any; warnings alone exit with 0.

With --dial every node of kubelet.inventoryFile is dialled as the gateway would, at each of its
addresses, and its certificate is validated: run it where the gateway runs, before `verification` is
set to enforce. It exits with 1 if a node would fail. Nodes behind an agent or a proxy are not
dialled.

Examples:
  eyesplice check /etc/eyesplice/gateway.yaml
  eyesplice check --dial /etc/eyesplice/gateway.yaml
  eyesplice check --dial --kubeconfig admin.conf /etc/eyesplice/gateway.yaml
  eyesplice check --dial -o json /etc/eyesplice/gateway.yaml";

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration to validate
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Dial every node of the inventory, and say who would fail verification: enforce, and why
    #[arg(long)]
    pub dial: bool,
    /// With --dial: the nodes of this inventory in place of those of kubelet.inventoryFile
    #[arg(long, value_name = "FILE", requires = "dial")]
    pub inventory: Option<PathBuf>,
    /// With --dial: the nodes of this kubeconfig's cluster in place of those
    #[arg(
        long,
        value_name = "FILE",
        requires = "dial",
        conflicts_with = "inventory"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// With --dial: the kubelets' port
    #[arg(long, value_name = "PORT", default_value_t = 10250, requires = "dial")]
    pub port: u16,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// How lines for people are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

const PROBE_EXAMPLES: &str = "\
Exits with 69 if something required is missing, with 1 if it is a limit that can be raised.

Examples:
  eyesplice probe
  eyesplice probe -o json";

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Aligned columns, with what is wrong below.
    Table,
    /// One JSON object.
    Json,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
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
