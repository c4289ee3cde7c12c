//! A/B: two proxies, the same work in turn, many rounds, CPU seconds per GiB.
//!
//! A round runs every cell (direction and number of connections) once with each proxy, one right
//! after the other and in changing order, so that what else happens on the machine meets both. The
//! figures are medians over the rounds.

mod report;

pub use crate::stats::Summary;
pub use report::Report;

use crate::child::Child;
use crate::cpu::{Cores, CpuClock};
use crate::identity::{Identity, Manners, Suite};
use crate::load::{self, Content, Direction, Field, Outcome, Workload};
use crate::machine::{Machine, Watch};
use crate::proxy::{Kind, Spec};
use crate::{Attempt, Result, cpu};
use clap::{Args, ValueEnum};
use report::{Cell, ModeReport};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Connections at once.
const CONNECTIONS: [usize; 2] = [1, 16];

/// Connections and payload of the round that compares every byte.
const VERIFY_CONNECTIONS: usize = 4;
const VERIFY_MIB: u64 = 64;

const MIB: u64 = 1 << 20;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The engine splicing against the bare loop.
    Splice,
    /// The engine terminating against tokio-rustls.
    Terminate,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Splice, Self::Terminate];

    fn subject(self) -> Kind {
        match self {
            Self::Splice => Kind::EyespliceSplice,
            Self::Terminate => Kind::EyespliceTerminate,
        }
    }

    fn baseline(self) -> Kind {
        match self {
            Self::Splice => Kind::Bare,
            Self::Terminate => Kind::TokioRustls,
        }
    }

    /// The ratio of CPU seconds that the project promises at most.
    fn target(self) -> f64 {
        match self {
            Self::Splice => 1.25,
            Self::Terminate => 0.8,
        }
    }
}

/// How much is measured.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Rounds; the figures are medians over them
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Payload of one cell of a round, in MiB
    #[arg(long, default_value_t = 512)]
    pub mib: u64,
    /// Cipher suite of both legs
    #[arg(long, value_enum, default_value_t)]
    pub suite: Suite,
    /// Only these directions
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Direction::ALL)]
    pub directions: Vec<Direction>,
    /// Compares with the engine of another build of this program instead of the baseline
    #[arg(long, value_name = "PROGRAM")]
    pub against: Option<PathBuf>,
    /// Only these numbers of connections
    #[arg(long, value_delimiter = ',', default_values_t = CONNECTIONS)]
    pub connections: Vec<usize>,
}

/// Compares in each of `modes`.
///
/// # Errors
/// If a proxy does not start, a connection fails, or a byte is lost or wrong.
pub fn run(modes: &[Mode], options: &Options) -> Result<Report> {
    let cores = Cores::split()?;
    let machine = Machine::here();
    cpu::pin(&cores.generators)?;
    let watch = Watch::start();
    let own = CpuClock::of(0)?;
    let content = Arc::new(Content::new());
    let mut proxies = 0.0;
    let mut reports = Vec::new();
    for &mode in modes {
        let mut bout = Bout::new(mode, options, &cores, &content)?;
        reports.push(bout.run(options)?);
        proxies += bout.used()?;
    }
    Ok(Report {
        machine,
        quiet: watch.end(own.used()?.as_secs_f64() + proxies),
        rounds: options.rounds,
        cell_mib: options.mib,
        suite: options.suite,
        modes: reports,
    })
}

/// Two running proxies and the work for them.
struct Bout<'a> {
    mode: Mode,
    content: &'a Arc<Content>,
    corners: [Corner; 2],
    _directory: tempfile::TempDir,
}

struct Corner {
    child: Child,
    field: Field,
}

impl<'a> Bout<'a> {
    fn new(
        mode: Mode,
        options: &Options,
        cores: &Cores,
        content: &'a Arc<Content>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir().attempt("make a temporary directory")?;
        let identity = Identity::create(directory.path(), options.suite)?;
        let tls = (mode == Mode::Terminate).then_some(&identity);
        let own = std::env::current_exe().attempt("find the path of this program")?;
        let corner = |name: &str, kind: Kind, program: &Path| {
            let spec = Spec {
                kind,
                socket: directory.path().join(name),
                identity: directory.path().to_path_buf(),
                suite: options.suite,
                listen: None,
                core: vec![cores.proxy],
                manners: Manners::MUTUAL,
            };
            Corner::start(&spec, program, tls)
        };
        let subject = corner("subject.sock", mode.subject(), &own)?;
        let baseline = match &options.against {
            Some(program) => corner("baseline.sock", mode.subject(), program)?,
            None => corner("baseline.sock", mode.baseline(), &own)?,
        };
        Ok(Self {
            mode,
            content,
            corners: [subject, baseline],
            _directory: directory,
        })
    }

    fn run(&mut self, options: &Options) -> Result<ModeReport> {
        for &direction in &options.directions {
            for corner in &self.corners {
                corner.measure(self.content, verifying(direction))?;
            }
        }
        let mut cells = Vec::new();
        for &direction in &options.directions {
            for &connections in &options.connections {
                cells.push(Cell::new(direction, connections.max(1)));
            }
        }
        for round in 0..options.rounds {
            for cell in &mut cells {
                let work = Workload {
                    direction: cell.direction,
                    connections: cell.connections,
                    bytes: options.mib * MIB,
                    verify: false,
                };
                let [subject, baseline] = self.round(round, work)?;
                cell.add(&subject, &baseline);
            }
            eprintln!("{:?}: round {} of {}", self.mode, round + 1, options.rounds);
        }
        Ok(ModeReport::new(
            self.mode,
            [
                self.mode.subject().name().to_string(),
                match &options.against {
                    Some(program) => format!("eyesplice of {}", program.display()),
                    None => self.mode.baseline().name().to_string(),
                },
            ],
            options.against.is_none().then(|| self.mode.target()),
            cells,
        ))
    }

    /// Both proxies once; who is first changes with the round.
    fn round(&self, round: usize, work: Workload) -> Result<[Outcome; 2]> {
        let [subject, baseline] = &self.corners;
        if round.is_multiple_of(2) {
            let first = subject.measure(self.content, work)?;
            Ok([first, baseline.measure(self.content, work)?])
        } else {
            let first = baseline.measure(self.content, work)?;
            Ok([subject.measure(self.content, work)?, first])
        }
    }

    /// CPU seconds of both proxies since they began.
    fn used(&self) -> Result<f64> {
        let mut seconds = 0.0;
        for corner in &self.corners {
            seconds += CpuClock::of(corner.child.pid())?.used()?.as_secs_f64();
        }
        Ok(seconds)
    }
}

impl Corner {
    fn start(spec: &Spec, program: &Path, tls: Option<&Identity>) -> Result<Self> {
        let mut child = Child::start("proxy under test", program, &spec.arguments())?;
        child.ready()?;
        Ok(Self {
            child,
            field: Field::new(&spec.socket, tls)?,
        })
    }

    fn measure(&self, content: &Arc<Content>, work: Workload) -> Result<Outcome> {
        let clock = CpuClock::of(self.child.pid())?;
        load::run(&self.field, content, work, clock)
    }
}

fn verifying(direction: Direction) -> Workload {
    Workload {
        direction,
        connections: VERIFY_CONNECTIONS,
        bytes: VERIFY_MIB * MIB,
        verify: true,
    }
}
