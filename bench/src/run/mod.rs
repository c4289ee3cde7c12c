//! One run: workloads over one route, measured, judged and reported.

mod command;
mod measure;
mod outcome;
mod report;

pub(crate) use command::{Ends, FarEnd, ceiling, in_turn, runtime};
pub use command::{RunOptions, run};
pub(crate) use measure::{Bench, Plan, measure, probe};
pub(crate) use outcome::{Measured, Outcome, Part, Row};

#[cfg(test)]
mod tests;
