//! The options of a workload, on the command line and in scenarios, and what they come to.

use crate::meter::Arrivals;
use crate::wire::{Job, Turn};
use crate::{Error, Result};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Payload of a frame of a bulk transfer: large enough that its header does not count.
const CHUNK: u32 = 1 << 20;

/// Largest message: one frame.
const MAX_SIZE: u64 = 1 << 30;

/// Keystrokes of an exec between two bursts: a command of this length and its Enter.
const KEYSTROKES: usize = 31;

/// Keystrokes a second of one exec: fast typing.
const TYPING: f64 = 10.0;

/// Lines a second of one log follower.
const LOGGING: f64 = 100.0;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Transfers in one direction or both, as fast as they go
    Bulk,
    /// Requests and responses of given sizes
    Rr,
    /// Records of one line, to many followers
    Log,
    /// Keystrokes and their echo, and a burst of output after each command
    Exec,
    /// Many short connections inside of one session, as port-forward has them
    Forward,
    /// A new connection for each operation, with one byte each way
    Setup,
    /// Streams that are opened and do nothing: their memory
    Idle,
    /// Requests and responses alone, and then beside readers that stop reading
    Stall,
    /// Readers that stop reading (the other half of stall, to be mixed with anything)
    Stalled,
    /// Connections of random life that end in order or not
    Churn,
}

/// Which way bulk goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the server (a kubelet) to the client (an API server).
    #[default]
    #[value(alias = "down")]
    #[serde(alias = "down")]
    Download,
    /// From the client to the server.
    #[value(alias = "up")]
    #[serde(alias = "up")]
    Upload,
    /// Both at once on each connection.
    Both,
}

/// What is done, how often, how large.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkOptions {
    /// What is done
    #[arg(long, short, value_enum)]
    pub workload: Workload,
    /// Its name in the report [default: the workload's]
    #[arg(long)]
    #[serde(default)]
    pub name: Option<String>,
    /// Connections at once [default: bulk 1, idle 1000, log 100, stalled 2, forward and setup 4,
    /// others 16]
    #[arg(long, short)]
    #[serde(default)]
    pub connections: Option<usize>,
    /// Which way bulk goes
    #[arg(long, value_enum, default_value = "download")]
    #[serde(default)]
    pub direction: Direction,
    /// Operations a second, of all connections together, due whether or not earlier ones ended (open
    /// loop); 0: each when the last one ended (closed loop) [default: exec 10, log 100 per
    /// connection, others 0]
    #[arg(long, short)]
    #[serde(default)]
    pub rate: Option<f64>,
    /// How the arrivals of an open loop are spread
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Bytes of a request, of a bulk frame, or of a line with its 24 bytes of header
    /// [default: rr 64, bulk 1 MiB, log 128]
    #[arg(long)]
    #[serde(default)]
    pub size: Option<ByteSize>,
    /// Bytes of a response, or of the burst after an exec's command
    /// [default: as the request; exec 16 KiB]
    #[arg(long)]
    #[serde(default)]
    pub reply: Option<ByteSize>,
    /// Bytes of the largest response of rr: each has a size of its own, from --reply to this one
    /// [default: all as --reply]
    #[arg(long)]
    #[serde(default)]
    pub reply_to: Option<ByteSize>,
    /// Begins once all connections of rr are open, however long that takes
    #[arg(long)]
    #[serde(default)]
    pub gather: bool,
    /// Short connections at once inside of one session of forward
    #[arg(long, default_value_t = SLOTS)]
    #[serde(default = "slots")]
    pub slots: usize,
}

const SLOTS: usize = 4;

fn slots() -> usize {
    SLOTS
}

/// One workload, with nothing left open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) workload: Workload,
    pub(crate) connections: usize,
    pub(crate) direction: Direction,
    /// Operations a second of all connections; none: closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) ask: u32,
    pub(crate) answer: u32,
    /// The largest answer, where each has a size of its own from `answer` on.
    #[serde(default)]
    pub(crate) answer_to: Option<u32>,
    /// Whether all connections are open before any of them begins.
    #[serde(default)]
    pub(crate) gather: bool,
    pub(crate) slots: usize,
}

