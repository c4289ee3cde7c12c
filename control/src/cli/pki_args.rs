//! The grammar of `eyesplice pki`.

use super::args::TableFormat;
use clap::{Args, Subcommand};
use eyesplice_identity::pki::{AgentName, BreakGlassUser, InitOptions, NodeSpec, UserSpec};
use std::path::PathBuf;

/// What to do with a PKI.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Create the PKI of a new cluster
    #[command(after_help = INIT_EXAMPLES)]
    Init(PkiInitArgs),
    /// List every file with subject, names, usages, issuer, expiry, use and errors
    #[command(after_help = SHOW_EXAMPLES)]
    Show(PkiShowArgs),
    /// Validate every file for its role
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(PkiShowArgs),
    /// Issue certificates that are missing, or those of a new node or user
    #[command(after_help = ISSUE_EXAMPLES)]
    Issue(PkiIssueArgs),
    /// Sign certificates again, with their subjects and names
    #[command(after_help = RENEW_EXAMPLES)]
    Renew(PkiRenewArgs),
    /// Import certificates that an external CA signed for the directory's requests
    #[command(after_help = ACCEPT_EXAMPLES)]
    Accept(PkiAcceptArgs),
    /// Replace a CA in stages; each of them but the last can be undone
    #[command(after_help = ROTATE_EXAMPLES)]
    RotateCa(PkiRotateArgs),
}

const ROTATE_EXAMPLES: &str = "\
Without --next, --undo and --forget: prints the stage. The stages, and what to do after each:
  trust-both   both CAs are trusted, the old one signs
  reissued     the new one signs, and has signed all     have every holder present its new certificate
  old-dropped  only the new one is trusted
  (idle)       the old CA's key is deleted               when all have loaded the CA's file: --forget
Certificates of the new CA are sent with a cross-certificate by the old one. So a process that has
loaded only the old CA accepts them, and needs no restart.
API servers of Kubernetes 1.36 close all live streams to kubelets when apiserver-kubelet-client
changes, with or without a gateway in between: of the files that reissued writes for `ca`, give them
this one in a quiet hour before old-dropped.
A step is made completely or not at all; after a crash, run it again. It is refused while a file of
the tree, or one named by --also, would not work afterwards.

Examples:
  eyesplice pki rotate-ca /etc/kubernetes/pki ca --next
  eyesplice pki rotate-ca /etc/kubernetes/pki ca --next --also /var/lib/kubelet/pki/kubelet-client-current.pem
  eyesplice pki rotate-ca /etc/kubernetes/pki ca --undo
  eyesplice pki rotate-ca /etc/kubernetes/pki ca --forget";

/// Arguments of `pki rotate-ca`.
#[derive(Debug, Args)]
pub struct PkiRotateArgs {
    /// Directory that `pki init` filled
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The CA, by file name without extension, such as etcd/ca
    #[arg(value_name = "CA")]
    pub name: String,
    /// Go on to the next stage
    #[arg(long, conflicts_with_all = ["undo", "forget"])]
    pub next: bool,
    /// Go back to the stage before
    #[arg(long, conflicts_with = "forget")]
    pub undo: bool,
    /// When all processes have loaded the CA's file: stop sending the old CA's cross-certificate
    #[arg(long)]
    pub forget: bool,
    /// Make new keys for the certificates that are signed again; then two files of each change
    #[arg(long)]
    pub new_keys: bool,
    /// A file outside of DIR that depends on the CA: certificate, CA bundle or kubeconfig (repeatable)
    #[arg(long, value_name = "FILE")]
    pub also: Vec<PathBuf>,
    /// Configuration of DIR [default: DIR/pki.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

const INIT_EXAMPLES: &str = "\
Keys have mode 0600. By default they are ECDSA P-256, CAs are valid for 10 years, everything else
for 1 year. If a file exists, nothing is written unless --force is given. The whole configuration is
written to DIR/pki.yaml, where the other pki commands look for it; docs/pki.md describes its fields.
For a CA without keyFile, requests (NAME.csr) are written in place of certificates and kubeconfigs:
have them signed, then run `pki accept`.

Examples:
  eyesplice pki init /etc/kubernetes/pki --config pki.yaml
  eyesplice pki init /etc/kubernetes/pki --server https://10.0.0.1:6443 --apiserver 10.0.0.1 \\
      --service-ip 10.96.0.1 --node worker-1=10.0.0.11 --node worker-2=10.0.0.12,worker-2.example \\
      --gateway 10.0.0.1
  eyesplice pki init pki --apiserver 10.0.0.1,fd00::1,'*.example.com' \\
      --service-cidr 10.96.0.0/16,fd00:96::/112 --node worker-1=10.0.0.11,fd00::11";

/// Arguments of `pki init`.
#[derive(Debug, Args)]
pub struct PkiInitArgs {
    /// Directory to fill; created if absent, mode 0700
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Configuration: apiVersion eyesplice.dev/v1alpha1, kind PKIConfig
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "apiserver", "server", "service_ips", "service_cidrs", "nodes", "gateway", "agents"
        ]
    )]
    pub config: Option<PathBuf>,
    /// What stands for it.
    #[command(flatten)]
    pub options: InitOptions,
    /// Replace existing files, including keys and CAs
    #[arg(long)]
    pub force: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  eyesplice pki show /etc/kubernetes/pki
  eyesplice pki show /etc/kubernetes/pki -o json";

