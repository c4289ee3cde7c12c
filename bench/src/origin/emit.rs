//! A pod's program that writes numbered lines, for `kubectl logs` to follow.

use crate::meter::{Arrivals, Pace, Schedule, boot, monotonic};
use crate::wire::{Content, LONGEST_RECORD, Record, SHORTEST_RECORD};
use crate::{Attempt, Error, Result};
use bytesize::ByteSize;
use clap::Args;
use std::io::Write;
use std::time::{Duration, Instant};

/// What `emit` is told.
#[derive(Args, Clone, Debug)]
pub struct EmitOptions {
    /// Lines a second
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// Bytes of a line, its end included
    #[arg(long, default_value = "130")]
    pub size: ByteSize,
    /// How many lines to write [default: no end]
    #[arg(long)]
    pub lines: Option<u64>,
}

/// Writes lines to standard output, each when it is due.
///
/// # Errors
/// If the options are of no use, or nobody reads any more.
pub async fn emit(options: &EmitOptions) -> Result<()> {
    let size = usize::try_from(options.size.as_u64()).unwrap_or(usize::MAX);
    if !(SHORTEST_RECORD..=LONGEST_RECORD).contains(&size) {
        return Err(Error::Unfit(format!(
            "--size {size} is not between {SHORTEST_RECORD} and {LONGEST_RECORD}"
        )));
    }
    if !(options.rate.is_finite() && options.rate > 0.0) {
        return Err(Error::Unfit(format!("--rate {} is none", options.rate)));
    }
    let content = Content::new();
    let (began, began_at) = (Instant::now(), monotonic());
    let gap = Duration::from_secs_f64(1.0 / options.rate);
    let mut pace = Pace::open(Schedule::new(began, gap, Arrivals::Constant, 0))?;
    let boot = boot();
    let mut out = std::io::stdout().lock();
    for number in 0..options.lines.unwrap_or(u64::MAX) {
        let due = pace.next().await?;
        let at = began_at + due.saturating_duration_since(began);
        let record = Record {
            number,
            at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
            boot,
        };
        out.write_all(record.encode(&content, size).as_bytes())
            .and_then(|()| out.flush())
            .attempt("write a line")?;
    }
    Ok(())
}
