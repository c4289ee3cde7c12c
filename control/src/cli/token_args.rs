//! The grammar of `eyesplice token`.

use super::args::TableFormat;
use clap::{Args, Subcommand, ValueEnum};
use eyesplice_identity::document::value::parse_duration;
use eyesplice_identity::token::bootstrap::TokenId;
use eyesplice_identity::token::jwt::Algorithm;
use eyesplice_identity::token::static_tokens::Entry;
use std::path::PathBuf;
use std::time::Duration;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Tokens with which nodes request their first certificate
    #[command(subcommand)]
    Bootstrap(BootstrapCommand),
    /// The static token file of --token-auth-file
    #[command(subcommand)]
    Static(StaticCommand),
    /// Service-account tokens, and the keys that sign them
    #[command(subcommand, visible_alias = "sa")]
    Serviceaccount(ServiceaccountCommand),
    /// Report the user of a token, or why it is refused
    #[command(after_help = REVIEW_EXAMPLES)]
    Review(ReviewArgs),
}

/// A Go duration, such as 24h; 0 is none.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 24h, 90m or 600s".to_owned())
}

/// What to do with bootstrap tokens.
#[derive(Debug, Subcommand)]
pub enum BootstrapCommand {
    /// Create a token and print it
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List all tokens, without their secrets
    List(ListArgs),
    /// Print one token, without its secret
    #[command(after_help = DESCRIBE_EXAMPLES)]
    Describe(DescribeArgs),
    /// Let a token expire, now or later, and keep it for the record
    #[command(after_help = EXPIRE_EXAMPLES)]
    Expire(ExpireArgs),
    /// Delete tokens
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(DeleteArgs),
}

/// Where bootstrap tokens are.
#[derive(Debug, Args)]
pub struct DirArgs {
    /// Directory of tokens: one Secret per file, as `kubectl apply` takes it
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/etc/eyesplice/bootstrap-tokens"
    )]
    pub dir: PathBuf,
    /// Store them in this kubeconfig's cluster instead, as Secrets in kube-system
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub kubeconfig: Option<PathBuf>,
}

const CREATE_EXAMPLES: &str = "\
The token is stored as the Secret that `kubeadm token create` would make; `kubectl apply -f FILE`
puts it into a cluster. Processes that read the directory accept it from then on.

Examples:
  eyesplice token bootstrap create --ttl 2h --description 'rack 7'
  eyesplice token bootstrap create --node worker-7 --node worker-8
  eyesplice token bootstrap create --groups system:bootstrappers:eyesplice:gateways --gateway gw-1
  echo abcdef.0123456789abcdef | eyesplice token bootstrap create -";

/// Arguments of `token bootstrap create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The token, or - to read it from standard input [default: a random one]
    #[arg(value_name = "TOKEN")]
    pub token: Option<String>,
    #[command(flatten)]
    pub dir: DirArgs,
    /// Lifetime; 0 is unlimited
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    pub ttl: Duration,
    /// What the token may be used for
    #[arg(
        long,
        value_name = "USAGE",
        value_enum,
        value_delimiter = ',',
        default_values = ["signing", "authentication"]
    )]
    pub usages: Vec<Usage>,
    /// Groups besides system:bootstrappers (repeatable or comma-separated)
    #[arg(
        long,
        value_name = "GROUP",
        value_delimiter = ',',
        default_value = "system:bootstrappers:kubeadm:default-node-token"
    )]
    pub groups: Vec<String>,
    /// Restrict the token to these nodes, which may then join again (repeatable or comma-separated)
    /// [default: any node]
    #[arg(long = "node", value_name = "NAME", value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// Restrict the token to these gateways (repeatable or comma-separated)
    #[arg(long = "gateway", value_name = "NAME", value_delimiter = ',')]
    pub gateways: Vec<String>,
    /// Description
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub description: String,
}

/// What a bootstrap token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Usage {
    /// To sign the ConfigMap cluster-info.
    Signing,
    /// As a bearer token.
    Authentication,
}

/// Arguments of `token bootstrap list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub dir: DirArgs,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  eyesplice token bootstrap describe abcdef
  eyesplice token bootstrap describe abcdef --show-secret";

/// Arguments of `token bootstrap describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Its ID: the part before the dot
    #[arg(value_name = "ID")]
    pub id: TokenId,
    #[command(flatten)]
    pub dir: DirArgs,
    /// Print the whole token
    #[arg(long)]
    pub show_secret: bool,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

const EXPIRE_EXAMPLES: &str = "\
Examples:
  eyesplice token bootstrap expire abcdef
  eyesplice token bootstrap expire abcdef --in 30m";

