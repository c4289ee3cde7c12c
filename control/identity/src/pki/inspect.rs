//! Lists the files of a tree with the role, the facts and the flaws of each.

use super::judge::{Flaw, Judged};
use super::key::SigningKey;
use super::kubeadm;
use super::plan::{SERVICE_ACCOUNT_KEY, SERVICE_ACCOUNT_PUBLIC};
use super::profile::{Profile, Usage};
use super::request;
use super::spec::Existing;
use super::stage::Stage;
use super::tree::Tree;
use crate::certificate::CertificateFacts;
use crate::kubeconfig::Severity;
use crate::kubeconfig::{self, CheckOptions};
use crate::pem::{self, Fault, FileRef, PemError, PrivateKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use std::time::SystemTime;

/// One file of a tree.
#[derive(Debug)]
pub struct Row {
    /// Its name in the tree.
    pub file: String,
    /// What kind of file it is.
    pub kind: Kind,
    /// The file of the CA that it is verified against.
    pub authority: Option<String>,
    /// Who uses it.
    pub used_by: &'static str,
    /// The certificate, if it can be read.
    pub facts: Option<CertificateFacts>,
    /// What is wrong with it.
    pub flaws: Vec<Flaw>,
}

/// What a file of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A CA's certificate.
    Authority,
    /// A TLS server's certificate.
    Server,
    /// A TLS client's certificate.
    Client,
    /// A certificate for both.
    Peer,
    /// A kubeconfig.
    Kubeconfig,
    /// The service-account key pair.
    KeyPair,
    /// A private key.
    Key,
    /// Another file.
    File,
    /// A directory.
    Directory,
}

impl Kind {
    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "CA",
            Self::Server => "server",
            Self::Client => "client",
            Self::Peer => "server, client",
            Self::Kubeconfig => "kubeconfig",
            Self::KeyPair => "key pair",
            Self::Key => "key",
            Self::File => "file",
            Self::Directory => "directory",
        }
    }

    fn of(usage: Usage) -> Self {
        match usage {
            Usage::Authority => Self::Authority,
            Usage::Server => Self::Server,
            Usage::Client => Self::Client,
            Usage::Peer => Self::Peer,
        }
    }
}

impl Row {
    pub(super) fn new(file: String, kind: Kind, used_by: &'static str) -> Self {
        Self {
            file,
            kind,
            authority: None,
            used_by,
            facts: None,
            flaws: Vec::new(),
        }
    }

    /// The worst of its flaws.
    pub fn severity(&self) -> Option<Severity> {
        self.flaws.iter().map(Flaw::severity).max()
    }
}

impl Tree {
    /// Judges every file of the tree at `now`.
    pub fn inspect(&self, now: SystemTime) -> Vec<Row> {
        let mut rows = Vec::new();
        for profile in &self.plan.profiles {
            rows.push(self.certificate(profile, now));
        }
        for profile in &self.plan.profiles {
            rows.extend(self.kubeconfig(profile, now));
        }
        let planned = self.planned && self.plan.signs_service_accounts();
        if planned || kubeadm::has_key_pair(&self.dir) {
            rows.push(self.service_account_pair());
        }
        self.modes(&mut rows);
        rows
    }

    fn certificate(&self, profile: &Profile, now: SystemTime) -> Row {
        let file = self.file(&profile.name, profile.certificate_file());
        let kind = Kind::of(profile.usage);
        let mut row = Row::new(profile.certificate_file(), kind, profile.used_by);
        row.authority = Some(format!("{}.crt", profile.authority()));
        if profile.usage == Usage::Authority
            && let Ok(stage @ (Stage::TrustBoth | Stage::Reissued | Stage::OldDropped)) =
                self.rotation(&profile.name)
        {
            row.flaws.push(Flaw::Rotation(stage));
        }
        if self.plan.is_requested(profile) {
            row.flaws.extend(self.request(profile));
            if !self.has_certificate(profile) {
                return row;
            }
        }
        if let Err(error) = self.judge(profile, &file, now, &mut row) {
            row.flaws.push(Flaw::File(error));
        }
        row
    }

