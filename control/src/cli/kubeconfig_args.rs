//! The grammar of `eyesplice kubeconfig`.

use clap::{Args, Subcommand};
use eyesplice_identity::pki::kubeconfig::Request;
use std::path::PathBuf;

/// What to do with a kubeconfig.
#[derive(Debug, Subcommand)]
pub enum KubeconfigCommand {
    /// Write a kubeconfig, for a certificate of a PKI or for any other credential
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<KubeconfigCreateArgs>),
    /// Check a kubeconfig, or several that are used together
    #[command(after_help = CHECK_EXAMPLES)]
    Check(KubeconfigCheckArgs),
}

const CREATE_EXAMPLES: &str = "\
With --pki, NAME is a certificate of the tree: admin, super-admin, controller-manager, scheduler,
kube-proxy, kubelet-client-NODE, user-NAME; server and CA come from the tree, too. With --token-file,
NAME is the user's name in the file, such as bootstrap. Tokens are read from files, never from the
command line, which every user of the machine can read.

Examples:
  eyesplice kubeconfig create admin.conf admin --pki /etc/kubernetes/pki
  eyesplice kubeconfig create kubelet.conf kubelet-client-worker-1 --pki /etc/kubernetes/pki --references
  eyesplice kubeconfig create bootstrap.conf bootstrap --pki /etc/kubernetes/pki --token-file token
  eyesplice kubeconfig create ci.conf ci --server https://10.0.0.1:6443 --ca-file ca.crt \\
      --client-cert-file ci.crt --client-key-file ci.key";

/// Arguments of `kubeconfig create`.
#[derive(Debug, Args)]
pub struct KubeconfigCreateArgs {
    /// File to write, mode 0600; `-` for standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What it shall hold.
    #[command(flatten)]
    pub request: Request,
    /// Replace FILE if it exists
    #[arg(long)]
    pub force: bool,
}

const CHECK_EXAMPLES: &str = "\
Reports what kubectl would refuse (syntax, references, certificates, keys, CAs and tokens) and what
is unsafe: servers that are not validated, plugins, passwords, file modes. Then connects to the API
server of the current context and validates its certificate, without sending a credential. Exits with
1 if there is an error. Several files count as one, as in KUBECONFIG; the first entry of each name
counts.

Examples:
  eyesplice kubeconfig check ~/.kube/config
  eyesplice kubeconfig check \"$KUBECONFIG\" --context staging
  eyesplice kubeconfig check --offline admin.conf";

/// Arguments of `kubeconfig check`.
#[derive(Debug, Args)]
pub struct KubeconfigCheckArgs {
    /// Files to check; each may be a list, as in KUBECONFIG [default: the files that kubectl reads]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Check this context instead of the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Do not connect to the API server
    #[arg(long)]
    pub offline: bool,
}
