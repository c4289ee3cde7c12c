//! A/B: proxies in turn over the same workloads, interleaved, many rounds; medians, and ratios with
//! their spread.

mod bars;
mod command;
mod fleet;
mod places;
mod report;
mod rounds;
mod scenario;
mod table;
mod version;

pub use command::{ContestOptions, run};
pub(crate) use report::{CellReport, ContestReport, Entry, Figure, ratios};
