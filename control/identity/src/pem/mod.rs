//! Loads certificates, keys and CA bundles from PEM files.
//!
//! Every error names the file, the configuration field and the remedy. What is allowed but soon
//! fatal (an expired certificate) comes back as a value: [`Note`].

mod bundle;
mod credential;
mod error;
mod info;
mod note;
mod read;
mod write;

pub use crate::document::FileRef;
pub use bundle::CaBundle;
pub use credential::{Credential, Role};
pub use error::{Fault, PemError};
pub use info::CertificateInfo;
pub use note::{Note, NoteKind, note};
pub use read::{PrivateKey, certificates, certificates_of, key_of};
pub(crate) use read::{read, text};
pub(crate) use write::encode_key;
pub use write::{encode, encode_block};

#[cfg(test)]
mod tests;