/// Arguments of `token bootstrap expire`.
#[derive(Debug, Args)]
pub struct ExpireArgs {
    /// Its ID: the part before the dot
    #[arg(value_name = "ID")]
    pub id: TokenId,
    #[command(flatten)]
    pub dir: DirArgs,
    /// Time from now until it expires
    #[arg(long = "in", value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub within: Duration,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  eyesplice token bootstrap delete abcdef 012345
  eyesplice token bootstrap delete --expired";

/// Arguments of `token bootstrap delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Their IDs: the part before the dot
    #[arg(
        value_name = "ID",
        required_unless_present = "expired",
        conflicts_with = "expired"
    )]
    pub ids: Vec<TokenId>,
    #[command(flatten)]
    pub dir: DirArgs,
    /// Delete all tokens that have expired
    #[arg(long)]
    pub expired: bool,
}

/// What to do with a token file.
#[derive(Debug, Subcommand)]
pub enum StaticCommand {
    /// Create an entry with a token of 128 random bits
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(StaticGenerateArgs),
    /// Check a token file as the API server reads it, with line and column
    #[command(after_help = STATIC_CHECK_EXAMPLES)]
    Check(StaticCheckArgs),
}

const GENERATE_EXAMPLES: &str = "\
Without --file the entry is printed. With it the entry is appended, and the token alone is printed;
eyesplice accepts it at once, an API server after its restart.

Examples:
  eyesplice token static generate --user jane --uid 1001 --groups dev,ops
  eyesplice token static generate --user ci --file /etc/kubernetes/tokens.csv";

/// Arguments of `token static generate`.
#[derive(Debug, Args)]
pub struct StaticGenerateArgs {
    /// Whose it is.
    #[command(flatten)]
    pub entry: Entry,
    /// Append to this file; created if absent, mode 0600
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

const STATIC_CHECK_EXAMPLES: &str = "\
Exits with 1 if the API server would refuse the file; warnings alone exit with 0.

Examples:
  eyesplice token static check /etc/kubernetes/tokens.csv";

/// Arguments of `token static check`.
#[derive(Debug, Args)]
pub struct StaticCheckArgs {
    /// Token file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

/// What to do with service-account tokens.
#[derive(Debug, Subcommand)]
pub enum ServiceaccountCommand {
    /// Create a bound token, as `kubectl create token` does
    #[command(after_help = MINT_EXAMPLES)]
    Mint(MintArgs),
    /// Verify a token with public keys, and print its claims
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Print public keys as a JSON Web Key Set
    #[command(after_help = JWKS_EXAMPLES)]
    Jwks(JwksArgs),
    /// Replace the signing key in stages, without refused tokens
    #[command(after_help = ROTATE_EXAMPLES)]
    RotateKey(RotateKeyArgs),
}

const MINT_EXAMPLES: &str = "\
The API server accepts the token if it trusts the public key of --key, and for as long as the
account and the object to which the token is bound exist with these UIDs.

Examples:
  eyesplice token serviceaccount mint web -n prod --uid \"$(kubectl get sa web -n prod \\
      -o jsonpath='{.metadata.uid}')\" --key sa.key --issuer https://kubernetes.default.svc
  eyesplice token sa mint web -n prod --uid UID --key sa.key --issuer URL --audience vault \\
      --duration 10m --bound-object-kind pod --bound-object-name web-0 --bound-object-uid UID";

/// Arguments of `token serviceaccount mint`.
#[derive(Debug, Args)]
pub struct MintArgs {
    /// Name of the service account
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Its UID
    #[arg(long, value_name = "UID")]
    pub uid: String,
    /// Signing key: --service-account-signing-key-file of the API server
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Issuer: the first --service-account-issuer of the API server
    #[arg(long, value_name = "URL")]
    pub issuer: String,
    /// Audience of the token (repeatable) [default: the issuer, which is the API server]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    pub audiences: Vec<String>,
    /// Lifetime, at least 10m
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub duration: Duration,
    /// Kind of the object to which the token is bound
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        ignore_case = true,
        requires_all = ["bound_object_name", "bound_object_uid"]
    )]
    pub bound_object_kind: Option<BoundKind>,
    /// Name of that object
    #[arg(long, value_name = "NAME", requires = "bound_object_kind")]
    pub bound_object_name: Option<String>,
    /// UID of that object
    #[arg(long, value_name = "UID", requires = "bound_object_kind")]
    pub bound_object_uid: Option<String>,
    /// Node on which the pod runs
    #[arg(long, value_name = "NAME", requires_all = ["node_uid", "bound_object_kind"])]
    pub node_name: Option<String>,
    /// UID of that node
    #[arg(long, value_name = "UID", requires = "node_name")]
    pub node_uid: Option<String>,
    /// Print the token's claims as well
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<MintFormat>,
}

