//! New streams of an API server while strangers crowd the TCP listener: how long they take, against the
//! same crowd at a sink that has nothing to do with the gateway.
//!
//! The gateway is a process with its own defaults, one worker and a core of its own. The crowd is another
//! process; it shares the other cores with the API server, so its own cost is in both figures.

mod crowd;
mod report;
mod visits;

pub use crowd::{CrowdSpec, crowd};

use crate::child::Child;
use crate::cpu::{self, Cores};
use crate::identity::{Identity, Suite};
use crate::machine::Machine;
use crate::run::runtime;
use crate::{Attempt, Error, Result, results};
use clap::Args;
use crowd::Kind;
use report::{Report, Row};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};
use visits::{ApiServer, Visits};

/// Addresses of the loopback network that a wide crowd comes from.
const WIDE: u32 = 256;

/// How long the gateway may take to listen, and its memory to come back.
const SETTLE: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The gateway's program [default: `eyesplice` beside this one]
    #[arg(long)]
    pub gateway: Option<PathBuf>,
    /// Hostile connections a second
    #[arg(long, default_value_t = 2000)]
    pub rate: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// New streams of the API server a second
    #[arg(long, default_value_t = 50)]
    pub visits: u32,
    /// Writes `DATE-strangers.json` and `DATE-strangers.md` into this directory
    #[arg(long)]
    pub output: Option<PathBuf>,
}

/// Measures every kind of crowd, from one address and from many, and prints the figures.
///
/// # Errors
/// If a process does not start.
pub fn run(options: &Options) -> Result<()> {
    let cores = Cores::split()?;
    let machine = Machine::here();
    cpu::pin(&cores.generators)?;
    let directory = tempfile::tempdir().attempt("make a temporary directory")?;
    let identity = Identity::create(directory.path(), Suite::default())?;
    let gateway = Gateway::start(options, directory.path(), &cores)?;
    let target = sink()?;
    let api_server = ApiServer::new(&identity, gateway.address, target)?;
    let meet = |crowd: Option<&CrowdSpec>| measure(options, &api_server, crowd);
    // Warms up what is made once.
    meet(None)?;
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        for sources in [1, WIDE] {
            let base = gateway.rss()?;
            let spec = |to| CrowdSpec::new(kind, sources, options.rate, to, directory.path());
            let (idle, aside) = meet(Some(&spec(None)))?;
            let (busy, opened) = meet(Some(&spec(Some(gateway.address))))?;
            let peak = gateway.rss()?;
            let after = gateway.settled(base)?;
            rows.push(Row::new(
                (kind, sources),
                (aside, opened),
                (&idle, &busy),
                [base, peak, after],
            ));
            eprintln!(
                "{}",
                rows.last().map(ToString::to_string).unwrap_or_default()
            );
        }
    }
    let report = Report {
        machine,
        rate: options.rate,
        seconds: options.seconds,
        visits: options.visits,
        rows,
    };
    results::show(&report, "strangers", options.output.as_deref())
}

/// The API server's visits beside a crowd, and how many connections that opened.
fn measure(
    options: &Options,
    api_server: &ApiServer,
    crowd: Option<&CrowdSpec>,
) -> Result<(Visits, u64)> {
    let child = match crowd {
        None => None,
        Some(spec) => {
            let own = std::env::current_exe().attempt("find the path of this program")?;
            let mut child = Child::start("crowd", &own, &spec.arguments())?;
            child.ready()?;
            Some(child)
        }
    };
    let length = Duration::from_secs(options.seconds);
    let visits = runtime(1)?.block_on(api_server.visits(options.visits, length))?;
    drop(child);
    let opened = crowd.map_or(Ok(0), CrowdSpec::opened)?;
    Ok((visits, opened))
}

/// A listener that takes everything and does nothing: the target of streams.
fn sink() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").attempt("listen for streams")?;
    let address = listener.local_addr().attempt("read an address")?;
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(std::result::Result::ok) {
            drop(socket);
        }
    });
    Ok(address)
}

/// A gateway as it is shipped; killed when dropped.
struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Gateway {
    fn start(options: &Options, directory: &Path, cores: &Cores) -> Result<Self> {
        let own = std::env::current_exe().attempt("find the path of this program")?;
        let program = options.gateway.clone();
        let program = program.unwrap_or_else(|| own.with_file_name("eyesplice"));
        let free = TcpListener::bind("127.0.0.1:0").attempt("find a free port")?;
        let address = free.local_addr().attempt("read an address")?;
        drop(free);
        let file = directory.join("gateway.yaml");
        fs::write(&file, config(address)).attempt("write the gateway's configuration")?;
        let log = fs::File::create(directory.join("gateway.log")).attempt("make a log")?;
        let process = Command::new("taskset")
            .args(["--cpu-list", &cores.proxy.to_string()])
            .arg(&program)
            .args(["gateway", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .attempt(format!("start {}", program.display()))?;
        let mut gateway = Self { process, address };
        let until = Instant::now() + SETTLE;
        while std::net::TcpStream::connect(address).is_err() {
            if Instant::now() > until || !matches!(gateway.process.try_wait(), Ok(None)) {
                let log = fs::read_to_string(directory.join("gateway.log")).unwrap_or_default();
                return Err(Error::Unfit(format!("gateway does not listen: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(gateway)
    }

    /// Resident memory in KiB.
    fn rss(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).attempt("read the gateway's memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or(Error::Ended("gateway"))
    }

    /// What it has when it is back at its base, or after a while.
    fn settled(&self, base: u64) -> Result<u64> {
        let until = Instant::now() + SETTLE;
        while self.rss()? > base && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.rss()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(address: SocketAddr) -> String {
    format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\nlisteners:\n- name: tcp\n  tcp: {{address: \
         '{address}', tlsCertFile: leaf.crt, tlsPrivateKeyFile: leaf.key, clientCAFile: ca.crt}}\negress:\n  \
         insecureAllowTargets: [127.0.0.0/8]\n  rules:\n  - {{name: loopback, cidrs: [127.0.0.0/8], action: \
         splice}}\nengine: {{workers: 1}}\nadmin: {{address: '127.0.0.1:0'}}\naudit: {{path: audit.log}}\n"
    )
}
