//! What the processes of a proxy use: CPU time with that of their kernel workers, memory,
//! descriptors, context switches.

use crate::cpu::CpuClock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Ticks of /proc per second: USER_HZ, 100 on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// Processes that are watched, with all that they start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    roots: Vec<u32>,
}

/// What they used, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU seconds of all threads, of ended children, and of kernel workers.
    pub(crate) cpu_seconds: f64,
    /// Of which io_uring's workers in the kernel, to 10 ms.
    pub(crate) kernel_worker_seconds: f64,
    /// Resident bytes.
    pub(crate) rss: u64,
    /// Open descriptors.
    pub(crate) fds: u64,
    pub(crate) processes: u64,
    pub(crate) threads: u64,
    /// Context switches because a thread had to wait.
    pub(crate) voluntary_switches: u64,
    /// Context switches because another had the core.
    pub(crate) involuntary_switches: u64,
}

impl Usage {
    /// What was used since `before`; sizes are those of now.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: (self.cpu_seconds - before.cpu_seconds).max(0.0),
            kernel_worker_seconds: (self.kernel_worker_seconds - before.kernel_worker_seconds)
                .max(0.0),
            voluntary_switches: self
                .voluntary_switches
                .saturating_sub(before.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(before.involuntary_switches),
            ..self
        }
    }

    fn add(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.kernel_worker_seconds += other.kernel_worker_seconds;
        self.rss += other.rss;
        self.fds += other.fds;
        self.processes += other.processes;
        self.threads += other.threads;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
    }
}

impl Watched {
    /// These processes, and their children.
    pub(crate) fn new(roots: Vec<u32>) -> Self {
        Self { roots }
    }

    /// Whether there is nothing to watch.
    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// What they used so far. Processes that are gone count no more, except through their parents.
    pub(crate) fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for pid in self.tree() {
            if let Some(one) = one(pid) {
                sum.add(one);
            }
        }
        sum
    }

    /// CPU seconds of each thread that lives, to 10 ms.
    pub(crate) fn threads(&self) -> HashMap<u32, f64> {
        let mut threads = HashMap::new();
        for pid in self.tree() {
            for task in numbers(&format!("/proc/{pid}/task")) {
                if let Some(stat) = Stat::of(&format!("/proc/{pid}/task/{task}/stat")) {
                    threads.insert(task, stat.own.as_secs_f64());
                }
            }
        }
        threads
    }

    fn tree(&self) -> Vec<u32> {
        if self.roots.is_empty() {
            return Vec::new();
        }
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in numbers("/proc") {
            if let Some(stat) = Stat::of(&format!("/proc/{pid}/stat")) {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        let mut tree = self.roots.clone();
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            let more = children.remove(pid).unwrap_or_default();
            tree.extend(more.into_iter().filter(|pid| !self.roots.contains(pid)));
            next += 1;
        }
        tree
    }
}

fn one(pid: u32) -> Option<Usage> {
    let stat = Stat::of(&format!("/proc/{pid}/stat"))?;
    let own = CpuClock::of(pid).ok()?.used().ok()?;
    let mut usage = Usage {
        cpu_seconds: (own + stat.children).as_secs_f64(),
        rss: rss(pid),
        fds: numbers(&format!("/proc/{pid}/fd")).count() as u64,
        processes: 1,
        ..Usage::default()
    };
    for task in numbers(&format!("/proc/{pid}/task")) {
        let Some(thread) = Stat::of(&format!("/proc/{pid}/task/{task}/stat")) else {
            continue;
        };
        usage.threads += 1;
        if thread.name.starts_with("iou-") {
            usage.kernel_worker_seconds += thread.own.as_secs_f64();
        }
        let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status"));
        let status = status.unwrap_or_default();
        usage.voluntary_switches += field(&status, "voluntary_ctxt_switches:");
        usage.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:");
    }
    Some(usage)
}

fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "VmRSS:") * 1024
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn numbers(directory: &str) -> impl Iterator<Item = u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Some fields of a stat file, see proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    parent: u32,
    own: Duration,
    children: Duration,
}

impl Stat {
    fn of(path: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    /// The name is in parentheses and may itself have some.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split(' ').collect();
        // The first of these is the file's third.
        let ticks = |number: usize| {
            let ticks: u32 = fields.get(number - 3)?.parse().ok()?;
            Some(TICK * ticks)
        };
        Some(Self {
            name: name.into(),
            parent: fields.get(1)?.parse().ok()?,
            own: ticks(14)? + ticks(15)?,
            children: ticks(16)? + ticks(17)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_thread_with_a_nasty_name_is_read() {
        let text = "7 (iou-wrk) 1 (x) S 3 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 99";
        let ms = Duration::from_millis;
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                name: "iou-wrk) 1 (x".into(),
                parent: 3,
                own: ms(1100),
                children: ms(1500),
            })
        );
        assert_eq!(Stat::parse("7 (x) S"), None);
    }

    #[test]
    fn own_process_and_its_child_are_watched() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let watched = Watched::new(vec![std::process::id()]);
        assert!(watched.tree().contains(&child.id()));
        assert!(watched.threads().contains_key(&child.id()));
        let usage = watched.usage();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(usage.processes >= 2 && usage.threads >= 2 && usage.rss > 0 && usage.fds > 0);
        assert_eq!(Watched::default().usage(), Usage::default());
    }

    #[test]
    fn use_since_a_moment_is_a_difference_of_times_and_not_of_sizes() {
        let before = Usage {
            cpu_seconds: 1.0,
            voluntary_switches: 5,
            rss: 100,
            ..Usage::default()
        };
        let after = Usage {
            cpu_seconds: 1.5,
            voluntary_switches: 15,
            rss: 80,
            ..Usage::default()
        };
        let used = after.since(before);
        assert_eq!(
            (used.cpu_seconds, used.voluntary_switches, used.rss),
            (0.5, 10, 80)
        );
    }
}
