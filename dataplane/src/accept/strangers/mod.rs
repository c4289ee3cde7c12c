//! What a server can know of peers before they prove who they are: where they come from, how often, and
//! whether somebody from there proved it lately.
//!
//! Plain state machines: no socket, no lock, and time is an argument.

mod budget;
mod crowd;
mod known;
mod pace;
mod turns;

pub use crate::source::Source;
pub use budget::{Bucket, Budgets, Rate};
pub use crowd::{Crowd, Entry, Seat};
pub use known::Known;
pub use pace::{Pace, Unsaid};
pub use turns::{Asked, Limit, Turn, Turns};