/// How `mint` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MintFormat {
    /// One JSON object with the token and its claims.
    Json,
}

/// What a token may be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BoundKind {
    /// A pod.
    Pod,
    /// A Secret.
    Secret,
    /// A node.
    Node,
}

const VERIFY_EXAMPLES: &str = "\
Exits with 1 and names what failed: token, expiry, signature, audience or clock. Only the API server
knows whether account and pod still exist.

Examples:
  kubectl create token web | eyesplice token serviceaccount verify --key-file sa.pub \\
      --issuer https://kubernetes.default.svc
  kubectl get --raw /openid/v1/jwks > jwks.json
  eyesplice token sa verify token.txt --jwks jwks.json --issuer URL --audience vault -o json";

/// Arguments of `token serviceaccount verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// File with the token; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Issuers that are trusted (repeatable)
    #[arg(long = "issuer", value_name = "URL", required = true)]
    pub issuers: Vec<String>,
    /// Audiences, of which the token must have one (repeatable) [default: the issuers]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    pub audiences: Vec<String>,
    /// Tolerated difference between clocks
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pub leeway: Duration,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

/// Public keys.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct KeyArgs {
    /// Keys in PEM: public keys, certificates, or private keys (repeatable)
    #[arg(long = "key-file", value_name = "FILE")]
    pub key_files: Vec<PathBuf>,
    /// Keys as an API server publishes them at /openid/v1/jwks
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
}

const JWKS_EXAMPLES: &str = "\
With --issuer the OpenID discovery document is printed instead, which is served at
ISSUER/.well-known/openid-configuration.

Examples:
  eyesplice token serviceaccount jwks --key-file sa.pub > openid/v1/jwks
  eyesplice token serviceaccount jwks --key-file sa.pub --issuer https://oidc.example";

/// Arguments of `token serviceaccount jwks`.
#[derive(Debug, Args)]
pub struct JwksArgs {
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Print the discovery document of this issuer
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// URL of the keys [default: ISSUER/openid/v1/jwks]
    #[arg(long, value_name = "URL", requires = "issuer")]
    pub jwks_uri: Option<String>,
}

const ROTATE_EXAMPLES: &str = "\
Stages; one that was interrupted can be repeated:
  trust    make the next key, and add its public half to --public-keys; then restart or reload every
           API server and every other process that loads them
  switch   sign with it; then restart or reload the processes that sign. With --jwks, this is
           refused while the key set that an API server publishes lacks the next key
  drop     stop trusting the old key, once its last token has expired; then restart or reload again
  undo     go back one step; a key that has signed stays trusted until it is used again or dropped
  status   print the stage

Examples:
  eyesplice token serviceaccount rotate-key trust --key sa.key --public-keys sa.pub
  eyesplice token sa rotate-key switch --key sa.key --public-keys sa.pub --jwks jwks.json
  eyesplice token sa rotate-key drop --key sa.key --public-keys sa.pub --token-lifetime 24h";

/// Arguments of `token serviceaccount rotate-key`.
#[derive(Debug, Args)]
pub struct RotateKeyArgs {
    /// What to do next
    #[arg(value_name = "STAGE", value_enum)]
    pub stage: RotateStage,
    /// Signing key
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Trusted public keys: --service-account-key-file of the API server
    #[arg(long, value_name = "FILE")]
    pub public_keys: PathBuf,
    /// Algorithm of the next key
    #[arg(long, value_name = "ALGORITHM", value_enum, default_value_t = Algorithm::Es256)]
    pub algorithm: Algorithm,
    /// Keys that an API server publishes at /openid/v1/jwks
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Longest lifetime of a token; API servers extend those of pods to a year
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "8760h")]
    pub token_lifetime: Duration,
    /// Drop the old key although its tokens are still valid: they are refused from then on
    #[arg(long)]
    pub force: bool,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}

/// A step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RotateStage {
    /// Make the next key and trust it.
    Trust,
    /// Sign with it.
    Switch,
    /// Stop trusting the old one.
    Drop,
    /// Go one step back.
    Undo,
    /// Print the stage.
    Status,
}

const REVIEW_EXAMPLES: &str = "\
Tries the sources of the configuration: bootstrap tokens, the token file, service-account tokens,
and another API server (TokenReview). Exits with 1 if none accepts the token, and names what failed:
token, expiry, signature, audience, clock or network.

Examples:
  eyesplice token review --config authentication.yaml < token.txt";

/// Arguments of `token review`.
#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// File with the token; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Configuration: apiVersion eyesplice.dev/v1alpha1, kind AuthenticationConfig
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Audiences, of which the token must have one (repeatable)
    #[arg(long = "audience", value_name = "AUDIENCE")]
    pub audiences: Vec<String>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TableFormat::Table)]
    pub output: TableFormat,
}
