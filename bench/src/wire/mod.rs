//! What the harness's two ends say to each other: a line that names the job, then bytes of which each
//! can be checked.
//!
//! A proxy sees opaque bytes. Each direction of each stream is a piece of one pattern that begins at
//! a place of its own, so a byte that is lost, doubled, moved, changed or of another stream is
//! noticed where it is read.

mod content;
mod frame;
mod hello;
mod record;
mod stream;

pub(crate) use content::Content;
pub(crate) use frame::{Frame, Kind};
#[cfg(test)]
pub(crate) use hello::LONGEST as LONGEST_HELLO;
pub(crate) use hello::{Hello, Job, Turn, Way};
pub(crate) use record::{LONGEST as LONGEST_RECORD, Record, SHORTEST as SHORTEST_RECORD};
pub(crate) use stream::{Incoming, Outgoing, Side};
