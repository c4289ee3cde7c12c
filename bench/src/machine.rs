//! Describes where a measurement ran, and how quiet it was there.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// What a result depends on besides the code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the first processor.
    pub cpu: String,
    /// What of a processor decides which code runs AES: those of `VECTORS` that it has.
    #[serde(default)]
    pub features: Vec<String>,
    /// Processors online.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// TCP congestion control. One that paces (bbr) charges the sender's timers to whoever runs when they
    /// fire, so figures under it do not compare.
    pub congestion_control: String,
    /// `git describe` of the working tree; `-dirty` when it had changes other than to results.
    pub revision: String,
    /// The command line.
    pub command: String,
    /// How eyesplice moves bytes here, where it is what is measured.
    pub strategy: String,
}

impl Machine {
    /// Looks around.
    pub fn here() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            features: vectors(&field("/proc/cpuinfo", "flags").unwrap_or_default()),
            cores: read("/proc/stat")
                .lines()
                .filter(|line| is_core(line))
                .count(),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|total| total.split(' ').next()?.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: read("/proc/sys/kernel/osrelease"),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            revision: revision().unwrap_or_else(unknown),
            command: command(),
            strategy: STRATEGY.into(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- revision: {}", self.revision)?;
        writeln!(f, "- command: `{}`", self.command)?;
        writeln!(
            f,
            "- machine: {} cores of {}, {} MiB, Linux {}, TCP congestion control {}",
            self.cores, self.cpu, self.memory_mib, self.kernel, self.congestion_control
        )?;
        if !self.features.is_empty() {
            writeln!(f, "- instructions for AES: {}", self.features.join(", "))?;
        }
        writeln!(f, "- strategy: {}", self.strategy)
    }
}

/// Flags of /proc/cpuinfo, of x86-64: with the last three OpenSSL and AWS-LC seal twice as fast.
const VECTORS: [&str; 5] = ["aes", "avx2", "avx512f", "vaes", "vpclmulqdq"];

fn vectors(flags: &str) -> Vec<String> {
    let has = |vector: &&str| flags.split(' ').any(|flag| flag == *vector);
    let had = VECTORS.iter().filter(|vector| has(vector));
    had.map(ToString::to_string).collect()
}

/// What the engine does on every kernel that it runs on; without io_uring it does not start.
const STRATEGY: &str = "io_uring POLL_ADD, edge-triggered epoll for small messages, inline splice/recv/send, TLS in user space \
                        (ring) unless configured otherwise";

/// Whether a line of /proc/stat is one processor's, and not the sum: a bound thread sees them all here.
fn is_core(line: &str) -> bool {
    line.strip_prefix("cpu")
        .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// The first line `name : value` of a file in /proc.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_string())
}

/// The command line, without where the program lies.
fn command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn unknown() -> String {
    "unknown".into()
}

fn revision() -> Option<String> {
    let commit = git(&["describe", "--always", "--abbrev=12"])?;
    // A run of several scenarios writes the first one's results before it begins the second.
    let changed = ["status", "--porcelain", "--untracked-files=no", "--"];
    let changed = git(&[&changed[..], &[":/", ":(top,exclude)bench/results"]].concat())?;
    let mark = if changed.is_empty() { "" } else { "-dirty" };
    (!commit.is_empty()).then(|| commit + mark)
}

/// What git says, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let out = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_string())
}

/// Watches how busy the machine is between two moments.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    load: String,
    busy_ticks: u64,
}

/// How busy the machine was with what is not ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quiet {
    /// /proc/loadavg before.
    pub loadavg_before: String,
    /// /proc/loadavg after.
    pub loadavg_after: String,
    /// Cores' worth of CPU that others used on average; below 0.1 is quiet.
    pub others_cores: f64,
    /// Length of the run in seconds.
    pub seconds: f64,
}

/// Above this many cores' worth of other work, figures are not to be trusted.
const NOISY: f64 = 0.2;

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "- quiet: others used {:.2} cores{}; loadavg {} before, {} after",
            self.others_cores,
            if self.others_cores > NOISY {
                " (**too many: do not trust these figures**)"
            } else {
                ""
            },
            self.loadavg_before,
            self.loadavg_after
        )
    }
}

impl Watch {
    /// Starts watching.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            load: read("/proc/loadavg"),
            busy_ticks: busy_ticks(),
        }
    }

    /// Ends watching; `own` is the CPU time in seconds that the measurement itself took.
    pub fn end(self, own: f64) -> Quiet {
        let seconds = self.began.elapsed().as_secs_f64();
        let busy = busy_ticks().saturating_sub(self.busy_ticks);
        // USER_HZ is 100 on every Linux that this runs on.
        let others = (busy as f64 / 100.0 - own).max(0.0);
        Quiet {
            loadavg_before: self.load,
            loadavg_after: read("/proc/loadavg"),
            others_cores: others / seconds.max(0.001),
            seconds,
        }
    }
}

/// Ticks that all processors were not idle.
fn busy_ticks() -> u64 {
    let text = read("/proc/stat");
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map(|ticks| ticks.parse().unwrap_or(0))
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    [0, 1, 2, 5, 6, 7]
        .iter()
        .map(|&at| ticks.get(at).copied().unwrap_or(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_is_described() {
        let here = Machine::here();
        assert!(here.cores > 0 && here.memory_mib > 0);
        assert_ne!(here.kernel, "unknown");
    }

    #[test]
    fn only_whole_flags_count() {
        assert_eq!(vectors("fpu aes avx avx512bw vaes"), ["aes", "vaes"]);
        assert!(vectors("").is_empty());
    }

    #[test]
    fn watch_ends_with_a_length_and_a_share() {
        let quiet = Watch::start().end(0.0);
        assert!(quiet.seconds >= 0.0 && quiet.others_cores >= 0.0);
    }
}
