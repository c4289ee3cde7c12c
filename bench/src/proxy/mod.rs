//! The proxies under test, each behind the same door: a UNIX socket that takes HTTP CONNECT, or for the
//! bare loop a TCP port that does.

pub mod bare;
pub mod bare_copy;
mod crypto;
pub mod eyesplice;
mod preamble;
pub mod tokio_rustls;

use crate::crypto::{Crypto, Group};
use crate::identity::{Identity, Manners, Suite};
use crate::{Attempt, Error, Result, child, cpu};
use clap::{Args, ValueEnum};
use eyesplice_sys::limits;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Which proxy runs in a helper process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The engine, splicing.
    EyespliceSplice,
    /// The engine, ending TLS on both legs of a kubelet's API.
    EyespliceKubelet,
    /// Baseline of splice: two splice loops per stream and nothing else.
    Bare,
    /// Baseline of copying: two copy loops per stream and nothing else.
    BareCopy,
    /// The same, with TLS towards the target.
    BareOriginate,
    /// The same, with TLS on both legs.
    BareTerminate,
    /// Baseline of terminate: tokio-rustls on both legs.
    TokioRustls,
}

/// What a proxy process is told.
#[derive(Args, Clone, Debug)]
pub struct Spec {
    /// Which one.
    #[arg(long)]
    pub kind: Kind,
    /// Where it listens.
    #[arg(long)]
    pub socket: PathBuf,
    /// Where the bare loop listens instead.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Directory of the certificates.
    #[arg(long)]
    pub identity: PathBuf,
    /// The cipher suite.
    #[arg(long)]
    pub suite: Suite,
    /// Whose cryptography, of tokio-rustls and of the loops that speak TLS [default: as the
    /// gateway].
    #[arg(long, value_enum)]
    pub crypto: Option<Crypto>,
    /// The group with which they agree on keys.
    #[arg(long, value_enum, default_value_t)]
    pub group: Group,
    /// The cores that it is bound to; tokio-rustls has a worker for each, the others have one.
    #[arg(long, value_delimiter = ',', required = true)]
    pub core: Vec<usize>,
    /// Of tokio-rustls and of the loops that speak TLS.
    #[command(flatten)]
    pub manners: Manners,
}

/// Where clients come in.
#[derive(Clone, Debug)]
pub enum Door {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl Spec {
    /// The arguments that start a helper with this.
    pub fn arguments(&self) -> Vec<String> {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map_or_else(String::new, |value| value.get_name().to_string())
        };
        let cores: Vec<_> = self.core.iter().map(ToString::to_string).collect();
        vec![
            "proxy".into(),
            format!("--kind={}", name(&|| self.kind.to_possible_value())),
            format!("--socket={}", self.socket.display()),
            format!("--identity={}", self.identity.display()),
            format!("--suite={}", name(&|| self.suite.to_possible_value())),
            format!("--core={}", cores.join(",")),
        ]
    }
}

/// Runs a proxy until the parent process has enough of it.
///
/// # Errors
/// If it does not start.
pub fn run(spec: &Spec) -> Result<()> {
    if spec.listen.is_some() && spec.kind != Kind::Bare {
        return Err(Error::Unfit(
            "--listen is for --kind bare; the others listen on --socket".into(),
        ));
    }
    cpu::pin(&spec.core)?;
    limits::raise_open_files().attempt("raise the limit of open files")?;
    let identity = Identity::open(&spec.identity, spec.suite)
        .with(spec.crypto)
        .exchanging(spec.group.into());
    let plan = match spec.kind {
        Kind::Bare => {
            let socket = Door::Unix(spec.socket.clone());
            bare::start(&spec.listen.map_or(socket, Door::Tcp))?;
            None
        }
        Kind::BareCopy | Kind::BareOriginate | Kind::BareTerminate => {
            let legs = bare_copy::Legs {
                downstream: spec.kind == Kind::BareTerminate,
                upstream: spec.kind != Kind::BareCopy,
            };
            bare_copy::start(&spec.socket, &identity, spec.manners, legs)?;
            None
        }
        Kind::TokioRustls => {
            tokio_rustls::start(&spec.socket, &identity, spec.manners, spec.core.len())?;
            None
        }
        Kind::EyespliceSplice => Some(eyesplice::Plan::Splice),
        Kind::EyespliceKubelet => Some(eyesplice::Plan::kubelet(&identity)?),
    };
    let gateway = plan
        .map(|plan| eyesplice::Gateway::start(&spec.socket, plan))
        .transpose()?;
    child::say_ready("")?;
    child::until_dismissed()?;
    if let Some(gateway) = &gateway {
        gateway.warn_of_shortages();
    }
    Ok(())
}
