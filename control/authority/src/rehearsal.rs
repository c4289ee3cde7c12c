//! What the authority does with one CSR, step by step and without its store, for benches.

use super::approve::{Decision, DnsUse, Evidence, Facts, First, Policy, decide};
use super::material::AuthorityMaterial;
use super::object::CertificateSigningRequest;
use super::sign::sign;
use super::store::Change;
use crate::config::{AuthorityConfig, Document};
use eyesplice_identity::x509::{CertificateRequest, Signer};
use std::error::Error;
use std::path::Path;
use std::time::SystemTime;
use time::OffsetDateTime;

/// One CSR, and all that decides about it.
pub struct Rehearsal {
    material: AuthorityMaterial,
    object: CertificateSigningRequest,
    signer: Signer,
    now: OffsetDateTime,
}

impl Rehearsal {
    /// Loads a configuration with its files, and reads a CSR as the store keeps it, in JSON.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(config: &Path, csr: &[u8], now: SystemTime) -> Result<Self, Box<dyn Error>> {
        let loaded = AuthorityConfig::load(config)?;
        let material = AuthorityMaterial::load(loaded.config, now);
        let (material, _) = material.map_err(|errors| format!("{errors:?}"))?.state;
        let object: CertificateSigningRequest = serde_json::from_slice(csr)?;
        let signer = Signer::by_name(&object.spec.signer_name).ok_or("nobody serves the signer")?;
        Ok(Self {
            material,
            object,
            signer,
            now: now.into(),
        })
    }

    /// Parses the request and verifies its signature by its own key.
    pub fn reads(&self) -> bool {
        CertificateRequest::read(&self.object.spec.request.0).is_ok()
    }

    /// Reads the request, and says whether it is approved without a person.
    pub fn approves(&self) -> bool {
        let approval = &self.material.config.approval;
        let facts = Facts::default();
        let policy = Policy {
            roles: &self.material.roles,
            reviewed: None,
            inventory: self.material.inventory.as_ref(),
            bootstrap_nodes: approval.bootstrap_nodes,
            agents: None,
            gateways: &approval.gateways,
            insecure_group: None,
            prefixes: &[],
            first: First::unknown(self.now),
            // DNS and the node are not asked.
            evidence: Evidence {
                dns: DnsUse::Ignore,
                port: None,
                facts: &facts,
            },
        };
        let request = CertificateRequest::read(&self.object.spec.request.0);
        request.is_ok_and(|request| {
            let decision = decide(&self.object, &request, &policy);
            matches!(decision, Ok(Decision::Approve { .. }))
        })
    }

    /// Reads the request, and says whether the signer gives a certificate.
    pub fn signs(&self) -> bool {
        let ca = self.material.signers.get(&self.signer);
        let change = ca.map(|ca| sign(&self.object, self.signer, ca, self.now));
        matches!(change, Some(Ok(Change::Sign { .. })))
    }
}
