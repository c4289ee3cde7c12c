//! Finds the files that still depend on a CA that is about to lose its trust or its signatures.

use super::error::PkiError;
use super::judge::{Flaw, Judged};
use super::profile::{CLUSTER_CA, Profile};
use super::tree::Tree;
use crate::certificate::CertificateFacts;
use crate::kubeconfig::{self, CheckOptions, Checked};
use crate::pem::{self, Fault, FileRef, Role};
use crate::verify::chain::leads;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of more than this are counted, not named.
const NAMED_FILES: usize = 8;

/// What must work with one CA alone.
pub(super) struct Dependents<'a> {
    pub(super) tree: &'a Tree,
    /// The CA's role.
    pub(super) profile: &'a Profile,
    /// What it signs in the tree.
    pub(super) signed: Vec<&'a Profile>,
    /// The one CA.
    pub(super) authority: Vec<CertificateDer<'static>>,
    /// The one that goes. What it signed must be gone, even if the other one vouches for it.
    pub(super) other: Vec<CertificateDer<'static>>,
    /// Files outside of the tree.
    pub(super) also: &'a [PathBuf],
    pub(super) now: SystemTime,
}

/// A file outside of the tree.
enum Foreign {
    /// CAs that somebody trusts.
    Bundle(Vec<CertificateDer<'static>>),
    /// A certificate with what is sent with it.
    Chain(Vec<CertificateDer<'static>>),
    Kubeconfig(Box<Checked>),
}

impl Dependents<'_> {
    /// Refuses a step if `find` finds files.
    pub(super) fn refuse(
        &self,
        step: &'static str,
        find: fn(&Self) -> Result<Vec<String>, PkiError>,
    ) -> Result<(), PkiError> {
        let mut files = find(self)?;
        if files.is_empty() {
            return Ok(());
        }
        let count = files.len();
        files.truncate(NAMED_FILES);
        Err(PkiError::Depends {
            step,
            authority: self.profile.name.clone(),
            files,
            count,
        })
    }

    /// Files that do not trust the CA yet.
    pub(super) fn trusting(&self) -> Result<Vec<String>, PkiError> {
        let mut found = Vec::new();
        let own = self.profile.certificate_file();
        let bundle = pem::certificates(&self.tree.file(&self.profile.name, &own))?;
        if !self.is_in(&bundle) {
            found.push(own);
        }
        if self.profile.name == CLUSTER_CA {
            let live = self.tree.plan.profiles.iter();
            let live = live.filter(|profile| self.tree.is_live(profile, self.now));
            for name in live.filter_map(Profile::kubeconfig_file) {
                let checked = self.check(&self.tree.dir.join(&name));
                if !self.is_in(&checked.authorities) {
                    found.push(name);
                }
            }
        }
        for path in self.also {
            let trusts = match self.foreign(path)? {
                Foreign::Bundle(bundle) => self.is_in(&bundle),
                Foreign::Kubeconfig(checked) => self.is_in(&checked.authorities),
                Foreign::Chain(_) => true,
            };
            if !trusts {
                found.push(path.display().to_string());
            }
        }
        Ok(found)
    }

    /// Files that the CA did not sign, or that do not trust it.
    pub(super) fn signed(&self) -> Result<Vec<String>, PkiError> {
        let mut found = Vec::new();
        for profile in &self.signed {
            let name = profile.certificate_file();
            let chain = pem::certificates(&self.tree.file(&profile.name, &name))?;
            let facts = CertificateFacts::read(&chain[0]);
            let facts =
                facts.map_err(|problem| PkiError::Unreadable(profile.name.clone(), problem))?;
            let judged = Judged {
                profile,
                chain: &self.without_other(&chain),
                authorities: &self.authority,
                now: self.now,
            };
            let flaws = judged.flaws(&facts);
            if flaws.iter().any(|flaw| matches!(flaw, Flaw::Chain { .. })) {
                found.push(name);
            }
            if let Some(name) = profile.kubeconfig_file() {
                let checked = self.check(&self.tree.dir.join(&name));
                if !self.verifies(&checked.chain) {
                    found.push(name);
                }
            }
        }
        for path in self.also {
            let fits = match self.foreign(path)? {
                Foreign::Bundle(bundle) => self.is_in(&bundle),
                Foreign::Chain(chain) => self.verifies(&chain),
                Foreign::Kubeconfig(checked) => {
                    let trusts = checked.authorities.is_empty() || self.is_in(&checked.authorities);
                    trusts && (checked.chain.is_empty() || self.verifies(&checked.chain))
                }
            };
            if !fits {
                found.push(path.display().to_string());
            }
        }
        Ok(found)
    }

    fn is_in(&self, bundle: &[CertificateDer<'static>]) -> bool {
        self.authority
            .iter()
            .all(|authority| bundle.contains(authority))
    }

    /// A chain but for the certificates of the other CA's key.
    fn without_other(&self, chain: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
        let key = |der: &CertificateDer<'_>| CertificateFacts::read(der).map(|facts| facts.spki);
        let others: Vec<_> = self.other.iter().filter_map(|der| key(der).ok()).collect();
        let is_other = |der: &CertificateDer<'_>| key(der).is_ok_and(|key| others.contains(&key));
        chain.iter().filter(|der| !is_other(der)).cloned().collect()
    }

    fn verifies(&self, presented: &[CertificateDer<'static>]) -> bool {
        let presented = self.without_other(presented);
        let Some(Ok(facts)) = presented.first().map(|leaf| CertificateFacts::read(leaf)) else {
            return false;
        };
        let role = if facts.usage.server {
            Role::Server
        } else {
            Role::Client
        };
        let authorities: Vec<_> = self.authority.iter().collect();
        leads(&presented, &authorities, self.now, role, &facts).is_ok()
    }

    fn check(&self, path: &Path) -> Checked {
        kubeconfig::check(path, &CheckOptions::at(self.now))
    }

    /// Tells what a file is by what is in it.
    fn foreign(&self, path: &Path) -> Result<Foreign, PkiError> {
        let file = FileRef::new("--also", path);
        let chain = match pem::certificates(&file) {
            Ok(chain) => chain,
            Err(error) if matches!(error.fault, Fault::NoCertificate) => {
                let checked = self.check(path);
                if checked.authorities.is_empty() && checked.chain.is_empty() {
                    return Err(error.into());
                }
                return Ok(Foreign::Kubeconfig(Box::new(checked)));
            }
            Err(error) => return Err(error.into()),
        };
        let authority = CertificateFacts::read(&chain[0]).is_ok_and(|facts| facts.authority);
        Ok(if authority {
            Foreign::Bundle(chain)
        } else {
            Foreign::Chain(chain)
        })
    }
}
