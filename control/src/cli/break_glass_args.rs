//! The grammar of `eyesplice break-glass`.

use super::tunnel_args::AdminArgs;
use clap::{Args, Subcommand, ValueEnum};

/// What to ask about break-glass of the gateway on this host.
#[derive(Debug, Subcommand)]
pub enum BreakGlassCommand {
    /// Show whether it is in force, how both paths are, and which kubelets would take it
    #[command(after_help = STATUS_EXAMPLES)]
    Status(BreakGlassStatusArgs),
    /// Say what would come of a stream of a user, without opening it
    #[command(after_help = DRILL_EXAMPLES)]
    Drill(BreakGlassDrillArgs),
}

const STATUS_EXAMPLES: &str = "\
Asks the admin endpoint of the gateway on this host.

UNTIL AT MOST is when a kubelet has forgotten at the latest that it allows the gateway: it remembers
that for its cacheAuthorizedTTL from the moment at which it asked an API server, which it does not
tell.

Examples:
  eyesplice break-glass status
  eyesplice break-glass status --config /etc/eyesplice/gateway.yaml
  eyesplice break-glass status --json";

const DRILL_EXAMPLES: &str = "\
Exits with 1 if the stream would be refused.

Examples:
  eyesplice break-glass drill --user jane exec shop/web-0
  eyesplice break-glass drill --user jane --spdy exec shop/web-0
  eyesplice break-glass drill --user jane --json log shop/web-0";

/// Arguments of `break-glass status`.
#[derive(Debug, Args)]
pub struct BreakGlassStatusArgs {
    /// Which process.
    #[command(flatten)]
    pub process: AdminArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `break-glass drill`.
#[derive(Debug, Args)]
pub struct BreakGlassDrillArgs {
    /// Which process.
    #[command(flatten)]
    pub process: AdminArgs,
    /// The user: the common name of the certificate
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// The stream
    #[arg(value_enum)]
    pub stream: DrilledStream,
    /// The pod
    #[arg(value_name = "NAMESPACE/POD")]
    pub pod: String,
    /// As kubectl before 1.31 asks, by POST alone
    #[arg(long)]
    pub spdy: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A stream of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrilledStream {
    /// A command in a container.
    Exec,
    /// The main process of a container.
    Attach,
    /// Ports.
    Portforward,
    /// The log of a container.
    Log,
}