impl WorkOptions {
    /// What these options come to.
    ///
    /// # Errors
    /// If they contradict each other.
    pub(crate) fn resolve(&self) -> Result<Work> {
        let workload = self.workload;
        let connections = self.connections.unwrap_or(match workload {
            Workload::Bulk => 1,
            Workload::Idle => 1000,
            Workload::Log => 100,
            Workload::Stalled => 2,
            Workload::Forward | Workload::Setup => 4,
            Workload::Rr | Workload::Exec | Workload::Stall | Workload::Churn => 16,
        });
        let streams = connections as f64;
        let rate = self.rate.unwrap_or(match workload {
            Workload::Exec => TYPING * streams,
            Workload::Log => LOGGING * streams,
            _ => 0.0,
        });
        let ask = bytes(
            self.size.unwrap_or(match workload {
                Workload::Bulk | Workload::Stalled => ByteSize(CHUNK.into()),
                Workload::Log => ByteSize(128),
                Workload::Exec | Workload::Setup | Workload::Idle => ByteSize(1),
                _ => ByteSize(64),
            }),
            "--size",
        )?;
        let answer = match (self.reply, workload) {
            (Some(reply), _) => bytes(reply, "--reply")?,
            (None, Workload::Exec) => 16 * 1024,
            (None, _) => ask,
        };
        let answer_to = self.reply_to.map(|most| bytes(most, "--reply-to"));
        let answer_to = answer_to.transpose()?;
        let rr = workload == Workload::Rr;
        let wrong = |why: &str| Err(Error::Unfit(format!("workload {}: {why}", workload.name())));
        match workload {
            _ if connections == 0 => return wrong("--connections must be 1 or more"),
            _ if !rate.is_finite() || rate < 0.0 => return wrong("--rate must be 0 or more"),
            Workload::Bulk | Workload::Idle | Workload::Stalled if rate > 0.0 => {
                return wrong("has no arrivals; leave --rate away");
            }
            Workload::Log if ask < 24 => return wrong("--size must be 24 B or more: a header"),
            _ if answer_to.is_some() && !rr => return wrong("--reply-to is of rr alone"),
            _ if answer_to.is_some_and(|most| most < answer) => {
                return wrong("--reply-to must not be less than --reply");
            }
            _ if self.gather && !rr => return wrong("--gather is of rr alone"),
            _ => {}
        }
        Ok(Work {
            name: self.name.clone().unwrap_or_else(|| workload.name()),
            workload,
            connections,
            direction: self.direction,
            rate: (rate > 0.0).then_some(rate),
            arrivals: self.arrivals,
            ask,
            answer,
            answer_to,
            gather: self.gather,
            slots: self.slots.max(1),
        })
    }
}

/// Sizes of answers in one cycle: so many that their mean is near the middle.
const SIZES: usize = 256;

/// Random sizes, the same ones in each run: proxies are given the same work.
fn sizes(least: u32, most: u32) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(SIZES as u64);
    (0..SIZES).map(|_| random.u32(least..=most)).collect()
}

fn bytes(size: ByteSize, option: &str) -> Result<u32> {
    let size = size.as_u64();
    match u32::try_from(size) {
        Ok(bytes) if (1..=MAX_SIZE).contains(&size) => Ok(bytes),
        _ => Err(Error::Unfit(format!(
            "{option} {size} B is not between 1 B and 1 GiB"
        ))),
    }
}

impl Workload {
    /// Its word on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().into())
    }
}

impl Work {
    /// One connection with a byte each way.
    pub(crate) fn probe() -> Self {
        Self {
            name: "probe".into(),
            workload: Workload::Setup,
            connections: 1,
            direction: Direction::default(),
            rate: None,
            arrivals: Arrivals::default(),
            ask: 1,
            answer: 1,
            answer_to: None,
            gather: false,
            slots: SLOTS,
        }
    }

    /// The stalled readers of stall: a tenth as many as it has healthy ones, or one.
    pub(crate) fn stalled(&self) -> Self {
        Self {
            name: "stalled readers".into(),
            workload: Workload::Stalled,
            connections: (self.connections / 10).max(1),
            rate: None,
            ask: CHUNK,
            ..self.clone()
        }
    }

