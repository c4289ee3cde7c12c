//! Reads how much memory a process has resident.

use crate::{Attempt, Result};
use serde::Serialize;
use std::fs;

/// What /proc/<pid>/smaps_rollup says, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Resident, shared pages included (VmRSS).
    pub(super) rss: u64,
    /// Resident, shared pages divided among those who share them.
    pub(super) pss: u64,
    /// Resident and not of a file: heap and stacks.
    pub(super) anonymous: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .attempt("read the gateway's memory")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024)
        };
        Self {
            rss: field("Rss"),
            pss: field("Pss"),
            anonymous: field("Anonymous"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:    12 kB\nPss:     8 kB\n\
                    Pss_Anon:   5 kB\nAnonymous:    4 kB\n";
        assert_eq!(
            Memory::parse(text),
            Memory {
                rss: 12 << 10,
                pss: 8 << 10,
                anonymous: 4 << 10
            }
        );
    }

    #[test]
    fn own_memory_is_not_nothing() {
        let own = Memory::of(std::process::id()).unwrap();
        assert!(own.rss >= own.anonymous && own.anonymous > 0);
    }
}
