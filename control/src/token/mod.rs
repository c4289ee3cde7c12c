//! The tokens of a cluster: made, kept, checked and published.
//!
//! `authn` decides who a request is by them; this room knows what each kind of token is.

pub mod bootstrap;
mod digest;
pub mod jwt;
pub mod review;
pub mod serviceaccount;
pub mod static_tokens;

pub use crate::file::FileFault;

use crate::file;
