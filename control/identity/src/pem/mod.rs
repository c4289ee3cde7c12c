//! Loads certificates, keys and CA bundles from PEM files.
//!
//! Every error names the file, the configuration field and the remedy. What is allowed but soon
//! fatal (an expired certificate) comes back as a value: [`Note`].

mod bundle;
mod credential;
mod error;
mod file;
mod info;
mod note;
mod read;
mod write;

pub use bundle::CaBundle;
pub use credential::{Credential, Role};
pub use error::{Fault, PemError};
pub use file::FileRef;
pub use info::CertificateInfo;
pub use note::{Note, NoteKind, note};
pub use read::PrivateKey;
pub use read::certificates;
pub use read::certificates_of;
pub use read::key_of;
pub(crate) use read::{read, text};
pub use write::encode;
pub use write::encode_block;
pub(crate) use write::encode_key;

#[cfg(test)]
mod tests;
