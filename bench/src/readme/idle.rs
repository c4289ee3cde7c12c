//! What the README's table says of a measurement of idle streams.

use super::shows::Line;
use super::source::Source;
use crate::machine::Machine;
use serde::Deserialize;

/// Of an idle measurement, what the section tells.
#[derive(Deserialize)]
pub(super) struct Idle {
    machine: Machine,
    rows: Vec<IdleRow>,
}

#[derive(Deserialize)]
struct IdleRow {
    mode: String,
    streams: usize,
    rss_per_stream: f64,
}

impl Idle {
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.rows.iter().map(|row| Line {
            work: format!("engine alone, {} idle streams, {}", row.streams, row.mode),
            figure: format!("{:.1} KiB resident", row.rss_per_stream / 1024.0),
            against: String::new(),
            ratio: String::new(),
        })
    }

    pub(super) fn source(&self, stem: &str) -> Source {
        Source {
            stem: stem.into(),
            command: "scripts/bench idle",
            machine: self.machine.clone(),
            rounds: None,
            others_cores: None,
        }
    }
}
