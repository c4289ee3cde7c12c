//! What a report says of the line to the far end.

use super::LineOptions;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A line, once it was used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) line: LineOptions,
    /// Packets lost on it, both ways.
    pub(crate) lost: u64,
}

impl fmt::Display for Used {
    /// A line of a list; nothing where the far end was near.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(delay) = self.line.delay else {
            return Ok(());
        };
        write!(f, "- far end {} away", humantime::format_duration(delay))?;
        if let Some(bandwidth) = self.line.bandwidth {
            write!(f, " at {}/s", String::from(bandwidth))?;
        }
        writeln!(
            f,
            "; {} packets lost, each way holds {} bytes at most",
            self.lost,
            self.line.window()
        )
    }
}
