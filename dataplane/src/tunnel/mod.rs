//! What runs on the connections of agents at a gateway: registration and health on control
//! connections, waiting and hand-over of data connections, and opens.
//!
//! Used by `accept`, which takes the connections in, and by `reach`, which opens streams through
//! them. Frames and their order are proto's, who is connected is in `agents`.

mod control;
mod data;
mod inbox;
mod open;

pub(crate) use control::serve;
pub(crate) use data::{Data, deliver, wait};
pub(crate) use inbox::{Inbox, broken, farewell, say};
pub(crate) use open::{Opened, open};