const VERIFY_EXAMPLES: &str = "\
Validates chain, usages, names, subject, key, validity and file mode of every certificate for its
role, and every kubeconfig. Prints errors and warnings, and exits with 1 if there is an error. Without
pki.yaml the roles follow from kubeadm's file names.

Examples:
  eyesplice pki verify /etc/kubernetes/pki";

/// Arguments of `pki show` and `pki verify`.
#[derive(Debug, Args)]
pub struct PkiShowArgs {
    /// Directory that `pki init` or kubeadm filled
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Configuration of DIR [default: DIR/pki.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

const ISSUE_EXAMPLES: &str = "\
Without NAME, --node, --user, --agent and --break-glass: every certificate of the configuration that
has no file yet, except those whose request awaits a signature and those for break-glass. For a CA
whose key is elsewhere, keys and requests are written.

Examples:
  eyesplice pki issue /etc/kubernetes/pki
  eyesplice pki issue /etc/kubernetes/pki --node worker-3=10.0.0.13
  eyesplice pki issue /etc/kubernetes/pki --user jane=dev,ops
  eyesplice pki issue /etc/kubernetes/pki --agent edge-1
  eyesplice pki issue /etc/kubernetes/pki --break-glass jane
  eyesplice pki issue /etc/kubernetes/pki apiserver --force";

/// Arguments of `pki issue`.
#[derive(Debug, Args)]
pub struct PkiIssueArgs {
    /// Directory that `pki init` filled
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Certificates to issue, by file name without extension, such as etcd/server
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Configuration of DIR [default: DIR/pki.yaml]
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["nodes", "users", "agents", "break_glass"]
    )]
    pub config: Option<PathBuf>,
    /// Add a node to DIR/pki.yaml, and issue its certificates (repeatable)
    #[arg(long = "node", value_name = "NAME=ADDRESS[,ADDRESS..]")]
    pub nodes: Vec<NodeSpec>,
    /// Add a user to DIR/pki.yaml, and issue the certificate and kubeconfig (repeatable)
    #[arg(long = "user", value_name = "NAME[=GROUP[,GROUP..]]")]
    pub users: Vec<UserSpec>,
    /// Add an agent of the tunnel listeners to DIR/pki.yaml, and issue its client certificate
    /// (repeatable)
    #[arg(long = "agent", value_name = "NAME")]
    pub agents: Vec<AgentName>,
    /// Issue a user a short-lived certificate for break-glass, of a CA that is for nothing else, in
    /// place of an earlier one (repeatable)
    #[arg(long = "break-glass", value_name = "NAME")]
    pub break_glass: Vec<BreakGlassUser>,
    /// Replace existing files
    #[arg(long)]
    pub force: bool,
}

const ACCEPT_EXAMPLES: &str = "\
Finds the request of each certificate by its key, validates it for its role, and replaces NAME.csr
with NAME.crt and the kubeconfig. A FILE may have several certificates, and the intermediate CAs up
to the directory's CA. If one certificate is refused, none is accepted.

Examples:
  eyesplice pki accept /etc/kubernetes/pki signed/*.crt
  eyesplice pki accept /etc/kubernetes/pki all.pem";

/// Arguments of `pki accept`.
#[derive(Debug, Args)]
pub struct PkiAcceptArgs {
    /// Directory that `pki init` filled
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Signed certificates, PEM
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Configuration of DIR [default: DIR/pki.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

const RENEW_EXAMPLES: &str = "\
Keeps subject and names, adds new names of the role, and writes the kubeconfigs that embed what was
renewed. CAs are not renewed but rotated. For a CA whose key is elsewhere, the key is kept and a
request (NAME.csr) is written; the certificate stays in use until `pki accept` imports the next one.
API servers of Kubernetes 1.36 close all live streams to kubelets when apiserver-kubelet-client
changes, with or without a gateway in between: give them its files in a quiet hour.

Examples:
  eyesplice pki renew /etc/kubernetes/pki --due
  eyesplice pki renew /etc/kubernetes/pki apiserver etcd/server
  eyesplice pki renew /etc/kubernetes/pki --all --keep-keys";

/// Arguments of `pki renew`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("selection").required(true).args(["names", "all", "due"])))]
pub struct PkiRenewArgs {
    /// Directory that `pki init` filled
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Certificates to renew, by file name without extension, such as etcd/server
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Renew all
    #[arg(long)]
    pub all: bool,
    /// Renew those that are past two thirds of their lifetime
    #[arg(long)]
    pub due: bool,
    /// Keep the private keys
    #[arg(long)]
    pub keep_keys: bool,
    /// Configuration of DIR [default: DIR/pki.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
