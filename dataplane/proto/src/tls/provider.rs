//! The one provider of cryptography that every handshake of a process uses.
//!
//! Where aws-lc is built in, it does key exchange and signatures: it has ML-KEM, and was at least
//! as fast as ring at each (`docs/performance.md`). The key schedule stays ring's, which makes its
//! many short hashes in less time. Without aws-lc all is ring's.

use super::group::{Group, Groups};
#[cfg(feature = "aws-lc")]
use rustls::NamedGroup;
use rustls::crypto::{CryptoProvider, ring};
use std::sync::{Arc, LazyLock};

static SHARED: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(assembled()));

/// Gives the provider, with every key exchange group and cipher suite that there is.
pub fn shared() -> Arc<CryptoProvider> {
    Arc::clone(&SHARED)
}

/// Gives the provider with these groups alone.
pub fn allowing(groups: Groups) -> Arc<CryptoProvider> {
    if groups == Groups::default() {
        return shared();
    }
    let mut provider = CryptoProvider::clone(&SHARED);
    let allowed = |named| Group::of(named).is_some_and(|group| groups.contains(group));
    provider.kx_groups.retain(|group| allowed(group.name()));
    Arc::new(provider)
}

/// Makes the provider the one that libraries find which ask for the process's own: they panic where
/// several are built in and none was chosen. Later calls change nothing.
pub fn install() {
    // Fails only if there is one already.
    let _ = CryptoProvider::install_default(CryptoProvider::clone(&SHARED));
}

#[cfg(feature = "aws-lc")]
fn assembled() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // A client sends its share of the first, and that of X25519 is a part of it.
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    provider.cipher_suites = ring::default_provider().cipher_suites;
    provider
}

#[cfg(not(feature = "aws-lc"))]
fn assembled() -> CryptoProvider {
    ring::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_of_some_groups_has_these_in_the_order_of_preference() {
        let some = Groups::only(&[Group::P256, Group::X25519]).unwrap();
        let groups: Vec<_> = allowing(some).kx_groups.iter().map(|g| g.name()).collect();
        let expected = [Group::X25519, Group::P256].map(Group::number);
        assert_eq!(
            groups.into_iter().map(u16::from).collect::<Vec<_>>(),
            expected
        );
        let all = Groups::default();
        assert_eq!(allowing(all).kx_groups.len(), shared().kx_groups.len());
    }

    #[cfg(feature = "aws-lc")]
    #[test]
    fn hybrid_is_first_and_the_other_groups_keep_their_order() {
        let groups: Vec<_> = shared()
            .kx_groups
            .iter()
            .map(|group| group.name())
            .collect();
        let expected = [
            NamedGroup::X25519MLKEM768,
            NamedGroup::X25519,
            NamedGroup::secp256r1,
            NamedGroup::secp384r1,
        ];
        assert_eq!(groups, expected);
    }
}
