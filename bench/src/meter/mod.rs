//! What is measured, and how it is kept honest.

mod latency;
mod limit;
mod pace;
mod process;
mod window;

pub(crate) use latency::{Interval, Percentiles, Recorder};
pub(crate) use limit::{Bounds, Limit, judge};
pub use pace::Arrivals;
pub(crate) use pace::{Pace, Schedule};
pub(crate) use process::{Usage, Watched};
pub(crate) use window::{Window, boot, monotonic};
