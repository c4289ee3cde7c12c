//! Reports of the load harness: tables, JSON, HdrHistogram logs, SVG plots.

mod idle;
mod log;
mod plot;
mod progress;
mod readme;
mod rows;
mod run;
mod shows;
mod source;

pub(crate) use plot::{Axis, Chart, Series};
pub(crate) use progress::Progress;
pub use readme::{ReadmeOptions, readme};
pub(crate) use run::RunReport;