    /// What is to be said of the request for a certificate that is signed elsewhere.
    fn request(&self, profile: &Profile) -> Option<Flaw> {
        let name = profile.name.clone();
        let request = profile.request_file();
        let has_certificate = self.has_certificate(profile);
        if !self.waits(profile) {
            return (!has_certificate).then_some(Flaw::Unrequested(request));
        }
        match self.fits(profile) {
            Err(error) => Some(Flaw::File(error)),
            Ok(false) => Some(Flaw::ForeignRequest { name, request }),
            Ok(true) if has_certificate => Some(Flaw::RenewalAwaited(request)),
            Ok(true) => Some(Flaw::Awaited(request)),
        }
    }

    /// Whether a request is for the key beside it.
    fn fits(&self, profile: &Profile) -> Result<bool, PemError> {
        let key = self.own_key(&self.file(&profile.name, profile.key_file()))?;
        let request = self.file(&profile.name, profile.request_file());
        Ok(request::public_key(&request)? == key.spki())
    }

    pub(super) fn own_key(&self, file: &FileRef) -> Result<SigningKey, PemError> {
        SigningKey::new(&PrivateKey::load(file)?)
            .map_err(|_| PemError::new(file, Fault::UnsupportedKey))
    }

    fn judge(
        &self,
        profile: &Profile,
        file: &FileRef,
        now: SystemTime,
        row: &mut Row,
    ) -> Result<(), PemError> {
        let chain = pem::certificates(file)?;
        let mut authorities = Vec::new();
        if profile.usage != Usage::Authority {
            let authority = profile.authority();
            let bundle = self.file(authority, format!("{authority}.crt"));
            authorities = pem::certificates(&bundle)?;
        } else if let Some(parent) = self.above(profile) {
            authorities = pem::certificates(&parent)?;
        }
        // A CA's file may trust more than one CA while they change; each is judged.
        let chains = if profile.usage == Usage::Authority {
            chain.chunks(1).collect()
        } else {
            vec![chain.as_slice()]
        };
        for (index, chain) in chains.into_iter().enumerate() {
            let facts = CertificateFacts::read(&chain[0]).map_err(|problem| {
                PemError::new(file, Fault::BadCertificate(index + 1, problem))
            })?;
            let judged = Judged {
                profile,
                chain,
                authorities: &authorities,
                now,
            };
            row.flaws.extend(judged.flaws(&facts));
            if index == 0 {
                self.key(profile, file, &facts, row)?;
                self.signer_chain(profile, &chain[0], row)?;
                row.facts = Some(facts);
            }
        }
        Ok(())
    }

    /// Whoever signs by a CA must sign by this one. Trees that were made before have no such file.
    fn signer_chain(
        &self,
        profile: &Profile,
        own: &CertificateDer<'_>,
        row: &mut Row,
    ) -> Result<(), PemError> {
        let name = profile.chain_file();
        let file = self.file(&profile.name, &name);
        if profile.usage == Usage::Authority && file.path.exists() {
            let chain = pem::certificates(&file)?;
            if chain.first() != Some(own) {
                row.flaws.push(Flaw::SignerChain(name));
            }
        }
        Ok(())
    }

    /// What signed a CA that does not sign itself.
    fn above(&self, profile: &Profile) -> Option<FileRef> {
        let authorities = &self.plan.spec.authorities;
        let existing = self.plan.existing(&profile.name).map(Existing::certificate);
        let parent = authorities.parent.as_ref();
        let file = existing.or(parent.map(|pair| pair.certificate.as_path()))?;
        Some(FileRef::new(&profile.name, file))
    }

