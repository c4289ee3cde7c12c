//! Memory per idle stream: opens as many streams as descriptors allow, lets them lie, and reads what
//! the gateway process grew by.
//!
//! Clients and servers are processes of their own. Idle spliced streams are tunnels that carried
//! nothing but their CONNECT; idle terminated ones are exec sessions after their 101, with TLS on
//! both legs.

mod memory;
mod peers;
mod report;

pub use peers::{ClientSpec, ServerSpec, clients, servers};

use crate::child::Child;
use crate::cpu::{self, Cores};
use crate::crypto::Group;
use crate::identity::{Identity, Manners, Suite};
use crate::machine::Machine;
use crate::proxy::{Kind, Spec};
use crate::{Attempt, Error, Result, results};
use clap::Args;
use eyesplice_sys::limits;
use memory::Memory;
use report::{Report, Row};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Streams of a full measurement.
const STREAMS: usize = 10_000;

/// Descriptors of the gateway that are not streams': listener, ring, pipes, standard streams.
const SPARE_FDS: u64 = 128;

/// Streams that are opened and closed first, so that pools and allocator are warm.
const WARM_UP: usize = 64;

/// How long the gateway may take to let go of streams that ended.
const SETTLE: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Idle streams [default: 10,000, or as many as the limit of open files allows]
    #[arg(long)]
    pub streams: Option<usize>,
    /// Cipher suite of both legs
    #[arg(long, value_enum, default_value_t)]
    pub suite: Suite,
    /// Writes `DATE-idle.json` and `DATE-idle.md` into this directory
    #[arg(long)]
    pub output: Option<PathBuf>,
}

/// Measures spliced, then terminated streams, and prints what each costs.
///
/// # Errors
/// If a process does not start or a stream cannot be opened.
pub fn run(options: &Options) -> Result<()> {
    let cores = Cores::split()?;
    let machine = Machine::here();
    cpu::pin(&cores.generators)?;
    let open_files = limits::raise_open_files()
        .attempt("raise the limit of open files")?
        .soft;
    // Two descriptors each in the gateway; one in the generators.
    let fits = usize::try_from(open_files.saturating_sub(SPARE_FDS) / 2).unwrap_or(usize::MAX);
    let streams = options.streams.unwrap_or(STREAMS).min(fits);
    let rows = [
        ("spliced", Kind::EyespliceSplice, 6 * 1024),
        ("terminated", Kind::EyespliceKubelet, 32 * 1024),
    ]
    .into_iter()
    .map(|(name, kind, target)| {
        let (before, after) = measure(kind, streams, options.suite, &cores)?;
        Ok(Row::new(name, target, streams, before, after))
    })
    .collect::<Result<Vec<_>>>()?;
    let report = Report {
        machine,
        suite: options.suite,
        open_files,
        wanted: options.streams.unwrap_or(STREAMS),
        rows,
    };
    results::show(&report, "idle", options.output.as_deref())
}

/// The gateway's memory before and with `streams` idle streams.
fn measure(kind: Kind, streams: usize, suite: Suite, cores: &Cores) -> Result<(Memory, Memory)> {
    let directory = tempfile::tempdir().attempt("make a temporary directory")?;
    let path = directory.path();
    Identity::create(path, suite)?;
    let socket = path.join("egress.sock");
    let gateway = Spec {
        kind,
        socket: socket.clone(),
        identity: path.to_path_buf(),
        suite,
        listen: None,
        crypto: None,
        group: Group::default(),
        core: vec![cores.proxy],
        manners: Manners::MUTUAL,
    };
    let own = std::env::current_exe().attempt("find the path of this program")?;
    let mut gateway = Child::start("gateway", &own, &gateway.arguments())?;
    gateway.ready()?;
    let open = |count: usize| {
        let tls = kind != Kind::EyespliceSplice;
        let mut servers =
            Child::start("servers", &own, &peers::server_arguments(path, suite, tls))?;
        let target = servers.ready()?;
        let arguments = peers::client_arguments(path, &socket, &target, suite, tls, count);
        let mut clients = Child::start("clients", &own, &arguments)?;
        clients.ready().map(|_| (clients, servers))
    };
    let at_rest = open_descriptors(&gateway)?;
    drop(open(WARM_UP)?);
    settle(&gateway, at_rest)?;
    let before = Memory::of(gateway.pid())?;
    let peers = open(streams)?;
    let opened = open_descriptors(&gateway)?;
    let after = Memory::of(gateway.pid())?;
    drop(peers);
    if opened < at_rest + 2 * streams {
        return Err(Error::Unfit(format!(
            "gateway holds {opened} descriptors with {streams} streams: some have ended"
        )));
    }
    Ok((before, after))
}

fn open_descriptors(process: &Child) -> Result<usize> {
    let listed = fs::read_dir(format!("/proc/{}/fd", process.pid()))
        .attempt("count the gateway's descriptors")?;
    Ok(listed.count())
}

/// Waits until the gateway holds no more descriptors than it did `at_rest`.
fn settle(gateway: &Child, at_rest: usize) -> Result<()> {
    let until = Instant::now() + SETTLE;
    while open_descriptors(gateway)? > at_rest {
        if Instant::now() > until {
            return Err(Error::Unfit(
                "gateway does not let go of ended streams".into(),
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
