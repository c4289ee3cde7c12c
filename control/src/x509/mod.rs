//! What a certificate request says, and what each signer makes of it: pure functions.

mod lifetime;
mod limits;
mod request;
mod signer;

pub(crate) use lifetime::lifetime;
pub(crate) use limits::REQUEST_PEM;
pub(crate) use request::{Attribute, CertificateRequest};
pub use signer::Signer;
pub(crate) use signer::{
    GATEWAY_GROUP, GATEWAY_PREFIX, NODE_GROUP, NODE_PREFIX, Refusal, SIGNERS, Usage,
};

#[cfg(test)]
pub(crate) mod testing;
