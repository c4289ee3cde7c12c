//! What a certificate request says, and what each signer makes of it: pure functions.

mod lifetime;
mod limits;
mod request;
mod signer;

pub use lifetime::lifetime;
pub use limits::REQUEST_PEM;
pub use request::Attribute;
pub use request::CertificateRequest;
pub use signer::GATEWAY_GROUP;
pub use signer::GATEWAY_PREFIX;
pub use signer::NODE_GROUP;
pub use signer::NODE_PREFIX;
pub use signer::Refusal;
pub use signer::SIGNERS;
pub use signer::Signer;
pub use signer::Usage;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
