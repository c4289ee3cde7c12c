//! The tokens of a cluster: made, kept, checked and published.
//!
//! `authn` decides who a request is by them; this room knows what each kind of token is.

mod bearer;
pub mod bootstrap;
mod cause;
pub(crate) mod digest;
pub mod jwt;
pub mod review;
pub mod serviceaccount;
pub mod static_tokens;

pub use crate::file::FileFault;
pub(crate) use bearer::MAX_TOKEN;
pub use bearer::{BearerError, BearerToken};
pub use cause::Cause;

use crate::file;
