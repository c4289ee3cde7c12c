//! The result of an idle measurement: JSON for tools, Markdown for people.

use super::memory::Memory;
use crate::identity::Suite;
use crate::machine::Machine;
use serde::Serialize;
use std::fmt;

/// A whole measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) suite: Suite,
    /// RLIMIT_NOFILE of the gateway: two descriptors per stream must fit.
    pub(super) open_files: u64,
    /// Streams that were asked for; the rows say how many there were.
    pub(super) wanted: usize,
    pub(super) rows: Vec<Row>,
}

/// One mode.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    mode: &'static str,
    streams: usize,
    /// Bytes of `rss_per_stream` that the project promises at most.
    target: u64,
    rss_per_stream: u64,
    pss_per_stream: u64,
    anonymous_per_stream: u64,
    before: Memory,
    after: Memory,
}

impl Row {
    pub(super) fn new(
        mode: &'static str,
        target: u64,
        streams: usize,
        before: Memory,
        after: Memory,
    ) -> Self {
        let each = |after: u64, before: u64| after.saturating_sub(before) / streams.max(1) as u64;
        Self {
            mode,
            streams,
            target,
            rss_per_stream: each(after.rss, before.rss),
            pss_per_stream: each(after.pss, before.pss),
            anonymous_per_stream: each(after.anonymous, before.anonymous),
            before,
            after,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Memory of the gateway per idle stream\n")?;
        self.machine.fmt(f)?;
        writeln!(f, "- cipher of both TLS legs: {:?}", self.suite)?;
        write!(
            f,
            "- streams: {}",
            self.rows.first().map_or(0, |row| row.streams)
        )?;
        if self.rows.iter().any(|row| row.streams < self.wanted) {
            write!(
                f,
                " and not {}: the gateway may open {} files here, and a stream takes two",
                self.wanted, self.open_files
            )?;
        }
        writeln!(
            f,
            "\n\nBytes; what the process grew by, divided by the streams.\n"
        )?;
        writeln!(
            f,
            "| idle stream | RSS | PSS | anonymous | target | RSS before | RSS with all |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} |",
                row.mode,
                row.rss_per_stream,
                row.pss_per_stream,
                row.anonymous_per_stream,
                row.target,
                row.before.rss,
                row.after.rss
            )?;
        }
        Ok(())
    }
}
