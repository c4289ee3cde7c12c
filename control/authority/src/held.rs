//! Who holds a client certificate that is still valid: what a first certificate is weighed against, and
//! whom the requests of a node are charged to.

use super::limits;
use super::object::Timestamp;
use data_encoding::HEXLOWER;
use eyesplice_identity::x509::{CertificateRequest, Signer};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use time::OffsetDateTime;

/// The newest client certificate of one node or gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// When it was signed.
    pub(crate) issued: Timestamp,
    /// Its end.
    pub(crate) not_after: Timestamp,
    /// SHA-256 of its public key, in hex.
    pub(crate) key: String,
    /// Who asked for the first one: a bootstrap token, as a user.
    pub(crate) brought_by: String,
    /// By what it is known, in words.
    pub(crate) seen: String,
}

/// Holders by the common name of their certificates.
pub(crate) type Holders = HashMap<String, Arc<Held>>;

impl Held {
    /// Reads what will be held once this is signed; `None` for what is no client certificate of a node
    /// or gateway.
    pub(crate) fn of(
        signer: Signer,
        request: &CertificateRequest,
        csr: &str,
        requester: &str,
        issued: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Option<(String, Self)> {
        if !matches!(signer, Signer::KubeletClient | Signer::GatewayClient) {
            return None;
        }
        let name = (*request.common_names().first()?).to_owned();
        let held = Self {
            issued: Timestamp::new(issued),
            not_after: Timestamp::new(not_after),
            key: key_of(&request.spki),
            brought_by: requester.to_owned(),
            seen: format!("CSR {csr}"),
        };
        Some((name, held))
    }

    /// Who has renewed by itself was brought by whoever brought it.
    pub(crate) fn after(mut self, name: &str, before: Option<&Self>) -> Self {
        if self.brought_by == name
            && let Some(before) = before
        {
            self.brought_by.clone_from(&before.brought_by);
        }
        self
    }
}

/// The end of a certificate that is approved and to be signed yet, as far as is known: 9999-12-31.
pub(crate) fn unsigned_until() -> OffsetDateTime {
    const UNTIL_S: i64 = 253_402_214_400;
    OffsetDateTime::from_unix_timestamp(UNTIL_S).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// SHA-256 of a SubjectPublicKeyInfo, in hex.
pub(crate) fn key_of(spki: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, spki).as_ref())
}

/// Says whether one more name fits.
pub(crate) fn is_full(holders: &Holders) -> bool {
    holders.len() >= limits::HOLDERS
}
