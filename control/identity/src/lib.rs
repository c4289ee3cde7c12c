//! Who is who in a cluster: certificates, tokens, kubeconfigs and the node inventory, made, read and
//! checked; and who a request or a peer is by them.
//!
//! From below: [`document`] reads a file of ours with its places, [`certificate`] says what a certificate
//! is, [`pem`] and [`x509`] read files and requests, [`verify`] judges a peer, [`https`] asks a server, [`token`], [`kubeconfig`] and
//! [`pki`] know what a cluster holds, and [`authn`] turns a credential into a [`user`].
#![forbid(unsafe_code)]

pub mod access;
pub mod answers;
pub mod authn;
pub mod certificate;
pub mod denylist;
pub mod document;
pub mod file;
pub mod https;
pub mod inventory;
mod joined;
pub mod kubeconfig;
pub mod pem;
pub mod pins;
pub mod pki;
pub mod protobuf;
pub mod random;
pub mod recent;
mod spki;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token;
pub mod user;
pub mod verify;
pub mod x509;
pub mod yaml;
