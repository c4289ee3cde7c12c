//! A/B: proxies in turn over the same workloads, interleaved, many rounds; medians, and ratios with
//! their spread.

mod bars;
mod command;
mod fleet;
mod report;
mod scenario;

pub use command::{ContestOptions, run};
pub(crate) use report::ContestReport;