    fn key(
        &self,
        profile: &Profile,
        certificate: &FileRef,
        facts: &CertificateFacts,
        row: &mut Row,
    ) -> Result<(), PemError> {
        let file = match self.plan.existing(&profile.name) {
            Some(Existing::Signs(pair)) => FileRef::new(&profile.name, &pair.key),
            // That it is not here is what the document says.
            Some(Existing::External(_)) => return Ok(()),
            None => self.file(&profile.name, profile.key_file()),
        };
        let key = match PrivateKey::load(&file) {
            Err(error)
                if profile.usage == Usage::Authority && matches!(error.fault, Fault::Missing) =>
            {
                row.flaws.push(Flaw::NoAuthorityKey);
                return Ok(());
            }
            key => key?,
        };
        let fail = |fault| PemError::new(&file, fault);
        let key = SigningKey::new(&key).map_err(|_| fail(Fault::UnsupportedKey))?;
        if key.spki() != facts.spki {
            return Err(fail(Fault::KeyMismatch(certificate.clone())));
        }
        Ok(())
    }

    fn kubeconfig(&self, profile: &Profile, now: SystemTime) -> Option<Row> {
        let name = profile.kubeconfig_file()?;
        let path = self.dir.join(&name);
        // It is made with the certificate, which has a row of its own.
        let is_made = !self.plan.is_requested(profile) || self.has_certificate(profile);
        if !is_made && !path.exists() {
            return None;
        }
        let mut row = Row::new(name, Kind::Kubeconfig, profile.used_by);
        let options = CheckOptions::at(now);
        let checked = kubeconfig::check(&path, &options);
        // One for break-glass is meant to expire.
        let ends = |flaw: &kubeconfig::Flaw| {
            profile.is_break_glass() && matches!(flaw, kubeconfig::Flaw::Validity(..))
        };
        let flaws = checked.flaws.into_iter().filter(|flaw| !ends(flaw));
        row.flaws.extend(flaws.map(Flaw::Kubeconfig));
        row.facts = checked.certificate;
        let own = self.file(&profile.name, profile.certificate_file());
        let embedded = row.facts.as_ref().map(|facts| &facts.serial);
        let current = first(&own).and_then(|der| CertificateFacts::read(&der).ok());
        if let (Some(embedded), Some(current)) = (embedded, current)
            && *embedded != current.serial
        {
            row.flaws.push(Flaw::Stale(profile.certificate_file()));
        }
        let server = self.file("apiserver", "apiserver.crt");
        if let Ok(chain) = pem::certificates(&server) {
            let flaws = kubeconfig::judge_server(&checked.authorities, &chain, now);
            row.flaws.extend(flaws.into_iter().map(Flaw::Kubeconfig));
        }
        Some(row)
    }

    fn service_account_pair(&self) -> Row {
        let used_by = "kube-apiserver --service-account-key-file and -signing-key-file";
        let mut row = Row::new(SERVICE_ACCOUNT_PUBLIC.to_owned(), Kind::KeyPair, used_by);
        let key = self.file("sa", SERVICE_ACCOUNT_KEY);
        match self.service_account_keys(&key) {
            Ok((private, public)) if private == public => {}
            Ok(_) => row.flaws.push(Flaw::KeyPair),
            Err(error) => row.flaws.push(Flaw::File(error)),
        }
        row
    }

    fn service_account_keys(&self, key: &FileRef) -> Result<(Vec<u8>, Vec<u8>), PemError> {
        let public = self.file("sa", SERVICE_ACCOUNT_PUBLIC);
        let private = self.own_key(key)?;
        let text = pem::text(&public)?;
        let parsed = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
        let parsed = parsed.map_err(|_| PemError::new(&public, Fault::Damaged))?;
        Ok((private.spki().to_vec(), parsed.to_vec()))
    }
}

fn first(file: &FileRef) -> Option<CertificateDer<'static>> {
    pem::certificates(file).ok()?.into_iter().next()
}
