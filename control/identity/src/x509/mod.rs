//! What a certificate request says, and what each signer makes of it: pure functions.

mod lifetime;
mod limits;
mod request;
mod signer;

pub use lifetime::lifetime;
pub use limits::REQUEST_PEM;
pub use request::{Attribute, CertificateRequest};
pub use signer::{
    AGENT_GROUP, AGENT_PREFIX, GATEWAY_GROUP, GATEWAY_PREFIX, NODE_AGENT_PREFIX, NODE_GROUP,
    NODE_PREFIX, Refusal, SIGNERS, Signer, Usage,
};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
