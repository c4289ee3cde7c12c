//! The grammar of `eyesplice kubeconfig`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with a kubeconfig.
#[derive(Debug, Subcommand)]
pub enum KubeconfigCommand {
    /// Write a kubeconfig, for a certificate of a PKI or for any other credential
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<KubeconfigCreateArgs>),
    /// Say what is wrong with a kubeconfig, or with several that are used together
    #[command(after_help = CHECK_EXAMPLES)]
    Check(KubeconfigCheckArgs),
}

const CREATE_EXAMPLES: &str = "\
With --pki, NAME is a certificate of the tree: admin, super-admin, controller-manager, scheduler,
kube-proxy, kubelet-client-NODE, user-NAME; server and CA come from the tree, too. With --token-file,
NAME is what the user is called in the file, such as bootstrap. Tokens are read from files, never
from the command line, where everybody on the machine could read them.

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
    /// The certificate or user that the kubeconfig is for
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Directory that `pki init` filled
    #[arg(long, value_name = "DIR", required_unless_present = "server")]
    pub pki: Option<PathBuf>,
    /// URL of the API server
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Name that the API server's certificate is verified by, if not the URL's host
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// CA of the API server
    #[arg(long, value_name = "FILE", required_unless_present = "pki")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_key_file",
        conflicts_with = "token_file"
    )]
    pub client_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    pub client_key_file: Option<PathBuf>,
    /// File that holds a bearer token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Name of the cluster entry
    #[arg(long, value_name = "NAME", default_value = "kubernetes")]
    pub cluster: String,
    /// Namespace of commands that name none
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Name the files instead of embedding what is in them
    #[arg(long)]
    pub references: bool,
    /// Replace FILE if it exists
    #[arg(long)]
    pub force: bool,
}

const CHECK_EXAMPLES: &str = "\
Says of every file what kubectl would: form, references, certificates, keys, CAs and tokens; and what is
not safe to use: unverified servers, plugins, passwords, modes. Then asks the API server of the current
context for its certificate, without showing it a credential. Exits with 1 if anything is more than a
warning. Several files count as one, as in KUBECONFIG; of each name the first entry counts.

Examples:
  eyesplice kubeconfig check ~/.kube/config
  eyesplice kubeconfig check \"$KUBECONFIG\" --context staging
  eyesplice kubeconfig check --offline admin.conf";

/// Arguments of `kubeconfig check`.
#[derive(Debug, Args)]
pub struct KubeconfigCheckArgs {
    /// Files to check, each of which may be a list as KUBECONFIG is [default: what kubectl reads]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Judge by this context, and not by the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Do not ask the API server for its certificate
    #[arg(long)]
    pub offline: bool,
}
