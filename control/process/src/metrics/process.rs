//! The conventional metrics of a process, read from `/proc/self` at each scrape.

use eyesplice_sys::limits;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Clock ticks per second in `/proc/self/stat`: USER_HZ, which is 100 on every architecture that has
/// io_uring and rustls' ring (proc(5), asm-generic/param.h).
const USER_HZ: f64 = 100.0;

/// Reads `/proc/self`; what cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process {
    start: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: now.as_secs_f64(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, value: Option<f64>| match value {
            Some(value) => {
                let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(metric)
            }
            None => Ok(()),
        };
        gauge(
            "process_start_time_seconds",
            "Start of the process in seconds since 1970",
            Some(self.start),
        )?;
        gauge(
            "process_open_fds",
            "Open file descriptors",
            limits::open_descriptors().ok().map(|open| open as f64),
        )?;
        gauge(
            "process_max_fds",
            "Limit of open file descriptors",
            limits::open_files().ok().map(|limit| limit.soft as f64),
        )?;
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            resident_bytes(),
        )?;
        if let Some(seconds) = cpu_seconds() {
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "User and system CPU time spent",
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; fields are counted from its end: utime is the 12th
    // after it, stime the 13th (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / USER_HZ)
}