    /// What the far end is asked to do on a stream; none if each operation asks again.
    pub(crate) fn job(&self) -> Job {
        let turn = |ask, answer| Turn { ask, answer };
        match self.workload {
            Workload::Bulk => Job::Bulk {
                down: self.direction != Direction::Upload,
                chunk: self.ask,
            },
            Workload::Stalled => Job::Bulk {
                down: true,
                chunk: self.ask,
            },
            Workload::Exec => {
                let mut cycle = vec![turn(self.ask, self.ask); KEYSTROKES];
                cycle.push(turn(self.ask, self.answer));
                Job::Turns { cycle }
            }
            Workload::Log => Job::Lines {
                line: self.ask - 24,
                rate: self.rate.map(|rate| rate / self.connections as f64),
            },
            Workload::Forward => Job::Sessions { reply: self.answer },
            Workload::Rr | Workload::Stall | Workload::Setup | Workload::Idle | Workload::Churn => {
                let answers = match self.answer_to {
                    None => vec![self.answer],
                    Some(most) => sizes(self.answer, most),
                };
                let turns = answers.into_iter().map(|answer| turn(self.ask, answer));
                Job::Turns {
                    cycle: turns.collect(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Hello, LONGEST_HELLO};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        work: WorkOptions,
    }

    fn resolve(line: &str) -> Result<Work> {
        let words = std::iter::once("test").chain(line.split(' '));
        Line::try_parse_from(words).unwrap().work.resolve()
    }

    #[test]
    fn log_has_an_open_loop_unless_told_otherwise() {
        let work = resolve("--workload log --connections 10").unwrap();
        assert_eq!((work.rate, work.ask), (Some(1000.0), 128));
        assert_eq!(resolve("--workload log --rate 0").unwrap().rate, None);
    }

    #[test]
    fn sizes_are_read_with_their_units_and_bounded() {
        let work = resolve("--workload rr --size 64KiB --reply 1").unwrap();
        assert_eq!((work.ask, work.answer), (65536, 1));
        for wrong in [
            "--workload rr --size 0",
            "--workload rr --size 2GiB",
            "--workload rr --connections 0",
            "--workload bulk --rate 5",
            "--workload log --size 23",
            "--workload rr --rate -1",
            "--workload rr --rate NaN",
            "--workload rr --reply 4KiB --reply-to 1KiB",
            "--workload exec --reply-to 64KiB",
            "--workload bulk --gather",
        ] {
            let words = wrong
                .replace(" -1", "=-1")
                .replace("--rate NaN", "--rate=NaN");
            assert!(resolve(&words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_of_random_sizes_are_within_bounds_and_the_same_each_time() {
        let work = resolve("--workload rr --reply 4KiB --reply-to 64KiB").unwrap();
        let Job::Turns { cycle } = work.job() else {
            panic!("rr takes turns");
        };
        let sizes: Vec<_> = cycle.iter().map(|turn| turn.answer).collect();
        assert!(sizes.iter().all(|size| (4096..=65536).contains(size)));
        let mean = sizes.iter().sum::<u32>() as usize / sizes.len();
        assert!((30_000..40_000).contains(&mean), "{mean}");
        assert_eq!(work.job(), Job::Turns { cycle });
        let hello = Hello {
            job: work.job(),
            seed: u64::MAX,
        };
        assert!(hello.line().unwrap().len() < LONGEST_HELLO);
    }

    #[test]
    fn scenario_and_command_line_mean_the_same() {
        let yaml = "{workload: rr, connections: 3, size: 1KiB, rate: 50, reply-to: 2KiB}";
        let options: WorkOptions = serde_saphyr::from_str(yaml).unwrap();
        let line =
            resolve("--workload rr --connections 3 --size 1KiB --rate 50 --reply-to 2KiB").unwrap();
        let scenario = options.resolve().unwrap();
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            serde_json::to_string(&scenario).unwrap()
        );
        assert!(serde_saphyr::from_str::<WorkOptions>("{workload: rr, conections: 3}").is_err());
    }
}
