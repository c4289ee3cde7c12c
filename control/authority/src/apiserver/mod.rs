//! The API server of a cluster, as this process is its client: who it is, and one request to it.

mod call;
mod connect;
mod members;
mod secrets;

pub(crate) use call::{Act, CallError, call};
pub use connect::{ConnectError, Place, SERVICE_ACCOUNT};
pub use members::{Listed, Member, Members, MembersError};
pub use secrets::{Secrets, SecretsError};
