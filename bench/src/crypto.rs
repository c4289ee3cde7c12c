//! Whose cryptography a TLS leg of the harness has, and with which group it agrees on keys.

use clap::ValueEnum;
use eyesplice_proto::tls::provider::shared;
use rustls::NamedGroup;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs;
use rustls::crypto::{CryptoProvider, ring};
use serde::{Deserialize, Serialize};

/// A group of the key exchange.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// An elliptic curve alone
    #[default]
    X25519,
    /// The same together with ML-KEM-768: what two of today's Go programs agree on
    #[value(name = "x25519mlkem768")]
    X25519Mlkem768,
}

impl Group {
    /// Its name in the registry of TLS groups, which is OpenSSL's too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X25519 => "X25519",
            Self::X25519Mlkem768 => "X25519MLKEM768",
        }
    }
}

impl From<Group> for NamedGroup {
    fn from(group: Group) -> Self {
        match group {
            Group::X25519 => Self::X25519,
            Group::X25519Mlkem768 => Self::X25519MLKEM768,
        }
    }
}

/// Whose cryptography, where the harness is to have another than the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Crypto {
    /// ring's, which has no ML-KEM
    Ring,
    /// aws-lc's
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

/// The provider of the gateway, or its suites and groups by one of them; signatures are the same.
pub(crate) fn provider(crypto: Option<Crypto>) -> CryptoProvider {
    let shared = CryptoProvider::clone(&shared());
    let (suites, groups) = match crypto {
        None => return shared,
        Some(Crypto::Ring) => (ring::ALL_CIPHER_SUITES, ring::ALL_KX_GROUPS),
        #[cfg(feature = "aws-lc")]
        Some(Crypto::AwsLc) => (aws_lc_rs::ALL_CIPHER_SUITES, aws_lc_rs::ALL_KX_GROUPS),
    };
    CryptoProvider {
        cipher_suites: suites.to_vec(),
        kx_groups: groups.to_vec(),
        ..shared
    }
}
