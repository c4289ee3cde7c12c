//! A certificate chain with its key.

use super::{Fault, FileRef, Note, PemError, PrivateKey, note, read};
use crate::certificate::CertificateFacts;
use eyesplice_proto::tls::provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use std::sync::Arc;
use std::time::SystemTime;

/// What a credential is presented as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Role {
    /// By a TLS client.
    #[display("clientAuth")]
    Client,
    /// By a TLS server.
    #[display("serverAuth")]
    Server,
}

/// A chain and its key, which match each other and the role they are for.
#[derive(Clone, derive_more::Debug)]
#[debug("Credential({file}, {})", leaf.describe())]
pub struct Credential {
    /// Ready for rustls.
    pub certified: Arc<CertifiedKey>,
    /// The leaf.
    pub leaf: CertificateFacts,
    /// The file of the chain.
    pub file: FileRef,
}

impl Credential {
    /// Loads chain and key; both may be in one file, as the kubelet writes its own.
    ///
    /// # Errors
    /// A file cannot be used, the key is not the leaf's, or the leaf is not for `role`.
    pub fn load(certificate: FileRef, key: &FileRef, role: Role) -> Result<Self, PemError> {
        let chain = read::certificates(&certificate)?;
        Self::new(chain, &PrivateKey::load(key)?, certificate, key, role)
    }

    /// Pairs what was read already; the files are for errors.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        private: &PrivateKey,
        certificate: FileRef,
        key: &FileRef,
        role: Role,
    ) -> Result<Self, PemError> {
        let bad = |problem| Fault::BadCertificate(1, problem);
        let leaf = CertificateFacts::read(&chain[0])
            .map_err(|problem| PemError::new(&certificate, bad(problem)))?;
        strong(&chain).map_err(|fault| PemError::new(&certificate, fault))?;
        let provider = provider::shared();
        let private = provider
            .key_provider
            .load_private_key(private.der().clone_key())
            .map_err(|_| PemError::new(key, Fault::UnsupportedKey))?;
        let certified = CertifiedKey::new(chain, private);
        match certified.keys_match() {
            Ok(()) => {}
            Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(PemError::new(key, Fault::KeyMismatch(certificate)));
            }
            Err(_) => return Err(PemError::new(key, Fault::UnsupportedKey)),
        }
        let fits = match role {
            Role::Client => leaf.usage.client,
            Role::Server => leaf.usage.server,
        };
        if !fits {
            let subject = leaf.subject.to_string();
            let fault = Fault::WrongUsage(subject, role);
            return Err(PemError::new(&certificate, fault));
        }
        Ok(Self {
            certified: Arc::new(certified),
            leaf,
            file: certificate,
        })
    }

    /// What an operator should know of the leaf.
    pub fn notes(&self, now: SystemTime) -> Option<Note> {
        note(&self.file, &self.leaf, now)
    }
}

/// Judges every key and signature of a chain that is shown to others.
fn strong(chain: &[CertificateDer<'_>]) -> Result<(), Fault> {
    for (index, der) in chain.iter().enumerate() {
        let number = index + 1;
        let facts = CertificateFacts::read(der);
        let facts = facts.map_err(|problem| Fault::BadCertificate(number, problem))?;
        if let Some(weakness) = facts.weakness().cloned() {
            return Err(Fault::Weak {
                number,
                subject: facts.subject.to_string(),
                weakness: Box::new(weakness),
            });
        }
    }
    Ok(())
}
