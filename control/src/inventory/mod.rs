//! The node inventory: which node answers at which address.

mod names;
mod render;

pub use names::{HostAddress, MAX_DNS_NAME, MAX_NODE_NAME, NameError, check_node_name};
pub(crate) use render::render;
